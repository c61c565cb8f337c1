//! A repository on this machine, used in place: no clone, no fetch, no push.
//!
//! libgit2's own transport for `file://` overwrites a branch that moved between its look and its write. Here the branch
//! moves by compare-and-swap, so that no update is lost.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use git2::{ErrorCode, Oid, Repository, RepositoryInitOptions, RepositoryOpenFlags};
use jiff::Timestamp;

use super::commit::{NodeFiles, prepare};
use super::mirror::Heads;
use super::seen::Seen;
use super::{Backoff, beats, branch_ref, history, inbox, tip};
use crate::change::Change;
use crate::deadline::Deadline;
use crate::errors::AtPath;
use crate::name::Name;
use crate::store::copy::Copy;
use crate::store::error::{Doing, InStore};
use crate::store::{
    Applied, Edit, Event, Look, Options, Outcome, Snapshot, Store, StoreError, StoreErrorKind,
};

/// A lock file of git that is older than this was left by a process that was killed: git holds one for milliseconds.
///
/// Well below the `connect` limit: another store that has answered leaves no more than that for this one.
const STALE_LOCK: Duration = Duration::from_secs(5);

/// The branch of a repository that this program makes.
const NEW_BRANCH: &str = "main";

/// A bare repository, or a clone.
pub(crate) struct Local {
    url: String,
    path: PathBuf,
    options: Options,
    copy: Copy,
}

impl Local {
    pub(crate) fn new(url: &str, path: PathBuf, options: &Options) -> Local {
        let branch = options.branch.as_deref();
        let copy = Copy::new(&options.state_dir, url, options.folder.as_ref(), branch);
        Local { url: url.to_owned(), path, options: options.clone(), copy }
    }

    /// The repository in the state directory, made if it is not there.
    pub(crate) fn embedded(path: PathBuf, options: &Options) -> Result<Local, StoreErrorKind> {
        if !path.exists() {
            create(&path)?;
        }
        Ok(Local::new(&path.display().to_string(), path.clone(), options))
    }

    fn repository(&self) -> Result<Repository, StoreErrorKind> {
        if !self.path.exists() {
            return Err(StoreErrorKind::Missing(self.path.clone()));
        }
        Repository::open_ext(&self.path, RepositoryOpenFlags::NO_SEARCH, std::iter::empty::<&Path>())
            .doing("open the repository")
    }

    /// The branch's reference: the one of the options, else what HEAD names (also when it has no commit yet).
    fn branch(&self, repo: &Repository) -> Result<String, StoreErrorKind> {
        if let Some(branch) = &self.options.branch {
            return Ok(branch_ref(branch));
        }
        let head = repo.find_reference("HEAD").doing("read HEAD")?;
        match head.symbolic_target() {
            Ok(Some(target)) => Ok(target.to_owned()),
            _ => Err(StoreErrorKind::NoBranch),
        }
    }

    fn apply(&self, edit: &Edit<'_>, deadline: Deadline) -> Result<Option<Change>, StoreErrorKind> {
        write_durably();
        let repo = self.repository()?;
        let branch = self.branch(&repo)?;
        let edits = [NodeFiles::of(&repo, &self.options.layout, edit)?];
        // What this node has left there over a network is older than what it says now.
        let outdated = inbox::of(edit.id());
        let mut backoff = Backoff::new(deadline);
        loop {
            let base = tip(&repo, &branch)?;
            let Some(prepared) = prepare(&repo, base, &self.options.folder, &edits, &self.options.author)?
            else {
                remove_references(&repo, &outdated)?;
                return Ok(None);
            };
            let Some(change) = prepared.changes.into_values().next() else { return Ok(None) };
            match swap(&repo, &branch, base, prepared.commit, &change.to_string()) {
                Ok(()) => {
                    refresh_work_tree(&repo, &branch, base, prepared.commit);
                    remove_references(&repo, &outdated)?;
                    return Ok(Some(change));
                }
                Err(error) if is_race(&error) => {
                    remove_stale_lock(&repo, &branch);
                    backoff.lost()?;
                }
                Err(error) => return Err(error).doing("move the branch"),
            }
        }
    }
}

