//! Waits between attempts.

use std::time::Duration;

use crate::store::StoreErrorKind;
use crate::store::git::GitError;

/// Waits between attempts: a random part ("full jitter") of a limit that doubles, so that nodes that collided
/// spread out.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The longest single wait.
    const CEILING: Duration = Duration::from_secs(2);

    /// Counts a failed attempt, and returns the wait before the next one. `chance` is at least 0 and below 1.
    pub(super) fn pause(&mut self, chance: f64) -> Duration {
        self.tries += 1;
        Duration::from_millis(10 << self.tries.min(8)).min(Self::CEILING).mul_f64(chance)
    }

    /// The error if the deadline allows no further attempt, after this time. `key` is the name of the deadline
    /// in the configuration.
    pub(super) fn gives_up(&self, after: Duration, key: &'static str) -> StoreErrorKind {
        StoreErrorKind::Git(GitError::Busy { tries: self.tries, seconds: after.as_secs(), key })
    }
}
