//! How far another machine's clock is off, by the times in its heartbeats.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// The number of heartbeats in a row that must agree: a single one may have been delayed.
const AGREE: usize = 3;

/// A clock that is off by less than this is right.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// Fewer clocks than this prove nothing about our own.
const FEW: usize = 3;

/// What the last heartbeats of a node say about its clock: it is ahead of ours by at least `.0` and at most
/// `.1`.
#[derive(Debug, Clone, Default)]
pub(super) struct Bounds(Vec<(SignedDuration, SignedDuration)>);

/// How far a clock is ahead of this machine's; negative if it is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offset(SignedDuration);

impl Bounds {
    /// A heartbeat with the time `written` was seen at `now` on our clock, and was not there at `before`.
    pub(super) fn add(&mut self, written: Timestamp, before: Option<Timestamp>, now: Timestamp) {
        // If our own clock was set back between the two readings, they bound nothing.
        let Some(before) = before.filter(|before| *before <= now) else { return self.0.clear() };
        if self.0.len() == AGREE {
            self.0.remove(0);
        }
        self.0.push((written.duration_since(now), written.duration_since(before)));
    }

    /// How far the clock is off, if it certainly is.
    pub(super) fn offset(&self) -> Option<Offset> {
        if self.0.len() < AGREE {
            return None;
        }
        let least = self.0.iter().map(|(least, _)| *least).max()?;
        let most = self.0.iter().map(|(_, most)| *most).min()?;
        // Each heartbeat must say so, not only all together: the heartbeats of a clock that was just set
        // disagree.
        let ahead = self.0.iter().all(|(least, _)| *least > TOLERANCE);
        let behind = self.0.iter().all(|(_, most)| *most < -TOLERANCE);
        (ahead || behind).then(|| Offset((least + most) / 2))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        let unit = if size.as_hours() < 1 { jiff::Unit::Second } else { jiff::Unit::Minute };
        let size = size.round(unit).unwrap_or(size);
        let side = if self.0.is_negative() { "behind" } else { "ahead of" };
        write!(f, "about {size:#} {side}")
    }
}

/// The wrong clocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clocks {
    /// The clocks of these nodes.
    Others(BTreeMap<String, Offset>),
    /// This machine's own, since most others agree that it is off.
    Ours {
        /// How far the others' clocks are ahead of ours: the median.
        others: Offset,
        /// How many say so.
        of: usize,
        /// How many clocks are known.
        known: usize,
    },
}

impl Clocks {
    pub(super) fn of<'a>(lines: impl Iterator<Item = (&'a str, Option<Offset>)>) -> Clocks {
        let mut known = BTreeMap::new();
        for (id, offset) in lines {
            let entry: &mut Option<Offset> = known.entry(id.to_owned()).or_default();
            *entry = entry.or(offset);
        }
        let total = known.len();
        let wrong: BTreeMap<String, Offset> =
            known.into_iter().filter_map(|(id, offset)| Some((id, offset?))).collect();
        for ahead in [true, false] {
            let mut side: Vec<Offset> =
                wrong.values().copied().filter(|offset| offset.0.is_positive() == ahead).collect();
            // More than half of the known clocks, which include our own.
            if side.len() >= FEW && side.len() * 2 > total {
                side.sort();
                return Clocks::Ours { others: side[side.len() / 2], of: side.len(), known: total };
            }
        }
        Clocks::Others(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_around_a_jump_of_our_own_clock_say_nothing_of_others() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut bounds = Bounds::default();
        // Until now our clock was an hour ahead; all others are right.
        bounds.add(at(90), Some(at(3660)), at(100));
        for beat in [150, 210, 270] {
            bounds.add(at(beat), Some(at(beat - 50)), at(beat + 10));
        }
        assert_eq!(bounds.offset(), None);
        // One jump after the other: as if each heartbeat were both ahead and behind.
        for beat in [300, 400, 500] {
            bounds.add(at(beat), Some(at(beat + 60)), at(beat - 60));
        }
        assert_eq!(bounds.offset(), None);
    }
}
