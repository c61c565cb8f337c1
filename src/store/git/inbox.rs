//! Updates that wait to be merged into the branch, each on a ref of its own that nobody else writes.
//!
//! A publisher pushes its record to `refs/presence/inbox/<node>/<unique>`, a push that cannot lose a race.
//! From then on the update is durable, and readers include it. Any publisher may merge all waiting updates in
//! one commit.
//!
//! A publisher that offers a commit to the branch pushes the same update to the inbox as well. So it needs no
//! second push if it loses the race. The name of such a ref ends with `-` and the id of the offered commit.
//! If the branch has that commit, the update no longer waits, and the next push of any node deletes the ref.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hasher;
use std::time::{SystemTime, UNIX_EPOCH};

use git2::{ObjectType, Oid, Repository};

use super::commit;
use super::commits::{self, Commit};
use super::node_files::NodeFiles;
use crate::limits;
use crate::name::Name;
use crate::record::{MAX_BYTES, Record};
use crate::store::git::error::During;
use crate::store::{Folder, StoreErrorKind};

/// The prefix of updates' refs.
pub(super) const PREFIX: &str = "refs/presence/inbox/";

/// A waiting update.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WaitingUpdate {
    /// Orders the updates of one node: its time by the author's clock, then a random number.
    unique: String,
    /// Whether its author checks later whether it was merged, and otherwise merges it.
    pub(super) looked_after: bool,
    pub(super) id: Name,
    /// The ref's target: a commit of only this update.
    pub(super) commit: Oid,
    /// The commit that was offered to the branch in the same push.
    offered: Option<Oid>,
}

impl WaitingUpdate {
    /// Its ref.
    pub(super) fn name(&self) -> String {
        name(&self.id, &self.unique, self.looked_after, self.offered)
    }

    /// Whether this repository lacks the history that [`Merges::have`] needs for this update.
    pub(super) fn is_doubtful(&self, repo: &Repository, tip: Option<Oid>) -> bool {
        self.offered
            .is_some_and(|offered| Some(offered) != tip && !repo.odb().is_ok_and(|odb| odb.exists(offered)))
    }

    /// Its time in microseconds since 1970, by the author's clock.
    pub(super) fn time(&self) -> u64 {
        u64::from_str_radix(&self.unique[..16], 16).unwrap_or_default()
    }
}

/// Determines which offered updates the branch at `tip` has. Walks at most the limit of commits for all
/// updates together. Updates beyond that are treated as waiting; merging them again has no effect.
pub(super) struct Merges<'repo> {
    repo: &'repo Repository,
    tip: Option<Oid>,
    known: HashMap<Oid, bool>,
    steps: usize,
}

