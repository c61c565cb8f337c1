//! The stores of the configuration: how they are opened, read and written.

use std::net::IpAddr;
#[cfg(feature = "etcd")]
use std::time::Duration;

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
use crate::store::{
    self, Applied, At, Edit, Options, PendingRead, Reading, Rehearsal, StoreError, Stores, Version, Visitor,
    git,
};

/// The shortest lease in etcd: an election of a leader takes a few seconds.
#[cfg(feature = "etcd")]
const SHORTEST_LEASE: Duration = Duration::from_secs(10);

/// The stores of the configuration, opened once. A clone has the same stores.
#[derive(Clone)]
pub struct FleetStores {
    /// For records, and for heartbeats unless other stores are for these.
    pub list: Stores,
    /// For heartbeats only.
    pub beats: Stores,
}

impl FleetStores {
    /// Opens the stores. A store that cannot be reached is an error of each operation.
    pub fn open(config: &Config) -> FleetStores {
        let options = options(config);
        FleetStores {
            list: Stores::open(&config.stores, options.clone()),
            beats: Stores::open(&config.beat_stores, options),
        }
    }

    /// Waits for what the stores still write on this machine for later readings.
    pub fn finish(&self) {
        self.list.finish();
        self.beats.finish();
    }
}

/// The current contents of the stores.
pub struct Fleet {
    /// All nodes.
    pub roster: Roster,
    /// The reading of each store.
    pub readings: Vec<Reading>,
    /// The readings of the stores that are for heartbeats only, if heartbeats were asked for.
    pub beat_readings: Vec<Reading>,
}

/// The machine that judges a fleet.
#[derive(Debug, Clone, Default)]
pub struct Observer {
    /// Its time, if it is known.
    pub now: Option<Timestamp>,
    /// Its addresses, which records of other nodes may not state.
    pub addresses: Vec<IpAddr>,
    /// The instance-id of its own node.
    pub id: Option<String>,
}

impl Observer {
    /// This machine.
    fn here(config: &Config) -> Observer {
        let (addresses, id) = node::identity(&config.nodeinfo);
        Observer { now: node::now().ok(), addresses, id }
    }

    /// A later time in a record is wrong: clocks differ, but not by a day.
    fn latest(&self) -> Option<DateTime> {
        let day = SignedDuration::from_hours(24);
        Some(self.now?.checked_add(day).ok()?.to_zoned(TimeZone::UTC).datetime())
    }
}

impl Fleet {
    /// Reads all stores. The last copy replaces a store that fails. With `beats`, also finds out when each
    /// node was last seen.
    pub fn read(config: &Config, stores: &FleetStores, beats: bool) -> Fleet {
        Fleet::read_pending(config, stores, beats, stores.list.look(beats))
    }

    /// Reads the stores that were looked at.
    pub fn read_pending(config: &Config, stores: &FleetStores, beats: bool, seen: Vec<PendingRead>) -> Fleet {
        let beat_readings = match (beats, seen.first()) {
            (true, Some(pending)) => {
                stores.beats.read_until(true, pending.deadline().at_least(config.network.connect))
            }
            (true, None) => stores.beats.read(true),
            (false, _) => Vec::new(),
        };
        Fleet::of(config, beats, store::read_pending(seen), beat_readings)
    }

    /// Reads all stores as they were at a past moment, which has no heartbeats.
    pub fn read_back(config: &Config, stores: &FleetStores, at: &At) -> Fleet {
        let readings = store::read_pending(stores.list.look_back(at));
        let moments = readings.iter().filter_map(|reading| Some(reading.moment.as_ref()?.time));
        let mut observer = Observer::here(config);
        // The records are judged as they were then.
        observer.now = moments.max().or(observer.now);
        Fleet::judge(config, &observer, false, readings, Vec::new())
    }

    /// The fleet as the last copies have it, before any store has answered.
    pub fn of_copies(config: &Config, stores: &FleetStores, beats: bool) -> Fleet {
        let beat_copies = if beats { stores.beats.last_copies() } else { Vec::new() };
        Fleet::of(config, beats, stores.list.last_copies(), beat_copies)
    }

