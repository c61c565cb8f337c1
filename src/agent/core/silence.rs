//! Which nodes are silent, and when the next one falls silent.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::liveness::{Liveness, Moment};
use crate::roster::{Availability, Roster};

/// Only a silence longer than the limit counts.
const A_MOMENT: Duration = Duration::from_millis(10);

/// The silence of nodes.
#[derive(Debug)]
pub(super) struct Silence {
    /// The heartbeats that this agent has observed.
    pub(super) liveness: Liveness,
    /// Each `max-age` of the configuration.
    max_ages: BTreeSet<Duration>,
    /// The silent nodes, each with the `max-age` that it exceeded.
    silent: BTreeSet<(String, Duration)>,
    /// The time at which the next node falls silent, unless a heartbeat arrives.
    pub(super) next: Option<Moment>,
}

impl Silence {
    pub(super) fn new(liveness: Liveness, max_ages: BTreeSet<Duration>) -> Silence {
        // Those of the last agent. If they differ from what this one finds first, its memory is out of date, and the
        // next agent must not believe it.
        let before = liveness.silent_before();
        let silent = before.flat_map(|(id, silence)| {
            let exceeded = max_ages.iter().filter(move |max_age| silence > **max_age);
            exceeded.map(move |max_age| (id.to_owned(), *max_age))
        });
        let silent = silent.collect();
        Silence { liveness, max_ages, silent, next: None }
    }

    /// The shortest `max-age`; `None` if no file depends on heartbeats.
    pub(super) fn least(&self) -> Option<Duration> {
        self.max_ages.first().copied()
    }

    /// Judges the nodes of the list, which the liveness observer knows. True if other nodes are silent than
    /// before. Looks are `poll` apart.
    pub(super) fn judge(&mut self, roster: &Roster, now: Moment, poll: Duration) -> bool {
        let (mut silent, mut next) = (BTreeSet::new(), None::<Duration>);
        for node in roster.nodes.iter().filter(|node| node.availability != Availability::Absent) {
            let silence = self.liveness.silence(node.record.id().as_str());
            for max_age in &self.max_ages {
                match max_age.checked_sub(silence) {
                    Some(left) => next = Some(next.map_or(left, |next| next.min(left))),
                    None => drop(silent.insert((node.record.id().to_string(), *max_age))),
                }
            }
        }
        // Never sooner than a look: while nothing proves that heartbeats arrive, the remaining time does not
        // shrink.
        self.next = next.map(|left| now + (left + A_MOMENT).max(poll));
        let changed = silent != self.silent;
        self.silent = silent;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use crate::liveness::Silent;
    use crate::roster::{Source, States};
    use crate::store::Snapshot;

    fn at(second: u64) -> Moment {
        Duration::from_secs(second)
    }

    #[test]
    fn a_node_is_silent_by_each_limit_that_it_exceeds() {
        let text = r#"{"filetype":"nodepresence","value":{"instance-id":"i-1"}}"#;
        let snapshot = Snapshot::of([("i-1.json", Ok(text))]);
        let roster =
            Roster::new(&[Source { store: "s", snapshot: &snapshot, stale: false }], &States::default());
        let before = Silent { last_seen: None, silent_for: at(90) };
        let liveness = Liveness::new(1, at(60), BTreeMap::from([("i-1".to_owned(), before)]));
        let mut silence = Silence::new(liveness, BTreeSet::from([at(60), at(100)]));
        assert_eq!(silence.least(), Some(at(60)));
        let listed =
            |last_seen| [crate::liveness::Listed { id: "i-1", changed: None, last_seen }].into_iter();
        silence.liveness.listed(listed(None));
        // As the last agent left it.
        assert!(!silence.judge(&roster, at(5), at(2)));
        assert_eq!(silence.next, Some(at(15) + A_MOMENT));
        assert!(!silence.judge(&roster, at(5), at(30)));
        assert_eq!(silence.next, Some(at(35)));
        // It was heard while no agent ran.
        let liveness = Liveness::new(1, at(60), BTreeMap::from([("i-1".to_owned(), before)]));
        let mut silence = Silence::new(liveness, BTreeSet::from([at(60)]));
        silence.liveness.listed(listed(Some(jiff::Timestamp::UNIX_EPOCH)));
        assert!(silence.judge(&roster, at(5), at(2)));
        assert!(!silence.judge(&roster, at(5), at(2)));
    }
}