impl Local {
    fn beat(
        &self,
        id: &Name,
        time: Timestamp,
        deadline: Deadline,
    ) -> Result<Option<Timestamp>, StoreErrorKind> {
        let repo = self.repository()?;
        let shard = beats::shard(id, self.options.beat_shards);
        let mut backoff = Backoff::new(deadline);
        loop {
            let base = tip(&repo, &shard)?;
            let known = base.map(|base| beats::read(&repo, base)).unwrap_or_default();
            let replaced = known.get(id.as_ref()).copied();
            let commit = beats::write(&repo, known, id, time)?;
            match swap(&repo, &shard, base, commit, "heartbeat") {
                Ok(()) => return Ok(replaced),
                Err(error) if is_race(&error) => {
                    remove_stale_lock(&repo, &shard);
                    backoff.lost()?;
                }
                Err(error) => return Err(error).doing("note a heartbeat"),
            }
        }
    }

    /// The folder, with what waits counted in: a server's repository may be read in place.
    fn see(&self) -> Result<(Repository, Seen), StoreErrorKind> {
        let repo = self.repository()?;
        let branch = self.branch(&repo)?;
        let tip = tip(&repo, &branch)?;
        let mut others = BTreeMap::new();
        for reference in repo.references_glob("refs/presence/*").doing("list the references")?.flatten() {
            if let (Ok(name), Some(oid)) = (reference.name(), reference.target()) {
                others.insert(name.to_owned(), oid);
            }
        }
        let seen = Seen::new(&repo, &Heads { branch, tip, others, broken: BTreeMap::new() }, &self.options)?;
        Ok((repo, seen))
    }
}

impl Store for Local {
    fn url(&self) -> &str {
        &self.url
    }

    fn apply(
        &self,
        edit: &Edit<'_>,
        beat: Option<Timestamp>,
        deadline: Deadline,
    ) -> Result<Applied, StoreError> {
        let outcome = self.apply(edit, deadline).in_store(&self.url)?.map(Outcome::Merged);
        let beat = beat.map_or(Ok(None), |time| self.beat(edit.id(), time, deadline)).in_store(&self.url);
        Ok(Applied { url: self.url.clone(), outcome, beat })
    }

    fn beat(&self, id: &Name, time: Timestamp, deadline: Deadline) -> Result<Option<Timestamp>, StoreError> {
        self.beat(id, time, deadline).in_store(&self.url)
    }

    fn look(&self, _: Deadline) -> Result<Look, StoreError> {
        let (repo, seen) = self.see().in_store(&self.url)?;
        let (url, copy) = (self.url.clone(), self.copy.clone());
        Ok(Look::new(seen.stamp(), move |_| seen.read(&repo, &copy).in_store(&url)))
    }

    fn history(&self, id: Option<&Name>, most: usize, _: Deadline) -> Result<Vec<Event>, StoreError> {
        let read = || {
            let repo = self.repository()?;
            let tip = tip(&repo, &self.branch(&repo)?)?;
            history::read(&repo, tip, &self.options.folder, id, most)
        };
        read().in_store(&self.url)
    }

    fn last_copy(&self) -> Option<Snapshot> {
        self.copy.last()
    }
}

/// What publish reported as written must outlast a power cut, in any repository that is used in place.
///
/// libgit2 has this as a setting of the process, or as `core.fsyncObjectFiles` in the repository, of which git
/// complains since 2.36.
fn write_durably() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // Safety: libgit2 is initialised first; the option takes one int and sets one global variable (libgit2's
        // common.h, GIT_OPT_ENABLE_FSYNC_GITDIR). Another thread that writes objects just then syncs or does not.
        unsafe {
            libgit2_sys::init();
            libgit2_sys::git_libgit2_opts(
                libgit2_sys::GIT_OPT_ENABLE_FSYNC_GITDIR as std::ffi::c_int,
                1 as std::ffi::c_int,
            );
        }
    });
}