    /// The fleet that these readings make on this machine.
    pub fn of(config: &Config, beats: bool, readings: Vec<Reading>, beat_readings: Vec<Reading>) -> Fleet {
        Fleet::judge(config, &Observer::here(config), beats, readings, beat_readings)
    }

    /// The fleet that these readings make for that observer.
    pub fn judge(
        config: &Config,
        observer: &Observer,
        beats: bool,
        readings: Vec<Reading>,
        beat_readings: Vec<Reading>,
    ) -> Fleet {
        let sources: Vec<Source<'_>> = readings
            .iter()
            .filter_map(|reading| {
                let snapshot = reading.snapshot.as_ref()?;
                Some(Source { store: &reading.url, snapshot, stale: reading.error.is_some() })
            })
            .collect();
        let mut roster = Roster::judge(&sources, &config.states, &config.layout, observer.latest());
        if beats {
            let all = readings.iter().chain(&beat_readings);
            roster.see(all.filter_map(|reading| Some(&reading.snapshot.as_ref()?.beats)));
        }
        roster.restrict(&config.addresses, &observer.addresses, observer.id.as_deref());
        Fleet { roster, readings, beat_readings }
    }

    /// Makes nodes absent that were silent for too long by the times in their heartbeats, if heartbeats can
    /// be read.
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

    /// Whether a store of heartbeats answers. Otherwise silence proves nothing about a node.
    pub fn hears_beats(&self) -> bool {
        match self.beat_readings.is_empty() {
            true => self.is_current(),
            false => self.beat_readings.iter().any(|reading| reading.error.is_none()),
        }
    }

    /// Whether a store has a heartbeat of that node, if heartbeats were asked for.
    pub fn has_heartbeat(&self, id: &Name) -> bool {
        let snapshots = self.readings.iter().chain(&self.beat_readings);
        let mut snapshots = snapshots.filter_map(|reading| reading.snapshot.as_ref());
        snapshots.any(|snapshot| snapshot.beats.contains_key(id.as_str()))
    }

    /// Whether at least one store answered; otherwise there are only last copies.
    pub fn is_current(&self) -> bool {
        self.readings.iter().any(|reading| reading.error.is_none())
    }

    /// Whether a node that is not here has left: a store answers, and there is a last copy of each store that
    /// does not.
    pub fn is_whole(&self) -> bool {
        self.is_current() && self.readings.iter().all(|reading| reading.snapshot.is_some())
    }

