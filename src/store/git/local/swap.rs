//! Moves a ref of a local repository under git's own lock file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::time::{Duration, SystemTime};

use git2::{Oid, Repository};
use jiff::Timestamp;
use rustix::fs::{AtFlags, OFlags};

use super::hold::Hold;
use crate::errors::{AtPath, PathError};
use crate::store::StoreErrorKind;
use crate::store::git::error::During;
use crate::store::git::tip;

/// A lock file of git that is older than this was left by a killed process: git holds one for milliseconds.
///
/// It is well below the `connect` limit, which is all the time that this store has once another store has
/// answered.
const STALE_LOCK: Duration = Duration::from_secs(5);

/// A ref has 40 digits and a newline; the name in a symbolic ref is not longer than this.
const MAX_REF: u64 = 4096;

/// A change of a ref.
pub(super) struct Swap<'a> {
    pub(super) name: &'a str,
    /// Its current target; `None` if it does not exist.
    pub(super) old: Option<Oid>,
    pub(super) new: Oid,
    /// For the reflog.
    pub(super) author: &'a str,
    pub(super) note: &'a str,
}

impl Swap<'_> {
    /// Moves the ref. Returns false if it no longer names `old`, if somebody else is changing it, or if the
    /// repository was moved away.
    pub(super) fn make(&self, hold: &Hold, repo: &Repository) -> Result<bool, StoreErrorKind> {
        let failed = |operation, name: &str| {
            let path = hold.at(name);
            move |source| PathError { operation, path, source }
        };
        let name = format!("{}.lock", self.name);
        let mut file = match hold.create(&name, 0o666) {
            Ok(file) => file,
            // `git pack-refs` removed the empty directory meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return hold.is_in_place().map(|_| false);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                remove_if_stale(hold, &name);
                return Ok(false);
            }
            Err(error) => return Err(failed("write", &name)(error).into()),
        };
        match self.under_lock(hold, repo, &name, &mut file) {
            Ok(true) => {
                let dir = self.name.rsplit_once('/').map_or(".", |(dir, _)| dir);
                hold.sync(dir).map_err(failed("write", dir))?;
                self.log(hold, repo);
                Ok(true)
            }
            result => {
                // If this fails, the file soon becomes stale.
                let _ = hold.remove(&name, AtFlags::empty());
                result
            }
        }
    }

    /// Moves the ref while this process holds the lock file, which becomes the ref.
    fn under_lock(
        &self,
        hold: &Hold,
        repo: &Repository,
        lock: &str,
        file: &mut File,
    ) -> Result<bool, StoreErrorKind> {
        let named = self.named(hold, repo)?;
        if !hold.is_in_place()? || named != self.old {
            return Ok(false);
        }
        writeln!(file, "{}", self.new).and_then(|()| file.sync_all()).at("write", &hold.at(lock))?;
        let moved = match hold.rename(lock, self.name) {
            // An empty directory, left from packed refs below that name.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                hold.remove(self.name, AtFlags::REMOVEDIR).and_then(|()| hold.rename(lock, self.name))
            }
            moved => moved,
        };
        moved.at("write", &hold.at(self.name))?;
        Ok(true)
    }

    /// The present target of the ref.
    fn named(&self, hold: &Hold, repo: &Repository) -> Result<Option<Oid>, StoreErrorKind> {
        let mut text = String::new();
        match hold.open(self.name, OFlags::RDONLY) {
            // An empty directory, left from packed refs below that name.
            Ok(file) if file.metadata().is_ok_and(|found| found.is_dir()) => tip(repo, self.name),
            Ok(file) => {
                let path = hold.at(self.name);
                file.take(MAX_REF).read_to_string(&mut text).at("read", &path)?;
                // A symbolic ref: it will be replaced by an ordinary one.
                if text.starts_with("ref:") {
                    return tip(repo, self.name);
                }
                Oid::from_str(text.trim_end()).map(Some).during("read the ref")
            }
            // The ref is packed or does not exist.
            Err(error) if error.kind() == io::ErrorKind::NotFound => tip(repo, self.name),
            Err(error) => Err(error).at("read", &hold.at(self.name))?,
        }
    }

    /// Logs the change where git would (git-config(1), `core.logAllRefUpdates`). A failure is ignored: the
    /// ref has moved already.
    fn log(&self, hold: &Hold, repo: &Repository) {
        let says = repo.config().and_then(|config| config.get_string("core.logAllRefUpdates"));
        let wanted = match says.as_deref() {
            Ok("always") => true,
            Ok(text) => {
                git2::Config::parse_bool(text).unwrap_or(false) && self.name.starts_with("refs/heads/")
            }
            Err(_) => !repo.is_bare() && self.name.starts_with("refs/heads/"),
        };
        let mut line = String::new();
        let (old, now) = (self.old.unwrap_or(Oid::ZERO_SHA1), Timestamp::now().as_second());
        // Writing to a string does not fail.
        let _ = writeln!(
            line,
            "{old} {} {} <presence@localhost> {now} +0000\t{}",
            self.new,
            self.author,
            self.note.replace(['\n', '\0'], " ")
        );
        let head = repo.find_reference("HEAD");
        let of_head = head.is_ok_and(|head| head.symbolic_target() == Ok(Some(self.name)));
        for name in [format!("logs/{}", self.name), "logs/HEAD".to_owned()] {
            if name == "logs/HEAD" && !(of_head && repo.path() == repo.commondir()) {
                continue;
            }
            let file = match hold.open(&name, OFlags::WRONLY | OFlags::APPEND) {
                Err(error) if wanted && error.kind() == io::ErrorKind::NotFound => {
                    hold.create(&name, 0o666).ok()
                }
                file => file.ok(),
            };
            let _ = file.map(|mut file| file.write_all(line.as_bytes()));
        }
    }
}

