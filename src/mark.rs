//! The mark: which machine a heartbeat is from.
//!
//! A heartbeat is a time in whole seconds. The fraction of the second is not a time: its microseconds are a
//! number that the machine has drawn. The digits below them say whether another machine was met under the
//! same instance-id. So a heartbeat stays one number, in every kind of store.

use jiff::Timestamp;

/// The number of marks. The number 0 means no mark. A file system may store nothing finer than microseconds.
const MARKS: u64 = 999_999;

/// The nanoseconds that are added to the microseconds if another machine was met.
const CONTESTED: i32 = 500;

/// The mark of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u32);

impl Mark {
    /// The mark for this number.
    pub fn of(number: u64) -> Mark {
        Mark((number % MARKS) as u32 + 1)
    }

    /// The mark of a heartbeat, if it has one.
    pub fn on(heartbeat: Timestamp) -> Option<Mark> {
        let number = heartbeat.subsec_nanosecond().unsigned_abs() / 1000;
        (number != 0).then_some(Mark(number))
    }

    /// The number of the mark, from 1.
    pub fn number(self) -> u32 {
        self.0
    }

    /// A heartbeat at that time, with the mark.
    pub fn stamp(self, time: Timestamp, contested: bool) -> Timestamp {
        let nanoseconds = self.0.cast_signed() * 1000 + if contested { CONTESTED } else { 0 };
        Timestamp::new(time.as_second(), nanoseconds).unwrap_or(time)
    }
}

/// Whether the machine that sent this heartbeat has met another one under its instance-id.
pub fn is_contested(heartbeat: Timestamp) -> bool {
    heartbeat.subsec_nanosecond() % 1000 != 0
}

/// The time of a heartbeat, in whole seconds.
pub fn time(heartbeat: Timestamp) -> Timestamp {
    Timestamp::from_second(heartbeat.as_second()).unwrap_or(heartbeat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_bears_its_mark_and_keeps_its_second() {
        let now: Timestamp = "2026-01-02T03:04:05.999999999Z".parse().unwrap();
        for number in [0, 1, 999_998, 999_999, u64::MAX] {
            for contested in [false, true] {
                let beat = Mark::of(number).stamp(now, contested);
                assert_eq!(Mark::on(beat), Some(Mark::of(number)));
                assert_eq!(is_contested(beat), contested);
                assert_eq!(time(beat).to_string(), "2026-01-02T03:04:05Z");
            }
        }
        assert_eq!((Mark::on(time(now)), is_contested(time(now))), (None, false));
    }
}
