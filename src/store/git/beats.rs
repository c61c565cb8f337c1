//! Heartbeats without history: K refs, each one commit without a parent that holds the last heartbeats of its
//! nodes.
//!
//! A heartbeat replaces the commit of its node's shard under a lease. A node that loses the race reads the
//! shard again and retries. However long a fleet runs, there is one line for each node, and no history.

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::hash::Hasher;

use git2::{ObjectType, Oid, Repository};
use jiff::Timestamp;

use super::{commit, commits, tree};
use crate::limits;
use crate::name::Name;
use crate::store::git::error::{During, GitError};
use crate::store::{Folder, StoreErrorKind};

/// The prefix of the shards' refs.
pub(super) const PREFIX: &str = "refs/presence/beats/";

/// The file of a shard: a line `<instance-id> <seconds since 1970>` for each node. The fraction of the
/// seconds is the mark of the machine ([`crate::mark`]).
const FILE: &str = "beats";

/// Seconds: a line that is older than the median of its shard by more than this is dropped, so that the fleet
/// bounds the shard.
const FORGOTTEN: i64 = 30 * 24 * 60 * 60;

/// A shard of at most this many lines (2 KB) keeps all of them, so that a node with a wrong clock can be
/// heard.
const FEW: usize = 64;

/// The most lines of a shard (2 MB). With 64 shards, that is four million nodes.
pub(super) const MOST: usize = 65_536;

/// The most lines in a shard for nodes that are not on the list. A node may beat before it is on the list,
/// but nobody asks for its heartbeat until then.
const STRANGERS: usize = 512;

/// In a shard of more than [`STRANGERS`] lines, one writer in this many determines the nodes on the list,
/// which walks the whole list. In one of more than `CROWDED` lines, every writer does.
const LOOKS: u8 = 16;
const CROWDED: usize = 16_384;

/// The times that nodes wrote last.
pub(super) type Beats = BTreeMap<String, Timestamp>;

/// The nodes on the list, determined on first use; `None` if they are unknown or there is no list.
///
/// Anybody who may push can write lines of nodes that do not exist. They must not displace the lines of
/// others.
pub(super) type Listed<'a> =
    LazyCell<Option<HashSet<String>>, Box<dyn FnOnce() -> Option<HashSet<String>> + 'a>>;

/// The nodes on the list at that commit. If it cannot be read they are unknown, and no line is dropped
/// because of it.
pub(super) fn listed(repo: &Repository, tip: Option<Oid>, folder: &Folder) -> Option<HashSet<String>> {
    let root = tree::find(repo, tree::commit(repo, tip?).ok()?.tree).ok()?;
    let tree = tree::folder(repo, &root, folder).ok()??;
    Some(tree::ids(repo, &tree).ok()?).filter(|ids| !ids.is_empty())
}

/// The most bytes of a shard that are read. A writer replaces the whole shard, so a lower limit on one machine
/// would delete the heartbeats of other nodes: `shard-bytes` can only raise the default.
fn most_bytes() -> usize {
    limits::get().shard_bytes.max(limits::Limits::default().shard_bytes)
}

/// The ref of the node's shard, given the number of shards.
pub(super) fn shard(id: &Name, shards: u16) -> String {
    let mut hash = fnv::FnvHasher::default();
    hash.write(id.as_ref().as_bytes());
    format!("{PREFIX}{:03x}", hash.finish() % u64::from(shards.max(1)))
}

