//! The one integration test binary: everything that needs a real program or a real process.
#![expect(clippy::unwrap_used, reason = "a test that meets a surprise must stop")]

mod escaping;
mod fixture;
mod judges;
mod kill;
mod messages;
mod publish;
mod render;
mod stores;
mod streams;
mod templates;
