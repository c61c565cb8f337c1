//! The stores: the interface to a folder of records, and the kinds of store behind it.
//!
//! A store parses records, maps facts to paths (`layout`), and names part and change in its commits. It does
//! not interpret them: the meaning of a state or a part is the roster's business. A reading gives files *and*
//! problems: a bad file never fails the whole reading.

mod answer;
mod directory;
mod error;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod git;
mod heartbeat;
mod kind;
mod layout;
mod location;
mod rehearsal;
mod snapshot;
mod stores;
mod together;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::change::Change;
use crate::deadline::Deadline;
use crate::name::Name;
use crate::record::Record;

pub use error::{StoreError, StoreErrorKind};
pub use heartbeat::{Beats, Heartbeat};
pub use kind::Difference;
pub use layout::{Layout, LayoutError};
use location::Located;
pub use location::{Folder, FolderError};
pub use presence_git::secrets::without_urls_secrets;
pub use rehearsal::{Branch, Rehearsal};
pub use snapshot::{File, Snapshot};
pub use stores::{PendingRead, Reading, Stores, Visitor, read_pending};

/// How to open stores, of any kind.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of the records, inside each store.
    pub folder: Folder,
    /// Where record files are written below the folder.
    pub layout: Layout,
    /// The directory of caches and mirrors.
    pub state_dir: PathBuf,
    /// The limit for one change in all stores together, however busy they are.
    pub publishing: Duration,
    /// The limit for looking at all stores and reading them.
    pub reading: Duration,
    /// The limit for looking back: fetching the history, and going along it.
    pub looking_back: Duration,
    /// The limit for a store once another one has answered.
    pub connect: Duration,
    /// For git repositories.
    pub git: git::Options,
    /// For etcd.
    #[cfg(feature = "etcd")]
    pub etcd: etcd::Options,
}

/// A change of the list.
#[derive(Debug, Clone, Copy)]
pub enum Edit<'a> {
    /// Put this record on the list, replacing an older one.
    Put(&'a Record),
    /// Take this node off the list.
    Remove(&'a Name),
}

impl Edit<'_> {
    /// The node that the change concerns.
    pub fn id(&self) -> &Name {
        match self {
            Edit::Put(record) => record.id(),
            Edit::Remove(id) => id,
        }
    }
}

/// An [`Edit`] that owns its data, for the threads of the stores.
enum OwnedEdit {
    Put(Record),
    Remove(Name),
}

impl Edit<'_> {
    fn to_owned(self) -> OwnedEdit {
        match self {
            Edit::Put(record) => OwnedEdit::Put(record.clone()),
            Edit::Remove(id) => OwnedEdit::Remove(id.clone()),
        }
    }
}

impl OwnedEdit {
    fn borrow(&self) -> Edit<'_> {
        match self {
            OwnedEdit::Put(record) => Edit::Put(record),
            OwnedEdit::Remove(id) => Edit::Remove(id),
        }
    }
}

/// The result of a change. Both are durable, and readers see both.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is on the list.
    Merged(Change),
    /// It waits beside the list until a node merges it.
    Waiting(Change),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Merged(change) => change.fmt(f),
            Outcome::Waiting(change) => write!(f, "{change} (stored, waits to be merged)"),
        }
    }
}

/// One step in the history of a store: everything that changed at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The version that it made: in git, a commit.
    pub moment: Moment,
    /// The nodes whose files differ, by instance-id.
    pub nodes: Vec<NodeStep>,
    /// What is known of the time before.
    pub before: Before,
}

/// A version of the list with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// The store's name of it: in git, the commit's id.
    pub commit: String,
    /// When it was made, by the clock of its author.
    pub time: Timestamp,
}

/// A node's records before and after a step. A file that is no record is like a missing one.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeStep {
    /// The node.
    pub id: Name,
    /// Its record before the step.
    pub before: Option<Record>,
    /// Its record after the step.
    pub after: Option<Record>,
    /// Whether it left because it was withdrawn. Records are lost in other ways too.
    pub withdrawn: bool,
}

/// What is known of the time before a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Another step.
    Step,
    /// The list had no nodes: presence started it with this step.
    Nothing,
    /// Nothing is known: older commits are missing, or the first one was made by hand and may replace a
    /// history.
    Unknown,
}

