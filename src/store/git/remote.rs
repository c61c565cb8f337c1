//! A repository behind a network: read by fetching into a mirror on this machine, written by pushing.
//!
//! [`publish`](super::publish) decides what to do; `remote/` does it.

mod mirror;
mod port;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use presence_git::libgit2;

use super::held::Held;
use super::mirror::Mirror;
use super::publish::{self, Published};
use super::seen::Observation;
use super::{Urls, history, network, past};
use crate::at_once::at_once;
use crate::deadline::Deadline;
use crate::name::Name;
use crate::store::error::InStore;
use crate::store::git::GitError;
use crate::store::snapshot::{Cache, CacheWriter};
use crate::store::{
    Applied, At, Branch, Capabilities, Edit, HistoryEvent, Look, Options, Snapshot, Store, StoreError,
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
        id: Option<&Name>,
        most: usize,
        deadline: Deadline,
    ) -> Result<Vec<HistoryEvent>, StoreError> {
        let history = || OpenMirror::open(self, "", deadline)?.history(id, most);
        let act = || match history() {
            // git failed rather than the network: the mirror may be broken.
            Err(StoreErrorKind::Git(GitError::Libgit2 { .. })) => {
                Mirror::discard(self.cache.place(), deadline)?;
                history()
            }
            result => result,
        };
        libgit2::until(deadline, act).in_store(&self.url)
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
