//! Heartbeats without history: K refs, each one commit without parent that holds the last beats of its nodes.
//!
//! A beat replaces the commit of its node's shard under a lease; who was slower looks again and repeats. However long a
//! fleet runs, there is one line for each node, and nothing is kept of the past.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hash::Hasher;

use git2::{ObjectType, Oid, Repository};
use jiff::Timestamp;

use super::{commit, commits};
use crate::limits;
use crate::name::Name;
use crate::store::StoreErrorKind;
use crate::store::error::Doing;

/// Where the shards are.
pub(super) const PREFIX: &str = "refs/presence/beats/";

/// The file of a shard: a line `<instance-id> <seconds since 1970>` for each node, with the mark of the machine behind a point
/// ([`crate::mark`]).
const FILE: &str = "beats";

/// A line that is so much older than most lines of its shard is dropped, in seconds: a shard stays bounded by the fleet.
const FORGOTTEN: i64 = 30 * 24 * 60 * 60;

/// A shard of no more lines than this (2 KB) keeps all of them, so that a node with a wrong clock can be heard.
const FEW: usize = 64;

/// No shard has more lines than this (2 MB). With 64 shards, that is four million nodes.
const MOST: usize = 65_536;

/// When nodes beat last.
pub type Beats = BTreeMap<String, Timestamp>;

/// The ref of the node's shard, of so many.
pub(super) fn shard(id: &Name, shards: u16) -> String {
    let mut hash = fnv::FnvHasher::default();
    hash.write(id.as_ref().as_bytes());
    format!("{PREFIX}{:03x}", hash.finish() % u64::from(shards.max(1)))
}