/// Moves the branch from `base` to `commit`, if it still is at `base`.
fn swap(
    repo: &Repository,
    branch: &str,
    base: Option<Oid>,
    commit: Oid,
    what: &str,
) -> Result<(), git2::Error> {
    let note = format!("presence: {what}");
    match base {
        Some(base) => repo.reference_matching(branch, commit, true, base, &note),
        None => repo.reference(branch, commit, false, &note),
    }
    .map(drop)
}

/// Deletes the references that match.
fn remove_references(repo: &Repository, glob: &str) -> Result<(), StoreErrorKind> {
    for reference in repo.references_glob(glob).doing("list the references")? {
        reference.and_then(|mut reference| reference.delete()).doing("delete a reference")?;
    }
    Ok(())
}

/// Whether another process moved the reference, or is just about to.
fn is_race(error: &git2::Error) -> bool {
    matches!(error.code(), ErrorCode::Modified | ErrorCode::Exists | ErrorCode::Locked)
}

/// A publisher that was killed while it moved the branch leaves git's lock file; without this nobody could publish
/// again before somebody removed it by hand.
fn remove_stale_lock(repo: &Repository, branch: &str) {
    let lock = repo.commondir().join(format!("{branch}.lock"));
    let age = fs::symlink_metadata(&lock)
        .and_then(|found| found.modified())
        .ok()
        .and_then(|modified| SystemTime::now().duration_since(modified).ok());
    if age.is_some_and(|age| age > STALE_LOCK) {
        // If it cannot be removed, the next try says that the branch is locked, until the time is over.
        let _ = fs::remove_file(lock);
    }
}

/// In a clone with a work tree, the files there follow the branch, so that `git status` stays clean.
fn refresh_work_tree(repo: &Repository, branch: &str, base: Option<Oid>, commit: Oid) {
    let checked_out = repo.head().is_ok_and(|head| head.name() == Ok(branch));
    if repo.is_bare() || !checked_out {
        return;
    }
    // The record is on the branch, which is what counts; a work tree that is in disorder is its owner's.
    let _ = check_out(repo, base, commit);
}

/// Checks out just the paths that differ between the two commits.
fn check_out(repo: &Repository, base: Option<Oid>, commit: Oid) -> Result<(), git2::Error> {
    let old = base.map(|base| repo.find_commit(base)?.tree()).transpose()?;
    let new = repo.find_commit(commit)?.tree()?;
    let diff = repo.diff_tree_to_tree(old.as_ref(), Some(&new), None)?;
    let mut checkout = git2::build::CheckoutBuilder::new();
    checkout.disable_pathspec_match(true).force().remove_untracked(false);
    for delta in diff.deltas() {
        if let Some(path) = delta.new_file().path() {
            checkout.path(path);
        }
    }
    repo.checkout_head(Some(&mut checkout))
}

/// Makes a bare repository. It appears at its place whole or not at all, and of two who make it at once, one wins.
fn create(path: &Path) -> Result<(), StoreErrorKind> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).at("make", dir)?;
    let staged =
        tempfile::Builder::new().prefix(".store-").tempdir_in(dir).at("make a repository in", dir)?;
    let mut init = RepositoryInitOptions::new();
    init.bare(true).initial_head(NEW_BRANCH).external_template(false);
    Repository::init_opts(staged.path(), &init).doing("make the embedded store")?;
    match fs::rename(staged.path(), path) {
        Ok(()) => {
            // It has moved; there is nothing left to clean up at the old place.
            let _ = staged.keep();
            Ok(())
        }
        Err(_) if path.join("HEAD").exists() => Ok(()),
        Err(error) => Err(error).at("make", path).map_err(StoreErrorKind::from),
    }
}
