//! Many files, one record a node.

use std::cmp::Reverse;

use super::Node;
use crate::text::Text;

/// The record that counts for each node, by instance-id. The stores are those of the configuration, the most trusted first.
///
/// Newest is what the node itself says (`statetss`): a file's time differs from machine to machine, and the same folder
/// must give the same answer everywhere. Where that is equal, a store that answers is more trusted than a copy, then
/// the store named first, then the lower path.
pub(super) fn newest(mut nodes: Vec<Node>, stores: &[Text]) -> Vec<Node> {
    // So one store gives them, unless a node is in several of its files.
    if nodes.is_sorted_by(|a, b| a.record.id() < b.record.id()) {
        return nodes;
    }
    let rank = |node: &Node| stores.iter().position(|store| *store == node.store);
    nodes.sort_by(|a, b| {
        a.record
            .id()
            .cmp(b.record.id())
            .then_with(|| Reverse(a.record.changed()).cmp(&Reverse(b.record.changed())))
            .then_with(|| (a.stale, rank(a), &a.path).cmp(&(b.stale, rank(b), &b.path)))
    });
    nodes.dedup_by(|later, first| later.record.id() == first.record.id());
    nodes
}
