//! When nodes gave their last sign of life, and what follows from a long silence.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{Availability, Node, Problem, Roster};
use crate::mark;
use crate::store::{Beats, Heartbeat};

/// A clock that is ahead by at most this is not reported as wrong.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// Without a limit, a node is called silent after this time: four times the usual interval of heartbeats, and some
/// more.
const USUAL_MAX_AGE: SignedDuration = SignedDuration::from_mins(5);

/// What is known of the heartbeats.
pub struct Heartbeats<'a> {
    /// The present time.
    pub now: Timestamp,
    /// When a node becomes silent; `None` for the usual time.
    pub max_age: Option<SignedDuration>,
    /// Whether a store of heartbeats answers.
    pub are_heard: bool,
    /// Whether there is a heartbeat of that node.
    pub has: &'a dyn Fn(&Node) -> bool,
}

impl std::fmt::Debug for Heartbeats<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heartbeats")
            .field("now", &self.now)
            .field("max_age", &self.max_age)
            .finish_non_exhaustive()
    }
}

/// How fresh the last sign of life of a node is. It changes nothing: a node becomes absent only by
/// [`Roster::expire`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It is not older than the limit.
    Fresh,
    /// It is older. With a limit, a node without any sign of life is silent too.
    Silent,
    /// The node has no heartbeat, and no limit is set.
    Never,
    /// The clock of the node is ahead.
    Ahead,
    /// No store of heartbeats answers.
    Unknown,
}

impl Freshness {
    /// The freshness of that node.
    pub fn of(node: &Node, heartbeats: &Heartbeats<'_>) -> Freshness {
        let age = node.last_seen.map(|seen| heartbeats.now.duration_since(seen));
        let max_age = heartbeats.max_age.unwrap_or(USUAL_MAX_AGE);
        match age {
            _ if !heartbeats.are_heard => Freshness::Unknown,
            Some(age) if age < -SKEW => Freshness::Ahead,
            Some(age) if age <= max_age => Freshness::Fresh,
            // A user who sets a limit expects heartbeats of all nodes.
            _ if heartbeats.max_age.is_some() || (heartbeats.has)(node) => Freshness::Silent,
            _ => Freshness::Never,
        }
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Freshness::Fresh => "fresh",
            Freshness::Silent => "silent",
            Freshness::Never => "never",
            Freshness::Ahead => "ahead",
            Freshness::Unknown => "unknown",
        }
    }
}

impl Roster {
    /// Records each node's last sign of life: its last heartbeat, or the change of its state if that is
    /// later.
    pub fn see<'a>(&mut self, beats: impl Iterator<Item = &'a Beats> + Clone) {
        for node in &mut self.nodes {
            let changed = node
                .record
                .changed()
                .and_then(|time| time.to_zoned(TimeZone::UTC).ok())
                .map(|time| time.timestamp());
            let all = beats.clone().filter_map(|beats| beats.get(node.record.id().as_str()).copied());
            let beat = all.reduce(Heartbeat::later).map(Heartbeat::last);
            node.last_seen = beat.map(mark::time).max(changed);
            node.contested = beat.is_some_and(mark::is_contested);
            if node.contested {
                let reason = "comes from two machines with one instance-id, which overwrite each other's \
                              record: give each its own instance-id";
                let (store, path) = (node.store.clone(), node.path.clone());
                self.problems.push(Problem { store, path, reason: reason.to_owned() });
            }
        }
        self.problems.sort();
    }

    /// Makes nodes absent that gave no sign of life for longer than `max_age`, and adds a problem for each. A
    /// node whose clock is ahead of ours never expires, but is reported.
    pub fn expire(&mut self, now: Timestamp, max_age: SignedDuration) {
        for node in &mut self.nodes {
            let reason = match node.last_seen.map(|seen| now.duration_since(seen)) {
                None => "was never seen: it has no heartbeat and no `statetss`".to_owned(),
                Some(age) if age > max_age => format!("was last seen {:#} ago", whole(age)),
                Some(age) if age < -SKEW => {
                    self.problems.push(Problem {
                        store: node.store.clone(),
                        path: node.path.clone(),
                        reason: format!("was last seen {:#} in the future: a clock is wrong", whole(-age)),
                    });
                    continue;
                }
                Some(_) => continue,
            };
            if node.availability != Availability::Absent {
                node.availability = Availability::Absent;
                let reason = format!("{reason}, longer than {max_age:#}: it is treated as absent");
                self.problems.push(Problem { store: node.store.clone(), path: node.path.clone(), reason });
            }
        }
        self.problems.sort();
    }
}

