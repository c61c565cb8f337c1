//! What the protocol needs: the time, the server, and this machine's mirror of it.
//!
//! `async` methods can fail, take long, or be the last thing that a killed process did. The others ask this
//! machine's memory.

use std::time::Duration;

use git2::Oid;
use jiff::Timestamp;
use presence_git::send_pack::{RefUpdate, Report};

use crate::name::Name;
use crate::record::Record;
use crate::store::git::commit::Prepared;
use crate::store::git::contention::LoadEstimate;
use crate::store::git::held::Standing;
use crate::store::git::inbox::{Says, WaitingUpdate};
use crate::store::git::node_files::NodeFiles;
use crate::store::git::refs::{Refs, RemoteRefs};
use crate::store::{Edit, StoreErrorKind};

/// One operation on a repository behind a network.
#[expect(async_fn_in_trait, reason = "an operation runs in one thread, so no future needs to be Send")]
pub trait Port {
    /// An open connection for writing.
    type Session: Connected;
    /// The mirror, and its lock.
    type Mirror: Mirror;

    /// The time until the operation's deadline.
    fn left(&self) -> Duration;

    /// The time since the operation began.
    fn elapsed(&self) -> Duration;

    /// The name of the deadline's limit in the configuration.
    fn setting(&self) -> &'static str;

    /// Microseconds since 1970 by this machine's clock, which may be wrong.
    fn clock(&self) -> u64;

    /// A random number, at least 0 and below 1.
    fn chance(&self) -> f64;

    /// Waits, at most until the deadline.
    async fn sleep(&self, wait: Duration);

    /// Connects for writing, once.
    async fn connect(&self) -> Result<Self::Session, StoreErrorKind>;

    /// Pushes on that connection, and ends it. An error says nothing about what the server did.
    async fn push(
        &self,
        mirror: &Self::Mirror,
        session: Self::Session,
        push: &Push,
    ) -> Result<Report, StoreErrorKind>;

    /// Ends a connection without a push.
    async fn leave(&self, session: Self::Session);

    /// The ref of the branch that the configuration names, if it does.
    fn configured_branch(&self) -> Option<String>;

    /// The ref of the shard with the node's heartbeats.
    fn shard(&self, id: &Name) -> String;

    /// Estimates the load of the server. `asked` is the time until its answer, `answer` the part of it after
    /// the connection was established.
    fn load(&self, asked: Duration, answer: Duration) -> LoadEstimate;

    /// Waits for the mirror's lock, and opens the mirror.
    async fn open_mirror(&self) -> Result<Self::Mirror, StoreErrorKind>;

    /// Removes the mirror, which may be broken. Waits for its lock.
    async fn discard_mirror(&self) -> Result<(), StoreErrorKind>;

    /// Removes the mirror, unless that was done lately. Returns whether it did.
    async fn renew_mirror(&self) -> Result<bool, StoreErrorKind>;

    /// Whether the server confirmed exactly this record lately.
    fn is_confirmed(&self, record: &Record) -> bool;

    /// Whether this record is the last one of its node that the server confirmed, at any time.
    fn was_confirmed(&self, record: &Record) -> bool;

    /// Forgets what the server confirmed.
    async fn forget_confirmed(&self) -> Result<(), StoreErrorKind>;

    /// Remembers that the server has this record. If that fails, the server is asked again.
    async fn remember_confirmed(&self, record: &Record);
}

/// An open connection for writing.
pub trait Connected {
    /// The server's refs when the connection was opened. git lists branches before presence's refs, each as it
    /// is at that moment.
    fn refs(&self) -> &Refs;

    /// Whether the server takes several refs all or none.
    fn is_atomic(&self) -> bool;

    /// The server's response time on the established connection.
    fn opened_in(&self) -> Duration;
}

/// A push.
#[derive(Debug)]
pub struct Push {
    /// The refs to change.
    pub commands: Vec<RefUpdate>,
    /// The new commits, each with a commit of the server that has most of its objects, if there is one.
    pub commits: Vec<(Option<Oid>, Oid)>,
    /// Whether the server is to change all refs or none.
    pub atomic: bool,
}

impl Push {
    /// A push that only deletes.
    pub(super) fn of_deletions(commands: Vec<RefUpdate>) -> Push {
        Push { commands, commits: Vec::new(), atomic: false }
    }
}

