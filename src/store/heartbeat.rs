//! A sign of life of a node, as its store keeps it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The last heartbeats of nodes, by instance-id.
pub type Beats = BTreeMap<String, Heartbeat>;

/// The last heartbeat of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Heartbeat {
    /// The node wrote this time, by its own clock. Each reader finds out whether the node has been silent since.
    Time(Timestamp),
    /// The node keeps a lease alive, and the store notices when it ends.
    Lease {
        /// Whether the node holds the lease.
        held: bool,
        /// When the store last knew that it did, by the reader's clock.
        last: Timestamp,
    },
}

impl Heartbeat {
    /// The time of the sign of life.
    pub fn last(self) -> Timestamp {
        match self {
            Heartbeat::Time(time) | Heartbeat::Lease { last: time, .. } => time,
        }
    }

    /// The later of the two.
    pub fn later(self, other: Heartbeat) -> Heartbeat {
        if other.last() > self.last() { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_later_one_wins_of_whatever_kind() {
        let (time, lease) = (Heartbeat::Time(at(1)), Heartbeat::Lease { held: true, last: at(2) });
        assert_eq!((time.later(lease), lease.later(time)), (lease, lease));
        assert_eq!((time.last(), lease.last()), (at(1), at(2)));
    }

    #[test]
    fn a_cache_keeps_both_kinds_and_reads_plain_times() {
        let beats = Beats::from([
            ("i-1".to_owned(), Heartbeat::Time(at(0))),
            ("i-2".to_owned(), Heartbeat::Lease { held: false, last: at(1) }),
        ]);
        let text = serde_json::to_string(&beats).unwrap();
        assert!(text.starts_with(r#"{"i-1":"1970-01-01T00:00:00Z","#), "{text}");
        assert_eq!(serde_json::from_str::<Beats>(&text).unwrap(), beats);
    }
}
