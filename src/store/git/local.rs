//! A repository on this machine, used in place: no clone, no fetch, no push.
//!
//! libgit2's own transport for `file://` overwrites a branch that moved between its read and its write. Here
//! the branch moves by compare-and-swap, so that no update is lost.

mod hold;
mod shared;
mod swap;

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::{ErrorClass, ErrorCode, ObjectType, Oid, Repository, RepositoryInitOptions};
use jiff::Timestamp;
use presence_git::libgit2;

use super::branch::{self, Head};
use super::commit::prepare;
use super::held::{Held, Standing};
use super::history::Walk;
use super::node_files::NodeFiles;
use super::opening::Obstacle;
use super::past::Past;
use super::refs::{Refs, RemoteRefs};
use super::seen::{Observation, Read};
use super::{
    BRANCHES, Backoff, PRESENCE, TAGS, beats, branch_ref, commits, history, inbox, is_in_the_way, opening,
    tip, tree, trial,
};
use crate::access::may_make_files_in;
use crate::change::Change;
use crate::deadline::{Deadline, Limit};
use crate::errors::AtPath;
use crate::folder::Folder;
use crate::limits;
use crate::name::Name;
use crate::store;
use crate::store::error::InStore;
use crate::store::git::error::{During, GitError};
use crate::store::kind::{Difference, KindMemory};
use crate::store::snapshot::{Cache, CacheWriter};
use crate::store::{
    Applied, At, Branch, Capabilities, Edit, Look, Options, Outcome, Reached, Snapshot, Step, Store,
    StoreError, StoreErrorKind,
};
use hold::Hold;
use swap::Swap;

/// How often an object may be missing before that is an error: `git gc` and `git repack` remove files that
/// they just moved.
const MISSING: u32 = 6;

/// The priority of the memory backend: before libgit2's own backends, so that writes go to memory.
const FIRST: i32 = 1000;

/// The longest chain of symbolic refs from HEAD; git itself follows five.
const SYMBOLIC: usize = 5;

/// The branch of a repository that presence creates.
const NEW_BRANCH: &str = "main";

/// A bare repository, or a clone.
#[derive(Clone)]
pub(crate) struct Local {
    url: String,
    path: PathBuf,
    options: Arc<Options>,
    cache: Cache,
    /// The state directory's record of its kind; `None` for the embedded store, which is created whenever it
    /// is missing.
    memory: Option<KindMemory>,
}

/// The result of one attempt to change something.
enum Try<T> {
    Done(T),
    /// Somebody else was faster.
    Lost,
}

impl Local {
    pub(crate) fn new(
        url: &str,
        path: PathBuf,
        options: &Arc<Options>,
        memory: Option<KindMemory>,
        writer: &CacheWriter,
    ) -> Local {
        let branch = options.git.branch.as_deref();
        let cache = Cache::of_path(&options.state_dir, &path, options.folder.as_ref(), branch, writer);
        Local { url: crate::store::shown_url(url), path, options: options.clone(), cache, memory }
    }

    /// The repository in the state directory, created if missing.
    pub(crate) fn embedded(
        path: PathBuf,
        options: &Arc<Options>,
        writer: &CacheWriter,
    ) -> Result<Local, StoreErrorKind> {
        if !path.exists() {
            create(&path)?;
        }
        Ok(Local::new(&path.display().to_string(), path.clone(), options, None, writer))
    }

    /// Runs an operation on the repository after its trial, with a limit on libgit2's memory.
    fn operate<T>(
        &self,
        deadline: Deadline,
        act: impl FnOnce() -> Result<T, StoreErrorKind>,
    ) -> Result<T, StoreError> {
        let bytes = limits::get().working_bytes;
        let (done, refused) = libgit2::within(bytes, None, || {
            trial::pass(&self.path, self.cache.place(), &self.options, deadline)?;
            act()
        });
        let done = done.map_err(|error| match refused {
            Some(_) => {
                let place = format!("`{}`", self.path.display());
                StoreErrorKind::TooMuch { place, what: libgit2::AT_ONCE, most: bytes as u64 }
            }
            None => error,
        });
        done.in_store(&self.url)
    }

