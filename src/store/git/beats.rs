//! Heartbeats without history: K refs, each one commit without parent that holds the last beats of its nodes.
//!
//! A beat replaces the commit of its node's shard under a lease; who was slower looks again and repeats. However long a
//! fleet runs, there is one line for each node, and nothing is kept of the past.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hash::Hasher;

use git2::{Oid, Repository};
use jiff::Timestamp;

use super::commit;
use crate::name::Name;
use crate::store::StoreErrorKind;
use crate::store::error::Doing;

/// Where the shards are.
pub(super) const PREFIX: &str = "refs/presence/beats/";

/// The file of a shard: a line `<instance-id> <seconds since 1970>` for each node.
const FILE: &str = "beats";

/// A node that has not beaten for so long is dropped from its shard, in seconds: the list stays bounded by the fleet.
const FORGOTTEN: i64 = 30 * 24 * 60 * 60;

/// When nodes beat last.
pub type Beats = BTreeMap<String, Timestamp>;

/// The ref of the node's shard, of so many.
pub(super) fn shard(id: &Name, shards: u16) -> String {
    let mut hash = fnv::FnvHasher::default();
    hash.write(id.as_ref().as_bytes());
    format!("{PREFIX}{:03x}", hash.finish() % u64::from(shards.max(1)))
}

/// The beats in a shard's commit. What is no beat is passed over: it is replaced with the next.
pub(super) fn read(repo: &Repository, commit: Oid) -> Beats {
    let blob = repo.find_commit(commit).and_then(|commit| {
        let entry = commit.tree()?.get_path(FILE.as_ref())?.id();
        repo.find_blob(entry)
    });
    let Ok(blob) = blob else { return Beats::new() };
    let text = String::from_utf8_lossy(blob.content());
    text.lines()
        .filter_map(|line| {
            let (id, time) = line.split_once(' ')?;
            Some((id.to_owned(), Timestamp::from_second(time.parse().ok()?).ok()?))
        })
        .collect()
}

/// A commit with these beats and this node's new one.
pub(super) fn write(
    repo: &Repository,
    mut beats: Beats,
    id: &Name,
    time: Timestamp,
) -> Result<Oid, StoreErrorKind> {
    beats.insert(id.to_string(), time);
    beats.retain(|_, known| time.as_second() - known.as_second() < FORGOTTEN);
    let mut text = String::new();
    for (id, time) in &beats {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{id} {}", time.as_second());
    }
    let blob = repo.blob(text.as_bytes()).doing("write a heartbeat")?;
    commit::alone(repo, &BTreeMap::from([(FILE.to_owned(), blob)]), "presence", "heartbeats\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_replaces_the_last_and_drops_who_is_long_gone() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let name = |text| Name::parse(text).unwrap();
        let mut beats = Beats::new();
        for (id, second) in
            [("i-old", 1), ("i-1", FORGOTTEN), ("i-1", FORGOTTEN + 60), ("i-2", FORGOTTEN + 61)]
        {
            beats = read(&repo, write(&repo, beats, &name(id), at(second)).unwrap());
        }
        assert_eq!(
            beats,
            Beats::from([("i-1".into(), at(FORGOTTEN + 60)), ("i-2".into(), at(FORGOTTEN + 61))])
        );
    }

    #[test]
    fn shards_are_few_and_used_evenly() {
        let shards: std::collections::BTreeSet<_> =
            (0..1_000).map(|n| shard(&Name::parse(&format!("i-{n:08x}")).unwrap(), 64)).collect();
        assert_eq!(shards.len(), 64);
    }
}
