//! The stores: the interface to a folder of records, and the kinds of store behind it.
//!
//! A store parses records, maps facts to paths (`layout`), and names part and change in its commits. It does
//! not interpret them: the meaning of a state or a part is the roster's business. A reading gives files *and*
//! problems: a bad file never fails the whole reading.

mod answer;
mod directory;
mod error;
pub mod git;
mod kind;
mod layout;
mod location;
mod rehearsal;
mod snapshot;
mod together;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::change::Change;
use crate::deadline::{Deadline, Limit};
use crate::name::Name;
use crate::record::Record;

pub use error::{StoreError, StoreErrorKind};
pub use git::Obstacle;
pub use git::beats::Beats;
pub use kind::Difference;
pub use layout::{Layout, LayoutError};
pub use location::{Folder, FolderError};
pub use presence_git::secrets::without_urls_secrets;
pub use rehearsal::{Branch, Rehearsal, rehearse};
pub use snapshot::{File, Snapshot};
use together::Task;

/// How to open stores, of any kind.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of the records, inside each store.
    pub folder: Folder,
    /// Where record files are written below the folder.
    pub layout: Layout,
    /// The directory of caches and mirrors.
    pub state_dir: PathBuf,
    /// The author of commits: an instance-id or a user.
    pub author: String,
    /// The limit for one change in all stores together, however busy they are.
    pub patience: Duration,
    /// The limit for looking at all stores and reading them.
    pub reading: Duration,
    /// The limit for a store once another one has answered.
    pub connect: Duration,
    /// Whether snapshots include the times of heartbeats.
    pub beats: bool,
    /// For git repositories.
    pub git: git::Options,
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

/// A change in the history of a store.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEvent {
    /// When it was committed.
    pub time: Timestamp,
    /// The node.
    pub id: Name,
    /// Its part, from its record.
    pub part: Option<String>,
    /// What changed.
    pub change: Change,
    /// The commit's id.
    pub commit: String,
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
    /// For a store that confirmed the record recently and was asked for no heartbeat.
    fn unasked(url: &str) -> Applied {
        Applied { asked: false, ..Applied::after(url, None) }
    }

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
        let replaced = match gone.kind {
            StoreErrorKind::NoFolder { .. } => ", and this node replaced it by one",
            _ => "",
        };
        let gone = crate::errors::chain(gone);
        Some(format!(
            "{gone}{replaced}; this node is on the list again, and each other node returns when it publishes"
        ))
    }
}

/// Holds the folder of records.
pub trait Store: Send + Sync {
    /// The store as the user named it, without secrets.
    fn url(&self) -> &str;

    /// Makes one change, and with `beat` also writes the node's heartbeat of that time, if that takes no
    /// extra effort. The change is durable when this returns.
    fn apply(
        &self,
        edit: &Edit<'_>,
        beat: Option<Timestamp>,
        deadline: Deadline,
    ) -> Result<Applied, StoreError>;

    /// Writes a heartbeat, which leaves no history. The node need not be on the list. Returns the heartbeat
    /// of this node that it replaced.
    fn beat(&self, id: &Name, time: Timestamp, deadline: Deadline) -> Result<Option<Timestamp>, StoreError>;

    /// Looks at the folder, over the network if necessary. Reads no file yet.
    fn look(&self, deadline: Deadline) -> Result<Look, StoreError>;

