//! A store, as the agent sees it: records with a version, and heartbeats. Not the git protocol.

use std::collections::{BTreeMap, BTreeSet};

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
    pub(super) mood: Mood,
    records: BTreeMap<String, String>,
    pub(super) withdrawn: BTreeSet<String>,
    pub(super) beats: Beats,
    version: u64,
    snapshot: Snapshot,
}

impl List {
    pub(super) fn new(url: &str) -> List {
        let mut list = List {
            url: url.to_owned(),
            mood: Mood::Up,
            records: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            beats: Beats::new(),
            version: 0,
            snapshot: Snapshot::default(),
        };
        list.changed();
        list
    }

    fn changed(&mut self) {
        self.version += 1;
        let paths: Vec<String> = self.records.keys().map(|id| format!("{id}.json")).collect();
        let files = paths.iter().map(String::as_str).zip(self.records.values());
        let mut snapshot = Snapshot::of(files.map(|(path, text)| (path, Ok(text.as_str()))));
        snapshot.digest = format!("v{}", self.version);
        snapshot.version = Some(Version::new(snapshot.digest.clone()));
        self.snapshot = snapshot;
    }

    /// The record of that node.
    pub(super) fn get(&self, id: &str) -> Option<&str> {
        self.records.get(id).map(String::as_str)
    }

    /// Puts a record on the list. True if it changes something.
    pub(super) fn put(&mut self, id: &str, text: &str) -> bool {
        if self.get(id) == Some(text) {
            return false;
        }
        self.withdrawn.remove(id);
        self.records.insert(id.to_owned(), text.to_owned());
        self.changed();
        true
    }

    /// Takes a node off the list. `told` means that the store knows that it was withdrawn.
    pub(super) fn remove(&mut self, id: &str, told: bool) {
        if self.records.remove(id).is_some() {
            if told {
                self.withdrawn.insert(id.to_owned());
            }
            self.changed();
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
