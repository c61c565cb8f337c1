//! The folder as a git tree: read it, and make the tree that differs by one node.

use std::collections::BTreeMap;

use git2::{ObjectType, Oid, Repository, Tree, TreeEntry};

use super::commit::NodeFiles;
use crate::store::directory::MAX_DEPTH;
use crate::store::error::Doing;
use crate::store::snapshot::{Batch, NO_KEY};
use crate::store::{Folder, Snapshot, StoreErrorKind};

/// The mode of a link in a tree.
const LINK: i32 = 0o120_000;

/// Whether there are files is not looked for in more trees.
const MAX_LOOKED: usize = 1_000;

/// The snapshot with what waits to be merged counted in.
pub(super) fn with<'a>(
    repo: &Repository,
    snapshot: Snapshot,
    edits: impl Iterator<Item = &'a NodeFiles>,
) -> Result<Snapshot, StoreErrorKind> {
    let edits: BTreeMap<&str, &NodeFiles> = edits.map(|edit| (edit.id.as_str(), edit)).collect();
    let mut version = snapshot.version.clone();
    let mut batch = Batch::default();
    for (path, blob) in edits.values().flat_map(|edit| &edit.files) {
        version.push_str(&format!("+{path}:{blob}"));
        let blob = repo.find_blob(*blob).doing("read an update")?;
        batch.add(0, path.as_bytes(), NO_KEY, Ok(blob.content()));
    }
    for id in edits.values().filter(|edit| edit.files.is_empty()).map(|edit| &edit.id) {
        version.push_str(&format!("-{id}"));
    }
    let replaced = |path: &[u8]| {
        let name = path.rsplit(|byte| *byte == b'/').next().and_then(|name| name.strip_suffix(b".json"));
        name.and_then(|id| std::str::from_utf8(id).ok()).is_some_and(|id| edits.contains_key(id))
    };
    Ok(Snapshot { version, ..snapshot.overlaid(replaced, batch) })
}

/// The entry at that path; none if it is not there. A tree on the way that cannot be read is an error.
pub(super) fn entry<'repo>(
    repo: &'repo Repository,
    root: &Tree<'repo>,
    path: &str,
) -> Result<Option<TreeEntry<'static>>, StoreErrorKind> {
    let mut parts = path.split('/').peekable();
    let mut tree = root.clone();
    while let Some(part) = parts.next() {
        let Some(found) = tree.get_name(part).map(|found| found.to_owned()) else { return Ok(None) };
        if parts.peek().is_none() {
            return Ok(Some(found));
        }
        if found.kind() != Some(ObjectType::Tree) {
            return Ok(None);
        }
        tree = repo.find_tree(found.id()).doing("read the tree")?;
    }
    Ok(None)
}

/// The name of the folder's own tree; none if there is no such folder. Something else at its path is an error.
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
                return Err(StoreErrorKind::NoFolder { path, is: "a submodule" });
            }
            (_, LINK) => return Err(StoreErrorKind::NoFolder { path, is: "a link" }),
            _ => return Err(StoreErrorKind::NoFolder { path, is: "a file" }),
        }
        if parts.peek().is_none() {
            return Ok(Some(found.id()));
        }
        path.push('/');
        tree = repo.find_tree(found.id()).doing("read the tree")?;
    }
    Ok(None)
}

/// Whether there is any `*.json` below the tree.
pub(super) fn has_files(repo: &Repository, tree: Oid) -> Result<bool, StoreErrorKind> {
    let mut waiting = vec![(tree, 0)];
    let mut looked = 0;
    while let Some((tree, depth)) = waiting.pop() {
        looked += 1;
        if looked > MAX_LOOKED {
            // Reading says what is in so many.
            return Ok(true);
        }
        for entry in &repo.find_tree(tree).doing("read the tree")? {
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

/// The folder's own tree; none if there is no such folder.
pub(super) fn folder<'repo>(
    repo: &'repo Repository,
    root: &Tree<'repo>,
    folder: &Folder,
) -> Result<Option<Tree<'repo>>, StoreErrorKind> {
    id(repo, root, folder)?.map(|id| repo.find_tree(id)).transpose().doing("read the tree")
}

/// Calls `seen` for every `*.json` below the tree that is a file or a link, in the order of the paths.
pub(super) fn visit(
    repo: &Repository,
    tree: &Tree<'_>,
    seen: &mut dyn FnMut(String, &git2::TreeEntry<'_>),
) -> Result<(), git2::Error> {
    visit_below(repo, tree, "", 0, seen)
}

fn visit_below(
    repo: &Repository,
    tree: &Tree<'_>,
    prefix: &str,
    depth: usize,
    seen: &mut dyn FnMut(String, &git2::TreeEntry<'_>),
) -> Result<(), git2::Error> {
    for entry in tree {
        let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
        if name.starts_with('.') {
            continue;
        }
        match entry.kind() {
            Some(ObjectType::Tree) if depth < MAX_DEPTH => {
                visit_below(
                    repo,
                    &repo.find_tree(entry.id())?,
                    &format!("{prefix}{name}/"),
                    depth + 1,
                    seen,
                )?;
            }
            Some(ObjectType::Blob) if name.ends_with(".json") => seen(format!("{prefix}{name}"), &entry),
            _ => {}
        }
    }
    Ok(())
}
