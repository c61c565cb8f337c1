//! A repository behind a network: read by fetching into a mirror on this machine, written by pushing.
//!
//! [`publish`](super::publish) decides what to do; `remote/` does it.

mod mirror;
mod port;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
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
use crate::store::git::error::During;
use crate::store::snapshot::{Cache, CacheWriter};
use crate::store::{
    Applied, At, Branch, Capabilities, Edit, Look, Options, Snapshot, Step, Store, StoreError,
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

    fn held(&self) -> Held {
        Held::of(self.cache.place(), &self.options)
    }

    /// Looks at the folder as it was.
    fn look_back(&self, at: &At, deadline: Deadline) -> Result<Look, StoreErrorKind> {
        let ((found, moment), repo) = match self.remembered(at, deadline) {
            // What a commit has never changes.
            Some(found) if !matches!(at, At::Time(_)) => found,
            found => match (libgit2::until(deadline, || self.fetched(at, deadline)), found) {
                (Err(error), Some(found)) if !is_unknown(&error) => {
                    tracing::info!(target: "store", url = self.url, error = chain(&error), "the copy has that moment");
                    found
                }
                (fetched, _) => fetched?,
            },
        };
        let (cache, url) = (self.cache.clone(), self.url.clone());
        let look = Look::new(Some(found.version()), move |_| {
            cache.consult(|known| found.read(&repo, known)).in_store(&url)
        });
        Ok(look.at(moment))
    }

    /// The folder as it was, if this machine knows it without the network.
    fn remembered(&self, at: &At, deadline: Deadline) -> Option<(Found, Repository)> {
        let (repo, refs_seen) = Mirror::last(self.cache.place())?;
        let past = Past { repo: &repo, tip: refs_seen.tip, folder: &self.options.folder, tag: &|_| None };
        // A later commit proves that the copy has all commits of that time.
        let is_covered = match at {
            At::Time(time) => past.is_after(*time),
            At::Latest | At::Named(_) | At::Version(_) => true,
        };
        let found = past.find(at, deadline).ok().filter(|_| is_covered)?;
        Some((found, repo))
    }

    /// The folder as it was, with as much of the history as that needs.
    fn fetched(&self, at: &At, deadline: Deadline) -> Result<(Found, Repository), StoreErrorKind> {
        let mut mirror = OpenMirror::open(self, "", deadline)?;
        let found = mirror.find(at, deadline)?;
        let repo = Repository::open_bare(mirror.repo().path()).during("open the mirror")?;
        Ok((found, repo))
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
    ) -> Result<(), StoreError> {
        // A second attempt continues where the first one failed.
        let mut walk = None;
        let operation = self.operation(deadline);
        let history = async || {
            let mut mirror = OpenMirror::open(self, "", deadline)?;
            let tip = mirror.history()?;
            let walk = walk.get_or_insert_with(|| Walk::from(tip));
            walk.run(mirror.repo(), &self.options.folder, visit)
        };
        self.run(&operation, publish::operate(&operation, history))
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
