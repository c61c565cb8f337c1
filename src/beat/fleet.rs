//! The stores of the configuration: how they are opened, read and written.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::absence::Evidence;
use super::node::{self, NodeError};
use super::rivals::{self, Putting, Rival};
use crate::config::Config;
use crate::deadline::{Deadline, Limit};
use crate::name::Name;
use crate::record::Record;
use crate::roster::{Roster, Source};
use crate::store::{self, Applied, Edit, HistoryEvent, Options, PendingRead, Reading, Rehearsal, StoreError};

/// What the stores say now.
#[derive(Debug)]
pub struct Fleet {
    /// All nodes.
    pub roster: Roster,
    /// What each store gave.
    pub readings: Vec<Reading>,
    /// What the stores gave that are for heartbeats alone, if heartbeats were asked for.
    pub beat_readings: Vec<Reading>,
}

/// A record that states a later time is wrong about it: clocks differ, and not by a day.
fn latest() -> Option<DateTime> {
    let day = SignedDuration::from_hours(24);
    Some(node::now().ok()?.checked_add(day).ok()?.to_zoned(TimeZone::UTC).datetime())
}

impl Fleet {
    /// Reads all stores. One that fails counts with its last copy. With `beats` it is looked up when nodes were seen
    /// last.
    pub fn read(config: &Config, beats: bool) -> Fleet {
        Fleet::read_pending(config, beats, Fleet::look(config, beats))
    }

    /// Looks at all stores, and reads none yet.
    pub fn look(config: &Config, beats: bool) -> Vec<PendingRead> {
        store::look(&config.stores, &Options { beats, ..options(config) })
    }

    /// Reads the stores that were looked at.
    pub fn read_pending(config: &Config, beats: bool, seen: Vec<PendingRead>) -> Fleet {
        let beat_readings = match (beats, seen.first()) {
            (true, Some(sight)) => read_beats(config, sight.deadline().at_least(config.network.connect)),
            (true, None) => Fleet::read_beats(config),
            (false, _) => Vec::new(),
        };
        Fleet::of(config, beats, store::read_pending(seen), beat_readings)
    }

    /// Reads the stores that are for heartbeats alone.
    pub fn read_beats(config: &Config) -> Vec<Reading> {
        read_beats(config, Deadline::new(Limit::Read, config.reading))
    }

    /// What the last copies say, before any store has answered.
    pub fn of_copies(config: &Config, beats: bool) -> Fleet {
        let copies = |urls| store::last_copies(urls, &options(config));
        let beat_stores = if beats { config.beat_stores.as_slice() } else { &[] };
        Fleet::of(config, beats, copies(&config.stores), copies(beat_stores))
    }

    /// What the stores gave, judged.
    pub fn of(config: &Config, beats: bool, readings: Vec<Reading>, beat_readings: Vec<Reading>) -> Fleet {
        let sources: Vec<Source<'_>> = readings
            .iter()
            .filter_map(|reading| {
                let snapshot = reading.snapshot.as_ref()?;
                Some(Source { store: &reading.url, snapshot, stale: reading.error.is_some() })
            })
            .collect();
        let mut roster = Roster::judge(&sources, &config.states, &config.layout, latest());
        if beats {
            let all = readings.iter().chain(&beat_readings);
            roster.see(all.filter_map(|reading| Some(&reading.snapshot.as_ref()?.beats)));
        }
        let (own, id) = node::identity(config);
        roster.restrict(&config.addresses, &own, id.as_deref());
        Fleet { roster, readings, beat_readings }
    }

    /// Makes absent what was silent for too long by the times that heartbeats state, as far as heartbeats can be heard.
    pub fn expire(&mut self, max_age: Option<SignedDuration>) -> Result<(), NodeError> {
        if let Some(max_age) = max_age
            && self.hears_beats()
        {
            self.roster.expire(node::now()?, max_age);
        }
        Ok(())
    }

    /// What a single run can know of silence: nothing unless every store of heartbeats answers.
    pub fn evidence(&self) -> Result<Evidence<'static>, NodeError> {
        let readings = if self.beat_readings.is_empty() { &self.readings } else { &self.beat_readings };
        match readings.iter().all(|reading| reading.error.is_none()) {
            true => Ok(Evidence::Stated(node::now()?)),
            false => Ok(Evidence::Nothing),
        }
    }

    /// Whether a store that keeps heartbeats answers. Otherwise silence says nothing of a node.
    pub fn hears_beats(&self) -> bool {
        match self.beat_readings.is_empty() {
            true => self.is_current(),
            false => self.beat_readings.iter().any(|reading| reading.error.is_none()),
        }
    }

    /// Whether at least one store answered; otherwise all there is are last copies.
    pub fn is_current(&self) -> bool {
        self.readings.iter().any(|reading| reading.error.is_none())
    }

    /// Whether nodes that are not here have left: a store answers, and of each that does not there is a copy.
    pub fn is_whole(&self) -> bool {
        self.is_current() && self.readings.iter().all(|reading| reading.snapshot.is_some())
    }

    /// The URL of each store, and what names the records that were read from it, if anything does.
    pub fn stamps(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.readings.iter().map(|reading| {
            let snapshot = reading.snapshot.as_ref().filter(|_| reading.error.is_none());
            (reading.url.as_str(), snapshot.and_then(|snapshot| snapshot.stamp.as_deref()))
        })
    }

    /// The problems, as lines.
    pub fn problems(&self) -> Vec<String> {
        self.roster
            .problems
            .iter()
            .map(|problem| format!("{}: {}: {}", problem.store, problem.path.escape_debug(), problem.reason))
            .collect()
    }

    /// What to do about the stores that do not answer.
    pub fn hint(&self) -> Option<String> {
        self.readings.iter().find_map(|reading| reading.error.as_ref()?.hint())
    }
}

