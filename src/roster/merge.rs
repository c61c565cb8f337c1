//! Many files, one record a node.

use std::cmp::Reverse;

use crate::record::Record;
use crate::text::Text;

/// A record that may be the one that counts.
pub(super) struct Candidate {
    pub(super) record: Record,
    pub(super) path: Text,
    /// The store's place in the configuration; lower is more trusted.
    pub(super) rank: usize,
    /// From the last copy of a store that does not answer.
    pub(super) stale: bool,
}

/// The record that counts for each node, by instance-id.
///
/// Newest is what the node itself says (`statetss`): a file's time differs from machine to machine, and the same folder
/// must give the same answer everywhere. Where that is equal, a store that answers is more trusted than a copy, then
/// the store named first, then the lower path.
pub(super) fn newest(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.sort_by(|a, b| {
        a.record
            .id()
            .cmp(b.record.id())
            .then_with(|| Reverse(a.record.changed()).cmp(&Reverse(b.record.changed())))
            .then_with(|| (a.stale, a.rank, &a.path).cmp(&(b.stale, b.rank, &b.path)))
    });
    candidates.dedup_by(|later, first| later.record.id() == first.record.id());
    candidates
}
