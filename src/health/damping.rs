//! Damping: a node whose checks flap must be healthy for longer and longer before it is `done` again.
//!
//! Becoming `wedged` is never delayed. The return to `done` is: by a minute after the second failure, and by
//! twice as long after each further one, up to a limit. Each hour of good answers forgets one failure.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The hold after the second failure; each further failure doubles it.
const FIRST_HOLD: Duration = Duration::from_secs(60);

/// The time without a failure that forgets one.
const FORGET_SECONDS: i64 = 3600;

/// The recent failures. Times are of the wall clock, since they survive a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failures {
    /// How often the node became `wedged`, minus the forgotten failures.
    pub count: u32,
    /// Since when the verdict has been good; `None` while it is bad.
    pub good_since: Option<Timestamp>,
}

/// A verdict compared with the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It was good and is bad.
    Bad,
    /// It is good and was not, or the clock was set back to before the time when it became good.
    Good,
    /// It is the same.
    None,
}

impl Failures {
    /// Records the verdict at that time.
    pub(super) fn note(&mut self, healthy: bool, now: Timestamp) -> Turn {
        match (healthy, self.good_since) {
            (true, Some(since)) if since <= now => Turn::None,
            // After a clock was set back, the time counts from now, so no hold gets longer than its length.
            (true, _) => {
                self.good_since = Some(now);
                Turn::Good
            }
            (false, Some(since)) => {
                let hours = now.duration_since(since).as_secs() / FORGET_SECONDS;
                self.count = self.count.saturating_sub(u32::try_from(hours.max(0)).unwrap_or(u32::MAX));
                self.good_since = None;
                Turn::Bad
            }
            (false, None) => Turn::None,
        }
    }

    /// Counts one more failure, unless the hold is already the longest: a failure that cannot lengthen it
    /// need not be forgotten later.
    pub(super) fn add(&mut self, longest: Duration) {
        if self.hold(longest) < longest {
            self.count += 1;
        }
    }

    /// How long the verdict must be good before the node is `done` again.
    pub(super) fn hold(self, longest: Duration) -> Duration {
        let Some(doublings) = self.count.checked_sub(2) else { return Duration::ZERO };
        let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
        FIRST_HOLD.saturating_mul(factor).min(longest)
    }

    /// The time of the return, if the verdict stays good until then.
    pub(super) fn returns_at(self, longest: Duration) -> Option<Timestamp> {
        self.good_since?.checked_add(self.hold(longest)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(15 * 60);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    #[test]
    fn each_failure_doubles_the_hold_up_to_the_limit() {
        let mut failures = Failures::default();
        let minutes: Vec<u64> = (0..9)
            .map(|_| {
                failures.add(LONGEST);
                failures.hold(LONGEST).as_secs() / 60
            })
            .collect();
        assert_eq!(minutes, [0, 1, 2, 4, 8, 15, 15, 15, 15]);
        assert_eq!(failures.count, 6, "six hours forget them all");
        failures.add(Duration::ZERO);
        assert_eq!((failures.count, failures.hold(Duration::ZERO)), (6, Duration::ZERO));
        let all = Failures { count: u32::MAX, good_since: None };
        assert_eq!(all.hold(Duration::MAX), FIRST_HOLD * u32::MAX);
    }

    #[test]
    fn each_hour_without_a_failure_forgets_one() {
        let check = |good_for: i64, expect: u32| {
            let mut failures = Failures { count: 4, good_since: Some(at(0)) };
            assert_eq!(failures.note(true, at(good_for.max(0))), Turn::None);
            assert_eq!(failures.note(false, at(good_for)), Turn::Bad);
            assert_eq!(failures, Failures { count: expect, good_since: None }, "good for {good_for} s");
            assert_eq!(failures.note(false, at(good_for)), Turn::None);
        };
        check(0, 4);
        check(3599, 4);
        check(3600, 3);
        check(4 * 3600, 0);
        check(1 << 32, 0);
        // The clock was set back.
        check(-10_000, 4);
    }

    #[test]
    fn a_clock_that_is_set_back_begins_the_hold_again() {
        let mut failures = Failures { count: 6, good_since: None };
        assert_eq!(failures.note(true, at(0)), Turn::Good);
        assert_eq!(failures.returns_at(LONGEST), Some(at(900)));
        assert_eq!(failures.note(true, at(-1_000_000)), Turn::Good);
        assert_eq!(failures.returns_at(LONGEST), Some(at(-1_000_000 + 900)));
        assert_eq!(failures.note(true, at(-1_000_000 + 900)), Turn::None);
    }
}
