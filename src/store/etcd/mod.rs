//! A list in etcd, over its JSON gateway.
//!
//! A record is a key, and publishing is one transaction that compares the revision of the key. A heartbeat is a
//! lease: etcd removes it if the node does not renew it. A reader lists the keys once, and then asks for what has
//! changed since the revision that it knows. `keys` has the layout.

mod address;
mod apply;
mod client;
mod condition;
mod error;
mod keys;
mod listing;
mod read;
mod settings;
mod watch;
mod wire;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::error::InStore;
use super::snapshot::{Cache, CacheWriter, Snapshot};
use super::{
    Applied, At, Beats, Branch, Capabilities, Condition, Edit, Heartbeats, Look, Outcome, Reached, Step,
    Store, StoreError, StoreErrorKind, Version,
};
use crate::deadline::{Deadline, Limit};
use crate::name::Name;
use crate::state;
use address::Address;
pub(super) use address::is_url;
use client::Client;
pub use error::EtcdError;
use keys::Keys;
use listing::Listing;
pub use settings::{Secret, Settings};
use wire::Operation;

/// How to use etcd.
#[derive(Debug, Clone)]
pub struct Options {
    /// Certificates, and the user.
    pub settings: Settings,
    /// How long a node's lease lasts without being renewed.
    pub lease: Duration,
    /// Time limits of the network.
    pub network: presence_git::Timeouts,
    /// This machine's clock.
    pub clock: fn() -> Option<Timestamp>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            settings: Settings::default(),
            lease: Duration::from_secs(180),
            network: presence_git::Timeouts::default(),
            clock: || None,
        }
    }
}

/// The most operations of one transaction. etcd accepts 128 (`max-txn-ops`).
const MAX_OPERATIONS: usize = 64;

/// The file that remembers how many records the list held.
const HELD: &str = "held-keys";

/// A list in etcd.
pub(super) struct Etcd {
    url: String,
    cluster: Result<Arc<Cluster>, EtcdError>,
    writer: CacheWriter,
}

/// The members of a cluster, and what is known of the list in it.
struct Cluster {
    client: Client,
    keys: Keys,
    cache: Cache,
    lease: Duration,
    connect: Duration,
    clock: fn() -> Option<Timestamp>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// The keys of the list, as last seen.
    listing: Option<Arc<Listing>>,
    beats: Option<Beats>,
}

impl Etcd {
    pub(super) fn new(url: &str, options: &super::Options) -> Etcd {
        let writer = CacheWriter::default();
        let cluster = Address::parse(url).map_err(EtcdError::Address).map(|address| {
            let folder = &options.folder;
            let cache = Cache::new(&options.state_dir, url, folder.as_ref(), None, &writer);
            let keys = Keys::new(&address.prefix, folder);
            let super::etcd::Options { settings, lease, network, clock } = options.etcd.clone();
            let client = Client::new(address, settings, network);
            let (connect, memory) = (options.connect, Mutex::default());
            Arc::new(Cluster { client, keys, cache, lease, connect, clock, memory })
        });
        Etcd { url: super::shown_url(url), cluster, writer }
    }

    fn cluster(&self) -> Result<&Arc<Cluster>, StoreErrorKind> {
        self.cluster.as_ref().map_err(|error| error.clone().into())
    }
}

impl Cluster {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys of the list, as last seen by this process.
    fn listing(&self) -> Option<Arc<Listing>> {
        self.memory().listing.clone()
    }

    fn keep_listing(&self, listing: &Listing) {
        self.memory().listing = Some(Arc::new(listing.clone()));
    }

    /// The heartbeats, as this machine last saw them.
    fn last_beats(&self) -> Beats {
        let known = self.memory().beats.clone();
        known.unwrap_or_else(|| self.cache.last_beats())
    }

    fn keep_beats(&self, beats: &Beats) {
        self.memory().beats = Some(beats.clone());
    }

    /// An error if the list held records and has none, although they were not withdrawn: somebody removed it, or
    /// this is another cluster.
    fn judge(&self, listing: &Listing, deadline: Deadline) -> Result<(), StoreErrorKind> {
        let (now, place) = (listing.records(), self.cache.place());
        let held = state::load_text(place, HELD).and_then(|text| text.trim().parse::<usize>().ok());
        if now == 0 && held.is_some_and(|held| held > 0) {
            let ids = self.cache.last().unwrap_or_default();
            let ids: BTreeSet<Name> =
                ids.files().filter_map(|file| Some(file.record().ok()?.id().clone())).collect();
            let left = self.withdrawn(&ids, deadline)?;
            if ids.is_empty() || left.len() < ids.len() {
                let prefix = self.client.address().prefix.clone();
                let held = held.unwrap_or_default();
                return Err(EtcdError::Gone { held, prefix, memory: place.join(HELD) }.into());
            }
        }
        if held != Some(now) {
            // Without a writable state directory nothing is remembered.
            let _ = state::save_text(place, HELD, &format!("{now}\n"));
        }
        Ok(())
    }

