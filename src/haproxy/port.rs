//! A running HAProxy, as presence asks and changes it.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::running::Running;
use super::socket::{Socket, SocketError};

/// A running HAProxy. Each method is one step, so that a process can be killed before and after it.
pub trait Port {
    /// Whether servers may be changed.
    fn may_change(&self) -> Result<(), SocketError>;

    /// What runs.
    fn running(&self) -> Result<Running, SocketError>;

    /// The answer to `show servers state`.
    fn states(&self) -> Result<String, SocketError>;

    /// The id of the process that serves.
    fn worker(&self) -> Result<u32, SocketError>;

    /// Sends commands that change something. Returns the answer to each.
    fn tell(&self, commands: &[String]) -> Result<Vec<String>, SocketError>;

    /// The time since any fixed moment. It never jumps.
    fn now(&self) -> Duration;

    /// Waits for that long.
    fn pause(&self, time: Duration);
}

impl Port for Socket {
    fn may_change(&self) -> Result<(), SocketError> {
        Socket::may_change(self)
    }

    fn running(&self) -> Result<Running, SocketError> {
        Socket::running(self)
    }

    fn states(&self) -> Result<String, SocketError> {
        Socket::states(self)
    }

    fn worker(&self) -> Result<u32, SocketError> {
        Socket::worker(self)
    }

    fn tell(&self, commands: &[String]) -> Result<Vec<String>, SocketError> {
        Socket::tell(self, commands)
    }

    fn now(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
