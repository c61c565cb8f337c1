//! Merges many files into one record per node.

use std::cmp::Reverse;

use jiff::civil::DateTime;

use super::{Node, Problem};
use crate::store::Layout;
use crate::text::Text;

/// The record of each node, by instance-id. The stores are in the order of the configuration, the most
/// trusted first.
///
/// The newest record wins, by the time that the node itself states (`statetss`). File times differ between
/// machines, but the same folder must give the same result everywhere. Anyone can write a time of the far
/// future into another file, so a time after `latest` loses. Between equal times, the order is: a store that
/// answers before a last copy, the store named first, the file at the layout's path, the lower path. A node
/// has one file in a store: each other file of the node with different content is a problem.
pub(super) fn newest(
    mut nodes: Vec<Node>,
    stores: &[Text],
    layout: &Layout,
    latest: Option<DateTime>,
) -> (Vec<Node>, Vec<Problem>) {
    // This is the order of a single store, unless it has several files of one node.
    if nodes.is_sorted_by(|a, b| a.record.id() < b.record.id()) {
        return (nodes, Vec::new());
    }
    let rank = |node: &Node| stores.iter().position(|store| *store == node.store);
    let age = |node: &Node| {
        let changed = node.record.changed();
        (latest.is_some_and(|latest| changed > Some(latest)), Reverse(changed))
    };
    let is_elsewhere = |node: &Node| !layout.has(&node.record, &node.path);
    nodes.sort_by(|a, b| {
        a.record
            .id()
            .cmp(b.record.id())
            .then_with(|| age(a).cmp(&age(b)))
            .then_with(|| (a.stale, rank(a)).cmp(&(b.stale, rank(b))))
            .then_with(|| (is_elsewhere(a), &a.path).cmp(&(is_elsewhere(b), &b.path)))
    });
    let mut problems = Vec::new();
    for files in nodes.chunk_by(|a, b| a.record.id() == b.record.id()).filter(|files| files.len() > 1) {
        for (at, later) in files.iter().enumerate() {
            let first = files[..at].iter().find(|first| first.store == later.store);
            if let Some(first) = first.filter(|first| first.record != later.record) {
                let (id, wins) = (first.record.id(), first.path.escape_debug());
                let reason = format!("is a second file of the node `{id}`: presence uses `{wins}`");
                problems.push(Problem { store: later.store.clone(), path: later.path.clone(), reason });
            }
        }
    }
    nodes.dedup_by(|later, first| later.record.id() == first.record.id());
    (nodes, problems)
}
