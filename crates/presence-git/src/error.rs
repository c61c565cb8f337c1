//! Errors between this machine and a git server.

use std::io;
use std::path::PathBuf;

use crate::Deadline;
use crate::address::AddressError;

/// The network or the server failed to do what was asked. No variant contains a password or token.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The URL cannot be used.
    #[error("the URL cannot be used: {0}")]
    Address(#[from] AddressError),
    /// The host name could not be resolved.
    #[error("the name of `{peer}` cannot be resolved")]
    Resolve {
        /// The server.
        peer: String,
    },
    /// The connection could not be established.
    #[error("cannot connect to `{peer}`")]
    Connect {
        /// The server.
        peer: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The connection through a proxy could not be established.
    #[error("the proxy `{proxy}` does not connect to `{peer}`: {reason}")]
    Proxy {
        /// The server.
        peer: String,
        /// The proxy's host and port.
        proxy: String,
        /// The proxy's message, or the system's error about it.
        reason: String,
    },
    /// The server or the network was silent for too long.
    #[error("`{peer}` has been silent for {seconds} s")]
    Silent {
        /// The server.
        peer: String,
        /// The limit, in seconds.
        seconds: u64,
    },
    /// The deadline of the operation passed, whatever the server sent until then.
    #[error("`{peer}` has not finished its answer within {seconds} s")]
    Late {
        /// The server.
        peer: String,
        /// The limit of the whole operation, in seconds.
        seconds: u64,
        /// Its key in the configuration.
        key: &'static str,
    },
    /// The connection ended with an error.
    #[error("the connection to `{peer}` broke")]
    Broken {
        /// The server.
        peer: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The server closed the connection.
    #[error("`{peer}` closed the connection before its answer was complete")]
    Closed {
        /// The server.
        peer: String,
    },
    /// The server refused and gave a reason.
    #[error("`{peer}` refused: {said}")]
    Refused {
        /// The server.
        peer: String,
        /// Its message.
        said: String,
    },
    /// The server has no such repository, or hides it from this user.
    #[error("`{peer}` has no repository `{path}`, or hides it from this user")]
    NoRepository {
        /// The server.
        peer: String,
        /// Its path.
        path: String,
    },
    /// The server knows this user, and forbids the operation.
    #[error("`{peer}` does not let this user {operation} the repository{said}")]
    Forbidden {
        /// The server.
        peer: String,
        /// "read" or "write".
        operation: &'static str,
        /// Its message, after a colon; empty if there is none.
        said: String,
    },
    /// The server refused the login.
    #[error("`{peer}` refused the login{said}")]
    Login {
        /// The server.
        peer: String,
        /// Which login it was, or the server's message, with the text that precedes it.
        said: String,
        /// How to log in.
        hint: &'static str,
    },
    /// A file of a credential is unusable.
    #[error("cannot use `{path}` of [[credential]]")]
    Credential {
        /// The file.
        path: PathBuf,
        /// The system's error, or what is wrong with its content.
        #[source]
        source: io::Error,
    },
    /// The ssh server's host key is unknown.
    #[error("the host key of `{peer}` is not in known_hosts")]
    HostKeyUnknown {
        /// The server.
        peer: String,
        /// The command that shows its key.
        scan: String,
    },
    /// The ssh server's host key differs from the known one.
    #[error("the host key of `{peer}` does not match known_hosts")]
    HostKeyChanged {
        /// The server.
        peer: String,
        /// The command that removes the old key.
        forget: String,
    },
    /// A required program could not be started.
    #[error("cannot run `{program}`")]
    Program {
        /// Its name, or the command.
        program: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A required program failed.
    #[error("`{program}` ended with {status}: {said}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// "exit status 255", "signal 9".
        status: String,
        /// The end of its output.
        said: String,
    },
    /// The server's certificate is not trusted.
    #[error("the certificate of `{peer}` is not trusted: {reason}")]
    Certificate {
        /// The server.
        peer: String,
        /// The reason.
        reason: String,
    },
    /// The file of trusted authorities is unusable.
    #[error("cannot use `{path}` from {variable}: {reason}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// The environment variable that names it.
        variable: &'static str,
        /// The reason.
        reason: String,
    },
    /// The web server redirects to a place where presence does not follow.
    #[error("`{peer}` redirects to `{to}`, which is not followed")]
    Redirect {
        /// The server.
        peer: String,
        /// The target, without secrets.
        to: String,
    },
    /// The web server reported an error.
    #[error("`{peer}` answered with HTTP status {status}{said}")]
    Status {
        /// The server.
        peer: String,
        /// The status code.
        status: u16,
        /// The beginning of its message, after a colon; empty if there is none.
        said: String,
    },
    /// The repository uses an object format that libgit2 does not support.
    #[error("the repository at `{peer}` has the object format sha256, which is not supported")]
    Sha256 {
        /// The server.
        peer: String,
    },
    /// The server exceeds a limit.
    #[error("`{peer}` sends more than {most} {what}")]
    TooMuch {
        /// The server.
        peer: String,
        /// What is counted.
        what: &'static str,
        /// The limit.
        most: u64,
    },
    /// The peer is not a git server, or uses an unknown version of the protocol.
    #[error("`{peer}` does not speak git's protocol: {reason}")]
    Protocol {
        /// The server.
        peer: String,
        /// What is wrong.
        reason: String,
    },
}

impl TransportError {
    /// The error that a limit was exceeded.
    pub(crate) fn excess(peer: &str, (what, most): (&'static str, u64)) -> TransportError {
        TransportError::TooMuch { peer: peer.to_owned(), what, most }
    }

    /// The error that the operation has no time left.
    pub(crate) fn late(peer: &str, deadline: Deadline) -> TransportError {
        let (seconds, key) = (deadline.within().as_secs(), deadline.setting());
        TransportError::Late { peer: peer.to_owned(), seconds, key }
    }

    /// Whether the cause may be an overloaded server: it did not accept the connection in time, or closed it
    /// without an answer.
    pub fn is_overload(&self) -> bool {
        match self {
            TransportError::Connect { source, .. } | TransportError::Broken { source, .. } => {
                matches!(source.kind(), io::ErrorKind::TimedOut | io::ErrorKind::ConnectionReset)
            }
            TransportError::Closed { .. } => true,
            _ => false,
        }
    }

    /// Whether a retry may well succeed soon: the server is busy or just starting.
    pub(crate) fn is_passing(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, TimedOut};
        match self {
            TransportError::Connect { source, .. } | TransportError::Broken { source, .. } => {
                matches!(
                    source.kind(),
                    BrokenPipe | ConnectionAborted | ConnectionRefused | ConnectionReset | TimedOut
                )
            }
            TransportError::Closed { .. } => true,
            TransportError::Status { status, .. } => matches!(status, 502..=504),
            _ => false,
        }
    }
}

/// Why a push did not complete. It is then unknown whether the server accepted it.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection failed or broke.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The server's answer is an error, or not git's protocol.
    #[error("{0}")]
    Answer(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let connect = |kind: io::ErrorKind| TransportError::Connect { peer: "h".into(), source: kind.into() };
        assert!(connect(io::ErrorKind::ConnectionRefused).is_passing());
        assert!(!connect(io::ErrorKind::PermissionDenied).is_passing());
        assert!(!TransportError::Resolve { peer: "h".into() }.is_passing());
        let status = |status| TransportError::Status { peer: "h".into(), status, said: String::new() };
        assert!(status(503).is_passing() && !status(500).is_passing());
    }
}
