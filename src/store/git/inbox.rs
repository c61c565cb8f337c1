//! Updates that wait to be merged into the branch: each on a ref of its own, which nobody else writes.
//!
//! A publisher pushes its record to `refs/presence/inbox/<node>/<unique>`: a push that nobody can be faster at. From
//! then on the update is durable; readers count it in, and whoever gets the chance merges all that wait in one commit.
//!
//! Who offers a commit to the branch leaves the same update in the inbox, in the same push: lost or not, no second push
//! is needed. Such a ref ends with `-` and the id of that commit. If the branch has got it, nothing waits there, and the
//! next push of anybody deletes the ref.

use std::collections::{BTreeMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use git2::{Commit, ObjectType, Oid, Repository};

use super::commit::{self, NodeFiles};
use crate::name::Name;
use crate::store::error::Doing;
use crate::store::{Folder, StoreErrorKind};

/// Where updates wait.
pub(super) const PREFIX: &str = "refs/presence/inbox/";

/// An update that waits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Orders the updates of one node: the time at which it was made, by the clock of who made it, then a random number.
    unique: String,
    /// Whether who left it looks afterwards if it is merged, and does it else.
    pub(super) looked_after: bool,
    pub(super) id: Name,
    /// What the ref names: a commit of the update alone.
    pub(super) commit: Oid,
    /// The commit that was offered to the branch with it.
    offered: Option<Oid>,
}

impl Entry {
    /// The ref on which it waits.
    pub(super) fn name(&self) -> String {
        name(&self.id, &self.unique, self.looked_after, self.offered)
    }

    /// Whether the branch, which is at `tip`, has it already. Only a repository that has the tip can tell of others than
    /// the last.
    pub(super) fn is_merged(&self, repo: &Repository, tip: Option<Oid>) -> Result<bool, StoreErrorKind> {
        let (Some(offered), Some(tip)) = (self.offered, tip) else { return Ok(false) };
        Ok(offered == tip || has_ancestor(repo, tip, offered).doing("read the history")?)
    }

    /// Whether [`is_merged`](Self::is_merged) can be said of it only by a repository that has the whole history.
    pub(super) fn is_doubtful(&self, repo: &Repository, tip: Option<Oid>) -> bool {
        self.offered
            .is_some_and(|offered| Some(offered) != tip && !repo.odb().is_ok_and(|odb| odb.exists(offered)))
    }

    /// When it was made, in microseconds since 1970, by the clock of who made it.
    pub(super) fn time(&self) -> u64 {
        u64::from_str_radix(&self.unique[..16], 16).unwrap_or_default()
    }
}

/// Whether `tip` comes from `offered`. The commits before it need not be looked at, nor be there.
pub(super) fn has_ancestor(repo: &Repository, tip: Oid, offered: Oid) -> Result<bool, git2::Error> {
    let Some(offer) = there(repo, offered)? else { return Ok(false) };
    let mut seen: HashSet<Oid> = offer.parent_ids().collect();
    let mut waiting = vec![tip];
    while let Some(oid) = waiting.pop() {
        if oid == offered {
            return Ok(true);
        }
        if seen.insert(oid)
            && let Some(commit) = there(repo, oid)?
        {
            waiting.extend(commit.parent_ids());
        }
    }
    Ok(false)
}

/// The commit; none if the repository does not have it, as a shallow one does not have those of long ago.
fn there(repo: &Repository, oid: Oid) -> Result<Option<Commit<'_>>, git2::Error> {
    match repo.find_commit(oid) {
        Ok(commit) => Ok(Some(commit)),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The updates among these refs, the oldest first. What is not named as this program names them is not its business.
pub(super) fn entries<'a>(refs: impl IntoIterator<Item = (&'a String, &'a Oid)>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = refs
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
            Some(Entry { unique: unique.to_owned(), looked_after, id, commit: *oid, offered })
        })
        .collect();
    entries.sort();
    entries
}

