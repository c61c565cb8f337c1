//! The changes of nodes in the branch's commits, newest first.

use std::collections::{BTreeMap, BTreeSet};

use git2::{DiffOptions, Oid, Repository, Tree};
use jiff::Timestamp;

use super::commit::EMAIL;
use super::tree;
use crate::change::Change;
use crate::name::Name;
use crate::record::{MAX_BYTES, Record};
use crate::store::git::error::During;
use crate::store::{Folder, HistoryEvent, StoreErrorKind};

/// The last `most` changes of one node or of all, including those in commits that presence did not make.
pub(super) fn read(
    repo: &Repository,
    tip: Option<Oid>,
    folder: &Folder,
    id: Option<&Name>,
    most: usize,
) -> Result<Vec<HistoryEvent>, StoreErrorKind> {
    let mut events = Vec::new();
    let found = |oid: Oid| Ok::<_, StoreErrorKind>((oid, tree::commit(repo, oid)?));
    let mut next = tip.map(found).transpose()?;
    while let Some((oid, commit)) = next {
        // A merge of clones is one step, as in `git log --first-parent`.
        next = match commit.parents.first() {
            // A shallow repository lacks old commits.
            Some(parent) if repo.is_shallow() && !has(repo, *parent) => None,
            parent => parent.copied().map(found).transpose()?,
        };
        let before = next.as_ref().map(|(_, parent)| parent.tree);
        for (name, (before, after)) in files(repo, before, commit.tree, folder)? {
            let wanted = id.is_none_or(|id| *id == name);
            let Some(change) = Change::between(before.as_ref(), after.as_ref()).filter(|_| wanted) else {
                continue;
            };
            let part = after.as_ref().or(before.as_ref()).and_then(Record::part);
            events.push(HistoryEvent {
                time: Timestamp::from_second(commit.seconds).unwrap_or_default(),
                commit: oid.to_string(),
                part: part.map(std::borrow::Cow::into_owned),
                id: name,
                change,
            });
        }
        if events.len() >= most {
            break;
        }
    }
    events.truncate(most);
    Ok(events)
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
            for line in commit.message().unwrap_or_default().lines() {
                let id = line.split([' ', ':']).next().unwrap_or_default();
                if open.remove(id)
                    && is_withdrawal(line, id)
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

/// Whether that line of a commit message reports that the node left: `ID: left`, or with its part.
fn is_withdrawal(line: &str, id: &str) -> bool {
    let left = Change::Left.to_string();
    let rest = line.strip_prefix(id).unwrap_or_default();
    rest == format!(": {left}") || (rest.starts_with(" (") && rest.ends_with(&format!("): {left}")))
}

type Versions = (Option<Record>, Option<Record>);

/// Whether the repository has that object.
pub(super) fn has(repo: &Repository, oid: Oid) -> bool {
    repo.odb().is_ok_and(|odb| odb.exists(oid))
}

/// The records in two trees, for the nodes whose files differ.
fn files(
    repo: &Repository,
    before: Option<Oid>,
    after: Oid,
    folder: &Folder,
) -> Result<BTreeMap<Name, Versions>, StoreErrorKind> {
    let old = before.map(|oid| tree::find(repo, oid)).transpose()?;
    let new = tree::find(repo, after)?;
    compare(repo, old.as_ref(), &new, folder).during("compare two commits")
}

fn compare(
    repo: &Repository,
    old: Option<&Tree<'_>>,
    new: &Tree<'_>,
    folder: &Folder,
) -> Result<BTreeMap<Name, Versions>, git2::Error> {
    let mut options = DiffOptions::new();
    options.pathspec(format!("{folder}/")).disable_pathspec_match(true).skip_binary_check(true);
    let diff = repo.diff_tree_to_tree(old, Some(new), Some(&mut options))?;
    let mut files: BTreeMap<Name, Versions> = BTreeMap::new();
    for delta in diff.deltas() {
        let path = delta.new_file().path().or(delta.old_file().path());
        let Some(id) = path.filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        else {
            continue;
        };
        let Some(id) = id.file_stem().and_then(|stem| Name::parse(stem.to_str()?).ok()) else { continue };
        // A file that is no record means a node that is not on the list.
        let record = |oid: Oid| match oid.is_zero() {
            true => Ok(None),
            // A file over the size limit is no record.
            false if repo.odb()?.read_header(oid)?.0 > MAX_BYTES => Ok(None),
            false => repo.find_blob(oid).map(|blob| Record::parse(blob.content()).ok()),
        };
        let versions = files.entry(id).or_default();
        versions.0 = record(delta.old_file().id())?.or(versions.0.take());
        versions.1 = record(delta.new_file().id())?.or(versions.1.take());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

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
