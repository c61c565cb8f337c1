//! Many files, one record a node.

use std::cmp::Reverse;

use super::{Node, Problem};
use crate::text::Text;

/// The record that counts for each node, by instance-id. The stores are those of the configuration, the most trusted first.
///
/// Newest is what the node itself says (`statetss`): a file's time differs from machine to machine, and the same folder
/// must give the same answer everywhere. Where that is equal, a store that answers is more trusted than a copy, then
/// the store named first, then the lower path. In one store a node has one file: each other one is a problem.
pub(super) fn newest(mut nodes: Vec<Node>, stores: &[Text]) -> (Vec<Node>, Vec<Problem>) {
    // So one store gives them, unless a node is in several of its files.
    if nodes.is_sorted_by(|a, b| a.record.id() < b.record.id()) {
        return (nodes, Vec::new());
    }
    let rank = |node: &Node| stores.iter().position(|store| *store == node.store);
    nodes.sort_by(|a, b| {
        a.record
            .id()
            .cmp(b.record.id())
            .then_with(|| Reverse(a.record.changed()).cmp(&Reverse(b.record.changed())))
            .then_with(|| (a.stale, rank(a), &a.path).cmp(&(b.stale, rank(b), &b.path)))
    });
    let mut problems = Vec::new();
    nodes.dedup_by(|later, first| {
        let same = later.record.id() == first.record.id();
        if same && later.store == first.store {
            let (id, counts) = (first.record.id(), first.path.escape_debug());
            let reason = format!("is a second file of the node `{id}`: `{counts}` counts");
            problems.push(Problem { store: later.store.clone(), path: later.path.clone(), reason });
        }
        same
    });
    (nodes, problems)
}
