//! Finds the folder as it was, in the commits that a repository has.

use git2::{ErrorCode, ObjectType, Oid, Repository};
use jiff::Timestamp;

use super::commits::{self, Commit};
use super::error::{During, GitError};
use super::history;
use super::read::{EMPTY, FolderTree};
use super::tree;
use crate::deadline::Deadline;
use crate::progress::{self, Operation};
use crate::store::{At, Folder, Moment, StoreErrorKind, Version};

/// The folder at a moment, and the commit that made it so, if it was found by its commit.
pub(super) type Found = (FolderTree, Option<Moment>);

/// The longest chain of tags to follow.
const TAGS: usize = 5;

/// The fewest digits that name a commit.
const FEWEST_DIGITS: usize = 4;

/// The past of a folder, in the commits that a repository has.
#[derive(Clone, Copy)]
pub(super) struct Past<'a> {
    pub(super) repo: &'a Repository,
    /// The branch's tip.
    pub(super) tip: Option<Oid>,
    pub(super) folder: &'a Folder,
    /// Returns the object that a tag names.
    pub(super) tag: &'a dyn Fn(&str) -> Option<Oid>,
}

impl Past<'_> {
    /// The folder at that moment.
    pub(super) fn find(&self, at: &At, deadline: Deadline) -> Result<Found, StoreErrorKind> {
        match at {
            At::Latest => Ok((FolderTree::new(self.repo, self.tip, self.folder)?, None)),
            At::Version(version) => self.at_version(version),
            At::Named(name) => self.at_name(name),
            At::Time(time) => self.at_time(*time, deadline),
        }
    }

    /// Whether the tip is younger than that time.
    pub(super) fn is_after(&self, time: Timestamp) -> bool {
        let tip = self.tip.and_then(|tip| tree::commit(self.repo, tip).ok());
        tip.is_some_and(|tip| tip.seconds > time.as_second())
    }

    /// The folder in that version: that of a look, or the id of a commit.
    fn at_version(&self, version: &Version) -> Result<Found, StoreErrorKind> {
        if version.as_str() == EMPTY {
            return Ok((FolderTree::new(self.repo, None, self.folder)?, None));
        }
        // An abbreviation may mean another object tomorrow.
        let oid =
            Some(version.as_str()).filter(|name| name.len() == 40).and_then(|name| Oid::from_str(name).ok());
        self.at_object(oid.ok_or_else(|| missing(version.as_str()))?, version.as_str())
    }

    /// The folder at that tag or commit.
    fn at_name(&self, name: &str) -> Result<Found, StoreErrorKind> {
        if let Some(oid) = (self.tag)(name) {
            return self.at_object(oid, name);
        }
        let is_short = (FEWEST_DIGITS..=40).contains(&name.len());
        if !is_short || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing(name));
        }
        let prefix = Oid::from_str(name).during("read the name of the version")?;
        let odb = self.repo.odb().during("open the object database")?;
        match odb.exists_prefix(prefix, name.len()) {
            Ok(oid) => self.at_object(oid, name),
            Err(error) if error.code() == ErrorCode::NotFound => Err(missing(name)),
            Err(error) if error.code() == ErrorCode::Ambiguous => {
                Err(GitError::Ambiguous { version: name.to_owned() }.into())
            }
            Err(error) => Err(error).during("look up the version"),
        }
    }

    /// The folder in that commit, tag or tree, which the user named so.
    fn at_object(&self, mut oid: Oid, name: &str) -> Result<Found, StoreErrorKind> {
        let odb = self.repo.odb().during("open the object database")?;
        for _ in 0..TAGS {
            match odb.read_header(oid) {
                Ok((_, ObjectType::Commit)) => {
                    return self.at_commit(oid, &tree::commit(self.repo, oid)?);
                }
                Ok((_, ObjectType::Tree)) => return Ok((FolderTree::of(oid), None)),
                Ok((_, ObjectType::Tag)) => {
                    tree::measure(self.repo, oid)?;
                    oid = self.repo.find_tag(oid).during("read the tag")?.target_id();
                }
                Ok(_) => break,
                Err(error) if error.code() == ErrorCode::NotFound => break,
                Err(error) => return Err(error).during("look up the version"),
            }
        }
        Err(missing(name))
    }

    fn at_commit(&self, oid: Oid, commit: &Commit) -> Result<Found, StoreErrorKind> {
        let folder = FolderTree::new(self.repo, Some(oid), self.folder)?;
        Ok((folder, Some(history::moment(oid, commit))))
    }

    /// The folder at that time: in the last commit of the branch that is not younger, by the clocks of those
    /// who made the commits. Before a first commit that presence made, it was empty.
    fn at_time(&self, time: Timestamp, deadline: Deadline) -> Result<Found, StoreErrorKind> {
        commits::keep_none();
        let is_shallow = self.repo.is_shallow();
        let mut next = self.tip;
        let mut oldest = None;
        let mut is_begun_by_presence = false;
        for passed in 0.. {
            let Some(oid) = next else { break };
            progress::note(Operation::Walk, passed, 0);
            let commit = tree::commit(self.repo, oid)?;
            if commit.seconds <= time.as_second() {
                return self.at_commit(oid, &commit);
            }
            if deadline.is_over() {
                return Err(StoreErrorKind::late(deadline));
            }
            oldest = Timestamp::from_second(commit.seconds).ok();
            is_begun_by_presence = commit.parents.is_empty() && history::is_by_presence(self.repo, oid);
            // A merge of clones is one step, as in `git log --first-parent`.
            next = commit.parents.first().copied();
            if next.is_some_and(|parent| is_shallow && !history::has(self.repo, parent)) {
                return Err(GitError::Shallow { begins: oldest.unwrap_or_default() }.into());
            }
        }
        if is_begun_by_presence {
            return Ok((FolderTree::new(self.repo, None, self.folder)?, None));
        }
        Err(GitError::BeforeHistory { begins: oldest }.into())
    }
}