/// Whether the ref is a shard.
pub(super) fn is_shard(name: &str) -> bool {
    let Some(number) = name.strip_prefix(PREFIX) else { return false };
    (3..=4).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The content of a shard.
#[derive(Debug, PartialEq)]
pub(super) enum Shard {
    Beats(Beats),
    /// It has too many lines: these are the lines of nodes on the list, and a few others.
    Cut(Beats),
    /// It is not a shard, with the reason as the end of a sentence. The next heartbeat replaces it.
    Odd(&'static str),
}

impl Shard {
    /// The heartbeats to which the next one is added.
    pub(super) fn into_base(self) -> Beats {
        match self {
            Shard::Beats(beats) | Shard::Cut(beats) => beats,
            Shard::Odd(_) => Beats::new(),
        }
    }
}

/// The heartbeats in a shard's commit. Skips a line that is not a heartbeat: the next write drops it. Reads
/// nothing larger than a shard can be. Reduces a shard of more lines than `most` if the nodes on the list are
/// known.
pub(super) fn read(
    repo: &Repository,
    commit: Oid,
    most: usize,
    listed: &Listed<'_>,
) -> Result<Shard, StoreErrorKind> {
    let odb = repo.odb().during("open the object database")?;
    let is_odd = |oid: Oid, kind: ObjectType| {
        let (size, found) = odb.read_header(oid).during("read heartbeats")?;
        Ok::<_, StoreErrorKind>(found != kind || size > most_bytes())
    };
    if is_odd(commit, ObjectType::Commit)? {
        return Ok(Shard::Odd("does not name a commit"));
    }
    let tree = commits::read(repo, commit).during("read heartbeats")?.tree;
    if is_odd(tree, ObjectType::Tree)? {
        return Ok(Shard::Odd("names a commit that is too large"));
    }
    let tree = repo.find_tree(tree).during("read heartbeats")?;
    // A commit without that file is not from presence, and has no heartbeats.
    let Some(entry) = tree.get_name(FILE) else { return Ok(Shard::Beats(Beats::new())) };
    if entry.kind() != Some(ObjectType::Blob) || is_odd(entry.id(), ObjectType::Blob)? {
        return Ok(Shard::Odd("names heartbeats that are too large"));
    }
    let blob = repo.find_blob(entry.id()).during("read heartbeats")?;
    let count = blob.content().iter().filter(|byte| **byte == b'\n').count();
    let text = String::from_utf8_lossy(blob.content());
    if count <= most {
        return Ok(Shard::Beats(parse(&text)));
    }
    Ok(match listed.as_ref() {
        Some(ids) => {
            let mut strangers = 0..MOST;
            let mut beats = lines(&text)
                .filter(|(id, _)| ids.contains(*id) || strangers.next().is_some())
                .filter_map(beat)
                .collect();
            thin(&mut beats, None, MOST, listed);
            Shard::Cut(beats)
        }
        None if count <= MOST => Shard::Beats(parse(&text)),
        // Otherwise an attacker who fills a shard would decide whose lines go. The nodes' next heartbeats
        // fill a new shard.
        None => Shard::Odd("names more heartbeats than a shard can hold"),
    })
}

/// The heartbeats in the text of a shard.
pub(super) fn parse(text: &str) -> Beats {
    lines(text).take(MOST).filter_map(beat).collect()
}

/// Its lines: node and time.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once(' '))
}

/// The heartbeat in a line, if it is one.
fn beat((id, time): (&str, &str)) -> Option<(String, Timestamp)> {
    let (second, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let nanoseconds = format!("{fraction:0<9.9}").parse().ok()?;
    let id = Name::parse(id).ok()?.to_string();
    Some((id, Timestamp::new(second.parse().ok()?, nanoseconds).ok()?))
}

/// The heartbeats to write on top of. A shard whose objects are lost starts empty: its nodes beat again soon.
pub(super) fn read_or_lost(
    repo: &Repository,
    commit: Oid,
    listed: &Listed<'_>,
) -> Result<Beats, StoreErrorKind> {
    match read(repo, commit, MOST, listed) {
        Err(StoreErrorKind::Git(GitError::Libgit2 { source, .. }))
            if source.code() == git2::ErrorCode::NotFound =>
        {
            Ok(Beats::new())
        }
        result => Ok(result?.into_base()),
    }
}

/// Writes a commit with these heartbeats and this node's new one.
pub(super) fn write(
    repo: &Repository,
    mut beats: Beats,
    id: &Name,
    time: Timestamp,
    listed: &Listed<'_>,
) -> Result<Oid, StoreErrorKind> {
    add(&mut beats, id.as_ref(), time, MOST, listed);
    let mut text = String::new();
    for (id, time) in &beats {
        // Writing to a string does not fail.
        let _ = match time.subsec_nanosecond() {
            0 => writeln!(text, "{id} {}", time.as_second()),
            mark => writeln!(text, "{id} {}.{mark:09}", time.as_second()),
        };
    }
    let blob = repo.blob(text.as_bytes()).during("write a heartbeat")?;
    commit::alone(repo, &BTreeMap::from([(FILE.to_owned(), blob)]), "presence", "heartbeats\n")
}

/// Adds this node's line, and drops the lines of nodes that are long gone.
///
/// Lines are compared with each other, never with the writer's clock: a single wrong clock drops no line. The
/// list is consulted only if a line may go. The new line always stays.
fn add(beats: &mut Beats, id: &str, time: Timestamp, most: usize, listed: &Listed<'_>) {
    beats.insert(id.to_owned(), time);
    if beats.len() <= FEW {
        return;
    }
    let median = median(beats.values());
    let is_old = |(known, time): (&String, &Timestamp)| *known != id && median - time.as_second() > FORGOTTEN;
    let count = beats.len();
    let looks = count > CROWDED.min(most) || (count > STRANGERS && fastrand::u8(..LOOKS) == 0);
    if looks || beats.iter().any(is_old) {
        thin(beats, Some(id), most, listed);
    }
}

/// Drops outdated and surplus lines, but never the line of `own`.
///
/// The reference is the lower median of the nodes on the list, or of all lines if the list is unknown. Drops
/// a line that is older by more than [`FORGOTTEN`], and a line of a node off the list that is later by as
/// much. Of more than [`STRANGERS`] other lines of nodes off the list, drops those farthest from the median.
/// Does the same with all lines if they are more than `most`.
fn thin(beats: &mut Beats, own: Option<&str>, most: usize, listed: &Listed<'_>) {
    let is_listed = |id: &str| listed.as_ref().is_none_or(|listed| listed.contains(id));
    let mut of_listed = beats.iter().filter(|(id, _)| is_listed(id)).map(|(_, time)| time).peekable();
    let median = match of_listed.peek() {
        Some(_) => median(of_listed),
        None => median(beats.values()),
    };
    let mut lines = Vec::with_capacity(beats.len());
    let mut gone = Vec::new();
    for (id, time) in beats.iter().filter(|(id, _)| own != Some(id.as_str())) {
        let (time, is_stranger) = (time.as_second(), !is_listed(id));
        let distance = time.abs_diff(median);
        match distance > FORGOTTEN.unsigned_abs() && (time < median || is_stranger) {
            true => gone.push(id.clone()),
            false => lines.push((is_stranger, distance, id)),
        }
    }
    let known = lines.iter().filter(|(is_stranger, ..)| !is_stranger).count();
    let kept = (known + STRANGERS).min(most.saturating_sub(usize::from(own.is_some())));
    if lines.len() > kept {
        lines.sort_unstable();
        gone.extend(lines.drain(kept..).map(|(_, _, id)| id.clone()));
    }
    for id in gone {
        beats.remove(&id);
    }
}

/// The lower median in seconds; zero without lines.
fn median<'t>(times: impl Iterator<Item = &'t Timestamp>) -> i64 {
    let mut times: Vec<i64> = times.map(|time| time.as_second()).collect();
    let Some(middle) = times.len().checked_sub(1).map(|last| last / 2) else { return 0 };
    *times.select_nth_unstable(middle).1
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

    fn known<'a>(ids: impl Iterator<Item = String> + 'a) -> Listed<'a> {
        LazyCell::new(Box::new(|| Some(ids.collect())))
    }

    fn unknown() -> Listed<'static> {
        LazyCell::new(Box::new(|| None))
    }

    /// Adds a line while the nodes on the list are unknown.
    fn add(beats: &mut Beats, id: &str, time: Timestamp, most: usize) {
        super::add(beats, id, time, most, &unknown());
    }

    #[test]
    fn a_beat_replaces_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        let name = |text| Name::parse(text).unwrap();
        let mut beats = Beats::new();
        let marked = crate::mark::Mark::of(77).stamp(at(TODAY), true);
        let commit = write(&repo, Beats::new(), &name("i-1"), marked, &unknown()).unwrap();
        let read = |commit| read(&repo, commit, MOST, &unknown()).unwrap().into_base();
        assert_eq!(read(commit)["i-1"], marked);
        for (id, second) in [("i-1", TODAY), ("i-1", TODAY + 60), ("i-2", TODAY + 61)] {
            beats = read(write(&repo, beats, &name(id), at(second), &unknown()).unwrap());
        }
        assert_eq!(beats, Beats::from([("i-1".into(), at(TODAY + 60)), ("i-2".into(), at(TODAY + 61))]));
    }

    #[test]
    fn what_is_no_shard_is_odd_and_nothing_large_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        let blob = repo.blob(&vec![b'\n'; most_bytes() + 1]).unwrap();
        let file = |name: &str, blob| {
            commit::alone(&repo, &BTreeMap::from([(name.to_owned(), blob)]), "t", "x").unwrap()
        };
        let who = git2::Signature::now("t", "t@localhost").unwrap();
        let plain = file("other", repo.blob(b"").unwrap());
        let object = repo.find_object(plain, None).unwrap();
        let tag = repo.tag("t", &object, &who, "x", false).unwrap();
        let read = |commit| read(&repo, commit, MOST, &unknown()).unwrap();
        assert_eq!(read(plain), Shard::Beats(Beats::new()));
        let flood = "A 1\n".repeat(MOST + 1);
        let flood = file(FILE, repo.blob(flood.as_bytes()).unwrap());
        for odd in [blob, tag, file(FILE, blob), flood] {
            assert!(matches!(read(odd), Shard::Odd(_)));
            assert_eq!(read_or_lost(&repo, odd, &unknown()).unwrap(), Beats::new());
        }
        let lines = format!("i-1 {TODAY}\n../x {TODAY}\nno beat\ni-2 {TODAY}\n");
        let Shard::Beats(beats) = read(file(FILE, repo.blob(lines.as_bytes()).unwrap())) else {
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
        // Each day ten new nodes beat twice and disappear.
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
            // The node with the wrong clock writes first, then any other node.
            add(&mut beats, "i-wrong", at(TODAY + wrong), MOST);
            prop_assert!(honest.keys().all(|id| beats.contains_key(id)));
            prop_assert!(beats.contains_key("i-wrong"));
            add(&mut beats, &format!("i-{}", writer % ages.len()), at(TODAY), MOST);
            prop_assert!(honest.keys().all(|id| beats.contains_key(id)));
        }
    }

    #[test]
    fn strangers_push_out_no_node_of_the_list() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        let fleet = || (0..100).map(|node| format!("i-{node}"));
        let flood = |count: usize, time: i64| (0..count).map(move |node| (format!("a-{node}"), at(time)));
        let honest: Beats = fleet().map(|id| (id, at(TODAY))).chain([("new".into(), at(TODAY))]).collect();
        let own = Name::parse("own").unwrap();
        // At the fleet's time, and at times where strangers hold most lines and so decide which lines are
        // old.
        for (count, time) in [(MOST * 2, TODAY), (CROWDED, TODAY), (400, TODAY + 40 * DAY), (400, 0)] {
            let lines = honest.clone().into_iter().chain(flood(count, time));
            let text: String = lines.map(|(id, time)| format!("{id} {}\n", time.as_second())).collect();
            // The lines of the fleet come last.
            let text: Vec<&str> = text.lines().rev().collect();
            let blob = repo.blob(text.join("\n").as_bytes()).unwrap();
            let full = commit::alone(&repo, &BTreeMap::from([(FILE.to_owned(), blob)]), "t", "x").unwrap();
            let listed = known(fleet());
            let base = read(&repo, full, MOST, &listed).unwrap();
            assert_eq!(matches!(base, Shard::Cut(_)), count > MOST);
            let next = write(&repo, base.into_base(), &own, at(TODAY), &listed).unwrap();
            let beats = read(&repo, next, MOST, &unknown()).unwrap().into_base();
            assert!(fleet().all(|id| beats.contains_key(&id)) && beats.contains_key("own"));
            assert!(beats.len() <= 100 + STRANGERS + 1, "{} of {count}", beats.len());
            assert!(count > STRANGERS || beats.contains_key("new"), "few push out nobody");
            // A reader that finds the whole too large reads the lines of the list.
            let Shard::Cut(beats) = read(&repo, full, 0, &listed).unwrap() else { panic!("it is too much") };
            assert!(fleet().all(|id| beats.contains_key(&id)) && beats.len() <= 100 + STRANGERS);
        }
    }

    #[test]
    fn one_of_those_who_write_takes_strangers_away() {
        let listed = known((0..100).map(|node| format!("i-{node}")));
        let mut beats: Beats = (0..STRANGERS * 2).map(|node| (format!("a-{node}"), at(TODAY))).collect();
        for node in (0..100).cycle().take(1_000) {
            super::add(&mut beats, &format!("i-{node}"), at(TODAY), MOST, &listed);
        }
        assert_eq!(beats.len(), 100 + STRANGERS);
    }

    #[test]
    fn who_is_on_the_list_is_asked_only_if_a_line_may_go() {
        let listed: Listed<'_> = LazyCell::new(Box::new(|| panic!("nobody needs to know")));
        let mut beats = Beats::new();
        for node in 0..STRANGERS {
            super::add(&mut beats, &format!("i-{node}"), at(TODAY - FORGOTTEN / 2), MOST, &listed);
        }
        super::add(&mut beats, "i-0", at(TODAY), MOST, &listed);
        assert_eq!(beats.len(), STRANGERS);
    }

    #[test]
    fn shards_are_few_and_used_evenly() {
        let shards: std::collections::BTreeSet<_> =
            (0..1_000).map(|n| shard(&Name::parse(&format!("i-{n:08x}")).unwrap(), 64)).collect();
        assert_eq!(shards.len(), 64);
    }
}