    fn repository(&self) -> Result<Repository, StoreErrorKind> {
        match (opening::open(&self.path), &self.memory) {
            (Ok(repo), Some(memory)) => {
                memory.is_repository();
                Ok(repo)
            }
            // Not "missing": its hint would make a user create the repository anew.
            (Err(StoreErrorKind::Missing(path)), Some(memory)) if memory.was_used() => {
                Err(StoreErrorKind::Away(path))
            }
            (
                Err(StoreErrorKind::Git(GitError::Unopenable { path, obstacle: Obstacle::Nothing, .. })),
                Some(memory),
            ) if memory.was_used() => Err(memory.changed(&path, Difference::Repository)),
            (result, _) => result,
        }
    }

    /// Finds out whether the list is still on its branch. The embedded store may be created anew.
    fn standing(
        &self,
        repo: &Repository,
        branch: &str,
        tip: Option<Oid>,
    ) -> Result<Standing, StoreErrorKind> {
        if self.memory.is_none() {
            return Ok(Standing::Sound);
        }
        let held = self.held();
        match held.note(repo, branch, tip) {
            Ok(true) => Ok(Standing::Sound),
            _ => held.look(repo, branch, tip, &branches(repo)?, |_| Ok(())),
        }
    }

    fn held(&self) -> Held {
        Held::of(self.cache.place(), &self.options)
    }

    /// The ref of the list's branch.
    fn branch(&self, repo: &Repository) -> Result<String, StoreErrorKind> {
        let configured = self.options.git.branch.as_deref();
        let head = match configured {
            Some(branch) => Head::Names(branch_ref(branch)),
            None => head(repo)?,
        };
        let mut branches = Refs::new();
        if let Head::Names(name) = &head
            && let Some(tip) = tip(repo, name)?
        {
            branches.insert(name.clone(), tip);
        } else {
            branches = self::branches(repo)?;
        }
        branch::choose(self.options.git.wanted_branch(), &head, &branches)
    }

    /// Retries until success or the deadline. Waits for a concurrent change by somebody else. Retries a few
    /// times when an object is missing that `git gc` may just have moved.
    fn persist<T>(
        deadline: Deadline,
        mut attempt: impl FnMut() -> Result<Try<T>, StoreErrorKind>,
    ) -> Result<T, StoreErrorKind> {
        let mut backoff = Backoff::default();
        let mut missing = 0;
        loop {
            match attempt() {
                Ok(Try::Done(done)) => return Ok(done),
                Ok(Try::Lost) => {}
                Err(error) if is_race(&error) => {}
                Err(error) if may_be_moving(&error) && missing < MISSING => {
                    missing += 1;
                    if wait(deadline, &mut backoff).is_err() {
                        return Err(error);
                    }
                    continue;
                }
                Err(error) => return Err(error),
            }
            wait(deadline, &mut backoff)?;
        }
    }

    /// Makes the change. Also returns how the list disappeared, if this change restored it.
    fn apply(
        &self,
        edit: &Edit<'_>,
        author: &str,
        deadline: Deadline,
    ) -> Result<(Option<Change>, Option<StoreErrorKind>), StoreErrorKind> {
        let mut gone = None;
        let change = Local::persist(deadline, || self.try_to_apply(edit, author, &mut gone))?;
        // This node's own updates, which it pushed over a network, are older than its present record.
        Local::persist(deadline, || {
            let repo = self.repository()?;
            remove_references(&repo, &inbox::of(edit.id()))?;
            Ok(Try::Done(()))
        })?;
        Ok((change, gone))
    }

