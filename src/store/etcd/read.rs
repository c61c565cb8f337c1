//! Reading a list: which keys there are, then the values that this machine does not have.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::client::Act;
use super::error::EtcdError;
use super::keys::{self, Span};
use super::listing::{Listing, key_of};
use super::wire::{Bytes, Header, KeyValue, Operation, RangeRequest, RangeResponse, TxnRequest, TxnResponse};
use super::{Cluster, MAX_OPERATIONS};
use crate::deadline::Deadline;
use crate::limits;
use crate::store::snapshot::{Batch, Item, Snapshot, Total, keep};
use crate::store::{Beats, Heartbeat, StoreErrorKind};

/// How many keys one answer has at most: with and without their values.
const PAGE: i64 = 500;
const PAGE_OF_KEYS: i64 = 5_000;

/// The most times that a list is read anew because its revision was compacted meanwhile.
const ATTEMPTS: u32 = 3;

/// Values by the name of their key below the folder.
pub(super) type Values = HashMap<Vec<u8>, Vec<u8>>;

impl Cluster {
    /// The keys of the list now, and the values that came with the answer.
    pub(super) fn list(&self, deadline: Deadline) -> Result<(Listing, Values), StoreErrorKind> {
        let known = self.listing();
        let changed = match known {
            Some(known) => self.changed_since(&known, deadline)?,
            None => None,
        };
        let (listing, values) = match changed {
            Some(changed) => changed,
            None => (self.list_anew(deadline)?, Values::new()),
        };
        self.keep_listing(&listing);
        Ok((listing, values))
    }

    /// The listing brought up to date. `None` if it must be made anew: keys were deleted, too many have changed,
    /// or the cluster has another history.
    fn changed_since(
        &self,
        known: &Listing,
        deadline: Deadline,
    ) -> Result<Option<(Listing, Values)>, StoreErrorKind> {
        let request = RangeRequest {
            min_mod_revision: known.header.revision + 1,
            limit: PAGE,
            ..range(&self.keys.records)
        };
        let answer: RangeResponse = self.client.call("/v3/kv/range", &request, Act::Read, deadline)?;
        if answer.more || !known.continues(&answer.header) {
            return Ok(None);
        }
        let cluster = answer.header.cluster_id;
        let names = answer.kvs.iter().filter_map(|found| {
            Some((self.keys.records.name(&found.key.0)?.to_vec(), key_of(cluster, found)))
        });
        let Some(listing) = known.with(answer.header, names, answer.count) else { return Ok(None) };
        let value = |found: KeyValue| {
            let name = self.keys.records.name(&found.key.0)?.to_vec();
            Some((name, found.value.0))
        };
        Ok(Some((listing, answer.kvs.into_iter().filter_map(value).collect())))
    }

    /// All keys, without values.
    fn list_anew(&self, deadline: Deadline) -> Result<Listing, StoreErrorKind> {
        let mut files = BTreeMap::new();
        let mut bytes = 0;
        let most = limits::get();
        let header = self.pages(&self.keys.records, true, 0, deadline, |found, header| {
            if let Some(name) = self.keys.records.name(&found.key.0) {
                bytes += name.len();
                files.insert(name.to_vec(), key_of(header.cluster_id, &found));
            }
            let excess = match () {
                () if files.len() > most.entries => Some(("keys", most.entries as u64)),
                () if bytes > most.path_bytes => Some(("bytes of names of keys", most.path_bytes as u64)),
                () => None,
            };
            excess.map_or(Ok(()), |(what, most)| {
                let place = format!("the folder below `/{}/`", self.client.address().prefix);
                Err(StoreErrorKind::TooMuch { place, what, most })
            })
        })?;
        Ok(Listing::new(header, files))
    }

