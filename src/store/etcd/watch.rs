//! Waiting for a change: one watch from the revision that this process knows.

use std::time::{Duration, Instant};

use super::Cluster;
use super::wire::{Bytes, WatchCreateRequest, WatchRequest, WatchResponse};
use crate::deadline::{Deadline, Limit};
use crate::store::{StoreErrorKind, Version};

/// A watch without an event is opened again after this time: only that shows that its member still lives, and
/// that the cluster is the same.
const RENEW: Duration = Duration::from_secs(30);

/// What a message of a watch means for the list.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Nothing,
    /// Something has changed, or only reading can tell.
    Changed,
}

/// The meaning of a message of a watch that asks for the changes since that revision.
fn meaning(message: &WatchResponse, since: i64) -> Meaning {
    let is_behind = message.created && !message.canceled && message.header.revision < since;
    match () {
        // The changes since that revision are no longer kept.
        () if message.compact_revision > 0 || message.canceled => Meaning::Changed,
        // The revisions run backwards: a snapshot was restored.
        () if is_behind => Meaning::Changed,
        () if !message.events.is_empty() => Meaning::Changed,
        () => Meaning::Nothing,
    }
}

impl Cluster {
    /// See [`Store::wait`](crate::store::Store::wait).
    pub(super) fn wait(&self, since: &Version, deadline: Deadline) -> Result<bool, StoreErrorKind> {
        let known = match self.listing() {
            Some(known) => known,
            None => {
                self.list(deadline)?;
                self.listing().ok_or(StoreErrorKind::NotYet)?
            }
        };
        if known.version != *since {
            return Ok(true);
        }
        let revision = known.header.revision;
        let request = WatchRequest {
            create_request: WatchCreateRequest {
                key: Bytes(self.keys.records.begin.clone()),
                range_end: Bytes(self.keys.records.end.clone()),
                start_revision: revision + 1,
            },
        };
        while !deadline.is_over() {
            let opened = Instant::now();
            let slice = Deadline::new(Limit::Read, deadline.at_most(RENEW));
            let (mut watch, first) = self.client.watch(&request, slice)?;
            let mut next = Some(first);
            while let Some(message) = next {
                if meaning(&message, revision) == Meaning::Changed {
                    return Ok(true);
                }
                next = self.client.next(&mut watch)?;
            }
            // A stream that its member ended early is not opened there again.
            if opened.elapsed() < slice.within() / 2 {
                self.client.avoid(watch.endpoint);
                deadline.sleep(Duration::from_millis(100));
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;

    use super::super::wire::Header;
    use super::*;

    #[test]
    fn only_an_event_or_doubt_is_a_change() {
        let at = |revision| WatchResponse {
            header: Header { revision, ..Header::default() },
            created: true,
            ..WatchResponse::default()
        };
        let of = |message: WatchResponse| meaning(&message, 10);
        assert_eq!(of(at(10)), Meaning::Nothing);
        assert_eq!(of(at(12)), Meaning::Nothing, "other keys have changed");
        assert_eq!(of(at(9)), Meaning::Changed, "a restored snapshot");
        assert_eq!(of(WatchResponse::default()), Meaning::Nothing, "progress");
        let compacted = WatchResponse { canceled: true, compact_revision: 30, ..WatchResponse::default() };
        assert_eq!(of(compacted), Meaning::Changed);
        assert_eq!(of(WatchResponse { events: vec![IgnoredAny], ..at(11) }), Meaning::Changed);
    }
}