    fn try_to_apply(
        &self,
        edit: &Edit<'_>,
        author: &str,
        gone: &mut Option<StoreErrorKind>,
    ) -> Result<Try<Option<Change>>, StoreErrorKind> {
        let repo = self.repository()?;
        let hold = Hold::of(&repo)?;
        let branch = self.branch(&repo)?;
        let base = tip(&repo, &branch)?;
        match (self.standing(&repo, &branch, base)?, edit) {
            (Standing::Gone(error), Edit::Put(_)) => *gone = Some(error),
            (standing, _) => standing.sound()?,
        }
        let record = match edit {
            Edit::Put(record) => Some(record.to_bytes()),
            Edit::Remove(_) => None,
        };
        let odb = repo.odb().during("open the object database")?;
        // A record whose object was lost is written again, though the list has it already.
        let lost = record.filter(|bytes| {
            let oid = Oid::hash_object(ObjectType::Blob, bytes);
            !oid.is_ok_and(|oid| odb.read_header(oid).is_ok())
        });
        let _memory = odb.add_new_mempack_backend(FIRST).during("open the object database")?;
        let edits = [NodeFiles::of(&repo, &self.options.layout, edit)?];
        let folder = &self.options.folder;
        let may_replace = || self.memory.is_none() || self.held().was_seen();
        let Some(prepared) = prepare(&repo, base, folder, &edits, author, may_replace)? else {
            if let Some(bytes) = lost {
                let oid = Oid::hash_object(ObjectType::Blob, &bytes).during("write the record")?;
                // The list may state the same facts in other bytes.
                if is_listed(&repo, base, folder, &edits[0], oid)? {
                    hold.store_one(oid, ObjectType::Blob, &bytes)?;
                }
            }
            return Ok(Try::Done(None));
        };
        let Some(change) = prepared.changes.into_values().next() else { return Ok(Try::Done(None)) };
        let note = format!("presence: {change}");
        let swap = Swap { name: &branch, old: base, new: prepared.commit, author, note: &note };
        if !store_and_swap(&repo, &hold, &swap)? {
            return Ok(Try::Lost);
        }
        if self.memory.is_some() {
            // The change is made even if this fails.
            let _ = self.held().note(&repo, &branch, Some(prepared.commit));
        }
        refresh_work_tree(&repo, &hold, &branch, base, prepared.commit);
        Ok(Try::Done(Some(change)))
    }

    /// Writes a heartbeat; `with_list` if the list is in the same repository.
    fn beat(
        &self,
        id: &Name,
        author: &str,
        time: Timestamp,
        with_list: bool,
        deadline: Deadline,
    ) -> Result<Option<Timestamp>, StoreErrorKind> {
        let shard = beats::shard(id, self.options.git.beat_shards);
        Local::persist(deadline, || {
            let repo = self.repository()?;
            let hold = Hold::of(&repo)?;
            let odb = repo.odb().during("open the object database")?;
            let base = tip(&repo, &shard)?;
            if base.is_none() {
                make_way(&repo, &shard)?;
            }
            let listed: beats::Listed<'_> = LazyCell::new(Box::new(|| {
                let tip = tip(&repo, &self.branch(&repo).ok().filter(|_| with_list)?).ok()?;
                beats::listed(&repo, tip, &self.options.folder)
            }));
            let known = match base {
                Some(base) => beats::read_or_lost(&repo, base, &listed)?,
                None => beats::Beats::new(),
            };
            let replaced = known.get(id.as_ref()).copied();
            let _memory = odb.add_new_mempack_backend(FIRST).during("open the object database")?;
            let commit = beats::write(&repo, known, id, time, &listed)?;
            hold.store(&repo, None, commit)?;
            let note = "presence: heartbeat";
            match store_and_swap(&repo, &hold, &Swap { name: &shard, old: base, new: commit, author, note })?
            {
                true => Ok(Try::Done(replaced)),
                false => Ok(Try::Lost),
            }
        })
    }

    /// Looks at the folder, including waiting updates: the repository may also be served to other machines.
    fn see(&self, heartbeats: bool, deadline: Deadline) -> Result<(Repository, Observation), StoreErrorKind> {
        Local::persist(deadline, || {
            let repo = self.repository()?;
            let branch = self.branch(&repo)?;
            let tip = tip(&repo, &branch)?;
            self.standing(&repo, &branch, tip)?.sound()?;
            let mut others = refs(&repo, "refs/presence/*")?;
            let left_out = inbox::trim(&mut others);
            let (elsewhere, broken) = (Refs::new(), Refs::new());
            let refs_seen = RemoteRefs { branch, tip, others, elsewhere, left_out, broken };
            let seen = Observation::new(&repo, &refs_seen, &self.options.folder, heartbeats)?.in_place();
            Ok(Try::Done((repo, seen)))
        })
    }

    /// Looks at the folder as it was.
    fn look_back(&self, at: &At, deadline: Deadline) -> Result<Look, StoreError> {
        let find = || {
            let repo = self.repository()?;
            let branch = self.branch(&repo)?;
            let tip = tip(&repo, &branch)?;
            let tag = |name: &str| tag(&repo, name);
            let found =
                Past { repo: &repo, tip, folder: &self.options.folder, tag: &tag }.find(at, deadline)?;
            Ok(Try::Done((found, repo)))
        };
        let ((found, moment), repo) = self.operate(deadline, || Local::persist(deadline, find))?;
        let local = self.clone();
        let look = Look::new(Some(found.version()), move |deadline| {
            local.operate(deadline, || local.cache.consult(|known| found.read(&repo, known)))
        });
        Ok(look.at(moment))
    }

    /// Reads what the look found, and looks again if something moved meanwhile.
    fn read(
        &self,
        repo: Repository,
        seen: Observation,
        heartbeats: bool,
        deadline: Deadline,
    ) -> Result<Snapshot, StoreErrorKind> {
        let mut known = Some((repo, seen));
        let mut tries = 0;
        Local::persist(deadline, || {
            let (repo, seen) = match known.take() {
                Some(known) => known,
                None => self.see(heartbeats, deadline)?,
            };
            let Read { snapshot, unreadable } = seen.read(&repo, &self.cache)?;
            tries += 1;
            // A repack moves objects. Objects that several attempts cannot read are broken.
            match unreadable > 0 && tries < 3 {
                true => Ok(Try::Lost),
                false => Ok(Try::Done(snapshot)),
            }
        })
    }
}