impl<'repo> Merges<'repo> {
    pub(super) fn new(repo: &'repo Repository, tip: Option<Oid>) -> Merges<'repo> {
        Merges { repo, tip, known: HashMap::new(), steps: limits::get().steps }
    }

    /// Whether the branch has the update already. Without the tip's history, this is known only of an update
    /// that was offered with the tip itself.
    pub(super) fn have(&mut self, entry: &WaitingUpdate) -> Result<bool, StoreErrorKind> {
        let (Some(offered), Some(tip)) = (entry.offered, self.tip) else { return Ok(false) };
        if let Some(known) = self.known.get(&offered) {
            return Ok(*known);
        }
        let found = offered == tip
            || has_ancestor(self.repo, tip, offered, &mut self.steps).during("read the history")?;
        self.known.insert(offered, found);
        Ok(found)
    }
}

/// Whether `tip` is `offered` or descends from it. Does not walk the ancestors of `offered`, which need not
/// exist. Walks at most `steps` commits.
pub(super) fn has_ancestor(
    repo: &Repository,
    tip: Oid,
    offered: Oid,
    steps: &mut usize,
) -> Result<bool, git2::Error> {
    let Some(offer) = there(repo, offered)? else { return Ok(false) };
    let mut seen: HashSet<Oid> = offer.parents.into_iter().collect();
    let mut waiting = vec![tip];
    while let Some(oid) = waiting.pop() {
        if oid == offered {
            return Ok(true);
        }
        if seen.insert(oid)
            && let Some(commit) = there(repo, oid)?
        {
            let Some(left) = steps.checked_sub(1) else { return Ok(false) };
            *steps = left;
            waiting.extend(commit.parents);
        }
    }
    Ok(false)
}

/// The commit; `None` if the repository lacks it, as a shallow one lacks old commits.
fn there(repo: &Repository, oid: Oid) -> Result<Option<Commit>, git2::Error> {
    match commits::read(repo, oid) {
        Ok(commit) => Ok(Some(commit)),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The updates among these refs, oldest first. Ignores refs with other names.
pub(super) fn entries<'a>(refs: impl IntoIterator<Item = (&'a String, &'a Oid)>) -> Vec<WaitingUpdate> {
    let mut entries: Vec<WaitingUpdate> = refs
        .into_iter()
        .filter_map(|(name, oid)| {
            let (id, unique) = name.strip_prefix(PREFIX)?.split_once('/')?;
            let (unique, offered) = match unique.split_once('-') {
                Some((unique, offered)) => (unique, Some(Oid::from_str(offered).ok()?)),
                None => (unique, None),
            };
            let (unique, looked_after) = match unique.strip_suffix('+') {
                Some(unique) => (unique, true),
                None => (unique, false),
            };
            let usable = unique.len() == UNIQUE && unique.bytes().all(|byte| byte.is_ascii_hexdigit());
            let id = Name::parse(&id.replace('%', ".")).ok().filter(|_| usable)?;
            Some(WaitingUpdate { unique: unique.to_owned(), looked_after, id, commit: *oid, offered })
        })
        .collect();
    entries.sort();
    entries
}

/// The updates that one look considers, oldest first, within the limits for one node and for all. Of one node
/// the newest are kept. Of too many nodes a hash selects, so that no name is always left out.
pub(super) fn select(mut entries: Vec<WaitingUpdate>) -> Vec<WaitingUpdate> {
    let mut of: HashMap<Name, usize> = HashMap::new();
    entries.reverse();
    entries.retain(|entry| {
        let count = of.entry(entry.id.clone()).or_default();
        *count += 1;
        *count <= limits::get().updates_of_node
    });
    entries.reverse();
    if entries.len() > limits::get().updates {
        let hash = |entry: &WaitingUpdate| {
            let mut hash = fnv::FnvHasher::default();
            hash.write(entry.unique.as_bytes());
            hash.write(entry.id.as_ref().as_bytes());
            hash.finish()
        };
        entries.sort_by_cached_key(hash);
        entries.truncate(limits::get().updates);
        entries.sort();
    }
    entries
}

/// Removes the refs of updates that no look considers. Returns their number.
pub(super) fn trim(refs: &mut BTreeMap<String, Oid>) -> usize {
    let all: Vec<WaitingUpdate> = entries(&*refs);
    let count = all.len();
    let kept: HashSet<String> = select(all).iter().map(WaitingUpdate::name).collect();
    refs.retain(|name, _| !name.starts_with(PREFIX) || kept.contains(name));
    count - kept.len()
}

/// A ref name for the next update of that node, which is offered to the branch with the commit `offered`, if
/// any. The name is never reused: it has the clock, kept ahead of `last`, and a random number. A `last` far
/// ahead of the clock is ignored: it cannot be the node's own.
pub(super) fn next(id: &Name, last: Option<u64>, looked_after: bool, offered: Option<Oid>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let now = u64::try_from(now).unwrap_or(u64::MAX);
    let last = last.filter(|last| *last < now.saturating_add(FAR));
    let now = now.max(last.map_or(0, |last| last + 1));
    name(id, &format!("{now:016x}{:08x}", fastrand::u32(..)), looked_after, offered)
}

/// A day, in microseconds.
const FAR: u64 = 24 * 60 * 60 * 1_000_000;

/// The digits of [`WaitingUpdate::unique`].
const UNIQUE: usize = 24;

/// Names may have dots where git forbids them in refs (git-check-ref-format(1)). They never have a `%`, which
/// replaces the dots.
fn name(id: &Name, unique: &str, looked_after: bool, offered: Option<Oid>) -> String {
    let looked_after = if looked_after { "+" } else { "" };
    let offered = offered.map(|oid| format!("-{oid}")).unwrap_or_default();
    format!("{PREFIX}{}/{unique}{looked_after}{offered}", id.as_ref().replace('.', "%"))
}

/// A glob for all refs of that node.
pub(super) fn of(id: &Name) -> String {
    format!("{PREFIX}{}/*", id.as_ref().replace('.', "%"))
}

/// Writes an update: a commit of only these files. A node that leaves has an empty file.
///
/// The files lie side by side in one tree, each named by its whole path. A tree for each directory would mean
/// three more objects, which the server stores, and reads at every push while the update waits.
pub(super) fn write(
    repo: &Repository,
    folder: &Folder,
    edit: &NodeFiles,
    author: &str,
) -> Result<Oid, StoreErrorKind> {
    let mut files: BTreeMap<String, Oid> =
        edit.files.iter().map(|(path, blob)| (flat(&format!("{folder}/{path}")), *blob)).collect();
    if files.is_empty() {
        let nothing = repo.blob(b"").during("write the update")?;
        files.insert(flat(&folder.file_of(&edit.id)), nothing);
    }
    commit::alone(repo, &files, author, &format!("{}\n", edit.id))
}

/// A path as a file name.
fn flat(path: &str) -> String {
    path.replace('%', "%25").replace('/', "%2F")
}

/// The path of such a file in its store; `None` if presence would not have written it.
fn path(name: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(name).ok()?.replace("%2F", "/").replace("%25", "%");
    let (folders, _) = path.rsplit_once('/').unwrap_or_default();
    // A folder with a file's name would conflict with that file: no tree can have both.
    let in_the_way = folders.split('/').any(|part| part.ends_with(".json"));
    let usable = !in_the_way && path.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    usable.then_some(path)
}

/// The path of such a file below the folder; `None` if it is elsewhere.
pub(super) fn path_below(folder: &Folder, name: &[u8]) -> Option<String> {
    Some(path(name)?.strip_prefix(folder.as_ref())?.strip_prefix('/')?.to_owned())
}

/// The meaning of an update.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Says {
    /// The wanted files of the node.
    Files(NodeFiles),
    /// It concerns another folder.
    Elsewhere,
    /// No reader would accept it: it is not an update of presence.
    Junk,
    /// Its objects are missing: it was just merged, or is not fetched yet.
    Lost,
}

/// Determines the meaning of an update. Reads nothing large, and accepts nothing that readers would reject.
pub(super) fn judge(
    repo: &Repository,
    folder: &Folder,
    entry: &WaitingUpdate,
) -> Result<Says, StoreErrorKind> {
    let odb = repo.odb().during("open the object database")?;
    match odb.read_header(entry.commit) {
        Ok((size, ObjectType::Commit)) if size <= MAX_BYTES => {}
        Ok(_) => return Ok(Says::Junk),
        Err(error) if error.code() == git2::ErrorCode::NotFound => return Ok(Says::Lost),
        Err(error) => return Err(error).during("read an update"),
    }
    let root = commits::read(repo, entry.commit).during("read an update")?.tree;
    if odb.read_header(root).during("read an update")?.0 > MAX_BYTES {
        return Ok(Says::Junk);
    }
    let root = repo.find_tree(root).during("read an update")?;
    if root.len() > limits::get().update_files {
        return Ok(Says::Junk);
    }
    let file = format!("{}.json", entry.id);
    let mut files = BTreeMap::new();
    let (mut leaves, mut elsewhere) = (false, false);
    for found in &root {
        if path(found.name_bytes()).is_none_or(|path| path.rsplit('/').next() != Some(&file)) {
            continue;
        }
        let (size, kind) = match found.kind() {
            Some(ObjectType::Blob) => odb.read_header(found.id()).during("read an update")?,
            _ => return Ok(Says::Junk),
        };
        if kind != ObjectType::Blob || size > MAX_BYTES {
            return Ok(Says::Junk);
        }
        if size > 0 {
            let blob = repo.find_blob(found.id()).during("read an update")?;
            if !Record::parse(blob.content()).is_ok_and(|record| *record.id() == entry.id) {
                return Ok(Says::Junk);
            }
        }
        match path_below(folder, found.name_bytes()) {
            None => elsewhere = true,
            Some(_) if size == 0 => leaves = true,
            Some(path) => drop(files.insert(path, found.id())),
        }
    }
    Ok(match (leaves || !files.is_empty(), elsewhere) {
        (true, _) => Says::Files(NodeFiles { id: entry.id.clone(), files, states: None }),
        (false, true) => Says::Elsewhere,
        (false, false) => Says::Junk,
    })
}

/// Reads the last waiting update of each node. Skips updates without [files](Says::Files) for this folder.
pub(super) fn read(
    repo: &Repository,
    folder: &Folder,
    entries: &[WaitingUpdate],
) -> Result<BTreeMap<Name, NodeFiles>, StoreErrorKind> {
    let mut latest = BTreeMap::new();
    for entry in entries {
        if let Says::Files(files) = judge(repo, folder, entry)? {
            latest.insert(entry.id.clone(), files);
        }
    }
    Ok(latest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_orders_by_time() {
        let id = Name::parse("i-1.lock").unwrap();
        let first = next(&id, None, false, None);
        let soon = u64::from_str_radix(&first.rsplit('/').next().unwrap()[..16], 16).unwrap() + FAR / 2;
        let second = next(&id, Some(soon), true, Some(Oid::ZERO_SHA1));
        for name in [&first, &second] {
            assert!(git2::Reference::is_valid_name(name), "{name}");
        }
        let oid = Oid::ZERO_SHA1;
        let refs = BTreeMap::from([
            (second.clone(), oid),
            (first.clone(), oid),
            ("refs/heads/main".into(), oid),
            (format!("{PREFIX}i-1/by-hand"), oid),
            (format!("{PREFIX}../{}", "0".repeat(UNIQUE)), oid),
        ]);
        let names: Vec<_> = entries(&refs).iter().map(WaitingUpdate::name).collect();
        assert_eq!(names, [first, second]);
    }

    #[test]
    fn a_path_is_read_back_and_leads_nowhere_else() {
        let folder = Folder::parse("it/100%2F/all").unwrap();
        let name = flat("it/100%2F/all/fed1/i-1.json");
        assert!(!name.contains('/'), "{name}");
        assert_eq!(path_below(&folder, name.as_bytes()).as_deref(), Some("fed1/i-1.json"));
        for evil in [
            "it/100%2F/all/../../i-1.json",
            "it/100%2F/all/.git/i-1.json",
            "it/100%2F/all/i-2.json/i-1.json",
            "it/100%2F/all/q/i-1.json/i-1.json",
            "it/100%2F/allx/i-1.json",
            "i-1.json",
        ] {
            assert_eq!(path_below(&folder, flat(evil).as_bytes()), None, "{evil}");
        }
    }

    #[test]
    fn an_update_of_a_far_time_is_nobodys_own() {
        let id = Name::parse("i-1").unwrap();
        assert!(!next(&id, Some(u64::MAX), false, None).contains("/ffff"));
    }

    fn entry(id: &str, number: u64, commit: Oid) -> WaitingUpdate {
        let id = Name::parse(id).unwrap();
        WaitingUpdate {
            unique: format!("{number:016x}00000000"),
            looked_after: false,
            id,
            commit,
            offered: None,
        }
    }

    #[test]
    fn a_flood_is_cut_down_and_the_newest_of_a_node_stay() {
        let zero = Oid::ZERO_SHA1;
        let mut all: Vec<WaitingUpdate> = (0..10).map(|number| entry("i-1", number, zero)).collect();
        all.extend((0..2 * limits::get().updates as u64).map(|number| entry(&format!("z{number}"), 5, zero)));
        all.sort();
        let few: Vec<WaitingUpdate> = (0..10).map(|number| entry("i-1", number, zero)).collect();
        assert_eq!(select(few.clone()), few[10 - limits::get().updates_of_node..]);
        let kept = select(all.clone());
        assert!(kept.len() == limits::get().updates && kept.is_sorted() && kept == select(all.clone()));
        let mut refs: BTreeMap<String, Oid> = all.iter().map(|entry| (entry.name(), zero)).collect();
        refs.insert("refs/presence/beats/000".into(), zero);
        refs.insert(format!("{PREFIX}i-1/by-hand"), zero);
        assert!(trim(&mut refs) > limits::get().updates);
        assert!(refs.len() == limits::get().updates + 1 && refs.contains_key("refs/presence/beats/000"));
    }

    #[test]
    fn what_no_reader_would_take_is_junk() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        let folder = Folder::parse("it/all").unwrap();
        let commit = |files: &[(&str, &[u8])]| {
            let files = files.iter().map(|(path, text)| (flat(path), repo.blob(text).unwrap())).collect();
            commit::alone(&repo, &files, "t", "x").unwrap()
        };
        let record = |id: &str| {
            format!(r#"{{"filetype":"nodepresence","value":{{"instance-id":"{id}"}}}}"#).into_bytes()
        };
        let judged = |commit: Oid| judge(&repo, &folder, &entry("i-1", 1, commit)).unwrap();
        let (own, other, large) = (record("i-1"), record("i-2"), vec![b' '; MAX_BYTES + 1]);
        for (files, expect) in [
            (vec![("it/all/i-1.json", &own[..])], "files"),
            (vec![("it/all/i-1.json", &b""[..])], "files"),
            (vec![("it/all/a/i-1.json", &own[..]), ("it/all/i-2.json", &other[..])], "files"),
            (vec![("else/i-1.json", &own[..])], "elsewhere"),
            (vec![], "junk"),
            (vec![("it/all/i-2.json", &other[..])], "junk"),
            (vec![("it/all/i-1.json", &other[..])], "junk"),
            (vec![("it/all/i-1.json", &b"no record"[..])], "junk"),
            (vec![("it/all/i-1.json", &own[..]), ("it/all/a/i-1.json", &large[..])], "junk"),
        ] {
            let told = match judged(commit(&files)) {
                Says::Files(_) => "files",
                Says::Elsewhere => "elsewhere",
                Says::Junk => "junk",
                Says::Lost => "lost",
            };
            assert_eq!(told, expect, "{files:?}");
        }
        assert_eq!(judged(Oid::from_bytes(&[7; 20]).unwrap()), Says::Lost);
        assert_eq!(judged(repo.blob(b"x").unwrap()), Says::Junk);
        let many: Vec<(String, Vec<u8>)> =
            (0..=limits::get().update_files).map(|n| (format!("it/all/{n}/i-1.json"), own.clone())).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|(path, text)| (&path[..], &text[..])).collect();
        assert_eq!(judged(commit(&many)), Says::Junk);
    }
}