    /// Rehearses a publish up to the change: returns the branch that would move, and what only the change
    /// itself can show.
    fn rehearse(&self, deadline: Deadline) -> Result<(Option<Branch>, Option<&'static str>), StoreError>;

    /// The last `most` changes of one node or of all, newest first. An error if this kind of store keeps no
    /// history.
    fn history(
        &self,
        id: Option<&Name>,
        most: usize,
        deadline: Deadline,
    ) -> Result<Vec<HistoryEvent>, StoreError>;

    /// The nodes among `ids`, whose records are missing, that were withdrawn, as far as this machine knows
    /// without the network. Excludes records that were lost in other ways.
    fn withdrawn(&self, ids: &BTreeSet<Name>) -> Result<BTreeSet<Name>, StoreError>;

    /// The result of this machine's last successful reading, if any. Does not ask the store.
    fn last_copy(&self) -> Option<Snapshot>;
}

/// The state of a store's folder at one moment, before any file is read.
pub struct Look {
    /// Identifies the content: equal stamps of one store's folder and branch mean equal files. `None` if only
    /// reading can tell.
    pub stamp: Option<String>,
    read: Reader,
}

/// Reads the folder after a look.
type Reader = Box<dyn FnOnce(Deadline) -> Result<Snapshot, StoreError> + Send>;

impl Look {
    fn new(
        stamp: Option<String>,
        read: impl FnOnce(Deadline) -> Result<Snapshot, StoreError> + Send + 'static,
    ) -> Look {
        Look { stamp, read: Box::new(read) }
    }

    /// Reads the folder in the state that the look found.
    pub fn read(self, deadline: Deadline) -> Result<Snapshot, StoreError> {
        (self.read)(deadline)
    }
}

/// Opens the store of that URL or path. Does not find out whether it can be reached.
pub fn open(url: &str, options: &Options) -> Result<Box<dyn Store>, StoreError> {
    location::open(url, options)
}

/// The URL in displayable form: without a password.
pub fn shown_url(url: &str) -> String {
    presence_git::secrets::without_secrets(url)
}

/// The URL of the embedded store: a git repository in the state directory, created on first use.
pub fn embedded_url(state_dir: &std::path::Path) -> String {
    state_dir.join("store.git").display().to_string()
}

/// The reading of one store.
#[derive(Debug)]
pub struct Reading {
    /// The store as the user named it, without secrets.
    pub url: String,
    /// The files, if the store or its last copy could be read.
    pub snapshot: Option<Snapshot>,
    /// Why the store could not be read; `snapshot`, if any, is then the last copy.
    pub error: Option<StoreError>,
}

/// A store after its look and before its reading.
pub struct PendingRead {
    /// The URL as configured.
    name: String,
    /// The URL without secrets.
    url: String,
    options: Options,
    deadline: Deadline,
    look: Result<Look, StoreError>,
}

impl PendingRead {
    /// The store as the user named it, without secrets.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// See [`Look::stamp`]; also `None` if the store does not answer.
    pub fn stamp(&self) -> Option<&str> {
        self.look.as_ref().ok()?.stamp.as_deref()
    }

