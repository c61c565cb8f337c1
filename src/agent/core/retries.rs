//! When each file that is not in order gets its next turn.

use std::time::Duration;

use crate::beat::turn::TurnError;
use crate::liveness::Moment;
use crate::output::Done;
use crate::schedule::back_off;

/// The files of the configuration, in order.
#[derive(Debug)]
pub(super) struct Retries(Vec<Option<Retry>>);

/// The next turn of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Retry {
    due: Moment,
    /// The number of turns in a row that failed, or reloaded.
    failed: u32,
}

/// The times between turns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// Until the next look.
    pub(super) poll: Duration,
    /// The longest.
    pub(super) longest: Duration,
    /// When the next reload is allowed.
    pub(super) next_reload: Moment,
}

impl Retries {
    pub(super) fn new(files: usize) -> Retries {
        Retries(vec![None; files])
    }

    /// The files whose turns are due.
    pub(super) fn due(&self, now: Moment) -> Vec<usize> {
        let is_due = |place: &usize| self.0[*place].is_some_and(|retry| retry.due <= now);
        (0..self.0.len()).filter(is_due).collect()
    }

    /// When the next turn is due.
    pub(super) fn next(&self) -> Option<Moment> {
        self.0.iter().flatten().map(|retry| retry.due).min()
    }

    /// A turn has ended now with this result.
    pub(super) fn ended(
        &mut self,
        file: usize,
        result: Result<&Done, &TurnError>,
        now: Moment,
        waits: Waits,
        chance: impl FnOnce() -> f64,
    ) {
        let Waits { poll, longest, next_reload } = waits;
        let failed = self.0[file].map_or(0, |retry| retry.failed);
        let soon = now + poll;
        let retry = |due, failed| Some(Retry { due, failed });
        self.0[file] = match result {
            // The next look that finds a store makes a new turn.
            Err(TurnError::Unreachable { .. } | TurnError::NotMade { .. } | TurnError::Refused { .. }) => {
                None
            }
            Err(_) => retry(now + back_off(failed + 1, poll, longest, chance()), failed + 1),
            Ok(Done::Held(_)) => retry(next_reload.max(soon), 0),
            // If the reload had no effect, it is not repeated at once.
            Ok(Done::Reloaded | Done::ReloadedFor(_)) => {
                retry(now + back_off(failed, poll, longest, 1.0), failed + 1)
            }
            Ok(done) if !done.is_settled() => retry(soon, 0),
            Ok(_) => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{CommandError, Followed, TargetError};

    fn at(second: u64) -> Moment {
        Duration::from_secs(second)
    }

    fn ended(retries: &mut Retries, result: Result<Done, TurnError>) -> Option<Moment> {
        let waits = Waits { poll: at(2), longest: at(60), next_reload: at(130) };
        retries.ended(1, result.as_ref(), at(100), waits, || 1.0);
        retries.next()
    }

    #[test]
    fn a_file_that_fails_waits_longer_each_time_and_one_in_order_does_not_wait() {
        let mut retries = Retries::new(2);
        let failed = || {
            let source = CommandError::TooLong { command: "x".into(), seconds: 1, output: String::new() };
            Err(TurnError::Target(TargetError::Reload { path: "x".into(), source }))
        };
        assert_eq!(ended(&mut retries, failed()), Some(at(104)));
        assert_eq!(ended(&mut retries, failed()), Some(at(108)));
        assert_eq!((retries.due(at(107)), retries.due(at(108))), (vec![], vec![1]));
        assert_eq!(ended(&mut retries, Ok(Done::Unchanged)), None);
        assert_eq!(ended(&mut retries, failed()), Some(at(104)));
        let away = Err(TurnError::Unreachable { path: "x".into(), hint: None });
        assert_eq!(ended(&mut retries, away), None);
    }

    #[test]
    fn unfinished_work_is_continued_soon_and_reloads_are_not_repeated_at_once() {
        let mut retries = Retries::new(2);
        let pending = Followed { pending: vec!["x".into()], ..Followed::default() };
        assert_eq!(ended(&mut retries, Ok(Done::Followed(pending))), Some(at(102)));
        for next in [102, 104, 108] {
            assert_eq!(ended(&mut retries, Ok(Done::Reloaded)), Some(at(next)));
        }
    }
}
