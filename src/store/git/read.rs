//! Reads the folder from a repository: the trees that changed since the last reading, and the new records.

use std::collections::HashMap;
use std::ops::Range;

use git2::{ObjectType, Oid, Repository};

use super::{objects, tree};
use crate::limits;
use crate::store::directory::MAX_DEPTH;
use crate::store::git::error::During;
use crate::store::snapshot::{self, Batch, ContentId, Item, Key, NO_KEY, Snapshot, Subtree, Total};
use crate::store::{Folder, StoreErrorKind, Version};

/// The version of a missing folder.
pub(super) const EMPTY: &str = "empty";

impl objects::Wants for Wanted {
    fn oid(&self) -> Oid {
        self.oid
    }
}

/// The folder's tree at one commit; `None` if there is no such folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct FolderTree(Option<Oid>);

/// A record to read, with its index in the snapshot.
#[derive(Debug, PartialEq)]
struct Wanted {
    number: usize,
    path: Range<usize>,
    oid: Oid,
    kind: EntryKind,
}

/// The kind of a tree entry with a record's name.
#[derive(Debug, Clone, Copy, PartialEq)]
enum EntryKind {
    File,
    Link,
    Folder,
    Submodule,
}

impl EntryKind {
    /// Why it is not a record, as the end of a sentence.
    fn problem(self) -> Option<&'static str> {
        match self {
            EntryKind::File => None,
            EntryKind::Link => Some("is a link, and links are not followed"),
            EntryKind::Folder => Some(snapshot::IS_FOLDER),
            EntryKind::Submodule => Some("is a submodule, not a record"),
        }
    }
}

impl FolderTree {
    /// Looks up the folder. Its own tree is its version, so changes in other folders do not change it.
    pub(super) fn new(
        repo: &Repository,
        tip: Option<Oid>,
        folder: &Folder,
    ) -> Result<FolderTree, StoreErrorKind> {
        let Some(tip) = tip else { return Ok(FolderTree(None)) };
        let root = tree::find(repo, tree::commit(repo, tip)?.tree)?;
        Ok(FolderTree(tree::id(repo, &root, folder)?))
    }

    /// The folder whose tree has that id.
    pub(super) fn of(tree: Oid) -> FolderTree {
        FolderTree(Some(tree))
    }

    /// Identifies the content.
    pub(super) fn version(self) -> Version {
        Version::new(self.0.map_or_else(|| EMPTY.to_owned(), |tree| tree.to_string()))
    }

    /// The folder's tree; `None` if there is no folder.
    pub(super) fn tree(self) -> Option<Oid> {
        self.0
    }

    /// Reads the files that are not in `known` with their present content.
    pub(super) fn read(self, repo: &Repository, known: &Snapshot) -> Result<Snapshot, StoreErrorKind> {
        let Some(tree) = self.0 else {
            return Ok(Snapshot {
                digest: EMPTY.into(),
                version: Some(self.version()),
                ..Snapshot::default()
            });
        };
        let mut plan = Plan {
            repo,
            known,
            known_trees: known.trees.iter().enumerate().map(|(at, tree)| (&tree.path[..], at)).collect(),
            items: Vec::new(),
            count: 0,
            seen: 0,
            wanted: Vec::new(),
            paths: Vec::new(),
            trees: Vec::new(),
        };
        plan.visit(tree, &mut Vec::new(), 0, 0..known.entries.len())?;
        let Plan { items, wanted, paths, trees, .. } = plan;
        let total = Total::default();
        let add = |batch: &mut Batch, wanted: &Wanted, content: Result<&[u8], String>, sure: bool| {
            let content = total.count(content);
            let key = if sure { key(wanted.oid, wanted.kind) } else { NO_KEY };
            batch.add(wanted.number, &paths[wanted.path.clone()], key, content);
        };
        let (files, others): (Vec<Wanted>, Vec<Wanted>) =
            wanted.into_iter().partition(|wanted| wanted.kind == EntryKind::File);
        let mut batches = objects::read(repo, files, &add)?;
        total.judge()?;
        let mut batch = Batch::default();
        for other in &others {
            add(&mut batch, other, Err(other.kind.problem().unwrap_or_default().to_owned()), true);
        }
        batches.push(batch);
        let mut snapshot = Snapshot::assemble(known, &items, batches);
        snapshot.digest = tree.to_string();
        // A file that could not be read may be readable tomorrow, under the same object id.
        if snapshot.unsure() == 0 {
            snapshot.version = Some(self.version());
            snapshot.trees = trees;
        }
        Ok(snapshot)
    }
}

/// What to take over, and what to read.
struct Plan<'a> {
    repo: &'a Repository,
    known: &'a Snapshot,
    /// The index of each of its trees, by path.
    known_trees: HashMap<&'a [u8], usize>,
    items: Vec<Item>,
    /// The number of entries in the items.
    count: usize,
    /// The number of tree entries visited, of any kind.
    seen: usize,
    wanted: Vec<Wanted>,
    /// The paths of the wanted files, one after the other.
    paths: Vec<u8>,
    trees: Vec<Subtree>,
}

