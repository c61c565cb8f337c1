//! A repository behind a network: a mirror on this machine, a fetch to read, a push to write.

mod clearing;
mod heartbeat;
mod merge;
mod publish;
mod verdict;
mod watch;

use heartbeat::Heartbeat;

use git2::Oid;
use jiff::Timestamp;

use super::commit::{self, NodeFiles, Prepared};
use super::confirmed::Confirmed;
use super::inbox::{self, Entry};
use super::mirror::{Heads, Mirror, Upstream};
use super::push::{Session, SessionError};
use super::seen::Seen;
use super::{Backoff, beats, history, network, transport};
use crate::deadline::Deadline;
use crate::name::Name;
use crate::store::copy::Copy;
use crate::store::error::InStore;
use crate::store::{Applied, Edit, Event, Look, Options, Snapshot, Store, StoreError, StoreErrorKind};

/// A repository behind a URL.
#[derive(Clone)]
pub(crate) struct Remote {
    /// As the transports need it, with its secrets.
    address: String,
    /// As it may be shown.
    url: String,
    copy: Copy,
    options: Options,
}

/// Something that is done at the repository, and must be over at the deadline.
struct Operation<'a> {
    remote: &'a Remote,
    deadline: Deadline,
}

/// The server's refs as a connection has shown them, seen through this machine's mirror.
struct View {
    session: Session,
    tip: Option<Oid>,
    waiting: Vec<Entry>,
    /// What the branch has, but is still in the inbox.
    merged: Vec<Entry>,
}

impl Remote {
    pub(crate) fn new(url: String, options: &Options) -> Remote {
        transport::install(transport::Settings::from_env(options.limits));
        let copy = Copy::new(&options.state_dir, &url, options.folder.as_ref(), options.branch.as_deref());
        Remote { url: without_secrets(&url), address: url, copy, options: options.clone() }
    }

    /// Whether there seems to be a copy of it here.
    pub(crate) fn has_copy(&self) -> bool {
        Mirror::is_there(self.copy.place())
    }

    /// Does something until the deadline, and again with a new mirror if git failed, and not the network: the mirror may
    /// be broken.
    fn operate<T>(
        &self,
        deadline: Deadline,
        act: impl Fn(&Operation<'_>) -> Result<T, StoreErrorKind>,
    ) -> Result<T, StoreError> {
        let operation = Operation { remote: self, deadline };
        let act = || match act(&operation) {
            Err(StoreErrorKind::Git { .. }) => {
                Mirror::discard(self.copy.place(), deadline)?;
                act(&operation)
            }
            result => result,
        };
        transport::until(deadline, act).in_store(&self.url)
    }
}

impl Operation<'_> {
    fn mirror(&self) -> Result<Mirror, StoreErrorKind> {
        Mirror::open(self.remote.copy.place(), self.deadline)
    }

    /// Brings here what is missing: the branch, what waits, and of the heartbeats those that are asked for or that `beat`
    /// is to be added to.
    fn fetch(&self, mirror: &mut Mirror, beat: Option<&Heartbeat<'_>>) -> Result<Heads, StoreErrorKind> {
        let also = |name: &str| {
            name.starts_with(inbox::PREFIX)
                || (self.remote.options.beats && name.starts_with(beats::PREFIX))
                || beat.is_some_and(|beat| beat.shard == name)
        };
        let upstream = self.upstream(&also);
        let heads = mirror.fetch(upstream)?;
        let doubtful = |entry: &Entry| entry.is_doubtful(&mirror.repo, heads.tip);
        match mirror.is_shallow() && inbox::entries(&heads.others).iter().any(doubtful) {
            true => mirror.deepen(upstream),
            false => Ok(heads),
        }
    }

    fn upstream<'a>(&'a self, also: &'a dyn Fn(&str) -> bool) -> Upstream<'a> {
        Upstream { url: &self.remote.address, branch: self.remote.options.branch.as_deref(), also }
    }

    /// Connects to write.
    fn session(&self) -> Result<Session, StoreErrorKind> {
        self.persist(|| {
            transport::open(&self.remote.address)
                .map_err(SessionError::from)
                .and_then(|(transport, rpc)| Session::open(transport, rpc, &self.remote.address))
                .map_err(|error| network("connect", error))
        })
    }

