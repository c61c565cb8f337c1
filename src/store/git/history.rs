//! The changes of nodes in the branch's commits, newest first. Reads only what differs between two commits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::rc::Rc;

use git2::{Odb, Oid, Repository};
use jiff::Timestamp;

use super::commit::EMAIL;
use super::commits::{self, Commit};
use super::read::next_entry;
use super::tree;
use crate::change::Change;
use crate::deadline::Deadline;
use crate::limits;
use crate::name::Name;
use crate::progress::{self, Operation};
use crate::record::{MAX_BYTES, Record};
use crate::store::directory::MAX_DEPTH;
use crate::store::git::error::During;
use crate::store::{Before, Folder, Moment, NodeStep, Reached, Step, StoreErrorKind};

/// A walk along the branch, which continues after an error where it was. It keeps no step.
pub(super) struct Walk {
    next: Option<Oid>,
    /// The number of commits so far.
    passed: usize,
}

impl Walk {
    /// A walk that begins at the branch's tip.
    pub(super) fn from(tip: Option<Oid>) -> Walk {
        Walk { next: tip, passed: 0 }
    }

    /// Visits the commits that change the folder, including those that presence did not make, until `visit`
    /// breaks or the deadline passes.
    pub(super) fn run(
        &mut self,
        repo: &Repository,
        folder: &Folder,
        deadline: Deadline,
        visit: &mut dyn FnMut(Step) -> ControlFlow<()>,
    ) -> Result<Reached, StoreErrorKind> {
        commits::keep_none();
        let is_shallow = repo.is_shallow();
        let mut trees = Trees::new(repo)?;
        let found = |oid: Oid| {
            let commit = tree::commit(repo, oid)?;
            let folder = tree::id(repo, &tree::find(repo, commit.tree)?, folder)?;
            Ok::<_, StoreErrorKind>((oid, commit, folder))
        };
        let mut current = self.next.map(found).transpose()?;
        while let Some((oid, commit, after)) = current {
            if deadline.is_over() {
                return Ok(Reached::Deadline);
            }
            progress::note(Operation::Walk, self.passed, 0);
            // A merge of clones is one step, as in `git log --first-parent`.
            let parent = match commit.parents.first() {
                // A shallow repository lacks old commits.
                Some(parent) if is_shallow && !has(repo, *parent) => None,
                parent => parent.copied().map(found).transpose()?,
            };
            let before = match &parent {
                Some(_) => Before::Step,
                None if commit.parents.is_empty() && is_by_presence(repo, oid) => Before::Nothing,
                None => Before::Unknown,
            };
            let old = parent.as_ref().and_then(|(_, _, folder)| *folder);
            let mut nodes = if old == after { Vec::new() } else { differing(&mut trees, old, after)? };
            if nodes.iter().any(|node| node.after.is_none()) {
                let withdrawn = withdrawals(repo, oid);
                nodes.iter_mut().for_each(|node| node.withdrawn = withdrawn.contains(node.id.as_str()));
            }
            self.next = parent.as_ref().map(|(parent, _, _)| *parent);
            self.passed += 1;
            if !nodes.is_empty() || before != Before::Step {
                let step = Step { moment: moment(oid, &commit), nodes, before };
                if visit(step).is_break() {
                    return Ok(Reached::End);
                }
            }
            trees.advance();
            current = parent;
        }
        Ok(Reached::End)
    }
}

/// The most bytes of trees to keep for the next step.
const KEPT: usize = 16 * 1024 * 1024;

/// Reads trees, and keeps those of one step for the next: its second tree is the first one there.
struct Trees<'repo> {
    repo: &'repo Repository,
    odb: Odb<'repo>,
    last: HashMap<Oid, Rc<[u8]>>,
    current: HashMap<Oid, Rc<[u8]>>,
    /// The bytes of the trees in `current`.
    bytes: usize,
}