/// Removes a stale lock file. A publisher that is killed while it moves the branch leaves one, and nobody
/// could publish before somebody removed it by hand.
fn remove_if_stale(hold: &Hold, name: &str) {
    let modified =
        hold.open(name, OFlags::RDONLY).ok().and_then(|file| file.metadata().ok()?.modified().ok());
    let age = modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
    if age.is_some_and(|age| age > STALE_LOCK) {
        // If this fails, later attempts find the lock again, until the deadline.
        let _ = hold.remove(name, AtFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const BRANCH: &str = "refs/heads/main";

    fn commit(repo: &Repository, text: &str) -> Oid {
        let tree = repo.find_tree(repo.treebuilder(None).unwrap().write().unwrap()).unwrap();
        let who = git2::Signature::now("t", "t@localhost").unwrap();
        repo.commit(None, &who, &who, text, &tree, &[]).unwrap()
    }

    fn swap(repo: &Repository, old: Option<Oid>, new: Oid) -> Result<bool, StoreErrorKind> {
        let swap = Swap { name: BRANCH, old, new, author: "i-1", note: "why" };
        swap.make(&Hold::of(repo).unwrap(), repo)
    }

    #[test]
    fn a_ref_moves_only_from_where_it_was_seen() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init(dir.path()).unwrap();
        repo.set_head(BRANCH).unwrap();
        let (one, two) = (commit(&repo, "one"), commit(&repo, "two"));
        assert!(swap(&repo, None, one).unwrap());
        assert!(!swap(&repo, None, two).unwrap(), "it is there");
        assert!(!swap(&repo, Some(two), one).unwrap(), "it names another one");
        assert!(swap(&repo, Some(one), two).unwrap());
        assert_eq!(repo.refname_to_id(BRANCH).unwrap(), two);
        for log in [BRANCH, "HEAD"] {
            assert_eq!(repo.reflog(log).unwrap().len(), 2, "{log}");
        }
        // The same for a packed ref.
        let loose = dir.path().join(".git").join(BRANCH);
        fs::write(dir.path().join(".git/packed-refs"), format!("{two} {BRANCH}\n")).unwrap();
        fs::remove_file(&loose).unwrap();
        assert!(!swap(&repo, None, one).unwrap() && swap(&repo, Some(two), one).unwrap());
        fs::remove_file(&loose).unwrap();
        fs::create_dir(&loose).unwrap();
        assert!(swap(&repo, Some(two), one).unwrap(), "an empty directory is in the way");
    }

    #[test]
    fn a_lock_is_respected_until_it_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        let one = commit(&repo, "one");
        let lock = dir.path().join("refs/heads/main.lock");
        let file = fs::File::create(&lock).unwrap();
        assert!(!swap(&repo, None, one).unwrap() && lock.exists());
        file.set_modified(SystemTime::now() - STALE_LOCK - Duration::from_secs(1)).unwrap();
        assert!(!swap(&repo, None, one).unwrap() && !lock.exists());
        assert!(swap(&repo, None, one).unwrap() && !lock.exists());
    }

    #[test]
    fn a_ref_that_cannot_be_read_is_not_one_that_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        fs::write(dir.path().join(BRANCH), "").unwrap();
        assert!(swap(&repo, None, commit(&repo, "one")).is_err());
    }
}