    /// Asks a server that is too busy to answer again, until the deadline. Only for what changes nothing.
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
                // Why it was tried again says more than that the time was over in the middle of the last try.
                Err(error) if self.deadline.is_over() => return Err(last.unwrap_or(error)),
                result => return result,
            }
        }
    }

    /// What there is to be read, and the mirror that it is to be read from.
    fn see(&self) -> Result<(Mirror, Seen), StoreErrorKind> {
        let mut mirror = self.mirror()?;
        let heads = self.fetch(&mut mirror, None)?;
        let seen = Seen::new(&mirror.repo, &heads, &self.remote.options)?;
        Ok((mirror, seen))
    }

    /// Reads what was seen. If another process has made the mirror anew meanwhile, it looks again.
    fn read(&self, seen: &Seen) -> Result<Snapshot, StoreErrorKind> {
        let mirror = self.mirror()?;
        if seen.is_here(&mirror.repo) {
            return seen.read(&mirror.repo, &self.remote.copy);
        }
        drop(mirror);
        let (mirror, seen) = self.see()?;
        seen.read(&mirror.repo, &self.remote.copy)
    }

    /// Sorts what the connection has shown.
    fn view(&self, mirror: &Mirror, session: Session, branch: &str) -> View {
        let refs = &session.advert().refs;
        let tip = refs.get(branch).copied();
        let broken = mirror.broken();
        let mut entries = inbox::entries(refs);
        entries.retain(|entry| broken.get(&entry.name()) != Some(&entry.commit));
        let (merged, waiting) = entries.into_iter().partition(|entry| entry.is_merged(&mirror.repo, tip));
        View { session, tip, waiting, merged }
    }

    fn prepare(
        &self,
        mirror: &Mirror,
        tip: Option<Oid>,
        edits: &[NodeFiles],
    ) -> Result<Option<Prepared>, StoreErrorKind> {
        commit::prepare(&mirror.repo, tip, &self.remote.options.folder, edits, &self.remote.options.author)
    }
}

impl Store for Remote {
    fn url(&self) -> &str {
        &self.url
    }

    fn apply(
        &self,
        edit: &Edit<'_>,
        beat: Option<Timestamp>,
        deadline: Deadline,
    ) -> Result<Applied, StoreError> {
        let confirmed = Confirmed::new(self.copy.place(), &self.options);
        if let Edit::Put(record) = edit
            && beat.is_none()
            && confirmed.is_fresh(record)
        {
            return Ok(Applied::unchanged(&self.url));
        }
        confirmed.forget().in_store(&self.url)?;
        let (outcome, beat) = self.operate(deadline, |operation| operation.publish(edit, beat))?;
        if let Edit::Put(record) = edit {
            confirmed.remember(record);
        }
        Ok(Applied { url: self.url.clone(), outcome, beat: beat.in_store(&self.url) })
    }

    fn beat(&self, id: &Name, time: Timestamp, deadline: Deadline) -> Result<Option<Timestamp>, StoreError> {
        let replaced = std::cell::Cell::new(None);
        let beat = Heartbeat::new(id, time, self.options.beat_shards, &replaced);
        self.operate(deadline, |operation| {
            let mirror = &mut operation.mirror()?;
            operation.clearing(mirror, |mirror| operation.leave_heartbeat(mirror, &beat))
        })?;
        Ok(replaced.get())
    }

    fn look(&self, deadline: Deadline) -> Result<Look, StoreError> {
        // Not the mirror: its lock must not live in a value that is read whenever somebody likes.
        let (stamp, seen) = self.operate(deadline, |operation| {
            let (_mirror, seen) = operation.see()?;
            Ok((seen.stamp(), seen))
        })?;
        let remote = self.clone();
        Ok(Look::new(stamp, move |deadline| remote.operate(deadline, |operation| operation.read(&seen))))
    }

    fn history(&self, id: Option<&Name>, most: usize, deadline: Deadline) -> Result<Vec<Event>, StoreError> {
        self.operate(deadline, |operation| {
            let mut mirror = operation.mirror()?;
            let mut heads = operation.fetch(&mut mirror, None)?;
            if mirror.is_shallow() {
                heads = mirror.deepen(operation.upstream(&|name| heads.others.contains_key(name)))?;
            }
            history::read(&mirror.repo, heads.tip, &self.options.folder, id, most)
        })
    }

    fn last_copy(&self) -> Option<Snapshot> {
        let (repo, heads) = Mirror::last(self.copy.place())?;
        Seen::new(&repo, &heads, &self.options).and_then(|seen| seen.read(&repo, &self.copy)).ok()
    }
}

/// The URL as it may be shown: without a password.
pub(crate) fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => {
            format!("{scheme}://{}:***@{host}{path}", user.split(':').next().unwrap_or_default())
        }
        // What stands alone before the host is a user for ssh, and as often a token for https.
        Some((user, host)) if scheme.starts_with("http") && user != "git" => {
            format!("{scheme}://***@{host}{path}")
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(without_secrets("https://u:p@h/x@y"), "https://u:***@h/x@y");
        assert_eq!(without_secrets("https://t0k3n@h/x"), "https://***@h/x");
        assert_eq!(without_secrets("ssh://git@h/x"), "ssh://git@h/x");
        assert_eq!(without_secrets("git@h:x"), "git@h:x");
    }
}
