//! A repository behind a network: read by fetching into a mirror on this machine, written by pushing.
//!
//! [`publish`](super::publish) decides what to do; `remote/` does it.

mod mirror;
mod port;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::Repository;
use jiff::Timestamp;
use presence_git::libgit2;

use super::held::Held;
use super::history::Walk;
use super::mirror::Mirror;
use super::past::{Found, Past, is_unknown};
use super::publish::{self, Published};
use super::seen::Observation;
use super::{Urls, history, network};
use crate::at_once::at_once;
use crate::deadline::Deadline;
use crate::errors::chain;
use crate::name::Name;
use crate::store::error::InStore;
use crate::store::git::error::GitError;
use crate::store::snapshot::{Cache, CacheWriter};
use crate::store::{
    Applied, At, Branch, Capabilities, Edit, Look, Options, Reached, Snapshot, Step, Store, StoreError,
    StoreErrorKind, shown_url,
};
use mirror::OpenMirror;
use port::Operation;

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

impl Remote {
    /// The repository that the user named `url`, with its rewritten URLs.
    pub(crate) fn new(url: &str, urls: Urls, options: &Arc<Options>, writer: &CacheWriter) -> Remote {
        network::client(&options.git);
        let cache = Cache::new(
            &options.state_dir,
            url,
            options.folder.as_ref(),
            options.git.branch.as_deref(),
            writer,
        );
        Remote { url: shown_url(url), urls, cache, options: options.clone() }
    }

    /// The directory of the copy of the whole history, which the first look back makes. It is beside the mirror,
    /// which stays small, and free for those who publish: fetching a long history holds a lock for a while.
    fn past_place(&self) -> PathBuf {
        self.cache.place().join("past")
    }

    /// Looks back. If git failed rather than the network, the copy of the history may be broken: then does it
    /// again with a new one.
    fn with_past<T>(
        &self,
        deadline: Deadline,
        mut act: impl FnMut() -> Result<T, StoreErrorKind>,
    ) -> Result<T, StoreErrorKind> {
        libgit2::until(deadline, || match act() {
            Err(StoreErrorKind::Git(GitError::Libgit2 { .. })) => {
                Mirror::discard(&self.past_place(), deadline)?;
                act()
            }
            result => result,
        })
    }

    fn held(&self) -> Held {
        Held::of(self.cache.place(), &self.options)
    }

    /// Looks at the folder as it was.
    fn look_back(&self, at: &At, deadline: Deadline) -> Result<Look, StoreErrorKind> {
        // A commit never changes. The list at a time does, if somebody replaces the commits of the branch.
        let is_lasting = !matches!(at, At::Time(_));
        let remembered = if is_lasting { self.remembered(at, deadline) } else { None };
        let fetched = || self.with_past(deadline, || self.fetched(at, deadline));
        let ((found, moment), repo) = match remembered.map_or_else(fetched, Ok) {
            Err(error) if !is_lasting && !is_unknown(&error) => {
                let Some(found) = self.remembered(at, deadline) else { return Err(error) };
                tracing::info!(target: "store", url = self.url, error = chain(&error), "the copy has that moment");
                found
            }
            found => found?,
        };
        let remote = self.clone();
        let look = Look::new(Some(found.version()), move |deadline| {
            let read = || -> Result<Snapshot, StoreErrorKind> {
                let snapshot = remote.cache.consult(|known| found.read(&repo, known))?;
                if snapshot.unsure() > 0 {
                    // The copy is damaged, or the server's repository. The next look finds out. If the copy cannot be
                    // removed, that look fails.
                    let _ = Mirror::renew_once(&remote.past_place(), deadline);
                }
                Ok(snapshot)
            };
            read().in_store(&remote.url)
        });
        Ok(look.at(moment))
    }

    /// The folder as it was, if this machine knows it without the network.
    fn remembered(&self, at: &At, deadline: Deadline) -> Option<(Found, Repository)> {
        self.remembered_in(&self.past_place(), at, deadline)
            .or_else(|| self.remembered_in(self.cache.place(), at, deadline))
    }