    /// Visits the keys of a span at one revision, page by page; 0 means now. Returns the header of the first
    /// answer.
    fn pages(
        &self,
        span: &Span,
        keys_only: bool,
        revision: i64,
        deadline: Deadline,
        mut visit: impl FnMut(KeyValue, &Header) -> Result<(), StoreErrorKind>,
    ) -> Result<Header, StoreErrorKind> {
        let limit = if keys_only { PAGE_OF_KEYS } else { PAGE };
        let mut request = RangeRequest { keys_only, revision, limit, ..range(span) };
        let mut first = None;
        loop {
            let answer: RangeResponse = self.client.call("/v3/kv/range", &request, Act::Read, deadline)?;
            let header = *first.get_or_insert(answer.header);
            let last = answer.kvs.last().map(|found| found.key.0.clone());
            for found in answer.kvs {
                visit(found, &header)?;
            }
            match last {
                Some(mut key) if answer.more => {
                    key.push(0);
                    request.key = Bytes(key);
                    // The other pages are of the same moment.
                    request.revision = if revision == 0 { header.revision } else { revision };
                }
                _ => return Ok(header),
            }
        }
    }

    /// The files of the listing: those that `known` has already, and the others with their values.
    pub(super) fn read(
        &self,
        known: &Snapshot,
        listing: &mut Listing,
        mut values: Values,
        deadline: Deadline,
    ) -> Result<Snapshot, StoreErrorKind> {
        for _ in 1..ATTEMPTS {
            match self.read_once(known, listing, &mut values, deadline) {
                Err(StoreErrorKind::Etcd(EtcdError::Compacted { .. })) => {
                    *listing = self.list_anew(deadline)?;
                    self.keep_listing(listing);
                    values.clear();
                }
                result => return result,
            }
        }
        self.read_once(known, listing, &mut values, deadline)
    }

    fn read_once(
        &self,
        known: &Snapshot,
        listing: &Listing,
        values: &mut Values,
        deadline: Deadline,
    ) -> Result<Snapshot, StoreErrorKind> {
        let mut items = Vec::new();
        let mut fresh = Vec::new();
        let mut candidates = known.entries.iter().enumerate().peekable();
        for (name, key) in listing.files.iter().filter(|(name, _)| keys::is_record(name)) {
            while candidates.next_if(|(_, entry)| known.path(entry) < name.as_slice()).is_some() {}
            match candidates.peek() {
                Some((at, entry)) if entry.key == *key && known.path(entry) == name.as_slice() => {
                    keep(&mut items, *at..at + 1);
                }
                _ => {
                    items.push(Item::Fresh(fresh.len()));
                    fresh.push((name.as_slice(), *key));
                }
            }
        }
        self.fetch(listing, &fresh, values, deadline)?;
        let total = Total::default();
        let mut batch = Batch::with_capacity(fresh.len());
        for (number, (name, key)) in fresh.iter().enumerate() {
            // One that was deleted since the listing is missing from its revision only if it was compacted.
            if let Some(value) = values.get(*name) {
                batch.add(number, name, *key, total.count(Ok(value.as_slice())));
            }
        }
        let mut snapshot = Snapshot::assemble(known, &items, vec![batch]);
        total.judge()?;
        let same = !known.is_empty() && snapshot.entries == known.entries;
        snapshot.digest = if same { known.digest.clone() } else { snapshot.digest_of_files() };
        snapshot.version = Some(listing.version.clone());
        Ok(snapshot)
    }

    /// Adds the missing values of these files: each by itself if there are few, else those of all.
    fn fetch(
        &self,
        listing: &Listing,
        files: &[(&[u8], crate::store::snapshot::Key)],
        values: &mut Values,
        deadline: Deadline,
    ) -> Result<(), StoreErrorKind> {
        let missing: Vec<&[u8]> =
            files.iter().map(|(name, _)| *name).filter(|name| !values.contains_key(*name)).collect();
        let revision = listing.header.revision;
        if missing.len() <= MAX_OPERATIONS {
            let get =
                |name: &&[u8]| Operation::get([self.keys.records.begin.as_slice(), *name].concat(), revision);
            let found = self.get(missing.iter().map(get).collect(), deadline)?;
            values.extend(
                missing.iter().zip(found).filter_map(|(name, found)| Some((name.to_vec(), found?.value.0))),
            );
            return Ok(());
        }
        let most = limits::get().record_bytes;
        let mut bytes = 0;
        let span = &self.keys.records;
        self.pages(span, false, revision, deadline, |found, _| {
            bytes += found.value.0.len() as u64;
            if let Some(name) = span.name(&found.key.0) {
                values.insert(name.to_vec(), found.value.0);
            }
            match bytes > most {
                true => {
                    let place = "the folder".to_owned();
                    Err(StoreErrorKind::TooMuch { place, what: "bytes of records", most })
                }
                false => Ok(()),
            }
        })?;
        Ok(())
    }

