//! This machine's copy of a repository behind a network: its objects, and the refs as last seen.

mod broken;
mod lock;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use git2::{
    AutotagOption, Direction, FetchOptions, Oid, Remote, RemoteCallbacks, Repository, RepositoryInitOptions,
};
use presence_git::configuration::configuration;
use tempfile::TempDir;

use lock::Lock;

use super::branch::{self, Head, Wanted};
use super::refs::{Refs, RemoteRefs};
use super::{BRANCHES, branch_ref, inbox, network};
use crate::deadline::Deadline;
use crate::errors::{AtPath, PathError};
use crate::folder::Folder;
use crate::progress::{self, Operation};
use crate::state;
use crate::store::StoreErrorKind;
use crate::store::git::error::{During, GitError};

/// The tip of the last fetch. It tells the server at the next fetch which commits are here.
const FETCHED: &str = "refs/presence/fetched";

/// The branch to start in an empty repository that names none: git's own default, so that HEAD of a fresh
/// `git init --bare` names what was pushed. Git hosts make the first pushed branch their default, whatever
/// its name.
const FALLBACK_BRANCH: &str = "master";

/// A mirror with more packs than this, or about twice this many loose objects, is made anew: cheaper than
/// cleaning it up.
const MAX_PACKS: usize = 100;
const MAX_LOOSE: usize = 1_000;

/// The least time between two renewals of a mirror because of unreadable records.
const RENEWED: Duration = Duration::from_secs(300);

/// The least free space, in bytes, for making a mirror anew.
const ROOM: usize = 256 * 1024;

/// Where to fetch from, and which refs.
#[derive(Clone, Copy)]
pub(super) struct Upstream<'a> {
    pub(super) url: &'a str,
    /// The configuration of the branch.
    pub(super) branch: Wanted<'a>,
    /// Selects the refs besides the branch.
    pub(super) also: &'a dyn Fn(&str) -> bool,
}

/// The name of the file with the last known refs.
const HEADS: &str = "heads";

/// The file whose age tells when the mirror was made anew because of an unreadable object.
const RENEWED_MARK: &str = "renewed";

/// The mirror, locked by this thread.
pub(super) struct Mirror {
    pub(super) repo: Repository,
    place: PathBuf,
    /// How much it gets at first.
    first: Reach,
    // Dropped before the lock, so that the mark is removed under the lock.
    _in_use: InUse,
    _lock: Lock,
}

/// Marks a mirror as in use. A damaged or malicious pack may crash the process inside libgit2: then the mark
/// stays.
struct InUse(PathBuf);

/// The beginning of the name of a mirror that is being made.
const FRESH: &str = ".mirror-";

/// The name of the mark's file.
const IN_USE: &str = "in-use";

impl InUse {
    /// Sets the mark. Also returns whether the previous user left it.
    fn mark(place: &Path) -> Result<(InUse, bool), PathError> {
        let path = place.join(IN_USE);
        let was = path.exists();
        state::save_text(place, IN_USE, "")?;
        Ok((InUse(path), was))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        // If this fails, the mirror is made anew once.
        let _ = fs::remove_file(&self.0);
    }
}

impl Mirror {
    /// Opens the mirror below `place`, or creates it. Waits while another process or thread holds it. A
    /// mirror is a cache: one that cannot be opened is made anew.
    ///
    /// It has the newest commits only. A fleet makes thousands of commits a week, and a node needs none of them.
    pub(super) fn open(place: &Path, deadline: Deadline) -> Result<Mirror, StoreErrorKind> {
        Mirror::of(place, Reach::Tip, deadline)
    }

    /// The same, but it has the whole history.
    pub(super) fn whole(place: &Path, deadline: Deadline) -> Result<Mirror, StoreErrorKind> {
        Mirror::of(place, Reach::History, deadline)
    }

