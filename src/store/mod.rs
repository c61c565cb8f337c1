//! Where the folder of records lives: the interface, and the kinds of store behind it.
//!
//! A store parses records, puts facts into paths (`layout`), and names part and change in its commits. It interprets
//! neither: what a state or a part means is the roster's business. Reading gives files *and* problems: a bad file costs
//! that file, never the reading.

mod cache;
mod directory;
mod error;
pub mod git;
mod kind;
mod layout;
mod location;
mod rehearsal;
mod secrets;
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
pub use rehearsal::{Branch, Rehearsal, rehearse};
pub use secrets::without_urls_secrets;
pub use snapshot::{File, Snapshot};
use together::Task;

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
    /// Whether that branch may be begun in a repository that has others.
    pub create_branch: bool,
    /// Who signs the commits: an instance-id or a user.
    pub author: String,
    /// No change takes longer in all stores together, however busy they are.
    pub patience: Duration,
    /// Looking at all stores and reading them takes no longer.
    pub reading: Duration,
    /// For how long a store behind a network need not be asked whether it still has what it confirmed.
    pub recheck: Duration,
    /// Whether snapshots shall say when nodes beat last.
    pub beats: bool,
    /// Over how many refs of a git store heartbeats are spread.
    pub beat_shards: u16,
    /// Time limits of the network.
    pub limits: git::transport::Limits,
}

impl Options {
    fn wanted_branch(&self) -> git::Wanted<'_> {
        git::Wanted { configured: self.branch.as_deref(), create: self.create_branch }
    }
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

/// A change that keeps what it is about.
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
pub struct HistoryEvent {
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
    /// Why the list that was there before had gone, if this change has begun it anew.
    pub gone: Option<StoreError>,
    /// Why another file of the node stays, if one does.
    pub stays: Option<StoreError>,
    /// Whether the heartbeat was left, if one was asked for, and the one of this node whose place it took.
    pub beat: Result<Option<Timestamp>, StoreError>,
    /// Whether the store was asked just now.
    pub asked: bool,
}

impl Applied {
    /// The list said so a short while ago, and no heartbeat was asked for.
    fn unasked(url: &str) -> Applied {
        Applied { asked: false, ..Applied::after(url, None) }
    }

    /// The store was asked, and said so already; of a list that had gone before, why.
    fn after(url: &str, gone: Option<StoreErrorKind>) -> Applied {
        let gone = gone.map(|kind| StoreError { url: url.to_owned(), kind });
        Applied { url: url.to_owned(), outcome: None, gone, stays: None, beat: Ok(None), asked: true }
    }

    /// What to say of a list that had gone, and this node is on again; or of another file of this node.
    pub fn warning(&self) -> Option<String> {
        if let Some(stays) = &self.stays {
            let stays = crate::errors::chain(stays);
            return Some(format!(
                "{stays}; it is a second file of this node, which readers take if it states a later time"
            ));
        }
        let gone = self.gone.as_ref()?;
        let replaced = match gone.kind {
            StoreErrorKind::NoFolder { .. } => ", and has been replaced by one",
            _ => "",
        };
        let gone = crate::errors::chain(gone);
        Some(format!(
            "{gone}{replaced}; this node is back on the list, and each other node puts itself back when it publishes"
        ))
    }
}

/// A place where the folder of records lives.
pub trait Store: Send + Sync {
    /// The store as the user named it, without secrets.
    fn url(&self) -> &str;

    /// Makes one change, and with `beat` leaves the node's heartbeat of that time, where that can be with no more effort.
    /// When this returns, the change is durable in the store.
    fn apply(
        &self,
        edit: &Edit<'_>,
        beat: Option<Timestamp>,
        deadline: Deadline,
    ) -> Result<Applied, StoreError>;

    /// Leaves a heartbeat: says that this node is still here, without leaving history. The node need not be on the list.
    /// Gives the heartbeat of this node whose place it took.
    fn beat(&self, id: &Name, time: Timestamp, deadline: Deadline) -> Result<Option<Timestamp>, StoreError>;

    /// Looks how the folder is now, over the network if need be, and reads no file yet.
    fn look(&self, deadline: Deadline) -> Result<Look, StoreError>;

    /// Goes through a publishing up to the change: what would move, and what only the change can show.
    fn rehearse(&self, deadline: Deadline) -> Result<(Option<Branch>, Option<&'static str>), StoreError>;

    /// The last `most` changes of one node or of all, the newest first. An error if this kind of store keeps none.
    fn history(
        &self,
        id: Option<&Name>,
        most: usize,
        deadline: Deadline,
    ) -> Result<Vec<HistoryEvent>, StoreError>;

    /// Which of these nodes, whose records are away, were withdrawn, as far as this machine knows without the network. What
    /// was lost in another way is not among them.
    fn withdrawn(&self, ids: &BTreeSet<Name>) -> Result<BTreeSet<Name>, StoreError>;

    /// What the last successful reading on this machine saw, without asking the store. None if there is none.
    fn last_copy(&self) -> Option<Snapshot>;
}

/// How the folder of a store is at one moment, before any file was read.
pub struct Look {
    /// Names the content: as long as it is the same for one folder and branch of one store, so is every file. None if
    /// that cannot be said without reading.
    pub stamp: Option<String>,
    read: Reader,
}

/// What reads the folder after a look.
type Reader = Box<dyn FnOnce(Deadline) -> Result<Snapshot, StoreError> + Send>;

impl Look {
    fn new(
        stamp: Option<String>,
        read: impl FnOnce(Deadline) -> Result<Snapshot, StoreError> + Send + 'static,
    ) -> Look {
        Look { stamp, read: Box::new(read) }
    }