fn read_beats(config: &Config, deadline: Deadline) -> Vec<Reading> {
    store::read(&config.beat_stores, &Options { beats: true, ..options(config) }, deadline)
}

/// What became of an announcement.
#[derive(Debug)]
pub struct Announced {
    /// What the record changed, in the order of the stores.
    pub changes: Vec<Result<Applied, StoreError>>,
    /// Whether the heartbeat was left, in each store that could be asked to take it.
    pub beats: Vec<Result<(), StoreError>>,
    /// The other machine under this instance-id, if there is one.
    pub rival: Option<Rival>,
}

/// Publishes the record in every store, and with it leaves a heartbeat: in the same stores, or in those that the
/// configuration keeps for heartbeats.
pub fn announce(config: &Config, record: &Record) -> Result<Announced, NodeError> {
    let now = rivals::stamp(config, node::now()?);
    let (edit, options, deadline) = (Edit::Put(record), options(config), to_publish(config));
    let putting = rivals::put(config, record);
    if !config.beat_stores.is_empty() {
        let changes = store::apply(&config.stores, &options, &edit, None, deadline);
        let deadline = deadline.at_least(config.network.connect);
        let beats = store::beat(&config.beat_stores, &options, record.id(), now, deadline);
        let urls = config.beat_stores.iter().map(|url| store::shown_url(url));
        return Ok(announced(config, &putting, changes, urls.zip(beats).collect()));
    }
    let mut changes = store::apply(&config.stores, &options, &edit, Some(now), deadline);
    let beats = changes.iter_mut().flatten();
    let beats = beats.map(|applied| (applied.url.clone(), std::mem::replace(&mut applied.beat, Ok(None))));
    let beats = beats.collect();
    Ok(announced(config, &putting, changes, beats))
}

/// What came of an announcement, with the heartbeats of each store.
fn announced(
    config: &Config,
    putting: &Putting,
    changes: Vec<Result<Applied, StoreError>>,
    beats: Vec<(String, Result<Option<Timestamp>, StoreError>)>,
) -> Announced {
    let replaced = beats.iter().filter_map(|(url, beat)| Some((url.clone(), *beat.as_ref().ok()?)));
    let overwritten = putting.note(config, &changes);
    let rival = rivals::note(config, &replaced.collect::<Vec<_>>()).or(overwritten);
    Announced { changes, beats: beats.into_iter().map(|(_, beat)| beat.map(drop)).collect(), rival }
}

/// Publishes the record in every store. Gives the other machine under this instance-id, if it has overwritten the record
/// again.
pub fn publish(config: &Config, record: &Record) -> (Vec<Result<Applied, StoreError>>, Option<Rival>) {
    let putting = rivals::put(config, record);
    let changes = apply(config, &Edit::Put(record));
    let rival = putting.note(config, &changes);
    (changes, rival)
}

/// Makes one change in all stores.
pub fn apply(config: &Config, edit: &Edit<'_>) -> Vec<Result<Applied, StoreError>> {
    store::apply(&config.stores, &options(config), edit, None, to_publish(config))
}

/// Which of these nodes, whose records are away, were withdrawn.
pub fn withdrawn(config: &Config, ids: &BTreeSet<Name>) -> BTreeSet<Name> {
    store::withdrawn(&config.stores, &options(config), ids)
}

/// Goes through a publishing up to the change: in the stores of the records, and in those that are for heartbeats alone.
pub fn rehearse(config: &Config) -> Vec<Result<Rehearsal, StoreError>> {
    let urls: Vec<String> = config.stores.iter().chain(&config.beat_stores).cloned().collect();
    store::rehearse(&urls, &options(config))
}

/// The last changes of one node or of all: of the first store that answers and has a history, else why each has none.
pub fn history(
    config: &Config,
    id: Option<&Name>,
    most: usize,
) -> Result<Vec<HistoryEvent>, Vec<StoreError>> {
    // It may have to fetch the whole history, which takes as long as a publishing may take.
    let asked = store::history(&config.stores, &options(config), id, most, to_publish(config));
    let mut errors = Vec::new();
    for history in asked {
        match history {
            Ok(events) => return Ok(events),
            Err(error) => errors.push(error),
        }
    }
    Err(errors)
}

/// When a change of the stores that begins now must be over.
fn to_publish(config: &Config) -> Deadline {
    Deadline::new(Limit::Publish, config.patience)
}

fn options(config: &Config) -> Options {
    Options {
        folder: config.folder.clone(),
        layout: config.layout.clone(),
        state_dir: config.state_dir.clone(),
        branch: config.branch.clone(),
        create_branch: config.create_branch,
        author: author(config),
        patience: config.patience,
        reading: config.reading,
        recheck: config.recheck,
        beats: false,
        beat_shards: config.beat_shards,
        limits: config.network,
    }
}

/// Who signs commits: this node, or where there is no node (a laptop), the user.
fn author(config: &Config) -> String {
    let id = node::facts(config).ok().and_then(|facts| Some(facts.get("instance-id")?.as_str()?.to_owned()));
    id.and_then(|id| Name::parse(&id).ok())
        .map(|id| id.to_string())
        .or_else(|| std::env::var("USER").ok().filter(|user| Name::parse(user).is_ok()))
        .unwrap_or_else(|| "presence".to_owned())
}
