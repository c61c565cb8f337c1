//! A store, as the agent sees it: records with a version, and heartbeats. Not the git protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use presence::store::{Beats, Reading, Snapshot, StoreError, StoreErrorKind, Version};

/// How a store behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Up,
    /// Every operation fails at once.
    Away,
    /// It can be read, and takes neither records nor heartbeats.
    Refuses,
    /// No operation ends.
    Hangs,
    /// Operations take seconds.
    Slow,
}

/// A store.
pub(super) struct List {
    pub(super) url: String,
    mood: Mood,
    /// Since when it behaves so.
    pub(super) since: Duration,
    records: BTreeMap<String, String>,
    pub(super) withdrawn: BTreeSet<String>,
    pub(super) beats: Beats,
    /// When each version came to be.
    versions: Vec<Duration>,
    snapshot: Snapshot,
}

impl List {
    pub(super) fn new(url: &str) -> List {
        let mut list = List {
            url: url.to_owned(),
            mood: Mood::Up,
            since: Duration::ZERO,
            records: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            beats: Beats::new(),
            versions: Vec::new(),
            snapshot: Snapshot::default(),
        };
        list.changed(Duration::ZERO);
        list
    }

    pub(super) fn mood(&self) -> Mood {
        self.mood
    }

    /// From now on, it behaves so.
    pub(super) fn set_mood(&mut self, mood: Mood, now: Duration) {
        (self.mood, self.since) = (mood, now);
    }

    fn changed(&mut self, now: Duration) {
        self.versions.push(now);
        let paths: Vec<String> = self.records.keys().map(|id| format!("{id}.json")).collect();
        let files = paths.iter().map(String::as_str).zip(self.records.values());
        let mut snapshot = Snapshot::of(files.map(|(path, text)| (path, Ok(text.as_str()))));
        snapshot.digest = self.versions.len().to_string();
        snapshot.version = Some(Version::new(snapshot.digest.clone()));
        self.snapshot = snapshot;
    }

    /// The record of that node.
    pub(super) fn get(&self, id: &str) -> Option<&str> {
        self.records.get(id).map(String::as_str)
    }

    /// The number of its version.
    pub(super) fn version(&self) -> usize {
        self.versions.len()
    }

    /// The number of a snapshot's version.
    pub(super) fn number(snapshot: &Snapshot) -> usize {
        snapshot.digest.parse().unwrap_or_default()
    }

    /// When the version after that number came to be; `None` if there is none yet.
    pub(super) fn next(&self, number: usize) -> Option<Duration> {
        self.versions.get(number).copied()
    }

    /// Puts a record on the list. True if it changes something.
    pub(super) fn put(&mut self, id: &str, text: &str, now: Duration) -> bool {
        if self.get(id) == Some(text) {
            return false;
        }
        self.withdrawn.remove(id);
        self.records.insert(id.to_owned(), text.to_owned());
        self.changed(now);
        true
    }

    /// Takes a node off the list. `told` means that the store knows that it was withdrawn.
    pub(super) fn remove(&mut self, id: &str, told: bool, now: Duration) {
        if self.records.remove(id).is_some() {
            if told {
                self.withdrawn.insert(id.to_owned());
            }
            self.changed(now);
        }
    }

    /// The nodes on the list.
    pub(super) fn ids(&self) -> Vec<String> {
        self.records.keys().cloned().collect()
    }

    pub(super) fn is_version(&self, known: Option<&Version>) -> bool {
        known.is_some() && known == self.snapshot.version.as_ref()
    }

    /// A successful reading.
    pub(super) fn read(&self) -> Reading {
        let mut snapshot = self.snapshot.clone();
        snapshot.beats = self.beats.clone();
        Reading { url: self.url.clone(), snapshot: Some(snapshot), moment: None, error: None }
    }

    /// A failed reading, with the copy from before.
    pub(super) fn fail(&self, kind: StoreErrorKind, copy: Option<Snapshot>) -> Reading {
        Reading { url: self.url.clone(), snapshot: copy, moment: None, error: Some(self.error(kind)) }
    }

    pub(super) fn error(&self, kind: StoreErrorKind) -> StoreError {
        StoreError { url: self.url.clone(), kind }
    }
}