    fn of(place: &Path, first: Reach, deadline: Deadline) -> Result<Mirror, StoreErrorKind> {
        let lock = Lock::take(place, deadline)?;
        let (in_use, was_in_use) = InUse::mark(place)?;
        let path = place.join("mirror.git");
        let repo = match Repository::open_bare(&path) {
            Ok(repo) if !was_in_use => repo,
            _ => make(place)?,
        };
        Ok(Mirror { repo, place: place.to_owned(), first, _in_use: in_use, _lock: lock })
    }

    /// Removes the mirror. It is a cache, which the next use makes anew. Does not remove it if the disk is
    /// full: then the mirror is not the problem, and it has the only copy of the list.
    pub(super) fn discard(place: &Path, deadline: Deadline) -> Result<(), StoreErrorKind> {
        let room = tempfile::tempfile_in(place).and_then(|mut file| file.write_all(&[0; ROOM]));
        room.at("write a file in", place)?;
        let _lock = Lock::take(place, deadline)?;
        let path = place.join("mirror.git");
        match remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).at("remove the broken mirror", &path).map_err(Into::into)
            }
            _ => Ok(()),
        }
    }

    /// Removes the mirror because of unreadable objects. Returns false if that happened recently: then it
    /// does not help.
    pub(super) fn renew_once(place: &Path, deadline: Deadline) -> Result<bool, StoreErrorKind> {
        let mark = place.join(RENEWED_MARK);
        let age = fs::metadata(&mark)
            .and_then(|found| found.modified())
            .ok()
            .and_then(|modified| SystemTime::now().duration_since(modified).ok());
        if age.is_some_and(|age| age < RENEWED) {
            return Ok(false);
        }
        state::save_text(place, RENEWED_MARK, "")?;
        Mirror::discard(place, deadline).map(|()| true)
    }

    /// Whether an earlier run seems to have left a mirror.
    pub(super) fn is_there(place: &Path) -> bool {
        place.join(HEADS).exists()
    }

    /// The mirror of an earlier run, to read from while the server does not answer.
    pub(super) fn last(place: &Path) -> Option<(Repository, RemoteRefs)> {
        // A process may be crashing because of it.
        if place.join(IN_USE).exists() {
            return None;
        }
        let repo = Repository::open_bare(place.join("mirror.git")).ok()?;
        Some((repo, read_heads(place)?))
    }

    /// The refs as last seen. Their objects may be missing: the mirror may have been made anew.
    pub(super) fn remembered(&self) -> Option<RemoteRefs> {
        read_heads(&self.place)
    }

    /// Whether the mirror has the object.
    pub(super) fn has(&self, oid: Oid) -> bool {
        self.repo.odb().is_ok_and(|odb| odb.exists(oid))
    }

    /// Records the refs and their targets.
    pub(super) fn note(&self, refs_seen: &RemoteRefs) -> Result<(), StoreErrorKind> {
        if let Some(tip) = refs_seen.tip {
            // This process holds the mirror's lock, so a lock file of git is left from a killed process.
            let _ = fs::remove_file(self.repo.path().join(format!("{FETCHED}.lock")));
            self.repo.reference(FETCHED, tip, true, "seen").during("record the tip")?;
        }
        let zero = Oid::ZERO_SHA1;
        let mut text = format!("{} {}\n", refs_seen.tip.unwrap_or(zero), refs_seen.branch);
        for (name, oid) in &refs_seen.others {
            text.push_str(&format!("{oid} {name}\n"));
        }
        Ok(state::save_text(&self.place, HEADS, &text)?)
    }

    /// Reads the server's refs, and fetches the missing objects of the branch and the selected refs.
    pub(super) fn fetch(&mut self, upstream: Upstream<'_>) -> Result<RemoteRefs, StoreErrorKind> {
        if self.is_littered() && read_heads(&self.place).is_some() {
            match self.renew(upstream, self.first) {
                // Perhaps because of a broken ref, which is found below.
                Err(Trouble::Download(_)) => {}
                result => result?,
            }
        }
        let (mut asked_again, mut renewed) = (false, false);
        let mut reach = self.reach();
        let refs_seen = loop {
            match fetch(&self.repo, upstream, reach, &self.broken()) {
                Ok(refs_seen) => break refs_seen,
                Err(Trouble::Download(error)) if reach != Reach::News && cannot_be_shallow(&error) => {
                    reach = Reach::News;
                }
                // To tell the server what is here, libgit2 parses local commits, and rejects one of them. A
                // new mirror has none.
                Err(Trouble::Download(error)) if !renewed && is_odd(&error) => {
                    renewed = true;
                    self.renew(upstream, self.first)?;
                    reach = self.reach();
                }
                // Over HTTP, a ref may be deleted between the advertisement and the request.
                Err(Trouble::Download(error)) if !asked_again && is_gone(&error) => asked_again = true,
                Err(Trouble::Download(error)) if broken::may_lack_objects(&error) => {
                    break self.fetch_in_parts(upstream, reach, error)?;
                }
                Err(trouble) => return Err(trouble.into()),
            }
        };
        self.note(&refs_seen)?;
        Ok(refs_seen)
    }

    /// Fetches the branch alone, then as many of the other refs as possible. `error` is why fetching all
    /// together failed.
    fn fetch_in_parts(
        &self,
        upstream: Upstream<'_>,
        reach: Reach,
        error: StoreErrorKind,
    ) -> Result<RemoteRefs, StoreErrorKind> {
        let known = self.broken();
        let listing = Listing::of(&self.repo, upstream, &known)?;
        let mut refs_seen = listing.refs_seen.clone();
        let missing = listing.missing(&self.repo, reach)?;
        let unsent = |source| {
            StoreErrorKind::Git(GitError::Unsent { name: refs_seen.branch.clone(), source: Box::new(source) })
        };
        let others: Refs =
            refs_seen.others.iter().filter(|(name, _)| missing.contains(*name)).map(owned).collect();
        if missing.contains(&refs_seen.branch) {
            if others.is_empty() {
                return Err(unsent(error));
            }
            listing.download(&[refs_seen.branch.as_str()], reach).map_err(unsent)?;
        }
        let found = broken::find(&others, |part| {
            let mut listing = Listing::of(&self.repo, upstream, &known)?;
            // A ref that was deleted or moved meanwhile is no longer requested.
            listing.refs_seen.others.retain(|name, oid| part.get(name) == Some(oid));
            let names = listing.missing(&self.repo, Reach::News)?;
            let names: Vec<&str> =
                names.iter().map(String::as_str).filter(|name| part.contains_key(*name)).collect();
            if names.is_empty() { Ok(()) } else { listing.download(&names, reach) }
        })?;
        if !found.broken.is_empty() {
            let all = known.iter().chain(&found.broken).map(owned).collect();
            broken::remember(&self.place, &all)?;
        }
        refs_seen.set_aside(&found.broken);
        refs_seen.set_aside(&found.undecided);
        refs_seen.others.retain(|_, oid| self.has(*oid));
        Ok(refs_seen)
    }

    /// Fetches the newest commits of these branches, to inspect them. Ignores branches that the server does
    /// not send, or that were deleted meanwhile.
    pub(super) fn bring(&self, upstream: Upstream<'_>, branches: &Refs) -> Result<(), StoreErrorKind> {
        let missing: Vec<&str> =
            branches.iter().filter(|(_, oid)| !self.has(**oid)).map(|(name, _)| name.as_str()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let listing = Listing::of(&self.repo, upstream, &self.broken())?;
        match listing.download(&missing, Reach::Tip) {
            Err(error) if broken::may_lack_objects(&error) => Ok(()),
            result => result,
        }
    }

    /// The refs that the server recently failed to send.
    pub(super) fn broken(&self) -> Refs {
        broken::remembered(&self.place)
    }

    /// Whether old commits are missing. Then the branch may contain a commit that is not here.
    pub(super) fn is_shallow(&self) -> bool {
        self.repo.is_shallow()
    }

    /// Fetches the branch with all its commits.
    ///
    /// For a repository that has some of the objects, the server sends deltas against these. libgit2 takes
    /// quadratic time to resolve them: minutes for 100,000 commits. So a new repository fetches all, and this one
    /// adopts its packs.
    pub(super) fn deepen(&mut self, upstream: Upstream<'_>) -> Result<RemoteRefs, StoreErrorKind> {
        let (fresh, refs_seen) = self.fetch_anew(upstream, Reach::History)?;
        let (from, to) = (fresh.path(), self.repo.path());
        let packs = "objects/pack";
        let found = fs::read_dir(from.join(packs)).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut names: Vec<_> =
            found.at("read", &from.join(packs))?.into_iter().map(|entry| entry.file_name()).collect();
        // The index makes a pack known, so it comes after the pack.
        names.sort_by_key(|name| Path::new(name).extension().is_some_and(|extension| extension == "idx"));
        for name in names {
            let target = to.join(packs).join(&name);
            fs::rename(from.join(packs).join(&name), &target).at("replace", &target)?;
        }
        let shallow = to.join("shallow");
        let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        match fs::rename(from.join("shallow"), &shallow) {
            // The server has the whole history.
            Err(error) if is_missing(&error) => match fs::remove_file(&shallow) {
                Err(error) if is_missing(&error) => {}
                result => result.at("remove", &shallow)?,
            },
            result => result.at("replace", &shallow)?,
        }
        self.repo = Repository::open_bare(to).during("open the mirror")?;
        self.note(&refs_seen)?;
        Ok(refs_seen)
    }

    /// Fetches everything into a new mirror and replaces this one. The old one stays until then: it is the
    /// last copy of the list if the server fails now.
    fn renew(&mut self, upstream: Upstream<'_>, reach: Reach) -> Result<(), Trouble> {
        let (fresh, _) = self.fetch_anew(upstream, reach)?;
        self.replace_with(&fresh.keep()).map_err(Trouble::Other)
    }

    /// Fetches everything into a repository beside this one.
    fn fetch_anew(&self, upstream: Upstream<'_>, reach: Reach) -> Result<(TempDir, RemoteRefs), Trouble> {
        self.sweep();
        let fresh = tempfile::Builder::new().prefix(FRESH).tempdir_in(&self.place);
        let fresh = fresh.at("make a repository in", &self.place).map_err(StoreErrorKind::from)?;
        let refs_seen = fetch(&init(fresh.path())?, upstream, reach, &self.broken())?;
        Ok((fresh, refs_seen))
    }

    /// Removes what a process left that was killed while it made a mirror. This process holds the lock, so no
    /// other one makes a mirror now.
    fn sweep(&self) {
        let entries = fs::read_dir(&self.place).into_iter().flatten().flatten();
        for left in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(FRESH.as_bytes()))
        {
            // What stays only takes space.
            let _ = fs::remove_dir_all(left.path());
        }
    }

    fn replace_with(&mut self, fresh: &Path) -> Result<(), StoreErrorKind> {
        let path = self.place.join("mirror.git");
        fs::remove_dir_all(&path).at("remove the old mirror", &path)?;
        fs::rename(fresh, &path).at("replace", &path)?;
        self.repo = Repository::open_bare(&path).during("open the mirror")?;
        Ok(())
    }

    /// How much the next fetch has to get.
    fn reach(&self) -> Reach {
        if self.repo.find_reference(FETCHED).is_ok() { Reach::News } else { self.first }
    }

    /// Whether there are very many files. As in `git gc --auto`, one of the 256 directories is the sample.
    fn is_littered(&self) -> bool {
        let count =
            |dir: &str| fs::read_dir(self.repo.path().join("objects").join(dir)).map_or(0, Iterator::count);
        count("17") * 256 > MAX_LOOSE * 2 || count("pack") > MAX_PACKS * 2
    }
}

