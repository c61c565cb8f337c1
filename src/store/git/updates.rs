//! The objects of waiting updates: written for one's own, judged and read for those of others.
//! [`super::inbox`] has the names of their refs.

use std::collections::{BTreeMap, HashMap, HashSet};

use git2::{ObjectType, Oid, Repository};

use super::commit;
use super::commits::{self, Commit};
use super::inbox::{Says, WaitingUpdate};
use super::node_files::NodeFiles;
use crate::limits;
use crate::name::Name;
use crate::record::{MAX_BYTES, Record};
use crate::store::git::error::During;
use crate::store::{Folder, StoreErrorKind};

/// Whether this repository lacks the history that [`Merges::have`] needs for this update.
pub(super) fn is_doubtful(repo: &Repository, entry: &WaitingUpdate, tip: Option<Oid>) -> bool {
    entry
        .offered
        .is_some_and(|offered| Some(offered) != tip && !repo.odb().is_ok_and(|odb| odb.exists(offered)))
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

    /// Whether the branch has the commit that was offered with an update, if any. Without the tip's history,
    /// this is known only of the tip itself.
    pub(super) fn have(&mut self, offered: Option<Oid>) -> Result<bool, StoreErrorKind> {
        let (Some(offered), Some(tip)) = (offered, self.tip) else { return Ok(false) };
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
    use crate::store::git::inbox;

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

    fn entry(commit: Oid) -> WaitingUpdate {
        let id = Name::parse("i-1").unwrap();
        let name = inbox::next(&id, (1, 0), None, false, None);
        inbox::entries([(&name, &commit)]).remove(0)
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
        let judged = |commit: Oid| judge(&repo, &folder, &entry(commit)).unwrap();
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