    fn remembered_in(&self, place: &Path, at: &At, deadline: Deadline) -> Option<(Found, Repository)> {
        let (repo, refs_seen) = Mirror::last(place)?;
        let past = Past { repo: &repo, tip: refs_seen.tip, folder: &self.options.folder, tag: &|_| None };
        // A later commit proves that the copy has all commits of that time.
        let is_covered = match at {
            At::Time(time) => past.is_after(*time),
            At::Latest | At::Named(_) | At::Version(_) => true,
        };
        let found = past.find(at, deadline).ok().filter(|_| is_covered)?;
        Some((found, repo))
    }

    /// The folder as it was, after fetching what is new in the history.
    fn fetched(&self, at: &At, deadline: Deadline) -> Result<(Found, Repository), StoreErrorKind> {
        let mut mirror = OpenMirror::of_past(self, deadline)?;
        let found = mirror.find(at, deadline)?;
        Ok((found, mirror.into_reader()?))
    }

    /// An operation that makes no commit.
    fn operation(&self, deadline: Deadline) -> Operation<'_> {
        self.operation_of("", deadline)
    }

    /// An operation with the author of its commits.
    fn operation_of<'a>(&'a self, author: &'a str, deadline: Deadline) -> Operation<'a> {
        Operation { remote: self, deadline, author }
    }

    /// Runs the core of an operation, until the operation's deadline.
    fn run<T>(
        &self,
        operation: &Operation<'_>,
        core: impl Future<Output = Result<T, StoreErrorKind>>,
    ) -> Result<T, StoreError> {
        libgit2::until(operation.deadline, || at_once(core)).in_store(&self.url)
    }
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
        let operation = self.operation_of(author, deadline);
        let Published { outcome, gone, beat, asked } =
            self.run(&operation, publish::apply(&operation, edit, beat))?;
        Ok(Applied { outcome, beat: beat.in_store(&self.url), asked, ..Applied::after(&self.url, gone) })
    }

    fn beat(
        &self,
        id: &Name,
        author: &str,
        time: Timestamp,
        deadline: Deadline,
    ) -> Result<Option<Timestamp>, StoreError> {
        let operation = self.operation_of(author, deadline);
        self.run(&operation, publish::beat(&operation, id, time))
    }

    fn rehearse(&self, deadline: Deadline) -> Result<(Option<Branch>, Option<&'static str>), StoreError> {
        let operation = self.operation(deadline);
        let branch = self.run(&operation, publish::rehearse(&operation))?;
        Ok((branch, Some("only a real push can show whether hooks or rules of the server refuse it")))
    }

    fn look(&self, at: &At, heartbeats: bool, deadline: Deadline) -> Result<Look, StoreError> {
        if *at != At::Latest {
            return self.look_back(at, deadline).in_store(&self.url);
        }
        let operation = self.operation(deadline);
        let looked = self.run(&operation, publish::look(&operation, heartbeats))?;
        let remote = self.clone();
        Ok(Look::new(looked.seen().version(), move |deadline| {
            let operation = remote.operation(deadline);
            Ok(remote.run(&operation, publish::read(&operation, &looked))?.snapshot)
        }))
    }

    fn history(
        &self,
        deadline: Deadline,
        visit: &mut dyn FnMut(Step) -> ControlFlow<()>,
    ) -> Result<Reached, StoreError> {
        // A second attempt continues where the first one failed.
        let mut walk = None;
        let history = || {
            let mut mirror = OpenMirror::of_past(self, deadline)?;
            let tip = mirror.history()?;
            // Others need not wait for the end of the walk.
            let repo = mirror.into_reader()?;
            walk.get_or_insert_with(|| Walk::from(tip)).run(&repo, &self.options.folder, deadline, visit)
        };
        self.with_past(deadline, history).in_store(&self.url)
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
