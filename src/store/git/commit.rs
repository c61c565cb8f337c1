//! Makes a commit that changes the files of some nodes and nothing else, without a work tree or index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use git2::build::TreeUpdateBuilder;
use git2::{ErrorCode, FileMode, ObjectType, Oid, Repository, Signature, Tree};

use super::node_files::{NodeFiles, record_of};
use super::{commits, tree};
use crate::change::Change;
use crate::name::Name;
use crate::record::Record;
use crate::store::git::error::{During, GitError};
use crate::store::{Folder, StoreErrorKind};

/// A commit that is not yet on any branch.
#[derive(Debug)]
pub struct Prepared {
    /// Its id.
    pub commit: Oid,
    /// Its changes, by instance-id.
    pub changes: BTreeMap<Name, Change>,
    /// The files of the changed nodes.
    pub files: BTreeMap<Name, BTreeMap<String, Oid>>,
}

/// The address that identifies commits of presence.
pub(super) const EMAIL: &str = "presence@localhost";

/// Makes a commit of these edits, one for each node, on top of `parent`; `None` if the list has them all
/// already. `may_replace` tells whether to replace something else at the folder's path, which stays in the
/// history.
pub(super) fn prepare(
    repo: &Repository,
    parent: Option<Oid>,
    folder: &Folder,
    edits: &[NodeFiles],
    author: &str,
    may_replace: impl FnOnce() -> bool,
) -> Result<Option<Prepared>, StoreErrorKind> {
    let base = parent.map(|oid| tree::find(repo, tree::commit(repo, oid)?.tree)).transpose()?;
    let base = match base.as_ref().map(|base| tree::id(repo, base, folder)).transpose() {
        Err(StoreErrorKind::Git(GitError::NoFolder { path, .. })) if may_replace() => {
            Some(without(repo, base.as_ref(), &BTreeSet::from([path]))?)
        }
        found => found.map(|_| base)?,
    };
    let standing = standing(repo, base.as_ref(), folder, edits)?;
    let in_the_way =
        base.as_ref().map(|base| in_the_way(base, folder, edits)).transpose()?.unwrap_or_default();
    let goes = |path: &str| in_the_way.iter().any(|gone| Path::new(path).starts_with(gone));
    let mut update = TreeUpdateBuilder::new();
    let (mut told, mut written) = (BTreeMap::new(), BTreeMap::new());
    let mut lines = Vec::new();
    for edit in edits {
        let nothing = BTreeMap::new();
        let old = standing.get(&edit.id).unwrap_or(&nothing);
        let files = edit.beside(repo, old);
        if *old == *files {
            continue;
        }
        for path in old.keys().filter(|path| !files.contains_key(*path)) {
            let path = format!("{folder}/{path}");
            if !goes(&path) {
                update.remove(path);
            }
        }
        for (path, blob) in files.iter() {
            update.upsert(format!("{folder}/{path}"), *blob, FileMode::Blob);
        }
        let (before, after) = (record(repo, old), record(repo, &files));
        let change = match files.is_empty() {
            true => Change::Left,
            false => Change::between(before.as_ref(), after.as_ref()).unwrap_or(match &before {
                // Neither can be read.
                None => Change::Joined,
                Some(_) if old.keys().eq(files.keys()) => Change::Rewritten,
                Some(_) => Change::Moved,
            }),
        };
        let part = after.as_ref().or(before.as_ref()).and_then(Record::part);
        lines.push(match part {
            Some(part) => format!("{} ({}): {change}", edit.id, part.escape_debug()),
            None => format!("{}: {change}", edit.id),
        });
        told.insert(edit.id.clone(), change);
        written.insert(edit.id.clone(), files.into_owned());
    }
    if told.is_empty() {
        return Ok(None);
    }
    let base = if in_the_way.is_empty() { base } else { Some(without(repo, base.as_ref(), &in_the_way)?) };
    let tree = create(repo, base.as_ref(), &mut update)?;
    let who = Signature::now(author, EMAIL).during("sign the commit")?;
    let commit = commits::write(repo, &who, &message(&lines), tree, parent).during("write the commit")?;
    Ok(Some(Prepared { commit, changes: told, files: written }))
}

