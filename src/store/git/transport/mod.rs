//! Carries bytes to git servers: streams of presence under libgit2.
//!
//! libgit2 is built without https and ssh, so that OpenSSL is not needed. Its own `git://` and `http://` know
//! neither TCP_NODELAY (40 to 90 ms for each push) nor time limits for a single connection. libgit2 does
//! everything about git; these streams only carry bytes:
//!
//! | scheme | transport |
//! |---|---|
//! | `git` | a TCP connection |
//! | `ssh`, `user@host:path` | the `ssh` program as git runs it, with the user's keys, agent, known_hosts |
//! | `http`, `https` | ureq and rustls |
//!
//! Every wait has a limit, and ends with the deadline of the operation (see [`until`]). A request is retried
//! if the server was busy and nothing has happened yet.

mod address;
mod advertisement;
mod error;
mod gitproxy;
mod guard;
mod hint;
#[cfg(feature = "https")]
mod http;
mod retry;
#[cfg(feature = "ssh")]
mod ssh;
mod tcp;
mod until;
mod wire;

use std::cell::Cell;
#[cfg(feature = "https")]
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use git2::transport::{Service as Action, SmartSubtransport, SmartSubtransportStream, Transport};

use address::Address;
use wire::Service;

pub use address::AddressError;
pub use error::{TransportError, take_last_error};
pub(super) use until::{bounded, until};

/// Time limits of the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The longest time to establish a connection, all attempts together.
    pub connect: Duration,
    /// The longest time without a byte from the server.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connect: Duration::from_secs(10), silence: Duration::from_secs(30) }
    }
}

/// How this process communicates with servers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Time limits.
    pub limits: Limits,
    /// Settings of ssh from git's environment variables.
    #[cfg(feature = "ssh")]
    pub ssh: ssh::Settings,
    /// Settings of http from the environment.
    #[cfg(feature = "https")]
    pub http: http::Settings,
}

impl Settings {
    /// The settings of this process's environment.
    pub fn from_env(limits: Limits) -> Settings {
        Settings {
            limits,
            #[cfg(feature = "ssh")]
            ssh: ssh::Settings::from_env(),
            #[cfg(feature = "https")]
            http: http::Settings::from_env(),
        }
    }
}

/// Installs these transports in the process. Only the first call has an effect: libgit2 has one transport for
/// each scheme.
///
/// Call it before anything else uses a remote repository through libgit2.
pub fn install(settings: Settings) {
    KINDS.get_or_init(|| {
        let limits = settings.limits;
        let mut kinds = Vec::new();
        kinds.push(register(&["git"], false, move || {
            Dialogue(move |address: &Address, service| {
                gitproxy::refuse(address)?;
                Ok(Box::new(tcp::open(address, service, &limits)?) as Stream)
            })
        }));
        #[cfg(feature = "ssh")]
        kinds.push(register(&["ssh", "ssh+git", "git+ssh"], false, move || {
            let settings = settings.ssh.clone();
            Dialogue(move |address: &Address, service| {
                Ok(Box::new(ssh::open(address, service, &limits, &settings)?) as Stream)
            })
        }));
        #[cfg(feature = "https")]
        {
            let client = Arc::new(http::Client::new(settings.http, limits));
            kinds.push(register(&["http", "https"], true, move || http::Http::new(client.clone())));
        }
        kinds
    });
}

/// The transports, once installed.
static KINDS: OnceLock<Vec<TransportKind>> = OnceLock::new();

/// A transport, for callers that speak git's protocol themselves.
struct TransportKind {
    schemes: &'static [&'static str],
    stateless: bool,
    make: Box<dyn Fn() -> Box<dyn SmartSubtransport> + Send + Sync>,
}

/// A new connection for a URL, and whether its requests are independent of each other, as over http.
pub(super) fn open(url: &str) -> Result<(Box<dyn SmartSubtransport>, bool), git2::Error> {
    // A URL without a scheme is `user@host:path`.
    let scheme = url.split_once("://").map_or("ssh", |(scheme, _)| scheme);
    let kind = KINDS.get().into_iter().flatten().find(|kind| kind.schemes.contains(&scheme));
    let kind = kind.ok_or_else(|| git2::Error::from_str("there is no transport for that URL"))?;
    Ok(((kind.make)(), kind.stateless))
}