fn missing(version: &str) -> StoreErrorKind {
    GitError::NoSuchVersion { version: version.to_owned() }.into()
}

/// Whether the error says that the history does not have the moment, and not that it could not be read.
pub(super) fn is_unknown(error: &StoreErrorKind) -> bool {
    let StoreErrorKind::Git(error) = error else { return false };
    matches!(
        error,
        GitError::NoSuchVersion { .. }
            | GitError::Ambiguous { .. }
            | GitError::BeforeHistory { .. }
            | GitError::Shallow { .. }
    )
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::time::Duration;

    use git2::{Signature, Time};

    use super::*;
    use crate::deadline::Limit;
    use crate::errors::chain;

    /// A repository with a commit at each of these seconds. In each, the folder has another record.
    pub(in crate::store::git) fn repository(
        path: &std::path::Path,
        seconds: &[i64],
    ) -> (Repository, Vec<Oid>) {
        repository_by("t@localhost", path, seconds)
    }

    /// The same, by that committer.
    fn repository_by(email: &str, path: &std::path::Path, seconds: &[i64]) -> (Repository, Vec<Oid>) {
        let repo = Repository::init_bare(path).unwrap();
        let mut commits: Vec<Oid> = Vec::new();
        for second in seconds {
            let who = Signature::new("t", email, &Time::new(*second, 0)).unwrap();
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

    /// The past of a branch with these commits, the first of which has the tag `v1`.
    fn past<'a>(repo: &'a Repository, commits: &'a [Oid], folder: &'a Folder) -> Past<'a> {
        let first = Box::leak(Box::new(commits[0]));
        let tag = Box::leak(Box::new(|name: &str| Some(*first).filter(|_| name == "v1")));
        Past { repo, tip: commits.last().copied(), folder, tag }
    }

    fn port(repo: &Repository, found: Result<Found, StoreErrorKind>) -> String {
        let read = found.and_then(|(found, _)| found.read(repo, &crate::store::Snapshot::default()));
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
            port(&repo, past(&repo, &commits, &folder).at_time(time, deadline))
        };
        for (second, expect) in [(100, "100"), (199, "100"), (200, "200"), (299, "200"), (9000, "300")] {
            assert_eq!(at(second), expect, "{second}");
        }
        assert_eq!(at(99), "the history begins at 1970-01-01T00:01:40Z");
        let version =
            |name: &str| port(&repo, past(&repo, &commits, &folder).at_version(&Version::new(name)));
        let seen = FolderTree::new(&repo, Some(commits[0]), &folder).unwrap().version();
        assert_eq!(version(seen.as_str()), "100", "as a look named it");
        assert_eq!(version(&commits[1].to_string()), "200", "a commit");
        assert_eq!(version("empty"), "none");
        let blob = repo.blob(b"x").unwrap().to_string();
        for bad in ["HEAD", "", &commits[1].to_string()[..10], &"f".repeat(40), &blob] {
            assert_eq!(version(bad), format!("there is no version `{bad}`"));
        }
        let name = |name: &str| port(&repo, past(&repo, &commits, &folder).at_name(name));
        assert_eq!(name(&commits[1].to_string()[..8]), "200", "an abbreviation, as `presence log` prints it");
        assert_eq!(name(&commits[1].to_string()), "200");
        assert_eq!(name("v1"), "100", "a tag");
        for bad in ["HEAD", "", "abc", "ffffffff", "v2", "HEAD~1", ":/c", &"f".repeat(41), &blob] {
            assert_eq!(name(bad), format!("there is no version `{bad}`"));
        }
        // A mirror without the first commit.
        fs::write(dir.path().join("shallow"), format!("{}\n", commits[1])).unwrap();
        let first = commits[0].to_string();
        fs::remove_file(dir.path().join("objects").join(&first[..2]).join(&first[2..])).unwrap();
        let repo = Repository::open_bare(dir.path()).unwrap();
        let deadline = Deadline::new(Limit::Read, Duration::from_secs(600));
        let early = past(&repo, &commits, &folder).at_time(Timestamp::from_second(150).unwrap(), deadline);
        let expect = "its history is known since 1970-01-01T00:03:20Z only: older commits are missing";
        assert_eq!(port(&repo, early), expect);
    }

    #[test]
    fn before_a_first_commit_of_presence_the_folder_was_empty() {
        let dir = tempfile::tempdir().unwrap();
        let (repo, commits) = repository_by(crate::store::git::commit::EMAIL, dir.path(), &[100, 200]);
        let folder = Folder::parse("it").unwrap();
        let deadline = Deadline::new(Limit::Read, Duration::from_secs(600));
        let early = Timestamp::from_second(99).unwrap();
        let (found, moment) = past(&repo, &commits, &folder).at_time(early, deadline).unwrap();
        assert_eq!(port(&repo, Ok((found, moment.clone()))), "none");
        assert_eq!(moment, None, "no commit made it so");
        // Without its parent, the first commit that is here says nothing of the time before it.
        fs::write(dir.path().join("shallow"), format!("{}\n", commits[1])).unwrap();
        let first = commits[0].to_string();
        fs::remove_file(dir.path().join("objects").join(&first[..2]).join(&first[2..])).unwrap();
        let repo = Repository::open_bare(dir.path()).unwrap();
        let early = past(&repo, &commits, &folder).at_time(early, deadline);
        assert!(port(&repo, early).starts_with("its history is known since"));
    }

    #[test]
    fn a_long_history_is_searched_until_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let (repo, commits) = repository(dir.path(), &[100, 200]);
        let over = Deadline::new(Limit::Read, Duration::ZERO);
        let folder = Folder::parse("it").unwrap();
        let found = past(&repo, &commits, &folder).at_time(Timestamp::from_second(1).unwrap(), over);
        assert!(matches!(found, Err(StoreErrorKind::Late { .. })));
    }
}
