//! git's wire: pkt-lines, advertisements, pushes, packs, and the connections that carry them.
//!
//! libgit2 can fetch, but it cannot push from a shallow repository, decide by the server's refs what to push,
//! or limit its waits. This crate does that part, and knows nothing of what is in the repositories:
//!
//! | module | content |
//! |---|---|
//! | [`connection`] | [`Connection`], and the [`Client`] that opens one: git, http, ssh |
//! | [`advertisement`], [`send_pack`], `pktline` | the protocol of a push (gitprotocol-pack(5)) |
//! | [`packs`], [`delta`] | reading blobs from packs without libgit2 |
//! | [`libgit2`] | libgit2 fetches over these connections, within limits |
//! | [`configuration`] | git's configuration of user and system |
//! | [`Credential`] | keys and logins that the configuration has for some URLs |
//!
//! Every operation has a [`Deadline`], and everything that a server sends is measured against [`Limits`].

pub mod address;
pub mod advertisement;
pub mod configuration;
pub mod connection;
mod credential;
mod deadline;
pub mod delta;
mod error;
pub mod libgit2;
pub mod message;
pub mod packs;
mod pktline;
pub mod secrets;
pub mod send_pack;

use std::time::Duration;

pub use connection::{Client, Connection, Service, Settings};
pub use credential::Credential;
pub use deadline::Deadline;
pub use error::TransportError;

/// Time limits of the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timeouts {
    /// The longest time to establish a connection, all attempts together.
    pub connect: Duration,
    /// The longest time without a byte from the server.
    pub silence: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts { connect: Duration::from_secs(10), silence: Duration::from_secs(30) }
    }
}

/// The most that a server may send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// One object that is not a file, in bytes: a commit, a tree.
    pub object_bytes: u64,
    /// The result of one delta, in bytes: it is assembled in memory.
    pub delta_bytes: u64,
    /// The objects in one pack.
    pub objects: u32,
    /// The unpacked objects of one pack together, in bytes.
    pub unpacked_bytes: u64,
    /// One answer, in bytes.
    pub answer_bytes: u64,
    /// Messages to people beside an answer, in bytes.
    pub talk_bytes: u64,
    /// A ref advertisement, in bytes.
    pub ref_bytes: usize,
    /// The prefixes of the refs that are of use. All others are left out of advertisements.
    pub prefixes: &'static [&'static str],
    /// The refs of an advertisement that are of use.
    pub refs: usize,
    /// A report on a push, in bytes.
    pub report_bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::Limits;

    const MIB: u64 = 1024 * 1024;

    /// Limits as generous as those in use.
    pub(crate) const LIMITS: Limits = Limits {
        object_bytes: 64 * MIB,
        delta_bytes: 256 * MIB,
        objects: 4_000_000,
        unpacked_bytes: 64 * 1024 * MIB,
        answer_bytes: 2 * 1024 * MIB,
        talk_bytes: MIB,
        ref_bytes: 64 * 1024 * 1024,
        prefixes: &["refs/heads/"],
        refs: 250_000,
        report_bytes: 16 * 1024 * 1024,
    };
}