/// In whole seconds, or in whole minutes from one hour on.
fn whole(age: SignedDuration) -> SignedDuration {
    let seconds = age.as_secs();
    SignedDuration::from_secs(if seconds < 3600 { seconds } else { seconds / 60 * 60 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::{Source, States};
    use crate::store::Snapshot;

    #[test]
    fn silence_makes_absent_and_a_clock_ahead_does_not() {
        let now = Timestamp::from_second(1_767_000_000).unwrap();
        let at = |ago: i64| Timestamp::from_second(now.as_second() - ago).unwrap();
        let files = [
            ("i-beats", "20150101-000000"),
            ("i-silent", "20150101-000000"),
            ("i-new", "20251229-091630"),
            ("i-ahead", "20150101-000000"),
            ("i-never", ""),
        ]
        .map(|(id, time)| {
            let value = format!(r#"{{"instance-id":"{id}","statetss":"{time}"}}"#);
            (format!("{id}.json"), format!(r#"{{"filetype":"nodepresence","value":{value}}}"#))
        });
        let mut snapshot = Snapshot::of(files.iter().map(|(path, text)| (path.as_str(), Ok(text.as_str()))));
        snapshot.beats = Beats::from([
            ("i-beats".into(), Heartbeat::Time(at(30))),
            ("i-silent".into(), Heartbeat::Time(at(7_260))),
            ("i-ahead".into(), Heartbeat::Time(at(-600))),
        ]);
        let mut roster =
            Roster::new(&[Source { store: "s", snapshot: &snapshot, stale: false }], &States::default());
        roster.see(std::iter::once(&snapshot.beats));
        let max_age = SignedDuration::from_secs(300);
        roster.expire(now, max_age);
        let seen: Vec<_> =
            roster.nodes.iter().map(|node| format!("{} {}", node.record.id(), node.availability)).collect();
        assert_eq!(
            seen,
            ["i-ahead active", "i-beats active", "i-never absent", "i-new active", "i-silent absent"]
        );
        let told: Vec<_> = roster.problems.iter().map(|problem| problem.reason.as_str()).collect();
        assert_eq!(
            told,
            [
                "was last seen 10m in the future: a clock is wrong",
                "was never seen: it has no heartbeat and no `statetss`, longer than 5m: it is treated as \
                 absent",
                "was last seen 2h 1m ago, longer than 5m: it is treated as absent",
            ]
        );
    }

    #[test]
    fn a_sign_of_life_has_a_word() {
        let file = ("i-1.json", Ok(r#"{"filetype":"nodepresence","value":{"instance-id":"i-1"}}"#));
        let source = Source { store: "s", snapshot: &Snapshot::of([file]), stale: false };
        let mut roster = Roster::new(&[source], &States::default());
        let now = Timestamp::from_second(1_767_000_000).unwrap();
        let mut check = |ago: Option<i64>, max_age, are_heard, has: bool, expect: &str| {
            roster.nodes[0].last_seen =
                ago.and_then(|ago| now.checked_sub(SignedDuration::from_secs(ago)).ok());
            let heartbeats = Heartbeats { now, max_age, are_heard, has: &|_| has };
            assert_eq!(Freshness::of(&roster.nodes[0], &heartbeats).as_str(), expect, "{ago:?}");
        };
        check(Some(300), None, true, true, "fresh");
        check(Some(301), None, true, true, "silent");
        check(Some(301), Some(SignedDuration::from_hours(1)), true, true, "fresh");
        check(Some(31), Some(SignedDuration::from_secs(30)), true, true, "silent");
        // Its state has changed, but it sends no heartbeats.
        check(Some(10), None, true, false, "fresh");
        check(Some(301), None, true, false, "never");
        check(None, None, true, false, "never");
        check(None, Some(SignedDuration::from_secs(30)), true, false, "silent");
        check(Some(-60), None, true, true, "fresh");
        check(Some(-61), None, true, true, "ahead");
        check(Some(10), None, false, true, "unknown");
    }
}