/// What a fetch is for. It always fetches the branch, unless the mirror has its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// The waiting updates, and the shard of heartbeats with this name.
    Updates(Option<&'a str>),
    /// The waiting updates and all heartbeats.
    Heartbeats,
    /// All refs of presence, to learn which of them are broken.
    Everything,
}

/// A heartbeat to write.
#[derive(Debug, Clone, Copy)]
pub struct NewBeat<'a> {
    /// The node.
    pub id: &'a Name,
    /// When it beats, with the mark of its machine.
    pub time: Timestamp,
    /// Whether the list is in the same repository: then heartbeats of nodes on the list come first.
    pub beside_list: bool,
}

/// This machine's mirror of the repository. Its lock is held until the value is dropped.
#[expect(async_fn_in_trait, reason = "an operation runs in one thread, so no future needs to be Send")]
pub trait Mirror {
    /// What a look found, to be read later.
    type Seen;
    /// What a reading found.
    type Read: Snapshot;

    /// The refs as last seen, if any were.
    fn remembered(&self) -> Option<RemoteRefs>;

    /// The refs as last seen, unless the branch's commit is missing.
    fn known(&self) -> Option<RemoteRefs> {
        self.remembered().filter(|refs_seen| refs_seen.tip.is_none_or(|tip| self.has(tip)))
    }

    /// Records the refs as seen.
    async fn note(&mut self, refs_seen: &RemoteRefs) -> Result<(), StoreErrorKind>;

    /// The refs that the server lists but did not send lately.
    fn broken(&self) -> Refs;

    /// Whether it has this object.
    fn has(&self, oid: Oid) -> bool;

    /// Fetches what is missing, once, and records the refs as seen.
    async fn fetch(&mut self, wanted: Wanted<'_>) -> Result<RemoteRefs, StoreErrorKind>;

    /// Finds out whether the list is still on its branch. `refs` are the server's refs, or just its branches.
    async fn standing(
        &mut self,
        branch: &str,
        tip: Option<Oid>,
        refs: &Refs,
    ) -> Result<Standing, StoreErrorKind>;

    /// Records the branch as the one with the list, if it has records there.
    async fn note_list(&mut self, refs_seen: &RemoteRefs) -> Result<(), StoreErrorKind>;

    /// The files that the edit wants.
    fn files_of(&self, edit: &Edit<'_>) -> Result<NodeFiles, StoreErrorKind>;

    /// Whether these present files of a node state what is wanted of it.
    fn states(&self, wanted: &NodeFiles, present: &NodeFiles) -> bool;

    /// For each commit, whether it is known to be `tip` or an ancestor of it; not for none.
    fn contains(&self, tip: Option<Oid>, commits: &[Option<Oid>]) -> Result<Vec<bool>, StoreErrorKind>;

    /// What an update says.
    fn judge(&self, update: &WaitingUpdate) -> Result<Says, StoreErrorKind>;

    /// Makes a commit of these edits on top of `tip`; `None` if the list has them all already.
    fn prepare(&self, tip: Option<Oid>, edits: &[NodeFiles]) -> Result<Option<Prepared>, StoreErrorKind>;

    /// Makes a commit on top of `tip` that changes nothing.
    fn repeat(&self, tip: Option<Oid>) -> Result<Prepared, StoreErrorKind>;

    /// Makes the commit of an update that waits by itself.
    fn write_update(&self, files: &NodeFiles) -> Result<Oid, StoreErrorKind>;

    /// Makes the commit of a shard with a new heartbeat on top of `base`, which it has; `None` starts with an
    /// empty shard. Returns also the heartbeat that it replaces.
    fn write_beat(
        &self,
        base: Option<Oid>,
        beat: NewBeat<'_>,
    ) -> Result<(Oid, Option<Timestamp>), StoreErrorKind>;

    /// What is to be read at these refs, with or without heartbeats.
    fn observe(&self, refs_seen: &RemoteRefs, heartbeats: bool) -> Result<Self::Seen, StoreErrorKind>;

    /// Whether it still has the objects that a look found. Another process may have removed the mirror since.
    fn is_here(&self, seen: &Self::Seen) -> bool;

    /// Reads what a look found.
    fn read(&self, seen: &Self::Seen) -> Result<Self::Read, StoreErrorKind>;
}

/// What a reading found.
pub trait Snapshot {
    /// Whether the mirror lacks objects of the list, which the server has.
    fn is_damaged(&self) -> bool;
}