/// The result of a change in one store.
#[derive(Debug)]
pub struct Applied {
    /// The store as the user named it, without secrets.
    pub url: String,
    /// What changed; `None` if the list had it already and nothing was written.
    pub outcome: Option<Outcome>,
    /// How the previous list disappeared, if this change starts a new one.
    pub gone: Option<StoreError>,
    /// Why a second file of the node could not be removed, if it was not.
    pub stays: Option<StoreError>,
    /// Whether the heartbeat was written, if one was requested, and the heartbeat of this node that it
    /// replaced.
    pub beat: Result<Option<Timestamp>, StoreError>,
    /// Whether this operation asked the store.
    pub asked: bool,
}

impl Applied {
    /// For a store that was asked and had the record already. `gone`: how its previous list disappeared.
    fn after(url: &str, gone: Option<StoreErrorKind>) -> Applied {
        let gone = gone.map(|kind| StoreError { url: url.to_owned(), kind });
        Applied { url: url.to_owned(), outcome: None, gone, stays: None, beat: Ok(None), asked: true }
    }

    /// The warning about a list that disappeared, or about a second file of this node.
    pub fn warning(&self) -> Option<String> {
        if let Some(stays) = &self.stays {
            let stays = crate::errors::chain(stays);
            return Some(format!(
                "{stays}; this node has a second file, and readers use it if its time is later"
            ));
        }
        let gone = self.gone.as_ref()?;
        let replaced = match &gone.kind {
            StoreErrorKind::Git(error) if error.is_in_its_place() => ", and this node replaced it by one",
            _ => "",
        };
        let gone = crate::errors::chain(gone);
        Some(format!(
            "{gone}{replaced}; this node is on the list again, and each other node returns when it publishes"
        ))
    }
}

/// What a store can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether it keeps which change was made when: see [`Store::history`].
    pub history: bool,
    /// Whether its folder can be read as it was: see [`At`].
    pub past: bool,
    /// How it keeps heartbeats.
    pub heartbeats: Heartbeats,
    /// Whether [`Store::wait`] returns at the change itself, without looking again and again.
    pub waits: bool,
}

/// How a store keeps heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heartbeats {
    /// Each has the time at which its node wrote it, and stays.
    Times,
    /// The store removes one that its node does not renew.
    Leases,
}

/// A condition of the service behind a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// How good it is.
    pub soundness: Soundness,
    /// What was found.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Soundness {
    /// As it should be.
    Good,
    /// It works, and may soon fail.
    Doubtful,
    /// It does not work.
    Bad,
}

/// Holds the folder of records. It is opened once, lives as long as the program uses it, and serves several
/// threads at once.
///
/// A thread that does not return in time is abandoned. So no lock is held while a store waits for a disk or a
/// network.
pub trait Store: Send + Sync {
    /// The store as the user named it, without secrets.
    fn url(&self) -> &str;

    /// What it can do. For a path, that depends on what is there now.
    fn capabilities(&self) -> Result<Capabilities, StoreError>;

    /// Makes one change, and with `beat` also writes the node's heartbeat of that time, if that takes no
    /// extra effort. The change is durable when this returns. `author`, an instance-id or a user, makes it.
    fn apply(
        &self,
        edit: &Edit<'_>,
        author: &str,
        beat: Option<Timestamp>,
        deadline: Deadline,
    ) -> Result<Applied, StoreError>;

    /// Writes a heartbeat, which leaves no history. The node need not be on the list. Returns the heartbeat
    /// of this node that it replaced.
    fn beat(
        &self,
        id: &Name,
        author: &str,
        time: Timestamp,
        deadline: Deadline,
    ) -> Result<Option<Timestamp>, StoreError>;

    /// Looks at the folder at that moment, over the network if necessary, and at the heartbeats if the reading
    /// shall include them. Reads no file yet.
    ///
    /// A past moment has no heartbeats. The store fetches as much of its history as that moment needs. An error
    /// if this kind of store keeps no past, or if its history begins later.
    fn look(&self, at: &At, heartbeats: bool, deadline: Deadline) -> Result<Look, StoreError>;

