//! Finds the folder as it was, in the commits that a repository has.

use git2::{ErrorCode, ObjectType, Oid, Repository};
use jiff::Timestamp;

use super::error::{During, GitError};
use super::history;
use super::read::{EMPTY, FolderTree};
use super::tree;
use crate::deadline::Deadline;
use crate::store::{At, Folder, StoreErrorKind, Version};

/// The folder at that moment, in a repository whose branch has that tip.
pub(super) fn find(
    repo: &Repository,
    tip: Option<Oid>,
    folder: &Folder,
    at: &At,
    deadline: Deadline,
) -> Result<FolderTree, StoreErrorKind> {
    match at {
        At::Latest => FolderTree::new(repo, tip, folder),
        At::Version(version) => at_version(repo, folder, version),
        At::Time(time) => at_time(repo, tip, folder, *time, deadline),
    }
}

/// The folder in that version: that of a look, or the id of a commit.
fn at_version(repo: &Repository, folder: &Folder, version: &Version) -> Result<FolderTree, StoreErrorKind> {
    let missing = || GitError::NoSuchVersion { version: version.as_str().to_owned() };
    if version.as_str() == EMPTY {
        return FolderTree::new(repo, None, folder);
    }
    // An abbreviation may mean another object tomorrow.
    let oid =
        Some(version.as_str()).filter(|name| name.len() == 40).and_then(|name| Oid::from_str(name).ok());
    let oid = oid.ok_or_else(missing)?;
    let odb = repo.odb().during("open the object database")?;
    match odb.read_header(oid) {
        Ok((_, ObjectType::Commit)) => FolderTree::new(repo, Some(oid), folder),
        Ok((_, ObjectType::Tree)) => Ok(FolderTree::of(oid)),
        Ok(_) => Err(missing().into()),
        Err(error) if error.code() == ErrorCode::NotFound => Err(missing().into()),
        Err(error) => Err(error).during("look up the version"),
    }
}

/// The folder at that time: in the last commit of the branch that is not younger, by the clocks of those who
/// made the commits.
fn at_time(
    repo: &Repository,
    tip: Option<Oid>,
    folder: &Folder,
    time: Timestamp,
    deadline: Deadline,
) -> Result<FolderTree, StoreErrorKind> {
    let mut next = tip;
    let mut oldest = None;
    while let Some(oid) = next {
        let commit = tree::commit(repo, oid)?;
        if commit.seconds <= time.as_second() {
            return FolderTree::new(repo, Some(oid), folder);
        }
        if deadline.is_over() {
            return Err(StoreErrorKind::late(deadline));
        }
        oldest = Timestamp::from_second(commit.seconds).ok();
        // A merge of clones is one step, as in `git log --first-parent`.
        next = commit.parents.first().copied();
        if next.is_some_and(|parent| repo.is_shallow() && !history::has(repo, parent)) {
            return Err(GitError::Shallow { begins: oldest.unwrap_or_default() }.into());
        }
    }
    Err(GitError::BeforeHistory { begins: oldest }.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use git2::{Signature, Time};

    use super::*;
    use crate::deadline::Limit;
    use crate::errors::chain;

    /// A repository with a commit at each of these seconds. In each, the folder has another record.
    fn repository(path: &std::path::Path, seconds: &[i64]) -> (Repository, Vec<Oid>) {
        let repo = Repository::init_bare(path).unwrap();
        let mut commits: Vec<Oid> = Vec::new();
        for second in seconds {
            let who = Signature::new("t", "t@localhost", &Time::new(*second, 0)).unwrap();
            let text =
                format!(r#"{{"filetype":"nodepresence","value":{{"instance-id":"i-1","port":"{second}"}}}}"#);
            let mut folder = repo.treebuilder(None).unwrap();
            folder.insert("i-1.json", repo.blob(text.as_bytes()).unwrap(), 0o100_644).unwrap();
            let mut root = repo.treebuilder(None).unwrap();
            root.insert("it", folder.write().unwrap(), 0o040_000).unwrap();
            let root = repo.find_tree(root.write().unwrap()).unwrap();
            let parents: Vec<_> =
                commits.last().map(|oid| repo.find_commit(*oid).unwrap()).into_iter().collect();
            let commit = repo.commit(None, &who, &who, "c", &root, &parents.iter().collect::<Vec<_>>());
            drop(parents);
            drop(root);
            commits.push(commit.unwrap());
        }
        (repo, commits)
    }

    fn port(repo: &Repository, found: Result<FolderTree, StoreErrorKind>) -> String {
        let read = found.and_then(|found| found.read(repo, &crate::store::Snapshot::default()));
        match read {
            Ok(snapshot) => {
                let record = snapshot.files().next().map(|file| file.record().unwrap());
                record.map_or_else(|| "none".to_owned(), |record| record.text("port").unwrap().to_string())
            }
            Err(error) => chain(&error),
        }
    }

    #[test]
    fn the_folder_is_read_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (repo, commits) = repository(dir.path(), &[100, 200, 300]);
        let folder = Folder::parse("it").unwrap();
        let at = |second: i64| {
            let deadline = Deadline::new(Limit::Read, Duration::from_secs(600));
            let time = Timestamp::from_second(second).unwrap();
            port(&repo, at_time(&repo, commits.last().copied(), &folder, time, deadline))
        };
        for (second, expect) in [(100, "100"), (199, "100"), (200, "200"), (299, "200"), (9000, "300")] {
            assert_eq!(at(second), expect, "{second}");
        }
        assert_eq!(at(99), "the history begins at 1970-01-01T00:01:40Z");
        let version = |name: &str| port(&repo, at_version(&repo, &folder, &Version::new(name)));
        let seen = FolderTree::new(&repo, Some(commits[0]), &folder).unwrap().version();
        assert_eq!(version(seen.as_str()), "100", "as a look named it");
        assert_eq!(version(&commits[1].to_string()), "200", "a commit");
        assert_eq!(version("empty"), "none");
        let blob = repo.blob(b"x").unwrap().to_string();
        for bad in ["HEAD", "", &commits[1].to_string()[..10], &"f".repeat(40), &blob] {
            assert_eq!(version(bad), format!("there is no version `{bad}`"));
        }
        // A mirror without the first commit.
        fs::write(dir.path().join("shallow"), format!("{}\n", commits[1])).unwrap();
        let first = commits[0].to_string();
        fs::remove_file(dir.path().join("objects").join(&first[..2]).join(&first[2..])).unwrap();
        let repo = Repository::open_bare(dir.path()).unwrap();
        let deadline = Deadline::new(Limit::Read, Duration::from_secs(600));
        let early =
            at_time(&repo, commits.last().copied(), &folder, Timestamp::from_second(150).unwrap(), deadline);
        assert_eq!(port(&repo, early), "this machine has the history since 1970-01-01T00:03:20Z only");
    }

    #[test]
    fn a_long_history_is_searched_until_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let (repo, commits) = repository(dir.path(), &[100, 200]);
        let over = Deadline::new(Limit::Read, Duration::ZERO);
        let folder = Folder::parse("it").unwrap();
        let found =
            at_time(&repo, commits.last().copied(), &folder, Timestamp::from_second(1).unwrap(), over);
        assert!(matches!(found, Err(StoreErrorKind::Late { .. })));
    }
}