    /// The deadline for looking and reading together.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }
}

/// The least time for reading after a look: most data is on this machine already.
const TO_READ: Duration = Duration::from_secs(2);

/// Looks at all stores, with a new deadline. Keeps their order.
pub fn look(urls: &[String], options: &Options) -> Vec<PendingRead> {
    look_until(urls, options, Deadline::new(Limit::Read, options.reading))
}

/// Looks at all stores. Keeps their order.
///
/// A store without a last copy gets the time of a publish, whatever the other stores do. Its first fetch
/// transfers the whole list, and would start again from zero each time if it were cut short.
fn look_until(urls: &[String], options: &Options, deadline: Deadline) -> Vec<PendingRead> {
    let deadlines: Vec<(bool, Deadline)> = urls
        .iter()
        .map(|url| match location::has_copy(url, options) {
            true => (false, deadline),
            false if options.patience > options.reading => {
                (true, Deadline::new(Limit::Publish, options.patience))
            }
            false => (true, deadline),
        })
        .collect();
    let tasks = urls.iter().zip(&deadlines).map(|(url, (alone, deadline))| Task {
        url: shown_url(url),
        store: url.clone(),
        deadline: *deadline,
        alone: *alone,
    });
    let own = options.clone();
    let looks = together::ask(tasks.collect(), options.connect, move |url, deadline| {
        open(&url, &own)?.look(deadline)
    });
    let seen = urls.iter().zip(deadlines).zip(looks);
    seen.map(|((url, (_, deadline)), look)| PendingRead {
        name: url.clone(),
        url: shown_url(url),
        options: options.clone(),
        deadline,
        look,
    })
    .collect()
}

/// Reads the stores after their looks. A failing store gives an entry with its error and its last copy.
pub fn read_pending(seen: Vec<PendingRead>) -> Vec<Reading> {
    let Some(connect) = seen.first().map(|sight| sight.options.connect) else { return Vec::new() };
    let mut of = Vec::with_capacity(seen.len());
    let mut tasks = Vec::with_capacity(seen.len());
    for sight in seen {
        let PendingRead { name, url, options, deadline, look } = sight;
        let deadline = deadline.at_least(TO_READ);
        tasks.push(Task { url: url.clone(), store: look, deadline, alone: false });
        of.push((name, url, options));
    }
    let readings = together::ask(tasks, connect, |look, deadline| look?.read(deadline));
    of.into_iter()
        .zip(readings)
        .map(|((name, url, options), reading)| match reading {
            Ok(snapshot) => Reading { url, snapshot: Some(snapshot), error: None },
            Err(error) => Reading { url, snapshot: location::last_copy(&name, &options), error: Some(error) },
        })
        .collect()
}

/// Reads all stores. Keeps their order. A failing store gives an entry with its error and its last copy.
pub fn read(urls: &[String], options: &Options, deadline: Deadline) -> Vec<Reading> {
    read_pending(look_until(urls, options, deadline))
}

/// The last copies of all stores. Asks no store.
pub fn last_copies(urls: &[String], options: &Options) -> Vec<Reading> {
    let cache = |url: &String| {
        let error = StoreError { url: shown_url(url), kind: StoreErrorKind::NotYet };
        let snapshot = location::last_copy(url, options);
        Reading { url: error.url.clone(), snapshot, error: Some(error) }
    };
    urls.iter().map(cache).collect()
}

/// Makes one change in all stores, and with `beat` also writes the node's heartbeat of that time. The results
/// are in the order of the stores.
pub fn apply(
    urls: &[String],
    options: &Options,
    edit: &Edit<'_>,
    beat: Option<Timestamp>,
    deadline: Deadline,
) -> Vec<Result<Applied, StoreError>> {
    let (own, edit) = (options.clone(), (*edit).to_owned());
    together::ask(tasks(urls, deadline), options.connect, move |url, deadline| {
        open(&url, &own)?.apply(&edit.borrow(), beat, deadline)
    })
}

/// Writes a heartbeat to all stores, and returns the heartbeats that were replaced, in the order of the
/// stores.
pub fn beat(
    urls: &[String],
    options: &Options,
    id: &Name,
    time: Timestamp,
    deadline: Deadline,
) -> Vec<Result<Option<Timestamp>, StoreError>> {
    let (own, id) = (options.clone(), id.clone());
    together::ask(tasks(urls, deadline), options.connect, move |url, deadline| {
        open(&url, &own)?.beat(&id, time, deadline)
    })
}

/// The last `most` changes of one node or of all in each store, newest first. The results are in the order of
/// the stores.
pub fn history(
    urls: &[String],
    options: &Options,
    id: Option<&Name>,
    most: usize,
    deadline: Deadline,
) -> Vec<Result<Vec<HistoryEvent>, StoreError>> {
    let (own, id) = (options.clone(), id.cloned());
    together::ask(tasks(urls, deadline), options.connect, move |url, deadline| {
        open(&url, &own)?.history(id.as_ref(), most, deadline)
    })
}

/// The nodes among `ids`, whose records are missing, that were withdrawn from at least one store. Ignores
/// stores that cannot tell.
pub fn withdrawn(urls: &[String], options: &Options, ids: &BTreeSet<Name>) -> BTreeSet<Name> {
    let deadline = Deadline::new(Limit::Read, options.connect);
    let (own, ids) = (options.clone(), ids.clone());
    let told = together::ask(tasks(urls, deadline), options.connect, move |url, _| {
        open(&url, &own)?.withdrawn(&ids)
    });
    told.into_iter().flatten().flatten().collect()
}

/// One task per store, with a common deadline.
fn tasks(urls: &[String], deadline: Deadline) -> Vec<Task<String>> {
    urls.iter().map(|url| Task { url: shown_url(url), store: url.clone(), deadline, alone: false }).collect()
}
