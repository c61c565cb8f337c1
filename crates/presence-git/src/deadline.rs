//! The moment when an operation must end. It is made once, and passed to everything in the operation that
//! waits.

use std::time::{Duration, Instant};

/// When an operation must end.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    started: Instant,
    within: Duration,
    setting: &'static str,
}

impl Deadline {
    /// A deadline this long from now. `setting` is the name of the limit in the user's configuration.
    pub fn new(setting: impl Into<&'static str>, within: Duration) -> Deadline {
        Deadline { started: Instant::now(), within, setting: setting.into() }
    }

    /// The name of its limit in the user's configuration.
    pub fn setting(self) -> &'static str {
        self.setting
    }

    /// The time for the whole operation.
    pub fn within(self) -> Duration {
        self.within
    }

    /// The moment itself.
    pub fn end(self) -> Instant {
        self.started + self.within
    }

    /// The time that the operation has taken.
    pub fn elapsed(self) -> Duration {
        self.started.elapsed()
    }

    /// The remaining time.
    pub fn left(self) -> Duration {
        self.within.saturating_sub(self.elapsed())
    }

    /// Whether no time remains.
    pub fn is_over(self) -> bool {
        self.left().is_zero()
    }

    /// The shorter of the wait and the remaining time.
    pub fn at_most(self, wait: Duration) -> Duration {
        wait.min(self.left())
    }

    /// The same deadline, extended until this much time remains.
    pub fn at_least(self, left: Duration) -> Deadline {
        Deadline { within: self.within.max(self.elapsed() + left), ..self }
    }

    /// Sleeps for this time, or until the deadline.
    pub fn sleep(self, wait: Duration) {
        std::thread::sleep(self.at_most(wait));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_wait_ends_with_the_deadline() {
        let over = Deadline::new("read", Duration::ZERO);
        assert!(over.is_over() && over.left().is_zero() && over.at_most(HOUR).is_zero());
        over.sleep(HOUR);
        let far = Deadline::new("publish", HOUR);
        assert!(!far.is_over() && far.left() <= HOUR && far.left() > HOUR / 2);
        assert_eq!(far.at_most(Duration::from_secs(1)), Duration::from_secs(1));
        assert_eq!((far.setting(), far.within()), ("publish", HOUR));
    }

    #[test]
    fn it_can_be_put_off_and_never_comes_sooner() {
        let over = Deadline::new("read", Duration::ZERO).at_least(HOUR);
        assert!(over.left() > HOUR / 2);
        assert_eq!(Deadline::new("read", HOUR).at_least(Duration::ZERO).within(), HOUR);
    }
}
