//! libgit2 over the connections of this crate, and within limits.
//!
//! libgit2 is built without https and ssh, so that OpenSSL is not needed. Its own `git://` and `http://` know
//! neither TCP_NODELAY (40 to 90 ms for each push) nor time limits for a single connection.
//!
//! libgit2 calls a transport on the thread of the operation, passes no context to it, and hands on only the
//! text of its error. So the deadline and the error are kept in the thread, here and nowhere else.

mod allowance;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use git2::transport::{Service as Action, SmartSubtransport, SmartSubtransportStream, Transport};

use crate::address::Address;
use crate::message::chain;
use crate::{Client, Connection, Deadline, Service, TransportError};
pub use allowance::{AT_ONCE, Refused, within};

/// The schemes, and whether their requests are independent of each other, as over http.
const SCHEMES: [(&str, bool); 6] =
    [("git", false), ("ssh", false), ("ssh+git", false), ("git+ssh", false), ("http", true), ("https", true)];

/// Makes libgit2 use this client. Only the first call has an effect: libgit2 has one transport for each
/// scheme.
///
/// Call it before anything else uses a remote repository through libgit2.
pub fn install(client: &Arc<Client>) {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        for (scheme, stateless) in SCHEMES {
            let client = client.clone();
            // SAFETY: libgit2 keeps the transports in a list without a lock. The list must not change while
            // another thread searches it, which happens when a remote connects. This code runs once and blocks
            // all callers until it is done, and the caller connects no remote before.
            let registered = unsafe {
                git2::transport::register(scheme, move |remote| {
                    let adapter = Adapter { client: client.clone(), stateless, current: RefCell::default() };
                    Transport::smart(remote, stateless, adapter)
                })
            };
            // It fails if the scheme is already registered by other code in this process, which then applies.
            drop(registered);
        }
    });
}

thread_local! {
    static DEADLINE: Cell<Option<Deadline>> = const { Cell::new(None) };
    static LAST: RefCell<Option<TransportError>> = const { RefCell::new(None) };
}

/// Restores the previous deadline, even if the operation panics.
struct Restore(Option<Deadline>);

impl Drop for Restore {
    fn drop(&mut self) {
        DEADLINE.set(self.0);
    }
}

/// Runs an operation of libgit2 with a deadline: no wait of a connection on this thread exceeds it.
pub fn until<T>(deadline: Deadline, act: impl FnOnce() -> T) -> T {
    let _before = Restore(DEADLINE.replace(Some(deadline)));
    act()
}

/// The most that libgit2 may use while it handles what a server sent.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Memory, in bytes.
    pub bytes: usize,
    /// Time after the deadline.
    pub afterwards: Duration,
}

/// Runs libgit2 on data from the server of that URL, with limits. The errors are those of
/// [`take_last_error`].
///
/// The work may continue for some time after the deadline. Nobody waits for it then, but the next operation
/// finds its result.
pub fn bounded<T>(
    url: &str,
    most: Allowance,
    act: impl FnOnce() -> Result<T, git2::Error>,
) -> Result<T, git2::Error> {
    let deadline = DEADLINE.get();
    let end = deadline.map(|deadline| deadline.end() + most.afterwards);
    let (result, refused) = within(most.bytes, end, act);
    if let (Err(_), Some(refused)) = (&result, refused) {
        let peer = Address::parse(url).map_or_else(|_| "the server".to_owned(), |address| address.peer());
        remember(match (refused, deadline) {
            (Refused::Time, Some(deadline)) => TransportError::late(&peer, deadline),
            _ => TransportError::excess(&peer, (AT_ONCE, most.bytes as u64)),
        });
    }
    result
}

/// The error of this thread's last operation of libgit2 on a connection; each is returned once.
///
/// Also call it before an operation, to clear an error that an earlier one left.
pub fn take_last_error() -> Option<TransportError> {
    LAST.take()
}

/// Keeps the error for [`take_last_error`].
fn remember(error: TransportError) {
    LAST.set(Some(error));
}

/// The text for libgit2. A NUL would end the C string, and git2 panics at one.
fn text(error: &TransportError) -> String {
    chain(error).replace('\0', "\\0")
}

/// Keeps the error, and makes a git2 error of its text.
fn to_git(error: TransportError) -> git2::Error {
    let git = git2::Error::new(git2::ErrorCode::GenericError, git2::ErrorClass::Net, text(&error));
    remember(error);
    git
}

/// Keeps the error, and makes an I/O error of its text.
fn to_io(error: TransportError) -> io::Error {
    let io = io::Error::other(text(&error));
    remember(error);
    io
}

/// A connection that several streams of libgit2 use, one after the other.
type Shared = Arc<Mutex<Box<dyn Connection>>>;

/// One operation of libgit2 on one repository.
struct Adapter {
    client: Arc<Client>,
    stateless: bool,
    current: RefCell<Option<Shared>>,
}

impl SmartSubtransport for Adapter {
    fn action(&self, url: &str, action: Action) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let service = match action {
            Action::UploadPackLs => Service::UploadPack,
            Action::ReceivePackLs => Service::ReceivePack,
            // Over http each request has a stream of its own. Elsewhere git2 continues on the one that it has.
            Action::UploadPack | Action::ReceivePack => {
                return match self.current.borrow().as_ref().filter(|_| self.stateless) {
                    Some(shared) => Ok(Box::new(Stream(shared.clone()))),
                    None => Err(git2::Error::from_str("a service was asked for before its references")),
                };
            }
        };
        drop(take_last_error());
        let deadline =
            DEADLINE.get().ok_or_else(|| git2::Error::from_str("the operation has no deadline"))?;
        let connection = self.client.connect(url, service, deadline).map_err(to_git)?;
        let shared = Arc::new(Mutex::new(connection));
        self.current.replace(Some(shared.clone()));
        Ok(Box::new(Stream(shared)))
    }

    fn close(&self) -> Result<(), git2::Error> {
        self.current.replace(None);
        Ok(())
    }
}

/// A connection as libgit2 sees it.
struct Stream(Shared);

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = connection.read(into).map_err(to_io)?;
        if count == 0 && !into.is_empty() {
            // libgit2 may expect this end. If not, this error explains it.
            remember(connection.ended());
        }
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection.send(bytes).map_err(to_io)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
    fn the_deadline_holds_as_long_as_the_operation_lasts() {
        let long = Duration::from_secs(3600);
        let left = || DEADLINE.get().map(Deadline::left);
        until(Deadline::new("read", long), || {
            until(Deadline::new("publish", Duration::ZERO), || assert_eq!(left(), Some(Duration::ZERO)));
            assert!(left().unwrap() > long / 2);
            let panicked = std::panic::catch_unwind(|| {
                until(Deadline::new("publish", Duration::ZERO), || panic!("on purpose"))
            });
            assert!(panicked.is_err() && left().unwrap() > long / 2);
        });
        assert!(left().is_none());
    }
}
