//! Heartbeats as single runs have seen them: all that `presence beat` from cron knows about silence.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Listed;

/// When each node was last seen to give a sign of life, by this machine's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sightings {
    /// The last run that could read all heartbeats.
    last: Option<Timestamp>,
    nodes: BTreeMap<String, Sighting>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Sighting {
    /// The time that the sign of life states.
    stated: Option<Timestamp>,
    /// When it was first seen.
    seen: Timestamp,
}

impl Sightings {
    /// Adds what a run sees at `now`. Time beyond `gap` since the last run is not silence, since nobody
    /// listened. The first run has only the times in the heartbeats; a node without one has just been met.
    pub fn after<'a>(
        mut self,
        nodes: impl Iterator<Item = Listed<'a>>,
        now: Timestamp,
        gap: Duration,
    ) -> Sightings {
        let since = self.last.map(|last| Duration::try_from(now.duration_since(last)).unwrap_or_default());
        let excess = since.unwrap_or_default().saturating_sub(gap);
        let nodes = nodes.map(|node| {
            let stated = node.last_seen;
            let known = self.nodes.remove(node.id).filter(|known| known.stated == stated);
            let seen = match (known, since) {
                (Some(known), _) => known.seen.checked_add(excess).unwrap_or(now).min(now),
                (None, Some(_)) => now,
                (None, None) => stated.unwrap_or(now).min(now),
            };
            (node.id.to_owned(), Sighting { stated, seen })
        });
        let nodes = nodes.collect();
        Sightings { last: Some(now), nodes }
    }

    /// How long the node had been silent at the last run.
    pub fn silence(&self, id: &str) -> Duration {
        let (Some(last), Some(node)) = (self.last, self.nodes.get(id)) else { return Duration::ZERO };
        last.duration_since(node.seen).try_into().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_secs(70);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn run(sightings: Sightings, nodes: &[(&str, i64)], now: i64) -> Sightings {
        let nodes =
            nodes.iter().map(|(id, stated)| Listed { id, changed: None, last_seen: Some(at(*stated)) });
        sightings.after(nodes, at(now), GAP)
    }

    fn silence(sightings: &Sightings, id: &str) -> u64 {
        sightings.silence(id).as_secs()
    }

    #[test]
    fn a_node_is_seen_when_its_heartbeat_changes_whatever_time_it_states() {
        let first = run(Sightings::default(), &[("slow", 1_000), ("old", 1_000)], 5_000);
        assert_eq!((silence(&first, "slow"), silence(&first, "old")), (4_000, 4_000), "all that is known");
        let second = run(first, &[("slow", 1_060), ("old", 1_000), ("new", 0)], 5_060);
        assert_eq!((silence(&second, "slow"), silence(&second, "old")), (0, 4_060));
        assert_eq!(silence(&second, "new"), 0, "it has just been met");
        let third = run(second, &[("slow", 1_060), ("new", 0)], 5_120);
        assert_eq!((silence(&third, "slow"), silence(&third, "old")), (60, 0));
    }

    #[test]
    fn a_node_that_never_beat_is_silent_only_from_when_it_was_met() {
        let met = |sightings: Sightings, now| {
            let never = Listed { id: "never", changed: None, last_seen: None };
            sightings.after([never].into_iter(), at(now), GAP)
        };
        let first = met(Sightings::default(), 5_000);
        assert_eq!(silence(&first, "never"), 0);
        assert_eq!(silence(&met(first, 5_060), "never"), 60);
    }

    #[test]
    fn an_outage_is_no_silence_and_a_clock_that_is_set_back_is_none_either() {
        let before = run(run(Sightings::default(), &[("a", 90)], 100), &[("a", 90)], 160);
        assert_eq!(silence(&before, "a"), 70);
        let after = run(before.clone(), &[("a", 90)], 10_000);
        assert_eq!(silence(&after, "a"), 70 + GAP.as_secs());
        let back = run(before, &[("a", 90)], 50);
        assert_eq!(silence(&back, "a"), 0);
        assert_eq!(silence(&run(back, &[("a", 90)], 110), "a"), 60);
    }
}