    /// The nodes among these that were withdrawn.
    fn withdrawn(&self, ids: &BTreeSet<Name>, deadline: Deadline) -> Result<BTreeSet<Name>, EtcdError> {
        let mut withdrawn = BTreeSet::new();
        let ids: Vec<&Name> = ids.iter().collect();
        for ids in ids.chunks(MAX_OPERATIONS) {
            let get = |id: &&Name| Operation::get(self.keys.left.key(id.as_str()), 0);
            let found = self.get(ids.iter().map(get).collect(), deadline)?;
            let noted = ids.iter().zip(found).filter(|(_, found)| found.is_some());
            withdrawn.extend(noted.map(|(id, _)| (*id).clone()));
        }
        Ok(withdrawn)
    }
}

impl Store for Etcd {
    fn url(&self) -> &str {
        &self.url
    }

    fn capabilities(&self) -> Result<Capabilities, StoreError> {
        self.cluster().in_store(&self.url)?;
        Ok(Capabilities { history: false, past: false, heartbeats: Heartbeats::Leases, waits: true })
    }

    fn apply(
        &self,
        edit: &Edit<'_>,
        _: &str,
        beat: Option<Timestamp>,
        deadline: Deadline,
    ) -> Result<Applied, StoreError> {
        let cluster = self.cluster().in_store(&self.url)?;
        let change = match edit {
            Edit::Put(record) => cluster.put(record, deadline),
            Edit::Remove(id) => cluster.remove(id, deadline),
        };
        let outcome = change.in_store(&self.url)?.map(Outcome::Merged);
        let beat = beat.map_or(Ok(None), |time| cluster.beat(edit.id(), time, deadline));
        Ok(Applied { outcome, beat: beat.in_store(&self.url), ..Applied::after(&self.url, None) })
    }

    fn beat(
        &self,
        id: &Name,
        _: &str,
        time: Timestamp,
        deadline: Deadline,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.cluster().and_then(|cluster| Ok(cluster.beat(id, time, deadline)?)).in_store(&self.url)
    }

    fn look(&self, at: &At, heartbeats: bool, deadline: Deadline) -> Result<Look, StoreError> {
        if *at != At::Latest {
            return Err(EtcdError::NoHistory).in_store(&self.url);
        }
        let look = || {
            let cluster = self.cluster()?.clone();
            let (listing, values) = cluster.list(deadline)?;
            cluster.judge(&listing, deadline)?;
            let beats = match heartbeats {
                true => Some(cluster.beats(listing.header.revision, deadline)?),
                false => None,
            };
            Ok::<_, StoreErrorKind>((cluster, listing, values, beats))
        };
        let (cluster, mut listing, values, beats) = look().in_store(&self.url)?;
        let url = self.url.clone();
        Ok(Look::new(Some(listing.version.clone()), move |deadline| {
            let read = |known: &Snapshot| cluster.read(known, &mut listing, values, deadline);
            let snapshot = cluster.cache.refresh(read).in_store(&url)?;
            Ok(cluster.cache.with_beats(snapshot, beats))
        }))
    }

    fn wait(&self, since: &Version, _: Duration, deadline: Deadline) -> Result<bool, StoreError> {
        self.cluster().and_then(|cluster| cluster.wait(since, deadline)).in_store(&self.url)
    }

    fn rehearse(&self, deadline: Deadline) -> Result<(Option<Branch>, Option<&'static str>), StoreError> {
        self.cluster().and_then(|cluster| Ok(cluster.rehearse(deadline)?)).in_store(&self.url)?;
        Ok((None, None))
    }

    fn conditions(&self, deadline: Deadline) -> Vec<Condition> {
        self.cluster.as_ref().map(|cluster| cluster.conditions(deadline)).unwrap_or_default()
    }

    fn history(
        &self,
        _: Deadline,
        _: &mut dyn FnMut(Step) -> ControlFlow<()>,
    ) -> Result<Reached, StoreError> {
        Err(EtcdError::NoHistory).in_store(&self.url)
    }

    fn withdrawn(&self, ids: &BTreeSet<Name>) -> Result<BTreeSet<Name>, StoreError> {
        let withdrawn = |cluster: &Arc<Cluster>| {
            let deadline = Deadline::new(Limit::Read, cluster.connect);
            Ok(cluster.withdrawn(ids, deadline)?)
        };
        self.cluster().and_then(withdrawn).in_store(&self.url)
    }

    fn has_copy(&self) -> bool {
        self.cluster.as_ref().map_or(true, |cluster| cluster.cache.exists())
    }

    fn last_copy(&self, _: bool) -> Option<Snapshot> {
        self.cluster.as_ref().ok()?.cache.last()
    }

    fn finish(&self) {
        self.writer.finish();
    }
}
