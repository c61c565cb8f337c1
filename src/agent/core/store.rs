//! What the agent knows of one store, and when it looks at it next.

use std::time::Duration;

use super::report::Complaint;
use crate::liveness::Moment;
use crate::schedule::back_off;

/// The purpose of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Records, and heartbeats unless other stores are for them.
    List,
    /// Heartbeats only.
    Beats,
}

/// One store.
#[derive(Debug)]
pub(super) struct StoreState {
    pub(super) role: Role,
    /// The number of jobs without an answer.
    waiting: u32,
    /// When it last got jobs.
    asked: Moment,
    /// When the next look is due.
    pub(super) next_look: Moment,
    /// The number of failed looks in a row.
    pub(super) failures: u32,
    /// Whether the last look succeeded.
    pub(super) answers: bool,
    /// What went wrong in the last announcement.
    pub(super) complaints: Vec<Complaint>,
}

/// The times between looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Between two looks.
    pub(super) poll: Duration,
    /// The longest time between two looks at a store that is away.
    pub(super) longest: Duration,
}

impl StoreState {
    pub(super) fn new(role: Role) -> StoreState {
        StoreState {
            role,
            waiting: 0,
            asked: Moment::ZERO,
            next_look: if role == Role::List { Moment::ZERO } else { Moment::MAX },
            failures: 0,
            answers: false,
            complaints: Vec::new(),
        }
    }

    /// Jobs are about to be given to it.
    pub(super) fn is_asked(&mut self, now: Moment) {
        self.asked = now;
    }

    /// It has got a job.
    pub(super) fn has_job(&mut self) {
        self.waiting += 1;
    }

    /// It has finished a job.
    pub(super) fn has_answered(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// Whether a job runs or waits.
    pub(super) fn is_busy(&self) -> bool {
        self.waiting > 0
    }

    /// It says that its list may have changed.
    pub(super) fn has_changed(&mut self, now: Moment) {
        if self.role == Role::List {
            self.next_look = self.next_look.min(now);
        }
    }

    /// Records the result of a look that ended now, and when the next one is due. True if the store is back
    /// after a failure.
    pub(super) fn looked(&mut self, failed: bool, now: Moment, pace: Pace, chance: f64) -> bool {
        let is_back = self.failures > 0 && !failed;
        self.answers = !failed;
        self.failures = if failed { self.failures.saturating_add(1) } else { 0 };
        let wait = back_off(self.failures, pace.poll, pace.longest, chance);
        // Looks start at a fixed distance, however long they take; after a failure, the wait begins at its
        // end.
        let from = if failed { now } else { self.asked };
        if self.role == Role::List {
            self.next_look = from + wait;
        }
        is_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { poll: Duration::from_secs(2), longest: Duration::from_secs(60) };

    fn at(second: u64) -> Moment {
        Duration::from_secs(second)
    }

    #[test]
    fn looks_start_at_a_fixed_distance_and_failures_wait_longer() {
        let mut store = StoreState::new(Role::List);
        assert_eq!(store.next_look, at(0));
        store.is_asked(at(10));
        assert!(!store.looked(false, at(11), PACE, 1.0));
        assert_eq!((store.next_look, store.answers), (at(12), true));
        for (failures, next) in [(1, 24), (2, 28), (3, 36)] {
            assert!(!store.looked(true, at(20), PACE, 1.0));
            assert_eq!((store.failures, store.next_look, store.answers), (failures, at(next), false));
        }
        assert!(store.looked(false, at(40), PACE, 1.0));
        assert_eq!(store.failures, 0);
    }

    #[test]
    fn a_store_that_says_so_is_looked_at_now_and_then_at_its_pace() {
        let mut store = StoreState::new(Role::List);
        store.is_asked(at(10));
        store.looked(false, at(10), PACE, 1.0);
        store.has_changed(at(11));
        assert_eq!(store.next_look, at(11));
        store.is_asked(at(11));
        store.looked(false, at(11), PACE, 1.0);
        assert_eq!(store.next_look, at(13));
        let mut beats = StoreState::new(Role::Beats);
        beats.has_changed(at(11));
        assert_eq!(beats.next_look, Moment::MAX);
    }

    #[test]
    fn a_store_for_heartbeats_is_never_due() {
        let mut store = StoreState::new(Role::Beats);
        store.looked(false, at(1), PACE, 0.0);
        assert_eq!(store.next_look, Moment::MAX);
    }

    #[test]
    fn it_is_busy_until_each_job_is_answered() {
        let mut store = StoreState::new(Role::List);
        store.has_job();
        store.has_job();
        store.has_answered();
        assert!(store.is_busy());
        store.has_answered();
        store.has_answered();
        assert!(!store.is_busy());
    }
}
