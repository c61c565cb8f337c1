//! Whether a reload has happened: a different process serves than before. The reload command cannot tell.
//! HAProxy reports an occupied port only in its log, and the old process continues.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::port::Port;
use super::socket::SocketError;

/// The least time between two questions.
const PAUSE: Duration = Duration::from_millis(20);

/// The process that serves, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving(u32);

/// No new process serves.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotLoaded {
    /// The same process still serves.
    #[error("HAProxy has not loaded it: after {seconds} s, the old process {pid} still serves")]
    Same {
        /// Its process id.
        pid: u32,
        /// How long after the reload.
        seconds: u64,
    },
    /// HAProxy did not answer before, and does not now.
    #[error(
        "presence cannot tell whether HAProxy has loaded it: after {seconds} s, its socket does not answer"
    )]
    Silent {
        /// How long after the reload.
        seconds: u64,
    },
}

/// The process that serves now; `None` if nothing answers at the socket, which is a stats socket or the
/// master's.
pub fn serving(socket: &dyn Port) -> Option<Serving> {
    worker(socket).ok()
}

/// The same, with the reason why it is unknown.
pub fn worker(socket: &dyn Port) -> Result<Serving, SocketError> {
    socket.worker().map(Serving)
}

/// Waits until another process serves than `before`.
pub fn confirm(socket: &dyn Port, before: Option<Serving>, limit: Duration) -> Result<(), NotLoaded> {
    let started = socket.now();
    loop {
        let looked = socket.now();
        let now = serving(socket);
        if now.is_some() && now != before {
            return Ok(());
        }
        let elapsed = socket.now() - started;
        if elapsed >= limit {
            let seconds = elapsed.as_secs();
            return Err(match before {
                Some(Serving(pid)) => NotLoaded::Same { pid, seconds },
                None => NotLoaded::Silent { seconds },
            });
        }
        socket.pause(PAUSE.max(socket.now() - looked));
    }
}
