//! Writing: a record, a withdrawal, a heartbeat.

use std::time::Duration;

use jiff::Timestamp;

use super::client::Act;
use super::error::EtcdError;
use super::wire::{
    Compare, GrantRequest, KeepAliveRequest, LeaseResponse, Operation, Streamed, TxnRequest, TxnResponse,
};
use super::{Cluster, keys};
use crate::change::Change;
use crate::deadline::Deadline;
use crate::name::Name;
use crate::record::Record;
use crate::store::StoreErrorKind;

/// The most attempts of a transaction whose key others change.
const ATTEMPTS: u32 = 32;

/// The wait between two of them, at most.
const WAIT: Duration = Duration::from_millis(100);

/// How often the time of a heartbeat is written. In between, a beat only renews the lease, which leaves no
/// revision.
const WRITE_EVERY: i64 = 300;

/// How long it is remembered that a node was withdrawn, in seconds: by then every reader has seen it.
const REMEMBER: i64 = 30 * 24 * 60 * 60;

/// The shortest lease. etcd makes a shorter one longer.
const LEAST: i64 = 2;

impl Cluster {
    /// Puts a record on the list. Returns the change; `None` if the list has these facts, or a record with a
    /// later number.
    pub(super) fn put(&self, record: &Record, deadline: Deadline) -> Result<Option<Change>, StoreErrorKind> {
        let key = self.keys.record(record.id().as_str());
        // The change of an attempt whose answer was lost.
        let mut tried = None;
        for _ in 0..ATTEMPTS {
            let found = self.get(vec![Operation::get(key.clone(), 0)], deadline)?;
            let found = found.into_iter().next().flatten();
            let old = found.as_ref().and_then(|found| Record::parse(&found.value.0).ok());
            let is_later = |old: &Record| old.envelope().serial > record.envelope().serial;
            match &old {
                Some(old) if old == record => return Ok(tried),
                Some(old) if record.envelope().serial.is_some() && is_later(old) => return Ok(None),
                _ => {}
            }
            tried = Change::between(old.as_ref(), Some(record));
            let request = TxnRequest {
                compare: vec![Compare::unchanged(key.clone(), found.map_or(0, |found| found.mod_revision))],
                success: vec![
                    Operation::put(key.clone(), record.to_bytes(), 0),
                    Operation::delete(self.keys.left.key(record.id().as_str())),
                ],
            };
            if self.commit(&request, deadline)? {
                return Ok(tried);
            }
            deadline.sleep(WAIT.mul_f64(fastrand::f64()));
        }
        Err(self.contended(&key))
    }

    /// Takes a node off the list, with its heartbeat, and notes that it was withdrawn.
    pub(super) fn remove(&self, id: &Name, deadline: Deadline) -> Result<Option<Change>, StoreErrorKind> {
        let mut tried = None;
        for _ in 0..ATTEMPTS {
            let (listing, _) = self.list(deadline)?;
            let file = format!("{id}.json");
            let is_own = |name: &&[u8]| {
                keys::is_record(name) && name.rsplit(|byte| *byte == b'/').next() == Some(file.as_bytes())
            };
            let names = listing.files.keys().map(Vec::as_slice).filter(is_own);
            let keys: Vec<Vec<u8>> =
                names.map(|name| [self.keys.records.begin.as_slice(), name].concat()).collect();
            let gets = keys.iter().take(super::MAX_OPERATIONS).map(|key| Operation::get(key.clone(), 0));
            let found: Vec<_> = self.get(gets.collect(), deadline)?.into_iter().flatten().collect();
            if found.is_empty() {
                return Ok(tried);
            }
            tried = Some(Change::Left);
            let lease = self.grant(REMEMBER, deadline)?;
            let compare =
                found.iter().map(|found| Compare::unchanged(found.key.0.clone(), found.mod_revision));
            let deleted = found.iter().map(|found| Operation::delete(found.key.0.clone()));
            let more = [
                Operation::delete(self.keys.beats.key(id.as_str())),
                Operation::delete(self.keys.leases.key(id.as_str())),
                Operation::put(self.keys.left.key(id.as_str()), Vec::new(), lease.id),
            ];
            let request = TxnRequest { compare: compare.collect(), success: deleted.chain(more).collect() };
            if self.commit(&request, deadline)? {
                return Ok(tried);
            }
            deadline.sleep(WAIT.mul_f64(fastrand::f64()));
        }
        Err(self.contended(&self.keys.record(id.as_str())))
    }