/// A ref for the next update of that node, offered to the branch with the commit `offered` or not at all. Never used
/// twice: the clock, kept ahead of `last`, and a random number.
pub(super) fn next(id: &Name, last: Option<u64>, looked_after: bool, offered: Option<Oid>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let now = u64::try_from(now).unwrap_or(u64::MAX).max(last.map_or(0, |last| last.saturating_add(1)));
    name(id, &format!("{now:016x}{:08x}", fastrand::u32(..)), looked_after, offered)
}

/// The digits of [`Entry::unique`].
const UNIQUE: usize = 24;

/// A dot may stand at places in a name where git allows none (git-check-ref-format(1)); a `%` may not stand in a name.
fn name(id: &Name, unique: &str, looked_after: bool, offered: Option<Oid>) -> String {
    let looked_after = if looked_after { "+" } else { "" };
    let offered = offered.map(|oid| format!("-{oid}")).unwrap_or_default();
    format!("{PREFIX}{}/{unique}{looked_after}{offered}", id.as_ref().replace('.', "%"))
}

/// Matches all refs of that node.
pub(super) fn of(id: &Name) -> String {
    format!("{PREFIX}{}/*", id.as_ref().replace('.', "%"))
}

/// Writes an update: a commit of the files alone. A node that leaves has an empty file.
///
/// The files stand side by side in one tree, each under its whole path: a tree for each directory would be three more
/// objects, which the server stores, and reads again at every push as long as the update waits.
pub(super) fn write(
    repo: &Repository,
    folder: &Folder,
    edit: &NodeFiles,
    author: &str,
) -> Result<Oid, StoreErrorKind> {
    let mut files: BTreeMap<String, Oid> =
        edit.files.iter().map(|(path, blob)| (flat(&format!("{folder}/{path}")), *blob)).collect();
    if files.is_empty() {
        let nothing = repo.blob(b"").doing("write the update")?;
        files.insert(flat(&folder.file_of(&edit.id)), nothing);
    }
    commit::alone(repo, &files, author, &format!("{}\n", edit.id))
}

/// A path as the name of one file.
fn flat(path: &str) -> String {
    path.replace('%', "%25").replace('/', "%2F")
}

/// The path of such a file below the folder; none if it is nothing that this program would have written.
fn path_below(folder: &Folder, name: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(name).ok()?.replace("%2F", "/").replace("%25", "%");
    let path = path.strip_prefix(folder.as_ref())?.strip_prefix('/')?;
    path.split('/').all(|part| !part.is_empty() && !part.starts_with('.')).then(|| path.to_owned())
}

/// Reads what waits, for each node its last update. An update whose objects are not there (it was merged a moment ago) or
/// which says nothing about its node in this folder changes nothing.
pub(super) fn read(
    repo: &Repository,
    folder: &Folder,
    entries: &[Entry],
) -> Result<BTreeMap<Name, NodeFiles>, StoreErrorKind> {
    let odb = repo.odb().doing("open the object database")?;
    let mut latest = BTreeMap::new();
    for entry in entries {
        let Some(commit) = there(repo, entry.commit).doing("read an update")? else { continue };
        let root = commit.tree().doing("read an update")?;
        let file = format!("{}.json", entry.id);
        let mut files = BTreeMap::new();
        let mut leaves = false;
        for found in &root {
            let Some(path) = path_below(folder, found.name_bytes()) else { continue };
            if path.rsplit('/').next() != Some(&file) {
                continue;
            }
            match odb.read_header(found.id()).doing("read an update")? {
                (0, _) => leaves = true,
                (_, ObjectType::Blob) => drop(files.insert(path, found.id())),
                _ => {}
            }
        }
        if leaves || !files.is_empty() {
            latest.insert(entry.id.clone(), NodeFiles { id: entry.id.clone(), files });
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
        let second = next(&id, Some(u64::MAX >> 8), true, Some(Oid::ZERO_SHA1));
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
        let names: Vec<_> = entries(&refs).iter().map(Entry::name).collect();
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
            "it/100%2F/allx/i-1.json",
            "i-1.json",
        ] {
            assert_eq!(path_below(&folder, flat(evil).as_bytes()), None, "{evil}");
        }
    }
}