    /// Waits until the folder has another version, or until the deadline. Returns whether it has another one.
    ///
    /// A store that does not wait by itself is looked at, with this interval.
    fn wait(&self, since: &Version, interval: Duration, deadline: Deadline) -> Result<bool, StoreError> {
        loop {
            // Without a version only reading can tell, so it may be another one.
            if self.look(&At::Latest, false, deadline)?.version.as_ref() != Some(since) {
                return Ok(true);
            }
            deadline.sleep(interval);
            if deadline.is_over() {
                return Ok(false);
            }
        }
    }

    /// Rehearses a publish up to the change: returns the branch that would move, and what only the change
    /// itself can show.
    fn rehearse(&self, deadline: Deadline) -> Result<(Option<Branch>, Option<&'static str>), StoreError>;

    /// The conditions of the service behind the store, for people. Empty for a store without a service.
    fn conditions(&self, _: Deadline) -> Vec<Condition> {
        Vec::new()
    }

    /// Visits the steps of the history, newest first, until `visit` breaks or the deadline passes. Reads only what
    /// changed in each. An error if this kind of store keeps no history.
    fn history(
        &self,
        deadline: Deadline,
        visit: &mut dyn FnMut(Step) -> ControlFlow<()>,
    ) -> Result<Reached, StoreError>;

    /// The nodes among `ids`, whose records are missing, that were withdrawn, as far as this machine knows
    /// without the network. Excludes records that were lost in other ways.
    fn withdrawn(&self, ids: &BTreeSet<Name>) -> Result<BTreeSet<Name>, StoreError>;

    /// Whether a reading need not begin with a transfer of the whole list. Does not ask the store. A store on
    /// this machine's file system needs no transfer.
    fn has_copy(&self) -> bool {
        true
    }

    /// The result of this machine's last successful reading, if any. Does not ask the store.
    fn last_copy(&self, heartbeats: bool) -> Option<Snapshot>;

    /// Waits for what the store still writes on this machine for later readings. A program calls it before it
    /// ends.
    fn finish(&self) {}
}

/// Where a walk along a history ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// At the first known step, or where the visitor stopped it.
    End,
    /// At the deadline. Older steps were not visited.
    Deadline,
}

/// The moment to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// Now.
    Latest,
    /// When the store had this version; in git also the id of a commit.
    Version(Version),
    /// The version that people call so: in git, a tag, or a commit's id or the beginning of it.
    Named(String),
    /// This time, by the clocks of those who made the changes.
    Time(Timestamp),
}

/// What a store's folder holds at one moment: the same version of one store's folder and branch means the same
/// files. Only the store knows more of it; in git it is the folder's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    /// The version that a store names so.
    pub fn new(name: impl Into<String>) -> Version {
        Version(name.into())
    }

    /// The store's name of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The state of a store's folder at one moment, before any file is read.
pub struct Look {
    /// The version of the folder. `None` if only reading can tell.
    pub version: Option<Version>,
    /// For a past moment, the version that the list had then.
    pub moment: Option<Moment>,
    read: Reader,
}

/// Reads the folder after a look.
type Reader = Box<dyn FnOnce(Deadline) -> Result<Snapshot, StoreError> + Send>;

impl Look {
    fn new(
        version: Option<Version>,
        read: impl FnOnce(Deadline) -> Result<Snapshot, StoreError> + Send + 'static,
    ) -> Look {
        Look { version, moment: None, read: Box::new(read) }
    }

    fn at(self, moment: Option<Moment>) -> Look {
        Look { moment, ..self }
    }

    /// Reads the folder in the state that the look found.
    pub fn read(self, deadline: Deadline) -> Result<Snapshot, StoreError> {
        (self.read)(deadline)
    }
}

/// Opens the store of that URL or path. Does not find out whether it can be reached: that is an error of each
/// operation.
pub fn open(url: &str, options: &Arc<Options>) -> Arc<dyn Store> {
    #[cfg(feature = "etcd")]
    if etcd::is_url(url) {
        return Arc::new(etcd::Etcd::new(url, options));
    }
    Arc::new(Located::new(url, options))
}

/// The URL in displayable form: without a password.
pub fn shown_url(url: &str) -> String {
    presence_git::secrets::without_secrets(url)
}

/// The URL of the embedded store: a git repository in the state directory, created on first use.
pub fn embedded_url(state_dir: &std::path::Path) -> String {
    state_dir.join("store.git").display().to_string()
}

#[cfg(test)]
mod tests;
