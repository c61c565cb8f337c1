//! The deadline of this thread's operation.
//!
//! libgit2 calls the transports on the thread of the operation, and passes no context to them. So the
//! deadline is kept in the thread, as errors are, while [`until`] runs. Every wait of a transport takes it
//! from here.

use std::cell::Cell;
use std::time::Duration;

use super::TransportError;
use super::address::Address;
use super::error::remember;
use crate::deadline::Deadline;
use crate::limits;
use crate::store::git::allowance::{self, Refused};

thread_local! {
    static DEADLINE: Cell<Option<Deadline>> = const { Cell::new(None) };
}

/// How much a socket's own limit may differ from the deadline.
pub(super) const SLACK: Duration = Duration::from_millis(100);

/// Restores the previous deadline, even if the operation panics.
struct Restore(Option<Deadline>);

impl Drop for Restore {
    fn drop(&mut self) {
        DEADLINE.set(self.0);
    }
}

/// Runs an operation with a deadline: no wait of a transport on this thread exceeds it.
pub(in crate::store::git) fn until<T>(deadline: Deadline, act: impl FnOnce() -> T) -> T {
    let _before = Restore(DEADLINE.replace(Some(deadline)));
    act()
}

/// `wait`, or the time left to the operation if that is less.
pub(super) fn at_most(wait: Duration) -> Duration {
    DEADLINE.get().map_or(wait, |deadline| deadline.at_most(wait))
}

/// Runs libgit2 on data from the server of that URL, with limits. The errors are those of
/// [`super::take_last_error`].
///
/// The work may continue for some time after the deadline. Nobody waits for it then, but the next operation
/// finds its result.
pub(in crate::store::git) fn bounded<T>(
    url: &str,
    act: impl FnOnce() -> Result<T, git2::Error>,
) -> Result<T, git2::Error> {
    let deadline = DEADLINE.get();
    let bytes = limits::get().working_bytes;
    let afterwards = Duration::from_secs(limits::get().working_seconds);
    let end = deadline.map(|deadline| deadline.end() + afterwards);
    let (result, refused) = allowance::within(bytes, end, act);
    if let (Err(_), Some(refused)) = (&result, refused) {
        let peer = Address::parse(url).map_or_else(|_| "the server".to_owned(), |address| address.peer());
        remember(match (refused, deadline) {
            (Refused::Time, Some(deadline)) => TransportError::late(&peer, deadline),
            _ => TransportError::excess(&peer, (allowance::AT_ONCE, bytes as u64)),
        });
    }
    result
}

/// The error that the operation has no time left, if so.
pub(super) fn late(peer: &str) -> Option<TransportError> {
    let deadline = DEADLINE.get().filter(|deadline| deadline.left() < SLACK)?;
    Some(TransportError::late(peer, deadline))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Instant;

    use super::super::address::Address;
    #[cfg(feature = "https")]
    use super::super::http;
    #[cfg(feature = "ssh")]
    use super::super::ssh;
    use super::super::wire::Service;
    use super::super::{Limits, take_last_error, tcp};
    use super::*;
    use crate::deadline::Limit;

    #[test]
    fn the_deadline_holds_as_long_as_the_operation_lasts() {
        let long = Duration::from_secs(3600);
        let over = Deadline::new(Limit::Publish, Duration::ZERO);
        until(Deadline::new(Limit::Read, long), || {
            assert!(late("h").is_none());
            until(over, || {
                assert_eq!(at_most(long), Duration::ZERO);
                assert!(late("h").is_some());
            });
            assert!(at_most(long) > long / 2);
        });
        let panicked = std::panic::catch_unwind(|| until(over, || panic!("on purpose")));
        assert!(panicked.is_err() && late("h").is_none());
        assert_eq!(at_most(long), long);
    }

    /// A server that accepts one connection, sends `start`, and then sends a byte again and again.
    fn dripping(start: &'static str, byte: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(start.as_bytes()).unwrap();
            while stream.write_all(byte.as_bytes()).is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        port
    }

    const LIMITS: Limits = Limits { connect: Duration::from_secs(600), silence: Duration::from_secs(600) };

    /// Reads until the end, which never comes. The deadline must stop it.
    #[track_caller]
    fn is_ended(url: &str, read: impl FnOnce(&Address) -> Result<Box<dyn Read>, TransportError>) {
        let started = Instant::now();
        let deadline = Deadline::new(Limit::Read, Duration::from_millis(500));
        let error = until(deadline, || match read(&Address::parse(url).unwrap()) {
            Ok(mut stream) => {
                stream.read_to_end(&mut Vec::new()).unwrap_err();
                drop(stream);
                take_last_error().unwrap()
            }
            Err(error) => error,
        });
        assert!(matches!(error, TransportError::Late { seconds: 0, key: "read", .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_connection_that_drips_is_ended() {
        for start in ["", "0000"] {
            let port = dripping(start, "0");
            is_ended(&format!("git://127.0.0.1:{port}/p"), |address| {
                Ok(Box::new(tcp::open(address, Service::UploadPack, &LIMITS)?))
            });
        }
    }

    #[cfg(feature = "https")]
    #[test]
    fn an_answer_over_http_that_drips_is_ended() {
        let good = "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\r\n";
        for start in ["HTTP/1.1 200 OK\r\nX: ", good] {
            let port = dripping(start, "a");
            is_ended(&format!("http://127.0.0.1:{port}/p"), |address| {
                let client = http::Client::new(http::Settings::default(), LIMITS);
                client.references(address.clone(), Service::UploadPack)?;
                Ok(Box::new(std::io::empty()))
            });
        }
    }

    #[cfg(feature = "ssh")]
    #[test]
    fn an_ssh_that_drips_is_ended() {
        let command = "sh -c 'while printf 0; do sleep 0.1; done'".to_owned();
        let settings = ssh::Settings { command: Some(command), simple: true, ..ssh::Settings::default() };
        is_ended("ssh://h/p", |address| {
            Ok(Box::new(ssh::open(address, Service::UploadPack, &LIMITS, &settings)?))
        });
    }
}
