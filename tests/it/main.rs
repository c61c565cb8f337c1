//! The one integration test binary: everything that needs a real program or a real process.
#![expect(clippy::unwrap_used, reason = "a test that meets a surprise must stop")]

mod copies;
mod documents;
mod escaping;
mod fixture;
mod kill;
mod messages;
mod publish;
mod render;
mod spine;
mod stores;
mod streams;
#[cfg(all(feature = "https", feature = "ssh"))]
mod transport;
mod unchanged;
