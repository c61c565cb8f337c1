//! Which records a mirror writes and removes; pure.
//!
//! A node may have moved to the target already. So a mirror overwrites only older records, and those that it has
//! written itself, and removes only the latter.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::Name;
use crate::record::Record;
use crate::store::{Beats, Heartbeat};
use jiff::Timestamp;

/// Records by their node.
pub(super) type Records = BTreeMap<Name, Record>;

/// A change of the target.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Put(Record),
    Remove(Name),
}

/// What one round does.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// How many nodes have a newer record at the target.
    pub(super) newer: usize,
}

/// Which nodes left the source since the last round.
pub(super) fn missing(from: &Records, copied: &Records) -> BTreeSet<Name> {
    copied.keys().filter(|id| !from.contains_key(*id)).cloned().collect()
}

/// The steps of a round. `copied`: the records that the last rounds found at the source and copied. `withdrawn`:
/// those of the missing ones that left the source in order. `left`: the nodes that left the target in order.
pub(super) fn plan(
    from: &Records,
    to: &Records,
    copied: &Records,
    withdrawn: &BTreeSet<Name>,
    left: &BTreeSet<Name>,
) -> Plan {
    let mut plan = Plan::default();
    for (id, record) in from {
        let is_known = copied.get(id) == Some(record);
        match to.get(id) {
            Some(found) if found == record => {}
            // Somebody withdrew it there, and the source is out of date.
            None if is_known && left.contains(id) => plan.newer += 1,
            None => plan.steps.push(Step::Put(record.clone())),
            Some(found) if record.changed() > found.changed() || copied.get(id) == Some(found) => {
                plan.steps.push(Step::Put(record.clone()));
            }
            Some(_) => plan.newer += 1,
        }
    }
    let is_own = |id: &&Name| to.get(*id).is_some_and(|found| copied.get(*id) == Some(found));
    plan.steps.extend(withdrawn.iter().filter(is_own).cloned().map(Step::Remove));
    plan
}

/// The heartbeats to copy: those of nodes that are alive at the source, and are not heard at the target.
pub(super) fn beats(
    from: &Beats,
    to: &Beats,
    copied: &BTreeMap<String, Timestamp>,
) -> Vec<(Name, Timestamp)> {
    let is_due = |id: &str, beat: &Heartbeat| {
        let time = match beat {
            Heartbeat::Time(time) => *time,
            Heartbeat::Lease { held, last } => held.then_some(*last)?,
        };
        let is_newer = to.get(id).is_none_or(|known| known.last() < time);
        (is_newer && copied.get(id) != Some(&time)).then_some(time)
    };
    let due = from.iter().filter_map(|(id, beat)| Some((Name::parse(id).ok()?, is_due(id, beat)?)));
    due.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, port: u16, minute: u8) -> Record {
        let text = format!(
            r#"{{"filetype":"nodepresence","value":{{"instance-id":"{id}","port":"{port}","statetss":"20260102-03{minute:02}00"}}}}"#
        );
        Record::parse(text.as_bytes()).unwrap()
    }

    fn records(all: &[(&str, u16, u8)]) -> Records {
        all.iter().map(|(id, port, minute)| (name(id), record(id, *port, *minute))).collect()
    }

    fn name(id: &str) -> Name {
        Name::parse(id).unwrap()
    }

    fn steps(plan: &Plan) -> String {
        let word = |step: &Step| match step {
            Step::Put(record) => format!("+{}:{}", record.id(), record.text("port").unwrap()),
            Step::Remove(id) => format!("-{id}"),
        };
        plan.steps.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn older_records_are_overwritten_and_newer_ones_stay() {
        let none = BTreeSet::new();
        let of = |from: &[(&str, u16, u8)], to: &[(&str, u16, u8)], copied: &[(&str, u16, u8)]| {
            let plan = plan(&records(from), &records(to), &records(copied), &none, &none);
            format!("{} newer {}", steps(&plan), plan.newer)
        };
        assert_eq!(of(&[("a", 1, 0), ("b", 1, 0)], &[("b", 1, 0)], &[]), "+a:1 newer 0");
        assert_eq!(of(&[("a", 2, 5)], &[("a", 1, 0)], &[]), "+a:2 newer 0");
        assert_eq!(of(&[("a", 1, 0)], &[("a", 2, 5)], &[]), " newer 1", "it has moved");
        assert_eq!(of(&[("a", 1, 0)], &[("a", 2, 0)], &[]), " newer 1", "nobody knows: the target wins");
        assert_eq!(of(&[("a", 2, 0)], &[("a", 1, 0)], &[("a", 1, 0)]), "+a:2 newer 0", "it was copied");
        assert_eq!(of(&[("a", 2, 0)], &[("a", 3, 0)], &[("a", 1, 0)]), " newer 1", "it was changed there");
    }

    #[test]
    fn only_own_copies_of_withdrawn_nodes_are_removed() {
        let copied = records(&[("a", 1, 0), ("b", 1, 0), ("c", 1, 0)]);
        let to = records(&[("a", 1, 0), ("b", 2, 5), ("c", 1, 0), ("d", 1, 0)]);
        let from = records(&[]);
        assert_eq!(missing(&from, &copied).len(), 3);
        let none = BTreeSet::new();
        let withdrawn = BTreeSet::from([name("a"), name("b")]);
        // b has moved, c was lost at the source, d was never there.
        assert_eq!(steps(&plan(&from, &to, &copied, &withdrawn, &none)), "-a");
        let from = records(&[("a", 1, 0)]);
        let left = BTreeSet::from([name("a")]);
        assert_eq!(steps(&plan(&from, &Records::new(), &copied, &none, &left)), "", "it left the target");
        assert_eq!(steps(&plan(&from, &Records::new(), &Records::new(), &none, &left)), "+a:1");
    }

    #[test]
    fn a_heartbeat_is_copied_once_and_only_if_the_target_does_not_hear_the_node() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let from = Beats::from([
            ("a".to_owned(), Heartbeat::Time(at(10))),
            ("b".to_owned(), Heartbeat::Lease { held: true, last: at(20) }),
            ("c".to_owned(), Heartbeat::Lease { held: false, last: at(20) }),
        ]);
        let ids = |to: &Beats, copied: &BTreeMap<String, Timestamp>| {
            let due = beats(&from, to, copied);
            due.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(ids(&Beats::new(), &BTreeMap::new()), "a b");
        assert_eq!(ids(&Beats::new(), &BTreeMap::from([("a".to_owned(), at(10))])), "b");
        let heard = Beats::from([("b".to_owned(), Heartbeat::Lease { held: true, last: at(25) })]);
        assert_eq!(ids(&heard, &BTreeMap::new()), "a");
    }
}
