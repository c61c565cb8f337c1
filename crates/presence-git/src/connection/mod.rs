//! Connections to git servers:
//!
//! | scheme | connection |
//! |---|---|
//! | `git` | a TCP connection |
//! | `ssh`, `user@host:path` | the `ssh` program as git runs it, with the user's keys, agent, known_hosts |
//! | `http`, `https` | ureq and rustls |
//!
//! Every wait has a limit, and ends with the deadline of the operation. A connection is retried if the server
//! was busy and nothing has happened yet.

mod dialogue;
pub mod filter;
mod gitproxy;
pub mod guard;
#[cfg(feature = "https")]
mod http;
mod retry;
#[cfg(feature = "ssh")]
mod ssh;
mod tcp;

use std::io;
use std::process::{Child, Command};
use std::time::Duration;

use crate::address::{Address, Scheme};
use crate::{Credential, Deadline, Limits, Timeouts, TransportError};

/// How much a socket's own limit may differ from the deadline.
const SLACK: Duration = Duration::from_millis(100);

/// A conversation with a service of a git server. The server speaks first: the answer begins with its
/// advertisement.
pub trait Connection: Send {
    /// Waits for bytes of the answer. 0 is its end, which [`Connection::ended`] explains.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, TransportError>;

    /// Sends bytes of a request. Over http, the request is complete when its answer is read.
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError>;

    /// Why the server ended its answer.
    fn ended(&mut self) -> TransportError;

    /// The time from the connection to the server's first byte, which tells more about the server than the
    /// whole time. `None` if this kind of connection cannot measure it.
    fn answered_in(&self) -> Option<Duration>;

    /// Whether each request is a conversation of its own, as over http. Such a connection needs no end.
    fn is_stateless(&self) -> bool;
}

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Fetching.
    UploadPack,
    /// Pushing.
    ReceivePack,
}

impl Service {
    /// The program on the server.
    fn program(self) -> &'static str {
        match self {
            Service::UploadPack => "git-upload-pack",
            Service::ReceivePack => "git-receive-pack",
        }
    }

    /// What it does with the repository, as a verb.
    #[cfg(any(feature = "https", feature = "ssh"))]
    fn during(self) -> &'static str {
        match self {
            Service::UploadPack => "read",
            Service::ReceivePack => "write",
        }
    }
}

/// A program that a connection has started.
pub trait Process: Send {
    /// The program.
    fn child(&mut self) -> &mut Child;

    /// Kills it with its process group, and waits for its end.
    fn kill_group(&mut self);
}

/// Starts a program. The user of this crate may keep account of its processes.
pub type Start = fn(&mut Command) -> io::Result<Box<dyn Process>>;

/// How to communicate with servers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Time limits.
    pub timeouts: Timeouts,
    /// Size limits.
    pub limits: Limits,
    /// Starts ssh.
    pub start: Start,
    /// Keys and logins for some URLs.
    pub credentials: Vec<Credential>,
    #[cfg(feature = "ssh")]
    ssh: ssh::Settings,
    #[cfg(feature = "https")]
    http: http::Settings,
}

impl Settings {
    /// The settings of this process's environment, without credentials.
    pub fn from_env(timeouts: Timeouts, limits: Limits, start: Start) -> Settings {
        Settings {
            timeouts,
            limits,
            start,
            credentials: Vec::new(),
            #[cfg(feature = "ssh")]
            ssh: ssh::Settings::from_env(),
            #[cfg(feature = "https")]
            http: http::Settings::from_env(),
        }
    }
}

/// Opens connections. It keeps what they share: logins, and the connections to web servers.
pub struct Client {
    settings: Settings,
    #[cfg(feature = "https")]
    http: std::sync::Arc<http::Client>,
}

impl Client {
    /// A client without connections.
    pub fn new(settings: Settings) -> Client {
        Client {
            #[cfg(feature = "https")]
            http: std::sync::Arc::new(http::Client::new(&settings)),
            settings,
        }
    }

    /// Connects to a service for the repository of that URL, and waits for the first bytes of its answer.
    pub fn connect(
        &self,
        url: &str,
        service: Service,
        deadline: Deadline,
    ) -> Result<Box<dyn Connection>, TransportError> {
        let address = Address::parse(url)?;
        match address.scheme {
            Scheme::Git => {
                gitproxy::refuse(&address)?;
                Ok(Box::new(tcp::open(&address, service, &self.settings, deadline)?))
            }
            #[cfg(feature = "ssh")]
            Scheme::Ssh => Ok(Box::new(ssh::open(&address, service, &self.settings, deadline)?)),
            #[cfg(feature = "https")]
            Scheme::Http | Scheme::Https => Ok(Box::new(http::open(&self.http, address, service, deadline)?)),
            #[cfg(not(all(feature = "ssh", feature = "https")))]
            _ => Err(crate::address::UNKNOWN_SCHEME.into()),
        }
    }

    /// The limits of what servers send.
    pub fn limits(&self) -> &Limits {
        &self.settings.limits
    }
}

/// The error that the operation has no time left, if so.
fn late(peer: &str, deadline: Deadline) -> Option<TransportError> {
    (deadline.left() < SLACK).then(|| TransportError::late(peer, deadline))
}

#[cfg(test)]
mod tests;
