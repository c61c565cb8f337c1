//! A repository behind a network: read by fetching into a mirror on this machine, written by pushing.

mod clearing;
mod election;
mod heartbeat;
mod merge;
mod publish;
mod rehearsal;
mod verdict;

use heartbeat::PendingBeat;
use presence_git::send_pack::Session;
use publish::Published;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use git2::Oid;
use jiff::Timestamp;
use presence_git::libgit2;

use super::commit::{self, Prepared};
use super::confirmed::Confirmed;
use super::held::{Held, Standing};
use super::inbox::{self, Says, WaitingUpdate};
use super::mirror::{Mirror, Refs, RemoteRefs, Upstream};
use super::node_files::NodeFiles;
use super::seen::{Observation, Read};
use super::{BRANCHES, Backoff, Urls, beats, history, network, past};
use crate::deadline::Deadline;
use crate::limits;
use crate::name::Name;
use crate::store::error::InStore;
use crate::store::git::GitError;
use crate::store::git::error::READ_ONLY;
use crate::store::snapshot::{Cache, CacheWriter};
use crate::store::{
    Applied, At, Branch, Capabilities, Edit, HistoryEvent, Look, Options, Outcome, Snapshot, Store,
    StoreError, StoreErrorKind, shown_url,
};

/// A repository behind a URL.
#[derive(Clone)]
pub(crate) struct Remote {
    /// The URLs for the transports, including secrets.
    urls: Urls,
    /// The URL without secrets.
    url: String,
    cache: Cache,
    options: Arc<Options>,
}

/// An operation on the repository, with its deadline.
struct Operation<'a> {
    remote: &'a Remote,
    deadline: Deadline,
    /// The author of commits.
    author: &'a str,
    /// Whether to fetch all heartbeats.
    heartbeats: bool,
    /// Refs in the inbox that are no updates, at most as many as one push deletes.
    junk: RefCell<Vec<WaitingUpdate>>,
}

/// The server's refs on one connection, interpreted with this machine's mirror.
struct View {
    session: Session,
    tip: Option<Oid>,
    waiting: Vec<WaitingUpdate>,
    /// Updates that the branch has, but whose refs still exist.
    merged: Vec<WaitingUpdate>,
}

impl Remote {
    /// The repository that the user named `url`, with its rewritten URLs.
    pub(crate) fn new(url: &str, urls: Urls, options: &Arc<Options>, writer: &CacheWriter) -> Remote {
        network::client(options.git.network);
        let cache = Cache::new(
            &options.state_dir,
            url,
            options.folder.as_ref(),
            options.git.branch.as_deref(),
            writer,
        );
        Remote { url: shown_url(url), urls, cache, options: options.clone() }
    }

    fn held(&self) -> Held {
        Held::of(self.cache.place(), &self.options)
    }

    /// Looks at the folder as it was, in what the mirror has.
    fn look_back(&self, at: &At, deadline: Deadline) -> Result<Look, StoreErrorKind> {
        let (repo, refs_seen) = Mirror::last(self.cache.place()).ok_or(GitError::NoMirror)?;
        let found = past::find(&repo, refs_seen.tip, &self.options.folder, at, deadline)?;
        let (cache, url) = (self.cache.clone(), self.url.clone());
        Ok(Look::new(Some(found.version()), move |_| {
            cache.consult(|known| found.read(&repo, known)).in_store(&url)
        }))
    }

    /// An operation that makes no commit, and needs no heartbeats.
    fn operation(&self, deadline: Deadline) -> Operation<'_> {
        Operation { remote: self, deadline, author: "", heartbeats: false, junk: RefCell::default() }
    }

    /// Runs an operation until its deadline. If git failed rather than the network, the mirror may be broken:
    /// then runs it again with a new mirror.
    fn operate<T>(
        &self,
        operation: &Operation<'_>,
        act: impl Fn(&Operation<'_>) -> Result<T, StoreErrorKind>,
    ) -> Result<T, StoreError> {
        let deadline = operation.deadline;
        let act = || match act(operation) {
            Err(StoreErrorKind::Git(GitError::Libgit2 { .. })) => {
                Mirror::discard(self.cache.place(), deadline)?;
                act(operation)
            }
            result => result,
        };
        libgit2::until(deadline, act).in_store(&self.url)
    }
}

