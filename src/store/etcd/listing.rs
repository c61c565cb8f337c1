//! The keys of a list at one revision, and what a later answer makes of them; pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::keys;
use super::wire::{Header, KeyValue};
use crate::store::Version;
use crate::store::snapshot::{self, Key};

/// The keys below the folder at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) header: Header,
    /// What identifies the value of each key, by the name below the folder.
    pub(super) files: Arc<BTreeMap<Vec<u8>, Key>>,
    pub(super) version: Version,
}

impl Listing {
    pub(super) fn new(header: Header, files: BTreeMap<Vec<u8>, Key>) -> Listing {
        let records = files.iter().filter(|(name, _)| keys::is_record(name));
        let version = snapshot::version_of(records.map(|(name, key)| (name.as_slice(), key)));
        // Each key has a version, so this one exists.
        let version = version.unwrap_or_else(|| Version::new("unknown"));
        Listing { header, files: Arc::new(files), version }
    }

    /// Whether the answer is of this history: the same cluster, and not before this listing. A snapshot that was
    /// restored begins with the revision at which it was taken, and with the first term.
    pub(super) fn continues(&self, later: &Header) -> bool {
        let Header { cluster_id, revision, raft_term, .. } = self.header;
        later.cluster_id == cluster_id && later.revision >= revision && later.raft_term >= raft_term
    }

    /// The listing with these changed keys. `None` if it then has another number of keys than etcd: some were
    /// deleted.
    pub(super) fn with(
        &self,
        header: Header,
        changed: impl Iterator<Item = (Vec<u8>, Key)>,
        count: i64,
    ) -> Option<Listing> {
        let mut changed = changed.peekable();
        if changed.peek().is_none() && usize::try_from(count) == Ok(self.files.len()) {
            return Some(Listing { header, ..self.clone() });
        }
        let mut files = BTreeMap::clone(&self.files);
        files.extend(changed);
        (usize::try_from(count) == Ok(files.len())).then(|| Listing::new(header, files))
    }

    /// How many records there are.
    pub(super) fn records(&self) -> usize {
        self.files.keys().filter(|name| keys::is_record(name)).count()
    }
}

/// What identifies the value of a key: the cluster, and the revisions in which it was created and last written.
pub(super) fn key_of(cluster: u64, found: &KeyValue) -> Key {
    let mut key = Key::default();
    let parts = [cluster.cast_signed(), found.create_revision, found.mod_revision, found.version];
    for (place, part) in key.chunks_exact_mut(8).zip(parts) {
        place.copy_from_slice(&part.to_le_bytes());
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(cluster_id: u64, revision: i64, raft_term: u64) -> Header {
        Header { cluster_id, member_id: 1, revision, raft_term }
    }

    fn key(mod_revision: i64) -> Key {
        key_of(7, &KeyValue { create_revision: 1, mod_revision, version: 1, ..KeyValue::default() })
    }

    fn listing(names: &[(&str, i64)]) -> Listing {
        let files = names.iter().map(|(name, revision)| (name.as_bytes().to_vec(), key(*revision)));
        Listing::new(header(7, 10, 2), files.collect())
    }

    #[test]
    fn a_restored_snapshot_is_another_history() {
        let known = listing(&[("i-1.json", 10)]);
        for (later, expect) in [
            (header(7, 10, 2), true),
            (header(7, 20, 5), true),
            (header(7, 9, 5), false),
            (header(7, 20, 1), false),
            (header(8, 20, 2), false),
        ] {
            assert_eq!(known.continues(&later), expect, "{later:?}");
        }
    }

    #[test]
    fn changes_are_merged_and_deletions_are_noticed() {
        let known = listing(&[("i-1.json", 3), ("i-2.json", 4)]);
        let with = |changed: &[(&str, i64)], count| {
            let changed = changed.iter().map(|(name, at)| (name.as_bytes().to_vec(), key(*at)));
            known.with(header(7, 12, 2), changed.collect::<Vec<_>>().into_iter(), count)
        };
        let same = with(&[], 2).unwrap();
        assert_eq!((same.version.clone(), same.header.revision), (known.version.clone(), 12));
        let changed = with(&[("i-2.json", 11)], 2).unwrap();
        assert_eq!(
            changed,
            Listing { header: header(7, 12, 2), ..listing(&[("i-1.json", 3), ("i-2.json", 11)]) }
        );
        assert_ne!(changed.version, known.version);
        assert_eq!(with(&[], 1), None, "one was deleted");
        assert_eq!(with(&[("i-3.json", 11)], 2), None, "one came, one was deleted");
        assert_eq!(with(&[("i-3.json", 11)], 3).unwrap().records(), 3);
    }

    #[test]
    fn a_key_that_is_no_record_is_counted_and_changes_no_version() {
        let known = listing(&[("i-1.json", 3)]);
        let more = known.with(header(7, 11, 2), [(b"readme".to_vec(), key(11))].into_iter(), 2).unwrap();
        assert_eq!((more.version.clone(), more.records()), (known.version.clone(), 1));
    }
}