impl Plan<'_> {
    /// Visits a tree. `within` is the range of its entries in the known snapshot, if they are there.
    fn visit(
        &mut self,
        tree: Oid,
        prefix: &mut Vec<u8>,
        depth: usize,
        within: Range<usize>,
    ) -> Result<(), StoreErrorKind> {
        if let Some(at) = self.known_trees.get(&prefix[..]).copied()
            && self.known.trees[at].content.is(tree.as_bytes())
        {
            self.take_over(at);
            return Ok(());
        }
        let begin = self.count;
        let known = self.known;
        let mut candidates = within.clone();
        let odb = self.repo.odb().during("open the object database")?;
        tree::measure(self.repo, tree)?;
        let object = odb.read(tree).during("read the tree")?;
        let mut rest = object.data();
        while let Some((mode, name, oid)) = next_entry(&mut rest) {
            let length = prefix.len();
            self.seen += 1;
            if self.seen > limits::get().entries {
                return Err(tree::too_much("files and folders", limits::get().entries));
            }
            if self.paths.len() > limits::get().path_bytes {
                return Err(tree::too_much("bytes of paths", limits::get().path_bytes));
            }
            if name.starts_with(b".") {
                continue;
            }
            let is_named = name.ends_with(b".json");
            match mode {
                b"40000" | b"040000" => {
                    prefix.extend_from_slice(name);
                    prefix.push(b'/');
                    if is_named {
                        self.take(prefix, oid, EntryKind::Folder, &mut candidates);
                    }
                    if depth + 1 >= MAX_DEPTH {
                        prefix.truncate(length);
                        continue;
                    }
                    let below = known.below(prefix, within.clone());
                    self.visit(oid, prefix, depth + 1, below)?;
                }
                _ if is_named => {
                    prefix.extend_from_slice(name);
                    let kind = match mode {
                        b"120000" => EntryKind::Link,
                        b"160000" => EntryKind::Submodule,
                        _ => EntryKind::File,
                    };
                    self.take(prefix, oid, kind, &mut candidates);
                }
                _ => {}
            }
            prefix.truncate(length);
        }
        if !rest.is_empty() || object.kind() != ObjectType::Tree {
            return Err(git2::Error::from_str("an object is not a tree")).during("read the tree");
        }
        self.trees.push(Subtree {
            path: prefix.clone(),
            content: ContentId::new(tree.as_bytes()),
            entries: begin..self.count,
        });
        Ok(())
    }

    /// Takes over all entries of an unchanged tree.
    fn take_over(&mut self, at: usize) {
        let trees = &self.known.trees;
        let whole = trees[at].entries.clone();
        // A tree comes after its subtrees.
        let inner =
            trees[..at].iter().rev().take_while(|tree| tree.path.starts_with(&trees[at].path)).count();
        for tree in &trees[at - inner..=at] {
            let begin = self.count + tree.entries.start - whole.start;
            let entries = begin..begin + tree.entries.len();
            self.trees.push(Subtree { entries, ..tree.clone() });
        }
        self.count += whole.len();
        snapshot::keep(&mut self.items, whole);
    }

    /// Takes an entry over from the known snapshot if it is among the candidates there; otherwise requests
    /// it.
    fn take(&mut self, path: &[u8], oid: Oid, kind: EntryKind, candidates: &mut Range<usize>) {
        let known = self.known;
        let within = &known.entries[..candidates.end];
        while within.get(candidates.start).is_some_and(|entry| known.path(entry) < path) {
            candidates.start += 1;
        }
        let at = candidates.start;
        let same =
            within.get(at).is_some_and(|entry| entry.key == key(oid, kind) && known.path(entry) == path);
        if same {
            snapshot::keep(&mut self.items, at..at + 1);
        } else {
            self.want(path, oid, kind);
        }
        self.count += 1;
    }

    fn want(&mut self, path: &[u8], oid: Oid, kind: EntryKind) {
        let number = self.wanted.len();
        let start = self.paths.len();
        self.paths.extend_from_slice(path);
        self.wanted.push(Wanted { number, path: start..self.paths.len(), oid, kind });
        self.items.push(Item::Fresh(number));
    }
}

/// Identifies the content of a tree entry.
fn key(oid: Oid, kind: EntryKind) -> Key {
    let mut key = NO_KEY;
    key[..20].copy_from_slice(oid.as_bytes());
    // A link to `x` and a file with the content `x` are the same object.
    key[20] = 1 + kind as u8;
    key
}

/// Takes the next entry from the bytes of a tree object: mode, name, object id. `None` at the end, or if the
/// entry is broken.
pub(super) fn next_entry<'t>(rest: &mut &'t [u8]) -> Option<(&'t [u8], &'t [u8], Oid)> {
    let space = rest.iter().position(|byte| *byte == b' ')?;
    let zero = space + rest[space..].iter().position(|byte| *byte == 0)?;
    let oid = Oid::from_bytes(rest.get(zero + 1..zero + 21)?).ok()?;
    let entry = (&rest[..space], &rest[space + 1..zero], oid);
    *rest = &rest[zero + 21..];
    Some(entry)
}

#[cfg(test)]
mod tests;