/// Counts a failed attempt and waits, or gives up at the deadline.
fn wait(deadline: Deadline, backoff: &mut Backoff) -> Result<(), StoreErrorKind> {
    let pause = backoff.pause(fastrand::f64());
    if deadline.is_over() {
        return Err(backoff.gives_up(deadline.elapsed(), deadline.setting()));
    }
    deadline.sleep(pause);
    Ok(())
}

/// Whether one of the node's files at that commit is this object.
fn is_listed(
    repo: &Repository,
    tip: Option<Oid>,
    folder: &store::Folder,
    wanted: &NodeFiles,
    oid: Oid,
) -> Result<bool, StoreErrorKind> {
    let Some(tip) = tip else { return Ok(false) };
    let root = tree::find(repo, tree::commit(repo, tip)?.tree)?;
    let path = |path: &String| root.get_path(Path::new(&format!("{folder}/{path}")));
    Ok(wanted.files.keys().any(|file| path(file).is_ok_and(|found| found.id() == oid)))
}

/// Writes a commit from memory to disk, and moves the ref to it. Returns false if somebody else was faster.
fn store_and_swap(repo: &Repository, hold: &Hold, swap: &Swap<'_>) -> Result<bool, StoreErrorKind> {
    // If the old target is not a commit, the new commit takes nothing from it.
    let from = swap.old.filter(|old| commits::read(repo, *old).is_ok());
    hold.store(repo, from, swap.new)?;
    let moved = swap.make(hold, repo)?;
    if moved {
        // `git prune` may have removed the objects before the ref named them. From now on it keeps them.
        hold.store(repo, from, swap.new)?;
    }
    Ok(moved)
}

/// The branches and their targets.
fn branches(repo: &Repository) -> Result<Refs, StoreErrorKind> {
    refs(repo, &format!("{BRANCHES}*"))
}

/// The matching refs and their targets. Skips symbolic refs and names that are not UTF-8.
fn refs(repo: &Repository, glob: &str) -> Result<Refs, StoreErrorKind> {
    let mut refs = Refs::new();
    for reference in repo.references_glob(glob).during("list the references")? {
        let reference = reference.during("list the references")?;
        if let (Ok(name), Some(oid)) = (reference.name(), reference.target()) {
            refs.insert(name.to_owned(), oid);
        }
        if refs.len() > limits::get().refs {
            let (place, most) = (format!("`{glob}`"), limits::get().refs as u64);
            return Err(StoreErrorKind::TooMuch { place, what: "refs", most });
        }
    }
    Ok(refs)
}