/// Creates an empty mirror below `place`, in place of anything that is there.
fn make(place: &Path) -> Result<Repository, StoreErrorKind> {
    let path = place.join("mirror.git");
    if path.exists() {
        remove(&path).at("remove the broken mirror", &path)?;
    }
    Folder::private(place)?.remove(HEADS)?;
    init(&path)
}

/// Removes a directory with all that is in it, or a file.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(path),
        result => result,
    }
}

fn init(path: &Path) -> Result<Repository, StoreErrorKind> {
    let mut options = RepositoryInitOptions::new();
    options.bare(true).external_template(false);
    Repository::init_opts(path, &options).during("make the mirror")
}

fn read_heads(place: &Path) -> Option<RemoteRefs> {
    let text = state::load_text(place, HEADS)?;
    let mut lines = text.strip_suffix('\n')?.lines().map(|line| {
        let (oid, name) = line.split_once(' ')?;
        Some((name.to_owned(), Oid::from_str(oid).ok()?))
    });
    let (branch, tip) = lines.next()??;
    let tip = Some(tip).filter(|tip| !tip.is_zero());
    let others = lines.collect::<Option<_>>()?;
    let (elsewhere, left_out) = (Refs::new(), 0);
    Some(RemoteRefs { branch, tip, others, elsewhere, left_out, broken: broken::remembered(place) })
}

