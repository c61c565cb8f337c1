//! What the stores should have of this node, and what they have got.

use crate::liveness::Moment;
use crate::record::Record;
use crate::schedule::back_off;

use std::time::Duration;

/// After this time since its start, the agent announces this node even without an address.
pub(super) const ADDRESS_WAIT: Duration = Duration::from_secs(120);

/// The first and the longest wait between two checks for an address.
const FIRST_LOOK: Duration = Duration::from_millis(250);
const LAST_LOOK: Duration = Duration::from_secs(10);

/// The publishing of this node.
#[derive(Debug, Default)]
pub(super) struct Publication {
    /// The bytes of the record last given to the stores; `None` if it must be given to them again.
    given_out: Option<Vec<u8>>,
    /// The bytes of the record that the stores should have now; `None` if this node is to leave the list.
    wanted: Option<Vec<u8>>,
    /// Whether a store has accepted it since.
    taken: bool,
    /// While this machine has no address: the time of the next check, and the number of checks that found
    /// none.
    no_address: Option<(Moment, u32)>,
}

impl Publication {
    /// From now on, [`Publication::is_taken`] means that a store has accepted this record, or with `None`, the
    /// withdrawal.
    pub(super) fn want(&mut self, record: Option<&Record>) {
        self.wanted = record.map(Record::to_bytes);
        self.taken = false;
    }

    /// The stores have got this record.
    pub(super) fn give_out(&mut self, record: Option<&Record>) {
        self.given_out = record.map(Record::to_bytes);
    }

    /// Whether the stores have got another record than this one.
    pub(super) fn differs(&self, record: &Record) -> bool {
        self.given_out.as_deref() != Some(&*record.to_bytes())
    }

    /// A store may have missed the record.
    pub(super) fn repeat(&mut self) {
        self.given_out = None;
    }

    /// A store has accepted the record, or has removed it.
    pub(super) fn accepted(&mut self, record: Option<&Record>) {
        self.taken |= record.map(Record::to_bytes) == self.wanted;
    }

    /// Whether a store has what it should have.
    pub(super) fn is_taken(&self) -> bool {
        self.taken
    }

    /// Whether this node may wait for an address before it is announced.
    pub(super) fn may_wait(&self, now: Moment) -> bool {
        self.given_out.is_none() && now < ADDRESS_WAIT
    }

    /// This node is ready to be announced.
    pub(super) fn is_ready(&mut self) {
        self.no_address = None;
    }

    /// This node is not ready to be announced: the next check is later.
    pub(super) fn is_not_ready(&mut self, now: Moment) {
        let failed = self.no_address.map_or(0, |(_, failed)| failed + 1);
        self.no_address = Some((now + back_off(failed, FIRST_LOOK, LAST_LOOK, 1.0), failed));
    }

    /// When to check again whether this node is ready; `None` if it is.
    pub(super) fn next_check(&self) -> Option<Moment> {
        self.no_address.map(|(due, _)| due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Facts;

    fn record(port: &str) -> Record {
        let mut facts = Facts::new();
        facts.insert("instance-id".into(), "i-1".into());
        facts.insert("port".into(), port.into());
        Record::new(facts).unwrap()
    }

    #[test]
    fn only_the_wanted_record_is_taken() {
        let mut publication = Publication::default();
        publication.want(Some(&record("2")));
        publication.accepted(Some(&record("1")));
        publication.accepted(None);
        assert!(!publication.is_taken());
        publication.accepted(Some(&record("2")));
        assert!(publication.is_taken());
        publication.want(None);
        assert!(!publication.is_taken());
        publication.accepted(None);
        assert!(publication.is_taken());
    }

    #[test]
    fn a_record_is_given_out_once_and_again_when_a_store_may_have_missed_it() {
        let mut publication = Publication::default();
        assert!(publication.differs(&record("1")));
        publication.give_out(Some(&record("1")));
        assert!(!publication.differs(&record("1")) && publication.differs(&record("2")));
        publication.repeat();
        assert!(publication.differs(&record("1")));
    }

    #[test]
    fn checks_for_an_address_become_rare_and_end() {
        let mut publication = Publication::default();
        let mut waits = Vec::new();
        for _ in 0..8 {
            publication.is_not_ready(Moment::ZERO);
            waits.push(publication.next_check().unwrap().as_millis());
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 10000, 10000]);
        assert!(publication.may_wait(Moment::ZERO) && !publication.may_wait(ADDRESS_WAIT));
        publication.is_ready();
        assert_eq!(publication.next_check(), None);
    }
}