impl<'repo> Trees<'repo> {
    fn new(repo: &'repo Repository) -> Result<Trees<'repo>, StoreErrorKind> {
        let odb = repo.odb().during("open the object database")?;
        Ok(Trees { repo, odb, last: HashMap::new(), current: HashMap::new(), bytes: 0 })
    }

    /// The bytes of the tree; none if there is no tree.
    fn read(&mut self, tree: Option<Oid>) -> Result<Rc<[u8]>, StoreErrorKind> {
        let Some(tree) = tree else { return Ok(Rc::default()) };
        if let Some(known) = self.current.get(&tree) {
            return Ok(known.clone());
        }
        let bytes = match self.last.remove(&tree) {
            Some(known) => known,
            None => {
                tree::measure(self.repo, tree)?;
                Rc::from(self.odb.read(tree).during("read the tree")?.data())
            }
        };
        if self.bytes + bytes.len() <= KEPT {
            self.bytes += bytes.len();
            self.current.insert(tree, bytes.clone());
        }
        Ok(bytes)
    }

    /// Goes on to the next step.
    fn advance(&mut self) {
        self.last = std::mem::take(&mut self.current);
        self.bytes = 0;
    }
}

/// The commit's id and time.
pub(super) fn moment(oid: Oid, commit: &Commit) -> Moment {
    let time = Timestamp::from_second(commit.seconds).unwrap_or_default();
    Moment { commit: oid.to_string(), time }
}

/// Whether presence made the commit.
pub(super) fn is_by_presence(repo: &Repository, oid: Oid) -> bool {
    repo.find_commit(oid).is_ok_and(|commit| commit.committer().email_bytes() == EMAIL.as_bytes())
}

/// The most commits to search for withdrawals.
const MAX_LOOKED_AT: usize = 5_000;

/// The nodes among `ids` that presence withdrew and that have not returned, according to the newest commit
/// that names each. Excludes files that were removed in other ways. Commits that are missing or too old are
/// ignored.
pub(super) fn withdrawn(repo: &Repository, tip: Option<Oid>, ids: &BTreeSet<Name>) -> BTreeSet<Name> {
    let mut open: BTreeSet<&str> = ids.iter().map(Name::as_str).collect();
    let mut withdrawn = BTreeSet::new();
    let mut next = tip.and_then(|tip| repo.find_commit(tip).ok());
    for _ in 0..MAX_LOOKED_AT {
        let Some(commit) = next.filter(|_| !open.is_empty()) else { break };
        if commit.committer().email_bytes() == EMAIL.as_bytes() {
            for (id, is_withdrawal) in reported(commit.message().unwrap_or_default()) {
                if open.remove(id)
                    && is_withdrawal
                    && let Ok(id) = Name::parse(id)
                {
                    withdrawn.insert(id);
                }
            }
        }
        next = commit.parent(0).ok();
    }
    withdrawn
}

/// The instance-ids that presence withdrew with that commit.
fn withdrawals(repo: &Repository, oid: Oid) -> BTreeSet<String> {
    let Some(commit) = repo.find_commit(oid).ok().filter(|_| is_by_presence(repo, oid)) else {
        return BTreeSet::new();
    };
    let reported = reported(commit.message().unwrap_or_default());
    reported.filter(|(_, is_withdrawal)| *is_withdrawal).map(|(id, _)| id.to_owned()).collect()
}

/// The instance-ids at the beginning of the lines of a commit message, and whether the line reports a withdrawal.
fn reported(message: &str) -> impl Iterator<Item = (&str, bool)> {
    message.lines().map(|line| {
        let id = line.split([' ', ':']).next().unwrap_or_default();
        (id, is_withdrawal(line, id))
    })
}

/// Whether that line of a commit message reports that the node left: `ID: left`, or with its part.
fn is_withdrawal(line: &str, id: &str) -> bool {
    let left = Change::Left.to_string();
    let rest = line.strip_prefix(id).unwrap_or_default();
    rest == format!(": {left}") || (rest.starts_with(" (") && rest.ends_with(&format!("): {left}")))
}

/// Whether the repository has that object.
pub(super) fn has(repo: &Repository, oid: Oid) -> bool {
    repo.odb().is_ok_and(|odb| odb.exists(oid))
}

/// The records in two trees of the folder, for the nodes whose files differ.
fn differing(
    trees: &mut Trees<'_>,
    before: Option<Oid>,
    after: Option<Oid>,
) -> Result<Vec<NodeStep>, StoreErrorKind> {
    let repo = trees.repo;
    let mut nodes: BTreeMap<Name, (Option<Record>, Option<Record>)> = BTreeMap::new();
    let mut differ = |name: &[u8], is_after: bool, oid: Oid| {
        let id = name.strip_suffix(b".json").and_then(|stem| str::from_utf8(stem).ok());
        let Some(id) = id.and_then(|id| Name::parse(id).ok()) else { return Ok(()) };
        // A file over the size limit is no record.
        let is_large =
            repo.odb().and_then(|odb| odb.read_header(oid)).during("read an object")?.0 > MAX_BYTES;
        let record = match is_large {
            true => None,
            false => Record::parse(repo.find_blob(oid).during("read a record")?.content()).ok(),
        };
        let versions = nodes.entry(id).or_default();
        let version = if is_after { &mut versions.1 } else { &mut versions.0 };
        // A node may have two files, of which one is no record.
        *version = record.or(version.take());
        Ok(())
    };
    compare(trees, before, after, 0, &mut differ)?;
    let nodes = nodes.into_iter().filter(|(_, (before, after))| before != after);
    let step = |(id, (before, after))| NodeStep { id, before, after, withdrawn: false };
    Ok(nodes.map(step).collect())
}

/// Receives the name of a file that differs, whether it is in the second tree, and its object.
type Differ<'a> = dyn FnMut(&[u8], bool, Oid) -> Result<(), StoreErrorKind> + 'a;

/// Finds the files that differ between two trees. A step of the history changes one file of thousands, so this
/// compares the bytes of the trees and visits nothing that they have in common.
fn compare(
    all: &mut Trees<'_>,
    before: Option<Oid>,
    after: Option<Oid>,
    depth: usize,
    differ: &mut Differ<'_>,
) -> Result<(), StoreErrorKind> {
    let (old, new) = (all.read(before)?, all.read(after)?);
    let (mut old, mut new) = (&old[..], &new[..]);
    let mut entries = 0;
    loop {
        let (mut old_rest, mut new_rest) = (old, new);
        let gone = next_entry(&mut old_rest);
        let length = old.len() - old_rest.len();
        if length > 0 && new.get(..length) == old.get(..length) {
            (old, new) = (old_rest, &new[length..]);
            continue;
        }
        let come = next_entry(&mut new_rest);
        entries += 1;
        if entries > limits::get().entries {
            return Err(tree::too_much("files and folders", limits::get().entries));
        }
        let order = match (&gone, &come) {
            (None, None) => return Ok(()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(gone), Some(come)) => place(gone).cmp(place(come)),
        };
        let gone = gone.filter(|_| order.is_le());
        let come = come.filter(|_| order.is_ge());
        if gone.is_some() {
            old = old_rest;
        }
        if come.is_some() {
            new = new_rest;
        }
        let is_tree = |entry: &(&[u8], &[u8], Oid)| matches!(entry.0, b"40000" | b"040000");
        let is_seen = |entry: &(&[u8], &[u8], Oid)| !entry.1.starts_with(b".");
        let trees = [gone, come].map(|entry| entry.filter(is_tree).filter(is_seen).map(|entry| entry.2));
        if trees.iter().any(Option::is_some) && depth + 1 < MAX_DEPTH {
            compare(all, trees[0], trees[1], depth + 1, differ)?;
        }
        for (is_after, entry) in [(false, gone), (true, come)] {
            // Links and submodules are no records.
            if let Some((mode, name, oid)) = entry.filter(is_seen)
                && mode.starts_with(b"100")
            {
                differ(name, is_after, oid)?;
            }
        }
    }
}

/// Git's order of entries: that of their names, in which a tree's ends with `/`.
fn place<'t>((mode, name, _): &(&'t [u8], &'t [u8], Oid)) -> impl Iterator<Item = &'t u8> {
    let end: &[u8] = if matches!(*mode, b"40000" | b"040000") { b"/" } else { b"" };
    name.iter().chain(end)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::deadline::Limit;
    use crate::store::git::past::tests::repository;

    #[test]
    fn a_walk_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let (repo, commits) = repository(dir.path(), &[100, 200, 300]);
        let folder = Folder::parse("it").unwrap();
        let mut walk = Walk::from(commits.last().copied());
        let mut run = |limit, most| {
            let mut seen = Vec::new();
            let deadline = Deadline::new(Limit::History, limit);
            let reached = walk.run(&repo, &folder, deadline, &mut |step| {
                seen.push(step.moment.time.as_second());
                if seen.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            (reached.unwrap(), seen)
        };
        let long = Duration::from_secs(600);
        assert_eq!(run(Duration::ZERO, 9), (Reached::Deadline, vec![]));
        assert_eq!(run(long, 1), (Reached::End, vec![300]));
        assert_eq!(run(Duration::ZERO, 9), (Reached::Deadline, vec![]));
        assert_eq!(run(long, 9), (Reached::End, vec![200, 100]));
        assert_eq!(run(long, 9), (Reached::End, vec![]));
    }

    #[test]
    fn trees_are_kept_for_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let (repo, commits) = repository(dir.path(), &[100, 200]);
        let ids = commits.iter().map(|commit| tree::commit(&repo, *commit).unwrap().tree);
        let ids: Vec<Oid> = ids.collect();
        let mut trees = Trees::new(&repo).unwrap();
        let first = trees.read(Some(ids[0])).unwrap();
        trees.advance();
        assert!(Rc::ptr_eq(&first, &trees.read(Some(ids[0])).unwrap()), "that of the last step");
        trees.advance();
        trees.read(Some(ids[1])).unwrap();
        trees.advance();
        assert!(!Rc::ptr_eq(&first, &trees.read(Some(ids[0])).unwrap()), "no older one");
        assert_eq!(&*trees.read(None).unwrap(), b"");
    }

    #[test]
    fn a_withdrawal_is_told_from_other_changes() {
        for (line, expect) in [
            ("i-1: left", true),
            ("i-1 (app1): left", true),
            ("i-1 (app1): joined", false),
            ("i-1 (app1): rack left", false),
            ("i-10 (app1): left", false),
            ("i-1", false),
        ] {
            assert_eq!(is_withdrawal(line, "i-1"), expect, "{line}");
        }
    }
}
