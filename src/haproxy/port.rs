//! A running HAProxy, as presence asks and changes it.

use std::time::Duration;

use super::running::Running;
use super::socket::SocketError;

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
