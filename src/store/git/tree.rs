//! The folder as a git tree: finds it and the files in it, and adds waiting updates to a snapshot.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use git2::{ObjectType, Oid, Repository, Tree};

use super::commits::{self, Commit};
use super::node_files::NodeFiles;
use crate::limits;
use crate::store::directory::MAX_DEPTH;
use crate::store::git::error::{During, GitError};
use crate::store::snapshot::{Batch, NO_KEY};
use crate::store::{Folder, Snapshot, StoreErrorKind};

/// The mode of a link in a tree.
const LINK: i32 = 0o120_000;

/// The most trees to search for a file.
const MAX_LOOKED: usize = 1_000;

/// The commit, if it is within the size limit.
pub(super) fn commit(repo: &Repository, oid: Oid) -> Result<Commit, StoreErrorKind> {
    commits::read(repo, oid).or_else(|error| {
        measure(repo, oid)?;
        Err(error).during("read a commit")
    })
}

/// The tree, if it is within the size limit.
pub(super) fn find(repo: &Repository, oid: Oid) -> Result<Tree<'_>, StoreErrorKind> {
    measure(repo, oid)?;
    repo.find_tree(oid).during("read the tree")
}

/// An error if the object is larger than the limit for objects in memory.
pub(super) fn measure(repo: &Repository, oid: Oid) -> Result<(), StoreErrorKind> {
    let header = repo.odb().and_then(|odb| odb.read_header(oid)).during("read an object")?;
    match header.0 as u64 > limits::get().object_bytes {
        true => Err(StoreErrorKind::TooMuch {
            place: format!("`{oid}`"),
            what: "bytes",
            most: limits::get().object_bytes,
        }),
        false => Ok(()),
    }
}

/// The error that a folder exceeds a limit.
pub(super) fn too_much(what: &'static str, most: usize) -> StoreErrorKind {
    StoreErrorKind::TooMuch { place: "the folder".to_owned(), what, most: most as u64 }
}

/// The snapshot with these waiting updates applied.
pub(super) fn with<'a>(
    repo: &Repository,
    snapshot: Snapshot,
    edits: impl Iterator<Item = &'a NodeFiles>,
) -> Result<Snapshot, StoreErrorKind> {
    let edits: BTreeMap<&str, &NodeFiles> = edits.map(|edit| (edit.id.as_str(), edit)).collect();
    let mut digest = snapshot.digest.clone();
    let mut batch = Batch::default();
    for (path, blob) in edits.values().flat_map(|edit| &edit.files) {
        digest.push_str(&format!("+{path}:{blob}"));
        let blob = repo.find_blob(*blob).during("read an update")?;
        batch.add(0, path.as_bytes(), NO_KEY, Ok(blob.content()));
    }
    for id in edits.values().filter(|edit| edit.files.is_empty()).map(|edit| &edit.id) {
        digest.push_str(&format!("-{id}"));
    }
    let replaced = |path: &[u8]| {
        let name = path.rsplit(|byte| *byte == b'/').next().and_then(|name| name.strip_suffix(b".json"));
        name.and_then(|id| std::str::from_utf8(id).ok()).is_some_and(|id| edits.contains_key(id))
    };
    Ok(Snapshot { digest, ..snapshot.overlaid(replaced, batch) })
}

/// The object id of the folder's own tree; `None` if there is no such folder. An error if something else is
/// at its path.
pub(super) fn id<'repo>(
    repo: &'repo Repository,
    root: &Tree<'repo>,
    folder: &Folder,
) -> Result<Option<Oid>, StoreErrorKind> {
    let mut tree = root.clone();
    let mut parts = folder.as_ref().split('/').peekable();
    let mut path = String::new();
    while let Some(part) = parts.next() {
        path.push_str(part);
        let Some(found) = tree.get_name(part).map(|found| found.to_owned()) else { return Ok(None) };
        match (found.kind(), found.filemode()) {
            (Some(ObjectType::Tree), _) => {}
            (Some(ObjectType::Commit), _) => {
                return Err(StoreErrorKind::Git(GitError::NoFolder { path, is: "a submodule" }));
            }
            (_, LINK) => return Err(StoreErrorKind::Git(GitError::NoFolder { path, is: "a link" })),
            _ => return Err(StoreErrorKind::Git(GitError::NoFolder { path, is: "a file" })),
        }
        if parts.peek().is_none() {
            return Ok(Some(found.id()));
        }
        path.push('/');
        tree = find(repo, found.id())?;
    }
    Ok(None)
}

