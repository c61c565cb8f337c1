//! Copies a list from one store to another.

mod plan;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::fleet;
use crate::change::Change;
use crate::config::Config;
use crate::deadline::{Deadline, Limit};
use crate::name::Name;
use crate::store::{Edit, Outcome, Snapshot, StoreError, Stores, Version};
use plan::{Records, Step};

/// How often a store that does not report changes is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A mirror of one store in another one.
pub struct Mirror<'a> {
    config: &'a Config,
    from: Stores,
    to: Stores,
    /// The records that were found at the source, and are at the target.
    copied: Records,
    /// The heartbeats that were copied.
    beats: BTreeMap<String, Timestamp>,
    version: Option<Version>,
}

/// The result of one round.
#[derive(Debug, Default)]
pub struct Round {
    /// What changed at the target.
    pub changes: Vec<(Name, Change)>,
    /// How many records the source has.
    pub records: usize,
    /// How many nodes have a newer record at the target.
    pub newer: usize,
    /// How many heartbeats were copied.
    pub beats: usize,
    /// What failed at the target. The next round tries it again.
    pub errors: Vec<StoreError>,
}

impl<'a> Mirror<'a> {
    /// A mirror of the store with the first URL in that with the second.
    pub fn new(config: &'a Config, from: &str, to: &str) -> Mirror<'a> {
        let open = |url: &str| fleet::open_only(config, url);
        let (from, to) = (open(from), open(to));
        Mirror { config, from, to, copied: Records::new(), beats: BTreeMap::new(), version: None }
    }

    /// Copies what the target lacks. An error if one of the stores cannot be read.
    pub fn round(&mut self) -> Result<Round, StoreError> {
        let (source, target) = (read(&self.from)?, read(&self.to)?);
        let (from, to) = (records(&source), records(&target));
        let missing = plan::missing(&from, &self.copied);
        let withdrawn = if missing.is_empty() { missing } else { self.from.withdrawn(&missing) };
        let gone = from.keys().filter(|id| !to.contains_key(*id)).cloned().collect();
        let left =
            if self.copied.is_empty() { std::collections::BTreeSet::new() } else { self.to.withdrawn(&gone) };
        let plan = plan::plan(&from, &to, &self.copied, &withdrawn, &left);
        let mut round = Round { records: from.len(), newer: plan.newer, ..Round::default() };
        self.copied.extend(from.into_iter().filter(|(id, record)| to.get(id) == Some(record)));
        for step in plan.steps {
            self.take(&step, &mut round);
        }
        let author = fleet::author(self.config);
        for (id, time) in plan::beats(&source.beats, &target.beats, &self.beats) {
            let deadline = Deadline::new(Limit::Publish, self.config.publishing);
            match self.to.beat(&id, &author, time, deadline).pop() {
                Some(Err(error)) => {
                    round.errors.push(error);
                    break;
                }
                _ => {
                    round.beats += 1;
                    self.beats.insert(id.to_string(), time);
                }
            }
        }
        self.version = source.version.clone();
        Ok(round)
    }

    fn take(&mut self, step: &Step, round: &mut Round) {
        let edit = match step {
            Step::Put(record) => Edit::Put(record),
            Step::Remove(id) => Edit::Remove(id),
        };
        match fleet::apply_to(self.config, &self.to, &edit).pop() {
            Some(Ok(applied)) => {
                match step {
                    Step::Put(record) => self.copied.insert(record.id().clone(), record.clone()),
                    Step::Remove(id) => self.copied.remove(id),
                };
                if let Some(Outcome::Merged(change) | Outcome::Waiting(change)) = applied.outcome {
                    round.changes.push((edit.id().clone(), change));
                }
            }
            Some(Err(error)) => round.errors.push(error),
            None => {}
        }
    }

    /// Waits until the source has another version, or for the time between two beats: the heartbeats change
    /// without a new version.
    pub fn wait(&self) {
        let longest = self.config.agent.interval;
        let waited = match &self.version {
            Some(version) => self.from.wait(version, LOOK, longest).is_ok(),
            None => false,
        };
        if !waited {
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for what the stores still write on this machine.
    pub fn finish(&self) {
        self.from.finish();
        self.to.finish();
    }
}

/// The files of a store and its heartbeats. A last copy is not enough: it may be old.
fn read(store: &Stores) -> Result<Snapshot, StoreError> {
    let mut found = None;
    for reading in store.read(true) {
        match reading.error {
            Some(error) => return Err(error),
            None => found = reading.snapshot,
        }
    }
    Ok(found.unwrap_or_default())
}

/// The newest record of each node.
fn records(snapshot: &Snapshot) -> Records {
    let mut records = Records::new();
    for record in snapshot.files().filter_map(|file| file.record().ok()) {
        let is_older = |known: &crate::record::Record| known.changed() >= record.changed();
        if !records.get(record.id()).is_some_and(is_older) {
            records.insert(record.id().clone(), record);
        }
    }
    records
}
