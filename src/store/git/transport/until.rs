//! The deadline of the operation that this thread is at.
//!
//! libgit2 calls the transports of the process, on the thread of the operation, and hands nothing through to them. So the
//! deadline is kept beside it, as errors are, for as long as [`until`] runs. Every wait of a transport asks for it here.

use std::cell::Cell;
use std::time::Duration;

use super::TransportError;
use crate::deadline::Deadline;

thread_local! {
    static DEADLINE: Cell<Option<Deadline>> = const { Cell::new(None) };
}

/// A socket's own limit may end this much before or after the deadline.
pub(super) const SLACK: Duration = Duration::from_millis(100);

/// Puts back what was there before, also if the operation panics.
struct Before(Option<Deadline>);

impl Drop for Before {
    fn drop(&mut self) {
        DEADLINE.set(self.0);
    }
}

/// Does something that must be over at the deadline: nothing that a transport does on this thread waits for longer.
pub(in crate::store::git) fn until<T>(deadline: Deadline, act: impl FnOnce() -> T) -> T {
    let _before = Before(DEADLINE.replace(Some(deadline)));
    act()
}

/// The wait, or the time that is left to the operation if that is less.
pub(super) fn at_most(wait: Duration) -> Duration {
    DEADLINE.get().map_or(wait, |deadline| deadline.at_most(wait))
}

/// That the operation has no time left, if that is so.
pub(super) fn late(peer: &str) -> Option<TransportError> {
    let deadline = DEADLINE.get().filter(|deadline| deadline.left() < SLACK)?;
    let (seconds, key) = (deadline.within().as_secs(), deadline.limit().key());
    Some(TransportError::Late { peer: peer.to_owned(), seconds, key })
}

#[cfg(test)]
mod tests {
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
}
