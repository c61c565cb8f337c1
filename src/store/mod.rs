//! Where the folder of records lives: the seam, and the kinds of store behind it.
//!
//! A store knows paths and texts. It knows nothing of parts, states or templates: what a text means is the roster's
//! business. Reading gives files *and* problems: a bad file costs that file, never the reading.

mod copy;
mod directory;
mod error;
pub mod git;
mod layout;
mod location;
mod snapshot;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::change::Change;
use crate::name::Name;
use crate::record::Record;

pub use error::{StoreError, StoreErrorKind};
pub use git::beats::Beats;
pub use layout::{Layout, LayoutError};
pub use location::{Folder, FolderError};
pub use snapshot::{File, Snapshot};

/// How to open stores.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of the records, inside each store.
    pub folder: Folder,
    /// Where in the folder records are written.
    pub layout: Layout,
    /// Where copies and mirrors are kept.
    pub state_dir: PathBuf,
    /// The branch in git stores; none means the one that HEAD of the repository names.
    pub branch: Option<String>,
    /// Who signs the commits: an instance-id or a user.
    pub author: String,
    /// No publishing takes longer, however busy the store is.
    pub patience: Duration,
    /// For how long a store behind a network need not be asked whether it still has what it confirmed.
    pub recheck: Duration,
    /// Whether snapshots shall say when nodes beat last.
    pub beats: bool,
    /// Over how many refs of a git store heartbeats are spread.
    pub beat_shards: u16,
    /// Time limits of the network.
    pub limits: git::transport::Limits,
}

/// One change of the list.
#[derive(Debug, Clone, Copy)]
pub enum Edit<'a> {
    /// Put this record on the list, in place of an older one.
    Put(&'a Record),
    /// Take this node off the list.
    Remove(&'a Name),
}

impl Edit<'_> {
    /// The node that the change is about.
    pub fn id(&self) -> &Name {
        match self {
            Edit::Put(record) => record.id(),
            Edit::Remove(id) => id,
        }
    }
}

/// What became of a change. Either way it is durable, and readers see it.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is on the list.
    Merged(Change),
    /// It waits beside the list until somebody merges it.
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
pub struct Event {
    /// When it was committed.
    pub time: Timestamp,
    /// The node.
    pub id: Name,
    /// Its part, as its record says.
    pub part: Option<String>,
    /// What happened to it.
    pub change: Change,
    /// The commit's id.
    pub commit: String,
}

/// What became of a change in one store.
#[derive(Debug)]
pub struct Applied {
    /// The store as the user named it, without secrets.
    pub url: String,
    /// What is different now; none if the list said so already: then nothing was written.
    pub outcome: Option<Outcome>,
    /// Whether the heartbeat was left, if one was asked for.
    pub beat: Result<(), StoreError>,
}

impl Applied {
    /// The list said so already, and no heartbeat was asked for.
    fn unchanged(url: &str) -> Applied {
        Applied { url: url.to_owned(), outcome: None, beat: Ok(()) }
    }
}

/// A place where the folder of records lives.
pub trait Store: Send + Sync {
    /// The store as the user named it, without secrets.
    fn url(&self) -> &str;

    /// Makes one change, and with `beat` leaves the node's heartbeat of that time, where that can be with no more effort.
    /// When this returns, the change is durable in the store.
    fn apply(&self, edit: &Edit<'_>, beat: Option<Timestamp>) -> Result<Applied, StoreError>;

    /// Leaves a heartbeat: says that this node is still here, without leaving history. The node need not be on the list.
    fn beat(&self, id: &Name, time: Timestamp) -> Result<(), StoreError>;

    /// Looks how the folder is now, over the network if need be, and reads no file yet.
    fn look(&self) -> Result<Look, StoreError>;

    /// The last `most` changes of one node or of all, the newest first. An error if this kind of store keeps none.
    fn history(&self, id: Option<&Name>, most: usize) -> Result<Vec<Event>, StoreError>;

    /// What the last successful reading on this machine saw, without asking the store. None if there is none.
    fn last_copy(&self) -> Option<Snapshot>;
}

/// How the folder of a store is at one moment, before any file was read.
pub struct Look {
    /// Names the content: as long as it is the same for one folder and branch of one store, so is every file. None if
    /// that cannot be said without reading.
    pub stamp: Option<String>,
    read: Box<dyn FnOnce() -> Result<Snapshot, StoreError> + Send>,
}

impl Look {
    fn new(
        stamp: Option<String>,
        read: impl FnOnce() -> Result<Snapshot, StoreError> + Send + 'static,
    ) -> Look {
        Look { stamp, read: Box::new(read) }
    }