    /// The URL of each store, and the version of the records that were read from it, if it answered and has
    /// one.
    pub fn versions(&self) -> impl Iterator<Item = (&str, Option<&Version>)> {
        self.readings.iter().map(|reading| {
            let snapshot = reading.snapshot.as_ref().filter(|_| reading.error.is_none());
            (reading.url.as_str(), snapshot.and_then(|snapshot| snapshot.version.as_ref()))
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

    /// The digests of what the stores hold: equal digests mean equal files. A heartbeat does not change a
    /// digest.
    pub fn digests(&self) -> Vec<String> {
        let digest = |reading: &Reading| reading.snapshot.as_ref().map(|snapshot| snapshot.digest.clone());
        self.readings.iter().map(|reading| digest(reading).unwrap_or_default()).collect()
    }

    /// What to do about the stores that do not answer.
    pub fn hint(&self) -> Option<String> {
        self.readings.iter().find_map(|reading| reading.error.as_ref()?.hint())
    }
}

/// The result of an announcement.
#[derive(Debug)]
pub struct Announced {
    /// What the record changed, in the order of the stores.
    pub changes: Vec<Result<Applied, StoreError>>,
    /// Whether the heartbeat was accepted, for each store that could be asked.
    pub beats: Vec<Result<(), StoreError>>,
    /// The other machine under this instance-id, if there is one.
    pub rival: Option<Rival>,
}

/// Publishes the record in every store, with a heartbeat: in the same stores, or in the stores that the
/// configuration has for heartbeats.
pub fn announce(config: &Config, stores: &FleetStores, record: &Record) -> Result<Announced, NodeError> {
    let now = rivals::stamp(config, node::now()?);
    let (edit, author, deadline) = (Edit::Put(record), author(config), to_publish(config));
    let putting = rivals::put(config, record);
    if !stores.beats.is_empty() {
        let changes = stores.list.apply(&edit, &author, None, deadline);
        let deadline = deadline.at_least(config.network.connect);
        let beats = stores.beats.beat(record.id(), &author, now, deadline);
        let urls = stores.beats.urls().map(str::to_owned);
        return Ok(announced(config, &putting, changes, urls.zip(beats).collect()));
    }
    let mut changes = stores.list.apply(&edit, &author, Some(now), deadline);
    let beats = changes.iter_mut().flatten();
    let beats = beats.map(|applied| (applied.url.clone(), std::mem::replace(&mut applied.beat, Ok(None))));
    let beats = beats.collect();
    Ok(announced(config, &putting, changes, beats))
}

/// The result of an announcement, with the heartbeats of each store.
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

/// Publishes the record in every store. Also returns the other machine under this instance-id, if it has
/// overwritten the record again.
pub fn publish(
    config: &Config,
    stores: &FleetStores,
    record: &Record,
) -> (Vec<Result<Applied, StoreError>>, Option<Rival>) {
    let putting = rivals::put(config, record);
    let changes = apply(config, stores, &Edit::Put(record));
    let rival = putting.note(config, &changes);
    (changes, rival)
}

/// Makes one change in all stores.
pub fn apply(config: &Config, stores: &FleetStores, edit: &Edit<'_>) -> Vec<Result<Applied, StoreError>> {
    apply_to(config, &stores.list, edit)
}

/// Makes one change in these stores.
pub(super) fn apply_to(
    config: &Config,
    stores: &Stores,
    edit: &Edit<'_>,
) -> Vec<Result<Applied, StoreError>> {
    stores.apply(edit, &author(config), None, to_publish(config))
}

/// Opens the store at that URL or path, whatever the configuration names.
pub(super) fn open_only(config: &Config, url: &str) -> Stores {
    Stores::open(&[url.to_owned()], options(config))
}

/// Rehearses a publish up to the change: in the stores of the list, and in those for heartbeats only.
pub fn rehearse(stores: &FleetStores) -> Vec<Result<Rehearsal, StoreError>> {
    stores.list.and(&stores.beats).rehearse()
}

/// The visitor after its walk along the history of the first store that answers and has one. Otherwise the error
/// of each store.
pub fn history<V: Visitor>(stores: &FleetStores, visitor: &V) -> Result<V, Vec<StoreError>> {
    let mut errors = Vec::new();
    for history in histories(stores, visitor) {
        match history {
            Ok(visitor) => return Ok(visitor),
            Err(error) => errors.push(error),
        }
    }
    Err(errors)
}

/// A copy of the visitor for each store, after its walk along that store's history.
pub fn histories<V: Visitor>(stores: &FleetStores, visitor: &V) -> Vec<Result<V, StoreError>> {
    stores.list.history(visitor)
}

/// The deadline of a change of the stores that begins now.
fn to_publish(config: &Config) -> Deadline {
    Deadline::new(Limit::Publish, config.publishing)
}

fn options(config: &Config) -> Options {
    Options {
        folder: config.folder.clone(),
        layout: config.layout.clone(),
        state_dir: config.state_dir.clone(),
        publishing: config.publishing,
        reading: config.reading,
        looking_back: config.looking_back,
        connect: config.network.connect,
        git: git::Options {
            branch: config.branch.clone(),
            create_branch: config.create_branch,
            beat_shards: config.beat_shards,
            recheck: config.recheck,
            network: config.network,
            credentials: config.credentials.clone(),
        },
        #[cfg(feature = "etcd")]
        etcd: store::etcd::Options {
            settings: config.etcd.clone(),
            // A node that misses two beats keeps its lease.
            lease: config.agent.interval.saturating_mul(3).max(SHORTEST_LEASE),
            network: config.network,
            clock: || node::now().ok(),
        },
    }
}

/// The author of commits: this node, or the user where there is no node (a laptop).
pub(super) fn author(config: &Config) -> String {
    let id = node::facts(&config.nodeinfo)
        .ok()
        .and_then(|facts| Some(facts.get("instance-id")?.as_str()?.to_owned()));
    id.and_then(|id| Name::parse(&id).ok())
        .map(|id| id.to_string())
        .or_else(|| std::env::var("USER").ok().filter(|user| Name::parse(user).is_ok()))
        .unwrap_or_else(|| "presence".to_owned())
}