impl Operation<'_> {
    fn mirror(&self) -> Result<Mirror, StoreErrorKind> {
        Mirror::open(self.remote.cache.place(), self.deadline)
    }

    /// Fetches what is missing: the branch, waiting updates, and those shards that were requested or to which
    /// `beat` will be added.
    fn fetch(
        &self,
        mirror: &mut Mirror,
        beat: Option<&PendingBeat<'_>>,
    ) -> Result<RemoteRefs, StoreErrorKind> {
        let also = |name: &str| {
            name.starts_with(inbox::PREFIX)
                || (self.heartbeats && beats::is_shard(name))
                || beat.is_some_and(|beat| beat.shard == name)
        };
        let upstream = self.upstream(&also);
        let refs_seen = mirror.fetch(upstream)?;
        let doubtful = |entry: &WaitingUpdate| entry.is_doubtful(&mirror.repo, refs_seen.tip);
        match mirror.is_shallow() && inbox::entries(&refs_seen.others).iter().any(doubtful) {
            true => mirror.deepen_if_possible(upstream, refs_seen),
            false => Ok(refs_seen),
        }
    }

    fn upstream<'a>(&'a self, also: &'a dyn Fn(&str) -> bool) -> Upstream<'a> {
        Upstream { url: &self.remote.urls.read, branch: self.remote.options.git.wanted_branch(), also }
    }

    /// Finds out whether the list is still on its branch. `refs` are the server's refs, or just its branches.
    fn standing(
        &self,
        mirror: &mut Mirror,
        branch: &str,
        tip: Option<Oid>,
        refs: &Refs,
    ) -> Result<Standing, StoreErrorKind> {
        let held = self.remote.held();
        if let Ok(true) = held.note(&mirror.repo, branch, tip) {
            return Ok(Standing::Sound);
        }
        let branches = refs.iter().filter(|(name, _)| name.starts_with(BRANCHES) && *name != branch);
        let elsewhere: Refs = branches.map(|(name, oid)| (name.clone(), *oid)).collect();
        let upstream = self.upstream(&|_| false);
        let look = |mirror: &Mirror| {
            held.look(&mirror.repo, branch, tip, &elsewhere, |wanted| mirror.bring(upstream, wanted))
        };
        match look(mirror)? {
            // The commit that had the list may be older than the commits here.
            Standing::Gone(StoreErrorKind::Git(GitError::Gone { .. }))
                if tip.is_some() && mirror.is_shallow() =>
            {
                mirror.deepen(upstream)?;
                look(mirror)
            }
            standing => Ok(standing),
        }
    }

    /// Connects for writing.
    fn session(&self) -> Result<Session, StoreErrorKind> {
        self.persist(|| {
            let client = network::client(self.remote.options.git.network);
            Session::open(client, &self.remote.urls.write, self.deadline)
                .map_err(|error| network::pushing("connect", error))
                .and_then(writable)
        })
    }

    /// Retries until the deadline while the server is too busy. Only for requests that change nothing.
    fn persist<T>(&self, mut ask: impl FnMut() -> Result<T, StoreErrorKind>) -> Result<T, StoreErrorKind> {
        let mut backoff = Backoff::new(self.deadline);
        let mut last = None;
        loop {
            match ask() {
                Err(error) if error.is_overload() => {
                    if backoff.lost().is_err() {
                        return Err(error);
                    }
                    last = Some(error);
                }
                // The reason for the retries tells more than that the last one ran into the deadline.
                Err(error) if self.deadline.is_over() => return Err(last.unwrap_or(error)),
                result => return result,
            }
        }
    }

    /// Looks: returns what there is to read, and the mirror to read it from.
    fn see(&self) -> Result<(Mirror, Observation), StoreErrorKind> {
        let mut mirror = self.mirror()?;
        let refs_seen = self.fetch(&mut mirror, None)?;
        self.standing(&mut mirror, &refs_seen.branch, refs_seen.tip, &refs_seen.elsewhere)?.sound()?;
        let seen = Observation::new(&mirror.repo, &refs_seen, &self.remote.options.folder, self.heartbeats)?;
        Ok((mirror, seen))
    }

    /// Reads what the look found. Looks again if another process made the mirror anew meanwhile.
    fn read(&self, seen: &Observation) -> Result<Read, StoreErrorKind> {
        let mirror = self.mirror()?;
        if seen.is_here(&mirror.repo) {
            return seen.read(&mirror.repo, &self.remote.cache);
        }
        drop(mirror);
        let (mirror, seen) = self.see()?;
        seen.read(&mirror.repo, &self.remote.cache)
    }

    /// Sorts the refs that the connection shows.
    fn view(&self, mirror: &Mirror, session: Session, branch: &str) -> Result<View, StoreErrorKind> {
        let refs = &session.advertisement().refs;
        let tip = refs.get(branch).copied();
        let broken = mirror.broken();
        let mut all = inbox::entries(refs);
        all.retain(|entry| broken.get(&entry.name()) != Some(&entry.commit));
        let (mut merged, mut waiting) = (Vec::new(), Vec::new());
        let mut merges = inbox::Merges::new(&mirror.repo, tip);
        let mut bad = HashSet::new();
        for entry in inbox::select(all.clone()) {
            if merges.have(&entry)? {
                merged.push(entry);
                continue;
            }
            match inbox::judge(&mirror.repo, &self.remote.options.folder, &entry)? {
                Says::Files(_) | Says::Lost => waiting.push(entry),
                Says::Elsewhere => {}
                Says::Junk => drop(bad.insert((entry.commit, entry.id))),
            }
        }
        // A flood of the inbox names the same object many times.
        all.retain(|entry| bad.contains(&(entry.commit, entry.id.clone())));
        all.truncate(limits::get().swept);
        self.junk.replace(all);
        Ok(View { session, tip, waiting, merged })
    }

    fn prepare(
        &self,
        mirror: &Mirror,
        tip: Option<Oid>,
        edits: &[NodeFiles],
    ) -> Result<Option<Prepared>, StoreErrorKind> {
        let folder = &self.remote.options.folder;
        commit::prepare(&mirror.repo, tip, folder, edits, self.author, || self.remote.held().was_seen())
    }
}