/// How much of the branch's history to fetch.
#[derive(Clone, Copy, PartialEq)]
enum Reach {
    /// Only the newest commit.
    Tip,
    /// The commits since the last fetch.
    News,
    /// Everything.
    History,
}

impl Reach {
    /// The number of commits, in libgit2's convention: 0 means all new ones, the largest number all.
    fn depth(self) -> i32 {
        match self {
            Reach::Tip => 1,
            Reach::News => 0,
            Reach::History => i32::MAX,
        }
    }
}

/// The stage at which a fetch failed.
enum Trouble {
    /// After the server listed its refs, while it sent their objects.
    Download(StoreErrorKind),
    Other(StoreErrorKind),
}

impl From<StoreErrorKind> for Trouble {
    fn from(error: StoreErrorKind) -> Trouble {
        Trouble::Other(error)
    }
}

impl From<Trouble> for StoreErrorKind {
    fn from(trouble: Trouble) -> StoreErrorKind {
        let (Trouble::Download(error) | Trouble::Other(error)) = trouble;
        error
    }
}

/// A connection on which the server has listed its refs.
struct Listing<'repo> {
    remote: Remote<'repo>,
    url: &'repo str,
    refs_seen: RemoteRefs,
}

impl<'repo> Listing<'repo> {
    /// Connects, and sets the known broken refs aside.
    fn of(
        repo: &'repo Repository,
        upstream: Upstream<'repo>,
        known: &Refs,
    ) -> Result<Listing<'repo>, StoreErrorKind> {
        // git's configuration is already applied to the URL: libgit2 must not rewrite it again.
        let own = git2::Config::new().and_then(|mut config| {
            config.add_file(&repo.path().join("config"), git2::ConfigLevel::Local, false)?;
            repo.set_config(&config)
        });
        own.during("configure the mirror")?;
        let mut remote = repo.remote_anonymous(upstream.url).during("use the URL")?;
        remote.connect(Direction::Fetch).map_err(|error| network::fetching("connect", error))?;
        let branch = branch_of(&remote, upstream.branch)?;
        let nothing = Refs::new;
        let mut refs_seen = RemoteRefs {
            branch,
            tip: None,
            others: nothing(),
            elsewhere: nothing(),
            left_out: 0,
            broken: nothing(),
        };
        for head in remote.list().map_err(|error| network::fetching("list the branches", error))? {
            if head.name() == refs_seen.branch {
                refs_seen.tip = Some(head.oid());
            } else if (upstream.also)(head.name()) {
                refs_seen.others.insert(head.name().to_owned(), head.oid());
            } else if head.name().starts_with(BRANCHES) {
                refs_seen.elsewhere.insert(head.name().to_owned(), head.oid());
            }
        }
        refs_seen.left_out = inbox::trim(&mut refs_seen.others);
        refs_seen.set_aside(known);
        Ok(Listing { remote, url: upstream.url, refs_seen })
    }

    /// The refs whose objects are missing here, one for each object: libgit2 compares each with all refs of
    /// the server.
    fn missing(&self, repo: &Repository, reach: Reach) -> Result<BTreeSet<String>, StoreErrorKind> {
        let odb = repo.odb().during("open the mirror")?;
        let missing = |oid: &Oid| !odb.exists(*oid);
        let refs_seen = &self.refs_seen;
        let branch = refs_seen.tip.as_ref().filter(|tip| reach == Reach::History || missing(tip));
        let mut asked = HashSet::new();
        let others = refs_seen.others.iter().filter(|(_, oid)| asked.insert(**oid) && missing(oid));
        let others = others.map(|(name, _)| name);
        Ok(others.chain(branch.map(|_| &refs_seen.branch)).cloned().collect())
    }

    /// Fetches these refs.
    fn download(mut self, names: &[&str], reach: Reach) -> Result<(), StoreErrorKind> {
        let mut callbacks = RemoteCallbacks::new();
        callbacks.transfer_progress(|done| {
            let (received, all) = (done.received_objects(), done.total_objects());
            match received < all {
                true => progress::note(Operation::Fetch, received, all),
                false => progress::note(Operation::Unpack, done.indexed_objects(), all),
            }
            true
        });
        let mut options = FetchOptions::new();
        options.remote_callbacks(callbacks);
        options.download_tags(AutotagOption::None).update_fetchhead(false).depth(reach.depth());
        let remote = &mut self.remote;
        network::bounded(self.url, || remote.download(names, Some(&mut options)))
            .map_err(|error| network::fetching("fetch", error))
    }
}

