//! What can go wrong between here and a git server, and how it gets past libgit2.
//!
//! libgit2 hands on only the text of an error. So the error itself is kept beside it, in the thread that the operation
//! runs in, and [`take_last_error`] fetches it when the operation has failed.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;

use super::address::AddressError;
use crate::errors::chain;

/// The network, or the server at its other end, did not do what was asked. No variant holds a password or token.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The URL cannot be used.
    #[error("the URL cannot be used: {0}")]
    Address(#[from] AddressError),
    /// The host's name could not be looked up.
    #[error("the name of `{peer}` cannot be resolved")]
    Resolve {
        /// The server.
        peer: String,
    },
    /// There is no connection.
    #[error("cannot connect to `{peer}`")]
    Connect {
        /// The server.
        peer: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is a proxy on the way, and no connection.
    #[error("the proxy `{proxy}` does not connect to `{peer}`: {reason}")]
    Proxy {
        /// The server.
        peer: String,
        /// Host and port of the proxy.
        proxy: String,
        /// What the proxy said, or the system of it.
        reason: String,
    },
    /// The server, or the network, was silent for too long.
    #[error("`{peer}` has been silent for {seconds} s")]
    Silent {
        /// The server.
        peer: String,
        /// The limit.
        seconds: u64,
    },
    /// The time of the operation is over, whatever the server has said so far.
    #[error("`{peer}` has not finished its answer within {seconds} s")]
    Late {
        /// The server.
        peer: String,
        /// The limit of the whole operation.
        seconds: u64,
        /// Its key.
        key: &'static str,
    },
    /// The connection ended with an error.
    #[error("the connection to `{peer}` broke")]
    Broken {
        /// The server.
        peer: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server ended the connection.
    #[error("`{peer}` closed the connection before its answer was complete")]
    Closed {
        /// The server.
        peer: String,
    },
    /// The server said why it does not do it.
    #[error("`{peer}` refused: {said}")]
    Refused {
        /// The server.
        peer: String,
        /// Its words.
        said: String,
    },
    /// The server knows no such repository, or does not show it to us.
    #[error("`{peer}` has no repository `{path}` for us")]
    NoRepository {
        /// The server.
        peer: String,
        /// Where it should be.
        path: String,
    },
    /// The server knows us, and does not let us do it.
    #[error("`{peer}` does not let us {operation} the repository{said}")]
    Forbidden {
        /// The server.
        peer: String,
        /// "read" or "write".
        operation: &'static str,
        /// Its words, after a colon; empty if it said nothing.
        said: String,
    },
    /// The server does not let us in.
    #[error("`{peer}` refused the login{said}")]
    Login {
        /// The server.
        peer: String,
        /// Which login that was, or what was said, with what leads up to it.
        said: String,
        /// How to log in.
        hint: &'static str,
    },
    /// Nobody vouches for the key of the ssh server.
    #[error("the host key of `{peer}` is not known here")]
    HostKeyUnknown {
        /// The server.
        peer: String,
        /// The command that shows its key.
        scan: String,
    },
    /// The ssh server has another key than it had.
    #[error("the host key of `{peer}` is another one than known_hosts says")]
    HostKeyChanged {
        /// The server.
        peer: String,
        /// The command that removes the old key.
        forget: String,
    },
    /// A program that the transport needs could not be run.
    #[error("cannot run `{program}`")]
    Program {
        /// Its name, or the command.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program that the transport needs failed.
    #[error("`{program}` ended with {status}: {said}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// "exit status 255", "signal 9".
        status: String,
        /// The end of what it printed.
        said: String,
    },
    /// The server's certificate is not to be trusted.
    #[error("the certificate of `{peer}` is not to be trusted: {reason}")]
    Certificate {
        /// The server.
        peer: String,
        /// Why.
        reason: String,
    },
    /// The file of trusted authorities cannot be used.
    #[error("`{path}`, which {variable} names, cannot be used: {reason}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// The environment variable that names it.
        variable: &'static str,
        /// Why.
        reason: String,
    },
    /// The web server sends us elsewhere.
    #[error("`{peer}` redirects to `{to}`, which is not followed")]
    Redirect {
        /// The server.
        peer: String,
        /// The new place, without secrets.
        to: String,
    },
    /// The web server failed.
    #[error("`{peer}` answered with HTTP status {status}{said}")]
    Status {
        /// The server.
        peer: String,
        /// The status code.
        status: u16,
        /// The beginning of its words, after a colon; empty if it said nothing.
        said: String,
    },
    /// The repository has names of objects that libgit2 does not know.
    #[error("the repository at `{peer}` has the object format sha256, which is not supported")]
    Sha256 {
        /// The server.
        peer: String,
    },
    /// It sends more than this program takes.
    #[error("`{peer}` sends more than {most} {what}")]
    TooMuch {
        /// The server.
        peer: String,
        /// Of what.
        what: &'static str,
        /// How many are taken.
        most: u64,
    },
    /// What answered is no git server, or none of our time.
    #[error("what answers at `{peer}` is not git's protocol: {reason}")]
    Protocol {
        /// The server.
        peer: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl TransportError {
    /// That there was more than a limit.
    pub(super) fn excess(peer: &str, (what, most): (&'static str, u64)) -> TransportError {
        TransportError::TooMuch { peer: peer.to_owned(), what, most }
    }

    /// Whether the server may just have had too much to do: it took no connection in time, or closed one that it had
    /// taken without a word.
    pub(crate) fn is_overload(&self) -> bool {
        match self {
            TransportError::Connect { source, .. } | TransportError::Broken { source, .. } => {
                matches!(source.kind(), io::ErrorKind::TimedOut | io::ErrorKind::ConnectionReset)
            }
            TransportError::Closed { .. } => true,
            _ => false,
        }
    }

    /// Whether the same thing may well succeed in a moment: a server that is busy, or just starting.
    pub(super) fn is_passing(&self) -> bool {
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

thread_local! {
    static LAST: RefCell<Option<TransportError>> = const { RefCell::new(None) };
}

/// What the transport knows of the failure of this thread's last git operation; each is given out once.
///
/// Call it before an operation, too: what an earlier one left behind must not colour the next.
pub fn take_last_error() -> Option<TransportError> {
    LAST.take()
}

/// Keeps the error for [`take_last_error`].
pub(super) fn remember(error: TransportError) {
    LAST.set(Some(error));
}

/// The error as libgit2 hands it on. NUL ends a C string, and git2 panics over one.
fn text(error: &TransportError) -> String {
    chain(error).replace('\0', "\\0")
}

/// Keeps the error, and makes one of git2 out of its text.
pub(super) fn to_git(error: TransportError) -> git2::Error {
    let git = git2::Error::new(git2::ErrorCode::GenericError, git2::ErrorClass::Net, text(&error));
    remember(error);
    git
}

/// Keeps the error, and makes one of I/O out of its text.
pub(super) fn to_io(error: TransportError) -> io::Error {
    let io = io::Error::other(text(&error));
    remember(error);
    io
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_given_out_once_and_whole() {
        let error = TransportError::Refused { peer: "h".into(), said: "a\0b".into() };
        assert_eq!(to_git(error).message(), r"`h` refused: a\0b");
        assert!(matches!(take_last_error(), Some(TransportError::Refused { .. })));
        assert!(take_last_error().is_none());
    }

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