/// Makes a commit on top of `parent` that changes nothing.
pub(super) fn repeat(
    repo: &Repository,
    parent: Option<Oid>,
    author: &str,
) -> Result<Prepared, StoreErrorKind> {
    let base = parent.map(|oid| tree::find(repo, tree::commit(repo, oid)?.tree)).transpose()?;
    let tree = create(repo, base.as_ref(), &mut TreeUpdateBuilder::new())?;
    let who = Signature::now(author, EMAIL).during("sign the commit")?;
    let message = "no change: updates that cancel each other out\n";
    let commit = commits::write(repo, &who, message, tree, parent).during("write the commit")?;
    Ok(Prepared { commit, changes: BTreeMap::new(), files: BTreeMap::new() })
}

/// The obstacles to these files: a folder or submodule with a file's name, or a file with a folder's name.
/// Readers ignore them, and libgit2 does not replace them.
fn in_the_way(
    base: &Tree<'_>,
    folder: &Folder,
    edits: &[NodeFiles],
) -> Result<BTreeSet<String>, StoreErrorKind> {
    let mut found = BTreeSet::new();
    for path in edits.iter().flat_map(|edit| edit.files.keys()) {
        for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
            let wanted = if end == path.len() { ObjectType::Blob } else { ObjectType::Tree };
            let part = format!("{folder}/{}", &path[..end]);
            match base.get_path(Path::new(&part)) {
                Ok(entry) if entry.kind() == Some(wanted) => {}
                Ok(_) => {
                    found.insert(part);
                    break;
                }
                Err(error) if error.code() == ErrorCode::NotFound => break,
                Err(error) => return Err(error).during("read the folder"),
            }
        }
    }
    Ok(found)
}

/// The tree without these paths.
fn without<'repo>(
    repo: &'repo Repository,
    base: Option<&Tree<'_>>,
    paths: &BTreeSet<String>,
) -> Result<Tree<'repo>, StoreErrorKind> {
    let mut update = TreeUpdateBuilder::new();
    for path in paths {
        update.remove(path.as_str());
    }
    let oid = create(repo, base, &mut update)?;
    repo.find_tree(oid).during("write the new tree")
}

/// Makes a commit without a parent that holds only these files.
pub(super) fn alone(
    repo: &Repository,
    files: &BTreeMap<String, Oid>,
    author: &str,
    subject: &str,
) -> Result<Oid, StoreErrorKind> {
    let mut update = TreeUpdateBuilder::new();
    for (path, blob) in files {
        update.upsert(path.as_str(), *blob, FileMode::Blob);
    }
    let tree = create(repo, None, &mut update)?;
    let who = Signature::now(author, EMAIL).during("sign the commit")?;
    commits::write(repo, &who, subject, tree, None).during("write the commit")
}

/// The current files of these nodes.
///
/// Finds them in any folder: somebody else may have put a file with the node's name into another folder,
/// where it could win over the node's record.
fn standing(
    repo: &Repository,
    base: Option<&Tree<'_>>,
    folder: &Folder,
    edits: &[NodeFiles],
) -> Result<BTreeMap<Name, BTreeMap<String, Oid>>, StoreErrorKind> {
    let mut found: BTreeMap<Name, BTreeMap<String, Oid>> = BTreeMap::new();
    let start = base.map(|base| tree::folder(repo, base, folder)).transpose()?;
    let Some(start) = start.flatten() else { return Ok(found) };
    let wanted: BTreeSet<&str> = edits.iter().map(|edit| edit.id.as_str()).collect();
    for (id, path, oid) in tree::named(repo, &start, &wanted)? {
        if let Ok(id) = Name::parse(&id) {
            found.entry(id).or_default().insert(path, oid);
        }
    }
    Ok(found)
}

/// The record in the first of these files. An unreadable one is treated as missing: to readers its
/// replacement is new.
fn record(repo: &Repository, files: &BTreeMap<String, Oid>) -> Option<Record> {
    record_of(repo, *files.values().next()?)
}

/// The line itself for one node; a summary and all lines for several.
fn message(lines: &[String]) -> String {
    match lines {
        [line] => format!("{line}\n"),
        lines => format!("{} nodes\n\n{}\n", lines.len(), lines.join("\n")),
    }
}

fn create(
    repo: &Repository,
    base: Option<&Tree<'_>>,
    update: &mut TreeUpdateBuilder,
) -> Result<Oid, StoreErrorKind> {
    let empty;
    let base = match base {
        Some(base) => base,
        None => {
            let oid =
                repo.treebuilder(None).and_then(|builder| builder.write()).during("write an empty tree")?;
            empty = repo.find_tree(oid).during("write an empty tree")?;
            &empty
        }
    };
    update.create_updated(repo, base).during("write the new tree")
}