/// The object that a tag names; `None` if there is no such tag.
fn tag(repo: &Repository, name: &str) -> Option<Oid> {
    repo.refname_to_id(&format!("{TAGS}{name}")).ok()
}

/// The target of HEAD, through symbolic refs.
fn head(repo: &Repository) -> Result<Head, StoreErrorKind> {
    let mut name = "HEAD".to_owned();
    for _ in 0..=SYMBOLIC {
        let reference = match repo.find_reference(&name) {
            Ok(reference) => reference,
            Err(error) if error.code() == ErrorCode::NotFound && name != "HEAD" => {
                return Ok(Head::Names(name));
            }
            Err(error) => return Err(error).during("read HEAD"),
        };
        match (reference.symbolic_target(), reference.target()) {
            (Ok(Some(target)), _) => name = target.to_owned(),
            (_, Some(oid)) if name == "HEAD" => return Ok(Head::At(oid)),
            _ => return Ok(Head::Names(name)),
        }
    }
    Err(git2::Error::from_str("its symbolic refs form a loop")).during("read HEAD")
}

impl Local {
    /// Whether objects and refs can be written. A directory of objects that another user made may be
    /// read-only for this one.
    fn may_publish(&self) -> Result<Branch, StoreErrorKind> {
        let repo = self.repository()?;
        let objects = repo.commondir().join("objects");
        let folders = fs::read_dir(&objects).at("read", &objects)?.flatten().map(|entry| entry.path());
        let refs = ["refs", "refs/heads", "refs/presence"].map(|dir| repo.commondir().join(dir));
        let folders = folders.filter(|path| path.is_dir() && !path.ends_with("info"));
        for dir in [repo.commondir().to_owned(), objects.clone()].into_iter().chain(folders).chain(refs) {
            may_make_files_in(&dir)?;
        }
        let branch = self.branch(&repo)?;
        // A list that disappeared is reported by readings; a publish restores it.
        let _ = self.standing(&repo, &branch, tip(&repo, &branch)?)?;
        Ok(Branch::among(&branch, branches(&repo)?.keys().map(String::as_str)))
    }
}

impl Store for Local {
    fn url(&self) -> &str {
        &self.url
    }

    fn capabilities(&self) -> Result<Capabilities, StoreError> {
        Ok(super::CAPABILITIES)
    }

    fn apply(
        &self,
        edit: &Edit<'_>,
        author: &str,
        beat: Option<Timestamp>,
        deadline: Deadline,
    ) -> Result<Applied, StoreError> {
        let (change, gone) = self.operate(deadline, || self.apply(edit, author, deadline))?;
        let beat = beat.map_or(Ok(None), |time| {
            self.operate(deadline, || self.beat(edit.id(), author, time, true, deadline))
        });
        Ok(Applied { outcome: change.map(Outcome::Merged), beat, ..Applied::after(&self.url, gone) })
    }

    fn beat(
        &self,
        id: &Name,
        author: &str,
        time: Timestamp,
        deadline: Deadline,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.operate(deadline, || self.beat(id, author, time, false, deadline))
    }

    fn rehearse(&self, deadline: Deadline) -> Result<(Option<Branch>, Option<&'static str>), StoreError> {
        Ok((Some(self.operate(deadline, || self.may_publish())?), None))
    }

    fn look(&self, at: &At, heartbeats: bool, deadline: Deadline) -> Result<Look, StoreError> {
        if *at != At::Latest {
            return self.look_back(at, deadline);
        }
        let (repo, seen) = self.operate(deadline, || self.see(heartbeats, deadline))?;
        let local = self.clone();
        Ok(Look::new(seen.version(), move |deadline| {
            local.operate(deadline, || local.read(repo, seen, heartbeats, deadline))
        }))
    }

