//! An operation over real connections, with a real clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use presence_git::send_pack::{Report, Session};

use super::Remote;
use super::mirror::OpenMirror;
use crate::deadline::Deadline;
use crate::name::Name;
use crate::record::Record;
use crate::store::StoreErrorKind;
use crate::store::git::confirmed::Confirmed;
use crate::store::git::contention::{Contention, LoadEstimate};
use crate::store::git::error::READ_ONLY;
use crate::store::git::mirror::Mirror;
use crate::store::git::publish::{Connected, Port, Push, Refs};
use crate::store::git::{GitError, beats, branch_ref, network};

/// An operation on the repository, with its deadline.
pub(super) struct Operation<'a> {
    pub(super) remote: &'a Remote,
    pub(super) deadline: Deadline,
    /// The author of commits.
    pub(super) author: &'a str,
}

impl Operation<'_> {
    fn confirmed(&self) -> Confirmed {
        Confirmed::new(self.remote.cache.place(), &self.remote.options)
    }
}

impl<'a> Port for Operation<'a> {
    type Session = Session;
    type Mirror = OpenMirror<'a>;

    fn left(&self) -> Duration {
        self.deadline.left()
    }

    fn elapsed(&self) -> Duration {
        self.deadline.elapsed()
    }

    fn setting(&self) -> &'static str {
        self.deadline.setting()
    }

    fn clock(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        u64::try_from(now).unwrap_or(u64::MAX)
    }

    fn chance(&self) -> f64 {
        fastrand::f64()
    }

    async fn sleep(&self, wait: Duration) {
        self.deadline.sleep(wait);
    }

    async fn connect(&self) -> Result<Session, StoreErrorKind> {
        let client = network::client(&self.remote.options.git);
        Session::open(client, &self.remote.urls.write, self.deadline)
            .map_err(|error| network::pushing("connect", error))
            .and_then(writable)
    }

    async fn push(
        &self,
        mirror: &OpenMirror<'a>,
        session: Session,
        push: &Push,
    ) -> Result<Report, StoreErrorKind> {
        let pack = match push.commits.is_empty() {
            true => Vec::new(),
            false => network::pack_of(mirror.repo(), &push.commits)?,
        };
        session.send(&push.commands, &pack, push.atomic).map_err(|error| network::pushing("push", error))
    }

    async fn leave(&self, session: Session) {
        session.leave();
    }

    fn configured_branch(&self) -> Option<String> {
        self.remote.options.git.branch.as_deref().map(branch_ref)
    }

    fn shard(&self, id: &Name) -> String {
        beats::shard(id, self.remote.options.git.beat_shards)
    }

    fn load(&self, asked: Duration, answer: Duration) -> LoadEstimate {
        Contention::new(self.remote.cache.place()).guess(asked, answer)
    }

    async fn open_mirror(&self) -> Result<OpenMirror<'a>, StoreErrorKind> {
        OpenMirror::open(self.remote, self.author, self.deadline)
    }

    async fn discard_mirror(&self) -> Result<(), StoreErrorKind> {
        Mirror::discard(self.remote.cache.place(), self.deadline)
    }

    async fn renew_mirror(&self) -> Result<bool, StoreErrorKind> {
        Mirror::renew_once(self.remote.cache.place(), self.deadline)
    }

    fn is_confirmed(&self, record: &Record) -> bool {
        self.confirmed().is_fresh(record)
    }

    fn was_confirmed(&self, record: &Record) -> bool {
        self.confirmed().is(record)
    }

    async fn forget_confirmed(&self) -> Result<(), StoreErrorKind> {
        Ok(self.confirmed().forget()?)
    }

    async fn remember_confirmed(&self, record: &Record) {
        self.confirmed().remember(record);
    }
}

impl Connected for Session {
    fn refs(&self) -> &Refs {
        &self.advertisement().refs
    }

    fn is_atomic(&self) -> bool {
        self.advertisement().can("atomic")
    }

    fn opened_in(&self) -> Duration {
        Session::opened_in(self)
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
