//! All records at one moment, judged: the nodes, and the problems with the rest.
//!
//! Nothing here reads files, uses the network or knows the time. The result depends only on the arguments.

mod availability;
mod diff;
mod freshness;
mod merge;
mod node;
mod patterns;
mod select;
mod twins;

pub use availability::{Availability, States, UnknownAvailability};
pub use diff::{NodeChange, diff};
pub use freshness::{Freshness, Heartbeats};
pub use node::{Fault, Node, Offer, faults, stated_address};
pub use patterns::{Patterns, PatternsError};
pub use select::{Identity, Selector, SelectorError};
pub use twins::twins;

use std::net::IpAddr;

use jiff::civil::DateTime;
use serde::Serialize;

use crate::endpoint::Allowed;
use crate::name::Name;
use crate::record::{Record, SERVICES};
use crate::sanitize::excerpt;
use crate::store::{File, Layout, Snapshot};
use crate::text::Text;

/// All nodes, and everything that could not be used as one.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    /// The nodes by instance-id, each once.
    pub nodes: Vec<Node>,
    /// What was left out or is doubtful.
    pub problems: Vec<Problem>,
}

/// A fault of one file or node, which never stops the others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The store that has it.
    pub store: Text,
    /// The file, relative to the store's folder.
    pub path: Text,
    /// The fault, as the end of a sentence that begins with the path.
    pub reason: String,
}

/// The files of one store.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The store as the user named it.
    pub store: &'a str,
    /// Its files.
    pub snapshot: &'a Snapshot,
    /// Whether this is the last copy of a store that does not answer.
    pub stale: bool,
}