    /// Renews the node's lease, or takes a new one. Returns the heartbeat that is replaced.
    pub(super) fn beat(
        &self,
        id: &Name,
        time: Timestamp,
        deadline: Deadline,
    ) -> Result<Option<Timestamp>, EtcdError> {
        let (beat, lease) = (self.keys.beats.key(id.as_str()), self.keys.leases.key(id.as_str()));
        let gets = vec![Operation::get(beat.clone(), 0), Operation::get(lease.clone(), 0)];
        let mut found = self.get(gets, deadline)?.into_iter();
        let replaced = found.next().flatten();
        let replaced = replaced.and_then(|found| std::str::from_utf8(&found.value.0).ok()?.parse().ok());
        let held = found.next().flatten().map_or(0, |found| found.lease);
        let is_held = held != 0 && self.renew(held, deadline)?;
        let text = time.to_string().into_bytes();
        let success = match is_held {
            true if !must_write(replaced, time) => return Ok(replaced),
            true => vec![Operation::put(beat, text, 0)],
            false => {
                let granted = self.grant(self.seconds(), deadline)?;
                vec![Operation::put(beat, text, 0), Operation::put(lease, Vec::new(), granted.id)]
            }
        };
        self.commit(&TxnRequest { compare: Vec::new(), success }, deadline)?;
        Ok(replaced)
    }

    /// Checks whether this user may write all keys of the list, and whether the cluster takes changes: a
    /// transaction whose condition never holds.
    pub(super) fn rehearse(&self, deadline: Deadline) -> Result<(), EtcdError> {
        let keys = &self.keys;
        let name = ".rehearsal";
        let success = [&keys.records, &keys.beats, &keys.leases, &keys.left]
            .map(|span| Operation::put(span.key(name), Vec::new(), 0));
        let request =
            TxnRequest { compare: vec![Compare::never(keys.records.key(name))], success: success.into() };
        self.commit(&request, deadline).map(drop)
    }

    /// Makes the changes of a transaction. False if its condition does not hold.
    fn commit(&self, request: &TxnRequest, deadline: Deadline) -> Result<bool, EtcdError> {
        let answer: TxnResponse = self.client.call("/v3/kv/txn", request, Act::Write, deadline)?;
        Ok(answer.succeeded)
    }

    fn seconds(&self) -> i64 {
        i64::try_from(self.lease.as_secs()).unwrap_or(REMEMBER).clamp(LEAST, REMEMBER)
    }

    fn grant(&self, ttl: i64, deadline: Deadline) -> Result<LeaseResponse, EtcdError> {
        self.client.call("/v3/lease/grant", &GrantRequest { ttl }, Act::Write, deadline)
    }

    /// Renews a lease. False if it has ended, or is shorter than this node's leases are now.
    fn renew(&self, id: i64, deadline: Deadline) -> Result<bool, EtcdError> {
        let request = KeepAliveRequest { id };
        let answer: Streamed<LeaseResponse> =
            self.client.call("/v3/lease/keepalive", &request, Act::Write, deadline)?;
        Ok(answer.result.is_some_and(|lease| lease.ttl >= self.seconds()))
    }

    fn contended(&self, key: &[u8]) -> StoreErrorKind {
        let key = crate::sanitize::shown(&String::from_utf8_lossy(key));
        EtcdError::Contended { key, attempts: ATTEMPTS }.into()
    }
}

/// Whether a beat at `time` must write its time in place of that one. The fraction of the second is the mark of a
/// machine.
fn must_write(replaced: Option<Timestamp>, time: Timestamp) -> bool {
    let Some(replaced) = replaced else { return true };
    let age = time.as_second() - replaced.as_second();
    replaced.subsec_nanosecond() != time.subsec_nanosecond() || !(0..WRITE_EVERY).contains(&age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_written_now_and_then_and_when_the_machine_is_another_one() {
        let at = |second: i64, mark: i32| Timestamp::new(second, mark * 1_000).unwrap();
        for (replaced, time, expect) in [
            (None, at(0, 7), true),
            (Some(at(0, 7)), at(2, 7), false),
            (Some(at(0, 7)), at(299, 7), false),
            (Some(at(0, 7)), at(300, 7), true),
            (Some(at(0, 7)), at(2, 8), true),
            (Some(at(9, 7)), at(2, 7), true),
        ] {
            assert_eq!(must_write(replaced, time), expect, "{replaced:?} {time}");
        }
    }
}