    fn history(
        &self,
        deadline: Deadline,
        visit: &mut dyn FnMut(Step) -> ControlFlow<()>,
    ) -> Result<Reached, StoreError> {
        // An attempt continues where the last one failed.
        let mut walk = None;
        let read = || {
            let repo = self.repository()?;
            let walk = match &mut walk {
                Some(walk) => walk,
                None => {
                    let branch = self.branch(&repo)?;
                    let tip = tip(&repo, &branch)?;
                    self.standing(&repo, &branch, tip)?.sound()?;
                    walk.insert(Walk::from(tip))
                }
            };
            walk.run(&repo, &self.options.folder, deadline, visit).map(Try::Done)
        };
        self.operate(deadline, || Local::persist(deadline, read))
    }

    fn withdrawn(&self, ids: &BTreeSet<Name>) -> Result<BTreeSet<Name>, StoreError> {
        let deadline = Deadline::new(Limit::Read, self.options.connect);
        self.operate(deadline, || {
            let repo = self.repository()?;
            Ok(history::withdrawn(&repo, tip(&repo, &self.branch(&repo)?)?, ids))
        })
    }

    fn last_copy(&self, _: bool) -> Option<Snapshot> {
        self.cache.last()
    }
}

/// Deletes the matching refs.
fn remove_references(repo: &Repository, glob: &str) -> Result<(), StoreErrorKind> {
    for reference in repo.references_glob(glob).during("list the references")? {
        reference.and_then(|mut reference| reference.delete()).during("delete a reference")?;
    }
    Ok(())
}

/// Deletes the refs that git cannot have beside `own`.
fn make_way(repo: &Repository, own: &str) -> Result<(), StoreErrorKind> {
    for name in refs(repo, &format!("{PRESENCE}*"))?.keys().filter(|name| is_in_the_way(name, own)) {
        remove_references(repo, name)?;
    }
    Ok(())
}

/// Whether another process is changing the same ref, or the packed refs.
fn is_race(error: &StoreErrorKind) -> bool {
    let StoreErrorKind::Git(GitError::Libgit2 { source, .. }) = error else { return false };
    matches!(source.code(), ErrorCode::Modified | ErrorCode::Exists | ErrorCode::Locked)
}

/// Whether something is missing that `git gc` may just have moved.
fn may_be_moving(error: &StoreErrorKind) -> bool {
    match error {
        StoreErrorKind::Git(GitError::Libgit2 { source, .. }) => {
            matches!(source.class(), ErrorClass::Odb | ErrorClass::Os | ErrorClass::Reference)
        }
        StoreErrorKind::Io(error) => error.source.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// In a clone with a work tree, its files follow the branch, so that `git status` stays clean.
fn refresh_work_tree(repo: &Repository, hold: &Hold, branch: &str, base: Option<Oid>, commit: Oid) {
    let checked_out = repo.head().is_ok_and(|head| head.name() == Ok(branch));
    // A checkout would create the directories of a moved clone anew.
    if repo.is_bare() || !checked_out || !hold.is_in_place().is_ok_and(|is_in_place| is_in_place) {
        return;
    }
    // The record is on the branch, and that suffices. A work tree in disorder is left to its owner.
    let _ = check_out(repo, base, commit);
}

/// Checks out only the paths that differ between the two commits.
fn check_out(repo: &Repository, base: Option<Oid>, commit: Oid) -> Result<(), git2::Error> {
    let tree = |commit| repo.find_tree(commits::read(repo, commit)?.tree);
    let old = base.map(tree).transpose()?;
    let new = tree(commit)?;
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

/// Creates a bare repository. It appears as a whole or not at all; if two processes create it at once, one
/// wins.
fn create(path: &Path) -> Result<(), StoreErrorKind> {
    let dir = path.parent().unwrap_or(Path::new("."));
    Folder::private(dir)?;
    let staged =
        tempfile::Builder::new().prefix(".store-").tempdir_in(dir).at("make a repository in", dir)?;
    let mut init = RepositoryInitOptions::new();
    init.bare(true).initial_head(NEW_BRANCH).external_template(false);
    Repository::init_opts(staged.path(), &init).during("make the embedded store")?;
    match fs::rename(staged.path(), path) {
        Ok(()) => {
            // It has moved: there is nothing left to clean up at the old place.
            let _ = staged.keep();
            Ok(())
        }
        Err(_) if path.join("HEAD").exists() => Ok(()),
        Err(error) => Err(error).at("make", path).map_err(StoreErrorKind::from),
    }
}