impl Roster {
    /// Judges the files with the default layout, whatever times the records state.
    pub fn new(sources: &[Source<'_>], states: &States) -> Roster {
        Roster::judge(sources, states, &Layout::default(), None)
    }

    /// Judges the files. The newest of a node's records wins, except those that state a time after `latest`.
    pub fn judge(
        sources: &[Source<'_>],
        states: &States,
        layout: &Layout,
        latest: Option<DateTime>,
    ) -> Roster {
        let stores: Vec<Text> = sources.iter().map(|source| source.store.into()).collect();
        let mut problems = Vec::new();
        let mut nodes = Vec::new();
        for (source, store) in sources.iter().zip(&stores) {
            for (some, wrong) in source.snapshot.in_parts(|files| read(files, source, store, states)) {
                // Usually there is one store, and the first thread's result is not copied.
                match nodes.is_empty() {
                    true => nodes = some,
                    false => nodes.extend(some),
                }
                problems.extend(wrong);
            }
        }
        let (nodes, second) = merge::newest(nodes, &stores, layout, latest);
        problems.extend(second);
        // An unknown state is absent.
        let absent = nodes.iter().filter(|node| node.availability == Availability::Absent);
        problems.extend(absent.filter_map(|node| {
            let state = node.record.state().filter(|state| !states.knows(state))?;
            let shown = excerpt(&state);
            Some(Problem {
                store: node.store.clone(),
                path: node.path.clone(),
                reason: format!("has the unknown state `{shown}`, which is treated as {}", node.availability),
            })
        }));
        problems.extend(twins(&nodes).into_iter().map(|(twin, first)| {
            let (node, first) = (&nodes[twin], &nodes[first]);
            let part = excerpt(&node.record.part().unwrap_or_default());
            let reason = format!(
                "has the part (`{part}`), address and port of `{}`: one server has two records, and \
                 balancers use one of them",
                first.record.id()
            );
            Problem { store: node.store.clone(), path: node.path.clone(), reason }
        }));
        problems.sort();
        problems.dedup();
        Roster { nodes, problems }
    }

    /// Makes addresses unusable that records may not state. `own` are the addresses of this machine, whose
    /// node is `id`.
    pub fn restrict(&mut self, allowed: &Allowed, own: &[IpAddr], id: Option<&str>) {
        self.nodes.iter_mut().for_each(|node| node.restrict(allowed, own, id));
    }

    /// The node with an instance-id.
    pub fn get(&self, id: &str) -> Option<&Node> {
        let at = self.nodes.binary_search_by(|node| node.record.id().as_ref().cmp(id)).ok()?;
        self.nodes.get(at)
    }

    /// The node with an instance-id, mutable.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Node> {
        let at = self.nodes.binary_search_by(|node| node.record.id().as_ref().cmp(id)).ok()?;
        self.nodes.get_mut(at)
    }

    /// Adds a node as a record describes it, or replaces the node with the same instance-id. The node is
    /// stale, because the record is an earlier one and not what the store has now.
    pub fn hold(&mut self, record: Record, store: Text, path: Text, states: &States) {
        self.insert(Node::new(record, store, path, true, states));
    }

    /// Puts a record on the list, in place of the node's last one. Returns the node. Only the nodes follow, and
    /// not the problems.
    pub fn put(&mut self, record: Record, store: Text, path: Text, states: &States) -> &mut Node {
        let at = self.insert(Node::new(record, store, path, false, states));
        &mut self.nodes[at]
    }

    /// Takes a node off the list. Only the nodes follow, and not the problems.
    pub fn remove(&mut self, id: &Name) {
        if let Ok(at) = self.nodes.binary_search_by(|known| known.record.id().cmp(id)) {
            self.nodes.remove(at);
        }
    }

    fn insert(&mut self, node: Node) -> usize {
        match self.nodes.binary_search_by(|known| known.record.id().cmp(node.record.id())) {
            Ok(at) => {
                self.nodes[at] = node;
                at
            }
            Err(at) => {
                self.nodes.insert(at, node);
                at
            }
        }
    }
}

/// The nodes in these files, and the problems with the other files.
fn read(
    files: &mut dyn ExactSizeIterator<Item = File<'_>>,
    source: &Source<'_>,
    store: &Text,
    states: &States,
) -> (Vec<Node>, Vec<Problem>) {
    let mut nodes = Vec::with_capacity(files.len());
    // A text of its own, which no other thread clones at the same time.
    let store = Text::from(&**store);
    let mut problems = Vec::new();
    for file in files {
        let path = file.path();
        match file.record() {
            Ok(record) => {
                if let Some(reason) = record.envelope_problem() {
                    let (path, reason) = (path.clone(), reason.to_owned());
                    problems.push(Problem { store: store.clone(), path, reason });
                }
                if record.has(SERVICES) {
                    let problems_of = record.services().problems.into_iter();
                    problems.extend(problems_of.map(|reason| Problem {
                        store: store.clone(),
                        path: path.clone(),
                        reason,
                    }));
                }
                nodes.push(Node::new(record, store.clone(), path, source.stale, states));
            }
            Err(reason) => problems.push(Problem { store: store.clone(), path, reason }),
        }
    }
    (nodes, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(files: &[(&str, &str)]) -> Snapshot {
        Snapshot::of(files.iter().map(|(path, text)| (*path, Ok(*text))))
    }

    fn record(id: &str, port: u16, time: &str) -> String {
        format!(
            r#"{{"filetype":"nodepresence","value":{{"instance-id":"{id}","port":"{port}","statetss":"{time}","ipv4":"10.0.0.1"}}}}"#
        )
    }

    fn roster(snapshots: &[(&Snapshot, bool)]) -> Roster {
        let sources: Vec<Source<'_>> = snapshots
            .iter()
            .zip(["s", "t"])
            .map(|((snapshot, stale), store)| Source { store, snapshot, stale: *stale })
            .collect();
        Roster::new(&sources, &States::default())
    }

    fn ports(roster: &Roster) -> Vec<String> {
        roster.nodes.iter().map(|node| node.record.text("port").unwrap().into_owned()).collect()
    }

    #[test]
    fn a_bad_file_costs_itself_only() {
        let good = record("i-1", 1, "");
        let bad = Snapshot::of([
            ("i-1.json", Ok(good.as_str())),
            ("i-2.json", Ok("{")),
            ("i-3.json", Ok(good.as_str())),
            ("i-4.json", Err("is a link")),
        ]);
        let roster = roster(&[(&bad, false)]);
        assert_eq!(roster.nodes.len(), 1);
        let seen: Vec<_> =
            roster.problems.iter().map(|problem| format!("{} {}", problem.path, problem.reason)).collect();
        assert_eq!(seen.len(), 3);
        assert!(seen[0].starts_with("i-2.json is not JSON"));
        assert_eq!(seen[1], "i-3.json states the instance-id `i-1`, which is not the name of the file");
        assert_eq!(seen[2], "i-4.json is a link");
    }

    #[test]
    fn a_malformed_field_beside_the_facts_is_a_problem_and_the_node_stays() {
        let text = record("i-1", 1, "").replacen("\"value\"", "\"serial\":-1,\"value\"", 1);
        let roster = roster(&[(&snapshot(&[("i-1.json", &text)]), false)]);
        assert_eq!(ports(&roster), ["1"]);
        assert_eq!(
            roster.problems[0].reason,
            "has a `serial` that is not a whole number from 0 to 2^64-1: presence ignores it"
        );
    }

    #[test]
    fn the_newest_record_wins_in_any_order() {
        let (old, new) = (record("i-1", 1, "20200101-000000"), record("i-1", 2, "20200102-000000"));
        let (a, b) = (snapshot(&[("i-1.json", &old)]), snapshot(&[("sub/i-1.json", &new)]));
        assert_eq!(ports(&roster(&[(&a, false), (&b, true)])), ["2"]);
        assert_eq!(ports(&roster(&[(&b, true), (&a, false)])), ["2"]);
    }

    #[test]
    fn in_one_store_a_time_of_the_far_future_loses() {
        let (old, new, far) = (
            record("i-1", 1, "20200101-000000"),
            record("i-1", 2, "20200101-000001"),
            record("i-1", 3, "99991231-235959"),
        );
        let files = [("i-1.json", &old[..]), ("a/i-1.json", &far[..]), ("b/i-1.json", &new[..])];
        let all = snapshot(&files);
        let source = Source { store: "s", snapshot: &all, stale: false };
        let judge = |layout: &str, latest| {
            let layout = Layout::parse(&[layout.to_owned()]).unwrap();
            Roster::judge(&[source], &States::default(), &layout, latest)
        };
        let latest = record_time("20200102-000000");
        let seen = judge("{instance-id}.json", Some(latest));
        assert_eq!(ports(&seen), ["2"]);
        let told: Vec<String> =
            seen.problems.iter().map(|problem| format!("{} {}", problem.path, problem.reason)).collect();
        assert_eq!(
            told,
            [
                "a/i-1.json is a second file of the node `i-1`: presence uses `b/i-1.json`",
                "i-1.json is a second file of the node `i-1`: presence uses `b/i-1.json`"
            ]
        );
        assert_eq!(ports(&judge("{instance-id}.json", None)), ["3"]);
        // With equal times, the layout's path decides; equal records are not a problem.
        let same = record("i-1", 4, "20200101-000000");
        let both = snapshot(&[("i-1.json", &old), ("z/i-1.json", &same)]);
        let source = Source { store: "s", snapshot: &both, stale: false };
        for (layout, port) in [("{instance-id}.json", "1"), ("z/{instance-id}.json", "4")] {
            let layout = Layout::parse(&[layout.to_owned()]).unwrap();
            assert_eq!(ports(&Roster::judge(&[source], &States::default(), &layout, None)), [port]);
        }
        let copies = snapshot(&[("i-1.json", &old), ("z/i-1.json", &old)]);
        assert!(roster(&[(&copies, false)]).problems.is_empty());
    }

    fn record_time(text: &str) -> DateTime {
        DateTime::strptime("%Y%m%d-%H%M%S", text).unwrap()
    }

    #[test]
    fn of_equal_times_a_store_that_answers_wins_then_the_first() {
        let (one, two) = (record("i-1", 1, ""), record("i-1", 2, ""));
        let (a, b) = (snapshot(&[("i-1.json", &one)]), snapshot(&[("i-1.json", &two)]));
        assert_eq!(ports(&roster(&[(&a, false), (&b, false)])), ["1"]);
        assert_eq!(ports(&roster(&[(&a, true), (&b, false)])), ["2"]);
    }

    #[test]
    fn an_unknown_state_is_absent_and_reported() {
        let text = r#"{"filetype":"nodepresence","value":{"instance-id":"i-1","state":"weird"}}"#;
        let roster = roster(&[(&snapshot(&[("i-1.json", text)]), false)]);
        assert_eq!(roster.nodes[0].availability, Availability::Absent);
        assert_eq!(roster.problems[0].reason, "has the unknown state `weird`, which is treated as absent");
        assert!(roster.get("i-1").is_some() && roster.get("i-2").is_none());
    }
}