/// The session, if its server takes pushes. An ssh key that may only read runs `git-upload-pack` whatever it is
/// asked for, and that does not report on a push.
fn writable(session: Session) -> Result<Session, StoreErrorKind> {
    if session.advertisement().can("report-status") {
        return Ok(session);
    }
    session.leave();
    Err(StoreErrorKind::Git(GitError::Refused { reason: READ_ONLY.to_owned(), said: String::new() }))
}

impl Store for Remote {
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
        let confirmed = Confirmed::new(self.cache.place(), &self.options);
        if let Edit::Put(record) = edit
            && beat.is_none()
            && confirmed.is_fresh(record)
        {
            return Ok(Applied::unasked(&self.url));
        }
        confirmed.forget().in_store(&self.url)?;
        let operation = Operation { author, ..self.operation(deadline) };
        let Published { outcome, gone, beat } =
            self.operate(&operation, |operation| operation.publish(edit, beat))?;
        // A waiting update may still be superseded by another one.
        if let (Edit::Put(record), None | Some(Outcome::Merged(_))) = (edit, &outcome) {
            confirmed.remember(record);
        }
        Ok(Applied { outcome, beat: beat.in_store(&self.url), ..Applied::after(&self.url, gone) })
    }

    fn beat(
        &self,
        id: &Name,
        author: &str,
        time: Timestamp,
        deadline: Deadline,
    ) -> Result<Option<Timestamp>, StoreError> {
        let replaced = std::cell::Cell::new(None);
        let beat = PendingBeat::new(id, time, self.options.git.beat_shards, None, &replaced);
        self.operate(&Operation { author, ..self.operation(deadline) }, |operation| {
            let mirror = &mut operation.mirror()?;
            operation.clearing(mirror, |mirror| operation.leave_heartbeat(mirror, &beat))
        })?;
        Ok(replaced.get())
    }

    fn rehearse(&self, deadline: Deadline) -> Result<(Option<Branch>, Option<&'static str>), StoreError> {
        let branch = self.operate(&self.operation(deadline), |operation| operation.rehearse())?;
        Ok((branch, Some("only a real push can show whether hooks or rules of the server refuse it")))
    }

    fn look(&self, at: &At, heartbeats: bool, deadline: Deadline) -> Result<Look, StoreError> {
        if *at != At::Latest {
            return self.look_back(at, deadline).in_store(&self.url);
        }
        // Does not contain the mirror: its lock must not live in a value that may be read at any later time.
        let operation = Operation { heartbeats, ..self.operation(deadline) };
        let (version, seen) = self.operate(&operation, |operation| {
            let (_mirror, seen) = operation.see()?;
            Ok((seen.version(), seen))
        })?;
        let remote = self.clone();
        Ok(Look::new(version, move |deadline| {
            let operation = Operation { heartbeats, ..remote.operation(deadline) };
            let read = || remote.operate(&operation, |operation| operation.read(&seen));
            let found = read()?;
            // The server has the objects that its list names, so the mirror is broken.
            let renewed = found.unreadable > 0
                && Mirror::renew_once(remote.cache.place(), deadline).in_store(&remote.url)?;
            Ok(if renewed { read()? } else { found }.snapshot)
        }))
    }

    fn history(
        &self,
        id: Option<&Name>,
        most: usize,
        deadline: Deadline,
    ) -> Result<Vec<HistoryEvent>, StoreError> {
        self.operate(&self.operation(deadline), |operation| {
            let mut mirror = operation.mirror()?;
            let mut refs_seen = operation.fetch(&mut mirror, None)?;
            if mirror.is_shallow() {
                refs_seen = mirror.deepen(operation.upstream(&|name| refs_seen.others.contains_key(name)))?;
            }
            operation
                .standing(&mut mirror, &refs_seen.branch, refs_seen.tip, &refs_seen.elsewhere)?
                .sound()?;
            history::read(&mirror.repo, refs_seen.tip, &self.options.folder, id, most)
        })
    }

    fn withdrawn(&self, ids: &BTreeSet<Name>) -> Result<BTreeSet<Name>, StoreError> {
        let mirror = Mirror::last(self.cache.place());
        Ok(mirror.map(|(repo, refs_seen)| history::withdrawn(&repo, refs_seen.tip, ids)).unwrap_or_default())
    }

    fn has_copy(&self) -> bool {
        Mirror::is_there(self.cache.place())
    }

    fn last_copy(&self, heartbeats: bool) -> Option<Snapshot> {
        let of_mirror = || {
            let (repo, refs_seen) = Mirror::last(self.cache.place())?;
            if self.held().misses(&repo, refs_seen.tip) {
                return None;
            }
            let seen = Observation::new(&repo, &refs_seen, &self.options.folder, heartbeats).ok()?;
            Some(seen.read(&repo, &self.cache).ok()?.snapshot)
        };
        // A broken mirror, or a list that disappeared, is no reason to forget the last reading.
        of_mirror().or_else(|| self.cache.last())
    }
}