/// Whether there is any `*.json` file below the tree.
pub(super) fn has_files(repo: &Repository, tree: Oid) -> Result<bool, StoreErrorKind> {
    let mut waiting = vec![(tree, 0)];
    let mut looked = 0;
    while let Some((tree, depth)) = waiting.pop() {
        looked += 1;
        if looked > MAX_LOOKED {
            // The reading will find out.
            return Ok(true);
        }
        for entry in &find(repo, tree)? {
            match entry.kind() {
                _ if entry.name_bytes().starts_with(b".") => {}
                Some(ObjectType::Tree) if depth + 1 < MAX_DEPTH => waiting.push((entry.id(), depth + 1)),
                Some(ObjectType::Blob) if entry.name_bytes().ends_with(b".json") => return Ok(true),
                _ => {}
            }
        }
    }
    Ok(false)
}

/// The folder's own tree; `None` if there is no such folder.
pub(super) fn folder<'repo>(
    repo: &'repo Repository,
    root: &Tree<'repo>,
    folder: &Folder,
) -> Result<Option<Tree<'repo>>, StoreErrorKind> {
    id(repo, root, folder)?.map(|id| find(repo, id)).transpose()
}

/// The files and links below the tree whose name is `<id>.json` for one of these ids: id, path and object id.
pub(super) fn named(
    repo: &Repository,
    tree: &Tree<'_>,
    ids: &BTreeSet<&str>,
) -> Result<Vec<(String, String, Oid)>, StoreErrorKind> {
    let mut found = Vec::new();
    let mut add = |id: &str, prefix: &str, oid| {
        if ids.contains(id) {
            found.push((id.to_owned(), format!("{prefix}{id}.json"), oid));
        }
    };
    Search { folders: 0, add: &mut add }.visit(repo, tree, "", 0)?;
    Ok(found)
}

/// The ids that the files below the tree are named after.
pub(super) fn ids(repo: &Repository, tree: &Tree<'_>) -> Result<HashSet<String>, StoreErrorKind> {
    let mut ids = HashSet::new();
    let mut add = |id: &str, _: &str, _| {
        if ids.len() < limits::get().entries {
            ids.insert(id.to_owned());
        }
    };
    Search { folders: 0, add: &mut add }.visit(repo, tree, "", 0)?;
    Ok(ids)
}

/// A search for nodes' files.
struct Search<'a> {
    /// The number of folders visited.
    folders: usize,
    /// Receives each file's id, the path of its folder, and its object id.
    add: &'a mut dyn FnMut(&str, &str, Oid),
}

impl Search<'_> {
    fn visit(
        &mut self,
        repo: &Repository,
        tree: &Tree<'_>,
        prefix: &str,
        depth: usize,
    ) -> Result<(), StoreErrorKind> {
        self.folders += 1;
        if self.folders > limits::get().folders {
            return Err(too_much("folders", limits::get().folders));
        }
        for entry in tree {
            let Ok(name) = entry.name() else { continue };
            match entry.kind() {
                _ if name.starts_with('.') => {}
                Some(ObjectType::Tree) if depth + 1 < MAX_DEPTH => {
                    let below = find(repo, entry.id())?;
                    self.visit(repo, &below, &format!("{prefix}{name}/"), depth + 1)?;
                }
                Some(ObjectType::Blob) => {
                    if let Some(id) = name.strip_suffix(".json") {
                        (self.add)(id, prefix, entry.id());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