type Stream = Box<dyn SmartSubtransportStream>;

/// A transport with a connection that stays open in both directions until the operation ends.
struct Dialogue<F>(F);

impl<F> SmartSubtransport for Dialogue<F>
where
    F: Fn(&Address, Service) -> Result<Stream, TransportError> + Send + 'static,
{
    fn action(&self, url: &str, action: Action) -> Result<Stream, git2::Error> {
        let service = match action {
            Action::UploadPackLs => Service::UploadPack,
            Action::ReceivePackLs => Service::ReceivePack,
            // git2 continues on the stream that it has.
            Action::UploadPack | Action::ReceivePack => {
                return Err(git2::Error::from_str("a service was asked for before its references"));
            }
        };
        forget_last_error();
        Address::parse(url)
            .map_err(TransportError::from)
            .and_then(|address| (self.0)(&address, service))
            .map_err(error::to_git)
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

thread_local! {
    static ANSWERED_IN: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// The time from the connection to the server's first byte, for this thread's last connection. It tells more
/// about the server than the whole time, which is often dominated by connecting. Returned once; `None` if the
/// transport cannot measure it.
pub(super) fn take_answered_in() -> Option<Duration> {
    ANSWERED_IN.take()
}

/// Clears an error that an earlier operation left.
fn forget_last_error() {
    drop(take_last_error());
}

/// Registers a constructor of subtransports for each scheme. `stateless` is for http, where requests are
/// independent.
fn register<S: SmartSubtransport>(
    schemes: &'static [&'static str],
    stateless: bool,
    make: impl Fn() -> S + Clone + Send + Sync + 'static,
) -> TransportKind {
    for scheme in schemes {
        let make = make.clone();
        // SAFETY: libgit2 keeps the transports in a list without a lock. The list must not change while
        // another thread searches it. It is searched when a remote connects, which in this crate only the
        // store of a URL does, and its constructor calls `install`. That runs this code once, and blocks all
        // callers until it is done.
        let registered = unsafe {
            git2::transport::register(scheme, move |remote| Transport::smart(remote, stateless, make()))
        };
        // It fails if the scheme is already registered by other code in this process, which then applies.
        drop(registered);
    }
    TransportKind { schemes, stateless, make: Box::new(move || Box::new(make())) }
}

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing {
    //! The filters between a server and libgit2, for arbitrary bytes.

    use std::io::Read;

    use super::{advertisement, guard};

    /// The list of refs. The result is complete.
    pub(in crate::store::git) fn refs(mut bytes: &[u8]) {
        let whole = bytes.len();
        let read = advertisement::read("localhost", |into| Ok(bytes.read(into).unwrap_or_default()));
        if let Ok(kept) = read {
            // The capabilities may occur twice: again after the first ref that is kept.
            assert!(kept.len() <= 2 * whole + 1024, "{} bytes of {whole}", kept.len());
        }
    }

    /// The answer to a fetch, in chunks of any size.
    pub(in crate::store::git) fn answer(bytes: &[u8]) {
        let Some((size, bytes)) = bytes.split_first() else { return };
        let mut guard = guard::Guard::default();
        for piece in bytes.chunks(usize::from(*size) + 1) {
            if guard.see(piece).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn an_earlier_error_does_not_colour_the_next() {
        let dialogue = Dialogue(|_: &Address, _| Ok(Box::new(Cursor::new(Vec::new())) as Stream));
        error::remember(TransportError::Closed { peer: "earlier".into() });
        assert!(dialogue.action("git://h/p", Action::UploadPackLs).is_ok());
        assert!(take_last_error().is_none());
    }

    #[test]
    fn a_bad_url_reaches_no_transport() {
        let dialogue = Dialogue(|_: &Address, _| unreachable!());
        let error = dialogue.action("ssh://-x/p", Action::ReceivePackLs).err().unwrap();
        assert!(error.message().contains("its host starts with `-`"));
        assert!(matches!(take_last_error(), Some(TransportError::Address(_))));
    }
}
