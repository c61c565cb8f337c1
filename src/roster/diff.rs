//! What changed from one list to another, node by node.

use std::collections::BTreeMap;

use crate::change::Change;
use crate::record::Record;

/// A node that joined, left, or states other facts.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeChange<'a> {
    /// What changed.
    pub change: Change,
    /// Its record before; `None` if it joined.
    pub before: Option<&'a Record>,
    /// Its record now; `None` if it left.
    pub after: Option<&'a Record>,
}

impl<'a> NodeChange<'a> {
    /// The last record of the node that is known.
    pub fn last(&self) -> Option<&'a Record> {
        self.after.or(self.before)
    }
}

/// The nodes that differ, by instance-id. Each list has a node once.
pub fn diff<'a>(
    before: impl IntoIterator<Item = &'a Record>,
    after: impl IntoIterator<Item = &'a Record>,
) -> Vec<NodeChange<'a>> {
    let mut nodes: BTreeMap<&str, (Option<&Record>, Option<&Record>)> = BTreeMap::new();
    for record in before {
        nodes.entry(record.id().as_str()).or_default().0 = Some(record);
    }
    for record in after {
        nodes.entry(record.id().as_str()).or_default().1 = Some(record);
    }
    let change =
        |(before, after)| Some(NodeChange { change: Change::between(before, after)?, before, after });
    nodes.into_values().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, port: u16) -> Record {
        let text =
            format!(r#"{{"filetype":"nodepresence","value":{{"instance-id":"{id}","port":"{port}"}}}}"#);
        Record::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn nodes_that_differ_are_told_by_name_and_others_are_not() {
        let before = [record("i-9", 1), record("i-2", 1), record("i-5", 1)];
        let after = [record("i-5", 1), record("i-9", 2), record("i-1", 1)];
        let told: Vec<String> = diff(&before, &after)
            .iter()
            .map(|node| format!("{}: {}", node.last().unwrap().id(), node.change))
            .collect();
        assert_eq!(told, ["i-1: joined", "i-2: left", "i-9: port 1 -> 2"]);
        assert!(diff(&before, &before).is_empty() && diff(&[], &[]).is_empty());
    }

    proptest::proptest! {
        /// The difference leads from one list to the other, and has each node once.
        #[test]
        fn the_difference_leads_to_the_other_list(
            before in proptest::collection::btree_map("[a-d]", 0u16..2, 0..5),
            after in proptest::collection::btree_map("[a-d]", 0u16..2, 0..5),
        ) {
            let records = |list: &BTreeMap<String, u16>| -> Vec<Record> {
                list.iter().map(|(id, port)| record(id, *port)).collect()
            };
            let (old, new) = (records(&before), records(&after));
            let changes = diff(&old, &new);
            proptest::prop_assert!(changes.is_sorted_by(|a, b| a.last().unwrap().id() < b.last().unwrap().id()));
            let mut list: BTreeMap<&str, &Record> = old.iter().map(|record| (record.id().as_str(), record)).collect();
            for node in changes {
                proptest::prop_assert!(node.before != node.after);
                match node.after {
                    Some(record) => { list.insert(record.id().as_str(), record); }
                    None => { list.remove(node.last().unwrap().id().as_str()); }
                }
            }
            proptest::prop_assert!(list.into_values().eq(&new));
        }
    }
}