    /// The results of these operations that each get one key, in one transaction.
    pub(super) fn get(
        &self,
        gets: Vec<Operation>,
        deadline: Deadline,
    ) -> Result<Vec<Option<KeyValue>>, EtcdError> {
        if gets.is_empty() {
            return Ok(Vec::new());
        }
        let request = TxnRequest { compare: Vec::new(), success: gets };
        let answer: TxnResponse = self.client.call("/v3/kv/txn", &request, Act::Read, deadline)?;
        Ok(answer.responses.into_iter().map(|answer| answer.response_range.kvs.into_iter().next()).collect())
    }

    /// The heartbeats at that revision.
    pub(super) fn beats(&self, revision: i64, deadline: Deadline) -> Result<Beats, StoreErrorKind> {
        let most = limits::get().beats;
        let too_many = || StoreErrorKind::TooMuch {
            place: "the list".to_owned(),
            what: "heartbeats",
            most: most as u64,
        };
        let mut held = std::collections::HashSet::new();
        self.pages(&self.keys.leases, true, revision, deadline, |found, _| {
            held.extend(self.keys.leases.name(&found.key.0).map(<[u8]>::to_vec));
            if held.len() > most { Err(too_many()) } else { Ok(()) }
        })?;
        let now = (self.clock)();
        let mut before = self.last_beats();
        let mut beats = Beats::new();
        self.pages(&self.keys.beats, false, revision, deadline, |found, _| {
            let name = self.keys.beats.name(&found.key.0).unwrap_or_default();
            let id = std::str::from_utf8(name).ok();
            let time = std::str::from_utf8(&found.value.0).ok().and_then(|text| text.parse().ok());
            if let (Some(id), Some(time)) = (id, time) {
                let known = before.remove(id).map(Heartbeat::last);
                let beat = heartbeat(time, held.contains(name), known, now);
                beats.insert(id.to_owned(), beat);
            }
            if beats.len() > most { Err(too_many()) } else { Ok(()) }
        })?;
        self.keep_beats(&beats);
        Ok(beats)
    }
}

/// The heartbeat of a node that wrote `time`. `known`: when this machine last knew that the node holds its lease.
fn heartbeat(time: Timestamp, held: bool, known: Option<Timestamp>, now: Option<Timestamp>) -> Heartbeat {
    let last = match held {
        true => now.unwrap_or(time),
        false => known.map_or(time, |known| known.max(time)),
    };
    // The fraction of the second is the mark of the node's machine.
    Heartbeat::Lease {
        held,
        last: Timestamp::new(last.as_second(), time.subsec_nanosecond()).unwrap_or(last),
    }
}

/// A request for all keys of a span.
pub(super) fn range(span: &Span) -> RangeRequest {
    RangeRequest {
        key: Bytes(span.begin.clone()),
        range_end: Some(Bytes(span.end.clone())),
        ..RangeRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_states_when_it_was_last_held_with_the_mark_of_its_machine() {
        let at = |second: i64, nanosecond| Timestamp::new(second, nanosecond).unwrap();
        let (written, now) = (at(100, 7_000), Some(at(500, 1)));
        let beat = |held, known| heartbeat(written, held, known, now);
        assert_eq!(beat(true, None), Heartbeat::Lease { held: true, last: at(500, 7_000) });
        assert_eq!(beat(false, None), Heartbeat::Lease { held: false, last: at(100, 7_000) });
        assert_eq!(beat(false, Some(at(300, 9))), Heartbeat::Lease { held: false, last: at(300, 7_000) });
        assert_eq!(beat(false, Some(at(50, 9))), Heartbeat::Lease { held: false, last: at(100, 7_000) });
    }
}
