//! Whether a reload has happened: another process serves than before. The command that asked for it cannot tell; HAProxy
//! says of a port that is taken only in its log, and the old process goes on.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::socket::{Socket, SocketError};

/// The least time between two questions.
const PAUSE: Duration = Duration::from_millis(20);

/// The process that serves, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving(u32);

/// No other process serves than before.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotLoaded {
    /// The same process does.
    #[error("HAProxy has not loaded it: {seconds} s later, process {pid} of before still serves")]
    Same {
        /// The process.
        pid: u32,
        /// How long after the reload.
        seconds: u64,
    },
    /// Nobody answered before, and nobody does now.
    #[error("whether HAProxy has loaded it is not known: {seconds} s later, nobody answers at its socket")]
    Silent {
        /// How long after the reload.
        seconds: u64,
    },
}

/// The process that serves now; none if nobody answers at the socket, a stats socket or the master's.
pub fn serving(socket: &Path) -> Option<Serving> {
    worker(socket).ok()
}

/// The same, with the reason why it is not known.
pub fn worker(socket: &Path) -> Result<Serving, SocketError> {
    Socket::new(socket).worker().map(Serving)
}

/// Waits until another process serves than `before`.
pub fn confirm(socket: &Path, before: Option<Serving>, limit: Duration) -> Result<(), NotLoaded> {
    let started = Instant::now();
    loop {
        let looked = Instant::now();
        let now = serving(socket);
        if now.is_some() && now != before {
            return Ok(());
        }
        let elapsed = started.elapsed();
        if elapsed >= limit {
            let seconds = elapsed.as_secs();
            return Err(match before {
                Some(Serving(pid)) => NotLoaded::Same { pid, seconds },
                None => NotLoaded::Silent { seconds },
            });
        }
        std::thread::sleep(PAUSE.max(looked.elapsed()));
    }
}
