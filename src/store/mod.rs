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

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::name::Name;
use crate::record::{MAX_BYTES, Record};

pub use error::{StoreError, StoreErrorKind};
pub use git::beats::Beats;
pub use layout::{Layout, LayoutError};
pub use location::{Folder, FolderError};

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

/// All files of a folder at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Names the content: equal versions of one store hold the same files.
    pub version: String,
    /// The `*.json` files, by path.
    pub files: Vec<File>,
    /// What is named `*.json` and could not be read.
    pub problems: Vec<FileProblem>,
    /// When nodes beat last, if [`Options::beats`] asked for it.
    pub beats: Beats,
}

/// A file of the folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct File {
    /// Its path below the folder, with `/`.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// A file that could not be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileProblem {
    /// Its path below the folder.
    pub path: String,
    /// Why it was not read.
    pub reason: String,
}

/// A place where the folder of records lives.
pub trait Store: Send + Sync {
    /// The store as the user named it, without secrets.
    fn url(&self) -> &str;

    /// Makes one change. None if the list already says so: then nothing was written.
    /// When this returns an outcome, the change is durable in the store.
    fn apply(&self, edit: &Edit<'_>) -> Result<Option<Outcome>, StoreError>;

    /// Says that this node is still here, without leaving history. The node need not be on the list.
    fn beat(&self, id: &Name, time: Timestamp) -> Result<(), StoreError>;

    /// Reads the whole folder as it is now, over the network if need be.
    fn snapshot(&self) -> Result<Snapshot, StoreError>;

    /// What the last successful [`Store::snapshot`] on this machine saw, without asking the store. None if there is none.
    fn last_copy(&self) -> Option<Snapshot>;
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

/// Reads all stores, in their order. One that fails is an entry with its error and its last copy.
pub fn read(urls: &[String], options: &Options) -> Vec<Reading> {
    each(urls, options, |store| {
        let url = store.url().to_owned();
        match store.snapshot() {
            Ok(snapshot) => Reading { url, snapshot: Some(snapshot), error: None },
            Err(error) => Reading { url, snapshot: store.last_copy(), error: Some(error) },
        }
    })
    .into_iter()
    .zip(urls)
    .map(|(reading, url)| {
        reading.unwrap_or_else(|error| Reading { url: url.clone(), snapshot: None, error: Some(error) })
    })
    .collect()
}

/// Makes one change in all stores. The results are in the order of the stores.
pub fn apply(urls: &[String], options: &Options, edit: &Edit<'_>) -> Vec<Result<Applied, StoreError>> {
    each(urls, options, |store| {
        store.apply(edit).map(|outcome| Applied { url: store.url().to_owned(), outcome })
    })
    .into_iter()
    .map(Result::flatten)
    .collect()
}

/// Says in all stores that this node is still here. The results are in the order of the stores.
pub fn beat(urls: &[String], options: &Options, id: &Name, time: Timestamp) -> Vec<Result<(), StoreError>> {
    each(urls, options, |store| store.beat(id, time)).into_iter().map(Result::flatten).collect()
}

/// What a change did to one store.
#[derive(Debug)]
pub struct Applied {
    /// The store as the user named it.
    pub url: String,
    /// What is different now; none if the list said so already.
    pub outcome: Option<Outcome>,
}

/// Does something with each store, at the same time: one that does not answer must not keep the others waiting.
fn each<T: Send>(
    urls: &[String],
    options: &Options,
    act: impl Fn(&dyn Store) -> T + Sync,
) -> Vec<Result<T, StoreError>> {
    let one = |url: &String| open(url, options).map(|store| act(store.as_ref()));
    if let [url] = urls {
        return vec![one(url)];
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = urls.iter().map(|url| scope.spawn(|| one(url))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// A file's bytes as text, if there are not too many of them.
fn text_of(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!("is larger than the {MAX_BYTES} bytes that a record may have"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}
