//! The integration tests: everything that needs a real program or process, in one binary.
#![expect(clippy::unwrap_used, reason = "a test that meets a surprise must stop")]

mod agent;
mod browser;
mod copies;
mod doctor;
mod documents;
#[cfg(all(feature = "https", feature = "ssh"))]
mod envelope;
mod escaping;
#[cfg(all(feature = "etcd", feature = "https", feature = "ssh"))]
mod etcd;
#[cfg(all(feature = "https", feature = "ssh"))]
mod faults;
mod fixture;
#[cfg(all(feature = "https", feature = "ssh"))]
mod gone;
#[cfg(all(feature = "https", feature = "ssh"))]
mod graph;
#[cfg(all(feature = "https", feature = "ssh"))]
mod heartbeats;
#[cfg(all(feature = "https", feature = "ssh"))]
mod hostile;
mod judges;
mod kill;
mod limits;
mod linear;
#[cfg(all(feature = "https", feature = "ssh"))]
mod list;
#[cfg(all(feature = "https", feature = "ssh"))]
mod locks;
#[cfg(all(feature = "https", feature = "ssh"))]
mod log;
#[cfg(all(feature = "https", feature = "ssh"))]
mod looking_back;
mod messages;
mod own;
#[cfg(all(feature = "https", feature = "ssh"))]
mod page;
#[cfg(all(feature = "https", feature = "ssh"))]
mod pages;
mod past;
mod places;
mod publish;
mod render;
#[cfg(all(feature = "https", feature = "ssh"))]
mod replay;
mod rivals;
mod runtime;
mod services;
mod spine;
mod stores;
mod strangers;
mod streams;
mod takeovers;
mod templates;
#[cfg(all(feature = "https", feature = "ssh"))]
mod transport;
mod unchanged;
mod unreadable;