/// Fetches the missing objects of all refs, except the known broken ones.
fn fetch(
    repo: &Repository,
    upstream: Upstream<'_>,
    reach: Reach,
    known: &Refs,
) -> Result<RemoteRefs, Trouble> {
    let listing = Listing::of(repo, upstream, known)?;
    let names = listing.missing(repo, reach)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let refs_seen = listing.refs_seen.clone();
    if !names.is_empty() {
        listing.download(&names, reach).map_err(Trouble::Download)?;
    }
    Ok(refs_seen)
}

fn owned((name, oid): (&String, &Oid)) -> (String, Oid) {
    (name.clone(), *oid)
}

fn branch_of(connection: &Remote<'_>, wanted: Wanted<'_>) -> Result<String, StoreErrorKind> {
    let mut head = None;
    let mut branches = BTreeMap::new();
    for listed in connection.list().map_err(|error| network::fetching("list the branches", error))? {
        if listed.name() == "HEAD" {
            head = Some(match listed.symref_target() {
                Some(target) => Head::Names(target.to_owned()),
                None => Head::At(listed.oid()),
            });
        } else if listed.name().starts_with("refs/heads/") {
            branches.insert(listed.name().to_owned(), listed.oid());
        }
    }
    if let Some(Head::Names(name)) = &head
        && let Some(listed) = connection
            .list()
            .map_err(|error| network::fetching("list the branches", error))?
            .iter()
            .find(|listed| listed.name() == name)
    {
        branches.insert(name.clone(), listed.oid());
    }
    // HEAD names a branch without a commit, whose name this protocol does not tell.
    let head = head.unwrap_or_else(|| Head::Unknown { default: branch_ref(&default_branch()) });
    branch::choose(wanted, &head, &branches)
}

fn default_branch() -> String {
    configuration()
        .and_then(|config| config.get_string("init.defaultBranch"))
        .unwrap_or_else(|_| FALLBACK_BRANCH.to_owned())
}

/// Whether libgit2 rejected an object that git would not have written.
fn is_odd(error: &StoreErrorKind) -> bool {
    matches!(error, StoreErrorKind::Git(GitError::Libgit2 { source, .. }) if source.class() == git2::ErrorClass::Invalid)
}

/// Whether the server cannot send a part of a history: libgit2's message about the missing capability.
fn cannot_be_shallow(error: &StoreErrorKind) -> bool {
    crate::errors::chain(error).contains("shallow")
}

/// Whether a ref was deleted during the fetch: upload-pack's "not our ref", in any wrapping.
fn is_gone(error: &StoreErrorKind) -> bool {
    crate::errors::chain(error).contains("not our ref")
}