/// Whether the ref is one of a shard.
pub(super) fn is_shard(name: &str) -> bool {
    let Some(number) = name.strip_prefix(PREFIX) else { return false };
    (3..=4).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What a shard's ref names.
#[derive(Debug, PartialEq)]
pub(super) enum Shard {
    Beats(Beats),
    /// Something else, as the end of a sentence: the next heartbeat takes its place.
    Odd(&'static str),
}

impl Shard {
    /// The beats that the next one is added to.
    pub(super) fn into_base(self) -> Beats {
        match self {
            Shard::Beats(beats) => beats,
            Shard::Odd(_) => Beats::new(),
        }
    }
}

/// The beats in a shard's commit. A line that is no beat is passed over: it is replaced with the next. Nothing is read
/// that is larger than it can be.
pub(super) fn read(repo: &Repository, commit: Oid) -> Result<Shard, StoreErrorKind> {
    let odb = repo.odb().doing("open the object database")?;
    let is_odd = |oid: Oid, kind: ObjectType| {
        let (size, found) = odb.read_header(oid).doing("read heartbeats")?;
        Ok::<_, StoreErrorKind>(found != kind || size > limits::get().shard_bytes)
    };
    if is_odd(commit, ObjectType::Commit)? {
        return Ok(Shard::Odd("names no commit"));
    }
    let tree = commits::read(repo, commit).doing("read heartbeats")?.tree;
    if is_odd(tree, ObjectType::Tree)? {
        return Ok(Shard::Odd("names a commit that is too large"));
    }
    let tree = repo.find_tree(tree).doing("read heartbeats")?;
    // A commit without that file is none of this program, and nobody has beaten there.
    let Some(entry) = tree.get_name(FILE) else { return Ok(Shard::Beats(Beats::new())) };
    if entry.kind() != Some(ObjectType::Blob) || is_odd(entry.id(), ObjectType::Blob)? {
        return Ok(Shard::Odd("names heartbeats that are too large"));
    }
    let blob = repo.find_blob(entry.id()).doing("read heartbeats")?;
    // Whoever fills a shard would decide whose lines go. Begun anew, it has those of its nodes with their next beats.
    if blob.content().iter().filter(|byte| **byte == b'\n').nth(MOST - 1).is_some() {
        return Ok(Shard::Odd("names more heartbeats than a shard can hold"));
    }
    Ok(Shard::Beats(parse(blob.content())))
}

/// The beats in the text of a shard.
pub(super) fn parse(bytes: &[u8]) -> Beats {
    String::from_utf8_lossy(bytes)
        .lines()
        .take(MOST)
        .filter_map(|line| {
            let (id, time) = line.split_once(' ')?;
            let (second, fraction) = time.split_once('.').unwrap_or((time, "0"));
            let nanoseconds = format!("{fraction:0<9.9}").parse().ok()?;
            let id = Name::parse(id).ok()?.to_string();
            Some((id, Timestamp::new(second.parse().ok()?, nanoseconds).ok()?))
        })
        .collect()
}

/// The same, to be written anew: a shard whose objects are lost begins anew, and its nodes beat again soon.
pub(super) fn read_or_lost(repo: &Repository, commit: Oid) -> Result<Beats, StoreErrorKind> {
    match read(repo, commit) {
        Err(StoreErrorKind::Git { source, .. }) if source.code() == git2::ErrorCode::NotFound => {
            Ok(Beats::new())
        }
        result => Ok(result?.into_base()),
    }
}

/// A commit with these beats and this node's new one.
pub(super) fn write(
    repo: &Repository,
    mut beats: Beats,
    id: &Name,
    time: Timestamp,
) -> Result<Oid, StoreErrorKind> {
    add(&mut beats, id.as_ref(), time, MOST);
    let mut text = String::new();
    for (id, time) in &beats {
        // Writing to a string does not fail.
        let _ = match time.subsec_nanosecond() {
            0 => writeln!(text, "{id} {}", time.as_second()),
            mark => writeln!(text, "{id} {}.{mark:09}", time.as_second()),
        };
    }
    let blob = repo.blob(text.as_bytes()).doing("write a heartbeat")?;
    commit::alone(repo, &BTreeMap::from([(FILE.to_owned(), blob)]), "presence", "heartbeats\n")
}

/// Adds this node's line, and forgets nodes that are long gone.
///
/// The lines are compared with each other, never with the clock of who writes: one wrong clock, whoever's it is, drops
/// no line. A line goes if it is older than the lower median of all by more than [`FORGOTTEN`]; with more than `most`
/// lines, those go that are farthest from the median. The line that is just being written stays.
fn add(beats: &mut Beats, id: &str, time: Timestamp, most: usize) {
    beats.insert(id.to_owned(), time);
    if beats.len() <= FEW {
        return;
    }
    let mut times: Vec<i64> = beats.values().map(|time| time.as_second()).collect();
    let middle = (times.len() - 1) / 2;
    let (_, median, _) = times.select_nth_unstable(middle);
    let median = *median;
    beats.retain(|known, time| known == id || median - time.as_second() <= FORGOTTEN);
    if beats.len() > most {
        let mut far: Vec<(u64, String)> = beats
            .iter()
            .filter(|(known, _)| known.as_str() != id)
            .map(|(known, time)| (time.as_second().abs_diff(median), known.clone()))
            .collect();
        far.sort_unstable();
        for (_, known) in far.drain(most.saturating_sub(1)..) {
            beats.remove(&known);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 24 * 60 * 60;

    /// A day in 2026, in seconds since 1970.
    const TODAY: i64 = 20_500 * DAY;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_beat_replaces_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        let name = |text| Name::parse(text).unwrap();
        let mut beats = Beats::new();
        let marked = crate::mark::Mark::of(77).stamp(at(TODAY), true);
        let commit = write(&repo, Beats::new(), &name("i-1"), marked).unwrap();
        let read = |commit| read(&repo, commit).unwrap().into_base();
        assert_eq!(read(commit)["i-1"], marked);
        for (id, second) in [("i-1", TODAY), ("i-1", TODAY + 60), ("i-2", TODAY + 61)] {
            beats = read(write(&repo, beats, &name(id), at(second)).unwrap());
        }
        assert_eq!(beats, Beats::from([("i-1".into(), at(TODAY + 60)), ("i-2".into(), at(TODAY + 61))]));
    }

    #[test]
    fn what_is_no_shard_is_odd_and_nothing_large_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        let blob = repo.blob(&vec![b'\n'; limits::get().shard_bytes + 1]).unwrap();
        let file = |name: &str, blob| {
            commit::alone(&repo, &BTreeMap::from([(name.to_owned(), blob)]), "t", "x").unwrap()
        };
        let who = git2::Signature::now("t", "t@localhost").unwrap();
        let plain = file("other", repo.blob(b"").unwrap());
        let object = repo.find_object(plain, None).unwrap();
        let tag = repo.tag("t", &object, &who, "x", false).unwrap();
        assert_eq!(read(&repo, plain).unwrap(), Shard::Beats(Beats::new()));
        let flood = "A 1\n".repeat(MOST);
        let flood = file(FILE, repo.blob(flood.as_bytes()).unwrap());
        for odd in [blob, tag, file(FILE, blob), flood] {
            assert!(matches!(read(&repo, odd).unwrap(), Shard::Odd(_)));
            assert_eq!(read_or_lost(&repo, odd).unwrap(), Beats::new());
        }
        let lines = format!("i-1 {TODAY}\n../x {TODAY}\nno beat\ni-2 {TODAY}\n");
        let Shard::Beats(beats) = read(&repo, file(FILE, repo.blob(lines.as_bytes()).unwrap())).unwrap()
        else {
            panic!("it is one");
        };
        assert_eq!(beats.into_keys().collect::<Vec<_>>(), ["i-1", "i-2"]);
    }

    #[test]
    fn the_refs_of_shards_are_known_by_their_names() {
        for (name, is) in [
            ("000", true),
            ("03f", true),
            ("ffff", true),
            ("0", false),
            ("00g", false),
            ("000^{}", false),
            ("000/1", false),
        ] {
            assert_eq!(is_shard(&format!("{PREFIX}{name}")), is, "{name}");
        }
        assert!(!is_shard("000"));
    }

    #[test]
    fn nodes_come_and_go_and_the_shard_stays_bounded() {
        // Each day ten nodes come, beat twice, and are gone.
        let mut beats = Beats::new();
        for day in 0..200 {
            for node in 0..10 {
                for of in [day - 1, day] {
                    add(&mut beats, &format!("i-{of}-{node}"), at(TODAY + day * DAY + node), MOST);
                }
            }
            let live = beats.keys().filter(|id| id.starts_with(&format!("i-{day}-"))).count();
            assert_eq!(live, 10);
        }
        assert!(beats.len() <= 10 * 62, "{} lines", beats.len());
        assert!(beats.contains_key("i-190-0"), "but nobody of this month is forgotten");
    }

    #[test]
    fn too_many_lines_leave_those_about_the_median() {
        let mut beats = Beats::new();
        for node in 0..200 {
            add(&mut beats, &format!("i-{node}"), at(TODAY + node), 100);
        }
        assert_eq!(beats.len(), 100);
        add(&mut beats, "i-future", at(TODAY + 1000 * DAY), 100);
        assert!(beats.len() == 100 && beats.contains_key("i-future"), "it has just been written");
        add(&mut beats, "i-next", at(TODAY + 200), 100);
        assert!(beats.len() == 100 && !beats.contains_key("i-future"), "it is the farthest");
    }

    proptest! {
        #[test]
        fn one_line_of_any_time_drops_no_other(
            ages in proptest::collection::vec(0..=FORGOTTEN, 1..200),
            wrong in -1_000 * 365 * DAY..1_000 * 365 * DAY,
            writer in 0_usize..200,
        ) {
            let mut beats = Beats::new();
            for (node, age) in ages.iter().enumerate() {
                beats.insert(format!("i-{node}"), at(TODAY - age));
            }
            let honest = beats.clone();
            // Who has the wrong clock writes, then any of the others does.
            add(&mut beats, "i-wrong", at(TODAY + wrong), MOST);
            prop_assert!(honest.keys().all(|id| beats.contains_key(id)));
            prop_assert!(beats.contains_key("i-wrong"));
            add(&mut beats, &format!("i-{}", writer % ages.len()), at(TODAY), MOST);
            prop_assert!(honest.keys().all(|id| beats.contains_key(id)));
        }
    }

    #[test]
    fn shards_are_few_and_used_evenly() {
        let shards: std::collections::BTreeSet<_> =
            (0..1_000).map(|n| shard(&Name::parse(&format!("i-{n:08x}")).unwrap(), 64)).collect();
        assert_eq!(shards.len(), 64);
    }
}
