//! The folder as a git tree: read it, and make the tree that differs by one node.

use std::collections::BTreeMap;

use git2::{ObjectType, Oid, Repository, Tree};

use super::commit::NodeFiles;
use crate::record::MAX_BYTES;
use crate::store::directory::MAX_DEPTH;
use crate::store::error::Doing;
use crate::store::{File, FileProblem, Folder, Snapshot, StoreErrorKind, text_of};

const LINK: i32 = 0o120_000;

/// All files of the folder at that commit. The version is the folder's own tree: other folders do not change it.
pub(super) fn snapshot(
    repo: &Repository,
    tip: Option<Oid>,
    folder: &Folder,
) -> Result<Snapshot, StoreErrorKind> {
    let mut snapshot = Snapshot { version: "empty".into(), ..Snapshot::default() };
    let Some(tip) = tip else { return Ok(snapshot) };
    let root = repo.find_commit(tip).and_then(|commit| commit.tree()).doing("read the tree")?;
    let Some(tree) = self::folder(repo, &root, folder) else { return Ok(snapshot) };
    snapshot.version = tree.id().to_string();
    let mut found = Vec::new();
    visit(repo, &tree, &mut |path, entry| found.push((path, entry.id(), entry.filemode() == LINK)))
        .doing("read the tree")?;
    let odb = repo.odb().doing("open the object database")?;
    for (path, oid, link) in found {
        let text = if link {
            Err("is a link, and links are not followed".to_owned())
        } else {
            match odb.read_header(oid) {
                Ok((size, _)) if size > MAX_BYTES => {
                    Err(format!("is {size} bytes, more than the {MAX_BYTES} that a record may have"))
                }
                Ok(_) => odb
                    .read(oid)
                    .map_err(|error| format!("cannot be read: {}", error.message()))
                    .and_then(|object| text_of(object.data().to_vec())),
                Err(error) => Err(format!("cannot be read: {}", error.message())),
            }
        };
        match text {
            Ok(text) => snapshot.files.push(File { path, text }),
            Err(reason) => snapshot.problems.push(FileProblem { path, reason }),
        }
    }
    Ok(snapshot)
}

/// The snapshot with what waits to be merged counted in.
pub(super) fn with<'a>(
    repo: &Repository,
    mut snapshot: Snapshot,
    edits: impl Iterator<Item = &'a NodeFiles>,
) -> Result<Snapshot, StoreErrorKind> {
    let edits: BTreeMap<&str, &NodeFiles> = edits.map(|edit| (edit.id.as_str(), edit)).collect();
    let id =
        |path: &str| path.rsplit('/').next().and_then(|name| name.strip_suffix(".json")).map(str::to_owned);
    let stays = |path: &str| id(path).is_none_or(|id| !edits.contains_key(id.as_str()));
    snapshot.files.retain(|file| stays(&file.path));
    snapshot.problems.retain(|problem| stays(&problem.path));
    for (path, blob) in edits.values().flat_map(|edit| &edit.files) {
        snapshot.version.push_str(&format!("+{path}:{blob}"));
        match text_of(repo.find_blob(*blob).doing("read an update")?.content().to_vec()) {
            Ok(text) => snapshot.files.push(File { path: path.clone(), text }),
            Err(reason) => snapshot.problems.push(FileProblem { path: path.clone(), reason }),
        }
    }
    for id in edits.values().filter(|edit| edit.files.is_empty()).map(|edit| &edit.id) {
        snapshot.version.push_str(&format!("-{id}"));
    }
    snapshot.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(snapshot)
}

/// The folder's own tree; none if there is no such folder.
pub(super) fn folder<'repo>(
    repo: &'repo Repository,
    root: &Tree<'repo>,
    folder: &Folder,
) -> Option<Tree<'repo>> {
    let entry = root.get_path(folder.as_ref().as_ref()).ok()?;
    (entry.kind() == Some(ObjectType::Tree)).then(|| repo.find_tree(entry.id()).ok()).flatten()
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