    /// Reads the folder as it was at the look.
    pub fn read(self) -> Result<Snapshot, StoreError> {
        (self.read)()
    }
}

/// Opens the store of that URL or path. Says nothing of whether it can be reached now.
pub fn open(url: &str, options: &Options) -> Result<Box<dyn Store>, StoreError> {
    location::open(url, options)
}

/// The URL as it may be shown: without a password.
pub fn shown_url(url: &str) -> String {
    git::without_secrets(url)
}

/// The URL of the embedded store: a git repository in the state directory, made on first use.
pub fn embedded_url(state_dir: &std::path::Path) -> String {
    state_dir.join("store.git").display().to_string()
}

/// One store's part of a reading.
#[derive(Debug)]
pub struct Reading {
    /// The store as the user named it.
    pub url: String,
    /// The files, if the store or its last copy could be read.
    pub snapshot: Option<Snapshot>,
    /// Why the store itself could not be read; `snapshot`, if any, is then the last copy.
    pub error: Option<StoreError>,
}

/// A store that was looked at and is not read yet.
pub struct Sight {
    url: String,
    store: Option<Box<dyn Store>>,
    look: Result<Look, StoreError>,
}

impl Sight {
    /// The store as the user named it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// See [`Look::stamp`]; none also if the store does not answer.
    pub fn stamp(&self) -> Option<&str> {
        self.look.as_ref().ok()?.stamp.as_deref()
    }

    fn read(self) -> Reading {
        let Sight { url, store, look } = self;
        match look.and_then(Look::read) {
            Ok(snapshot) => Reading { url, snapshot: Some(snapshot), error: None },
            Err(error) => {
                let snapshot = store.and_then(|store| store.last_copy());
                Reading { url, snapshot, error: Some(error) }
            }
        }
    }
}

/// Looks at all stores, in their order.
pub fn look(urls: &[String], options: &Options) -> Vec<Sight> {
    at_once(urls.iter().collect(), |url| match open(url, options) {
        Ok(store) => Sight { url: store.url().to_owned(), look: store.look(), store: Some(store) },
        Err(error) => Sight { url: url.clone(), look: Err(error), store: None },
    })
}

/// Reads the stores that were looked at. One that fails is an entry with its error and its last copy.
pub fn read_seen(seen: Vec<Sight>) -> Vec<Reading> {
    at_once(seen, Sight::read)
}

/// Reads all stores, in their order. One that fails is an entry with its error and its last copy.
pub fn read(urls: &[String], options: &Options) -> Vec<Reading> {
    read_seen(look(urls, options))
}

/// The last copies of all stores, none of which is asked.
pub fn last_copies(urls: &[String], options: &Options) -> Vec<Reading> {
    let copy = |url: &String| match open(url, options) {
        Ok(store) => {
            let error = StoreError { url: store.url().to_owned(), kind: StoreErrorKind::NotYet };
            Reading { url: error.url.clone(), snapshot: store.last_copy(), error: Some(error) }
        }
        Err(error) => Reading { url: url.clone(), snapshot: None, error: Some(error) },
    };
    urls.iter().map(copy).collect()
}

/// Makes one change in all stores, and with `beat` leaves the node's heartbeat of that time. The results are in the order
/// of the stores.
pub fn apply(
    urls: &[String],
    options: &Options,
    edit: &Edit<'_>,
    beat: Option<Timestamp>,
) -> Vec<Result<Applied, StoreError>> {
    at_once(urls.iter().collect(), |url| open(url, options)?.apply(edit, beat))
}

/// Leaves a heartbeat in all stores. The results are in the order of the stores.
pub fn beat(urls: &[String], options: &Options, id: &Name, time: Timestamp) -> Vec<Result<(), StoreError>> {
    at_once(urls.iter().collect(), |url| open(url, options)?.beat(id, time))
}

/// Does something with each store, at the same time: one that does not answer must not keep the others waiting.
fn at_once<S: Send, T: Send>(stores: Vec<S>, act: impl Fn(S) -> T + Sync) -> Vec<T> {
    if stores.len() == 1 {
        return stores.into_iter().map(act).collect();
    }
    std::thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> = stores.into_iter().map(|store| scope.spawn(move || act(store))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}