    /// Reads the folder as it was at the look.
    pub fn read(self, deadline: Deadline) -> Result<Snapshot, StoreError> {
        (self.read)(deadline)
    }
}

/// Opens the store of that URL or path. Says nothing of whether it can be reached now.
pub fn open(url: &str, options: &Options) -> Result<Box<dyn Store>, StoreError> {
    location::open(url, options)
}

/// The URL as it may be shown: without a password.
pub fn shown_url(url: &str) -> String {
    secrets::without_secrets(url)
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
pub struct PendingRead {
    /// As it was opened.
    name: String,
    /// As it may be shown.
    url: String,
    options: Options,
    deadline: Deadline,
    look: Result<Look, StoreError>,
}

impl PendingRead {
    /// The store as the user named it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// See [`Look::stamp`]; none also if the store does not answer.
    pub fn stamp(&self) -> Option<&str> {
        self.look.as_ref().ok()?.stamp.as_deref()
    }

    /// When looking and reading must be over.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }
}

/// To read what was seen there is always so much time: it is on this machine most often.
const TO_READ: Duration = Duration::from_secs(2);

/// Looks at all stores, in their order, with a new deadline.
pub fn look(urls: &[String], options: &Options) -> Vec<PendingRead> {
    look_until(urls, options, Deadline::new(Limit::Read, options.reading))
}

/// Looks at all stores, in their order.
///
/// A store of which there is no copy yet has the time of a publishing, whatever the others do: its first fetch brings
/// the whole list, and if that were cut short it would begin anew each time.
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
    let looks = together::ask(tasks.collect(), options.limits.connect, move |url, deadline| {
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

/// Reads the stores that were looked at. One that fails is an entry with its error and its last copy.
pub fn read_pending(seen: Vec<PendingRead>) -> Vec<Reading> {
    let Some(connect) = seen.first().map(|sight| sight.options.limits.connect) else { return Vec::new() };
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

/// Reads all stores, in their order. One that fails is an entry with its error and its last copy.
pub fn read(urls: &[String], options: &Options, deadline: Deadline) -> Vec<Reading> {
    read_pending(look_until(urls, options, deadline))
}

/// The last copies of all stores, none of which is asked.
pub fn last_copies(urls: &[String], options: &Options) -> Vec<Reading> {
    let cache = |url: &String| {
        let error = StoreError { url: shown_url(url), kind: StoreErrorKind::NotYet };
        let snapshot = location::last_copy(url, options);
        Reading { url: error.url.clone(), snapshot, error: Some(error) }
    };
    urls.iter().map(cache).collect()
}

/// Makes one change in all stores, and with `beat` leaves the node's heartbeat of that time. The results are in the order
/// of the stores.
pub fn apply(
    urls: &[String],
    options: &Options,
    edit: &Edit<'_>,
    beat: Option<Timestamp>,
    deadline: Deadline,
) -> Vec<Result<Applied, StoreError>> {
    let (own, edit) = (options.clone(), (*edit).to_owned());
    together::ask(tasks(urls, deadline), options.limits.connect, move |url, deadline| {
        open(&url, &own)?.apply(&edit.borrow(), beat, deadline)
    })
}

/// Leaves a heartbeat in all stores, and gives those whose places they took. The results are in the order of the stores.
pub fn beat(
    urls: &[String],
    options: &Options,
    id: &Name,
    time: Timestamp,
    deadline: Deadline,
) -> Vec<Result<Option<Timestamp>, StoreError>> {
    let (own, id) = (options.clone(), id.clone());
    together::ask(tasks(urls, deadline), options.limits.connect, move |url, deadline| {
        open(&url, &own)?.beat(&id, time, deadline)
    })
}

/// The last `most` changes of one node or of all in each store, the newest first. The results are in the order of the
/// stores.
pub fn history(
    urls: &[String],
    options: &Options,
    id: Option<&Name>,
    most: usize,
    deadline: Deadline,
) -> Vec<Result<Vec<HistoryEvent>, StoreError>> {
    let (own, id) = (options.clone(), id.cloned());
    together::ask(tasks(urls, deadline), options.limits.connect, move |url, deadline| {
        open(&url, &own)?.history(id.as_ref(), most, deadline)
    })
}

/// Which of these nodes, whose records are away, were withdrawn from one of the stores. A store that cannot say so says
/// nothing.
pub fn withdrawn(urls: &[String], options: &Options, ids: &BTreeSet<Name>) -> BTreeSet<Name> {
    let deadline = Deadline::new(Limit::Read, options.limits.connect);
    let (own, ids) = (options.clone(), ids.clone());
    let told = together::ask(tasks(urls, deadline), options.limits.connect, move |url, _| {
        open(&url, &own)?.withdrawn(&ids)
    });
    told.into_iter().flatten().flatten().collect()
}

/// What is to be done at each of the stores until the same moment.
fn tasks(urls: &[String], deadline: Deadline) -> Vec<Task<String>> {
    urls.iter().map(|url| Task { url: shown_url(url), store: url.clone(), deadline, alone: false }).collect()
}
