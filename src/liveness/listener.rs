//! One store of heartbeats, as one observer hears it.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::Moment;
use super::clock::{Bounds, Offset};
use crate::store::Beats;

/// What is known of one store.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    /// Proofs that are further apart than this do not belong together.
    gap: Duration,
    /// For how long it was listened to, counting proven time only.
    listened: Duration,
    /// The last moment at which the store provably took heartbeats and was read afterwards.
    proven: Option<Moment>,
    /// Something failed since then.
    broken: bool,
    /// The observer's last heartbeat was refused, or did not arrive.
    refused: bool,
    /// When the observer's last heartbeat was accepted.
    accepted: Option<Moment>,
    /// The last reading, and this machine's clock then.
    read: Option<Timestamp>,
    lines: HashMap<String, Line>,
}

/// The heartbeat of one node.
#[derive(Debug, Clone)]
struct Line {
    /// What it says.
    written: Timestamp,
    /// [`Listener::listened`] when it was first seen.
    since: Duration,
    bounds: Bounds,
}

impl Listener {
    pub(super) fn new(gap: Duration) -> Listener {
        Listener {
            gap,
            listened: Duration::ZERO,
            proven: None,
            broken: false,
            refused: false,
            accepted: None,
            read: None,
            lines: HashMap::new(),
        }
    }

    /// For how long it was listened to.
    pub(super) fn listened(&self) -> Duration {
        self.listened
    }

    /// Whether silence proves anything at present.
    pub(super) fn proves(&self) -> bool {
        self.proven.is_some() && !self.broken && !self.refused
    }

    pub(super) fn fail(&mut self) {
        self.broken = true;
    }

    pub(super) fn refuse(&mut self) {
        self.refused = true;
        self.broken = true;
    }

    /// Only the next reading makes a proof of it: until then nobody knows what others have said meanwhile.
    pub(super) fn accept(&mut self, now: Moment) {
        self.refused = false;
        self.accepted = Some(now);
    }

    pub(super) fn read(&mut self, beats: &Beats, now: Moment, wall: Timestamp) {
        let is_first = self.read.is_none();
        let differs = |(id, written): (&String, &Timestamp)| {
            self.lines.get(id).is_none_or(|line| line.written != *written)
        };
        let changed = !is_first && beats.iter().any(differs);
        let proof = match self.refused {
            true => None,
            false => changed.then_some(now).max(self.accepted),
        };
        if let Some(proof) = proof.filter(|proof| self.proven.is_none_or(|before| before < *proof)) {
            self.prove(proof);
        }
        let before = self.read.filter(|_| !self.broken);
        for (id, written) in beats {
            match self.lines.get_mut(id) {
                Some(line) if line.written == *written => {}
                Some(line) => {
                    line.written = *written;
                    line.since = self.listened;
                    line.bounds.add(*written, before, wall);
                }
                None => {
                    let line = Line { written: *written, since: self.listened, bounds: Bounds::default() };
                    self.lines.insert(id.clone(), line);
                }
            }
        }
        self.lines.retain(|id, _| beats.contains_key(id));
        self.read = Some(wall);
    }

    /// The store took heartbeats at that moment. If it did so all the time since the last proof, the time counts.
    fn prove(&mut self, moment: Moment) {
        if let Some(before) = self.proven
            && !self.broken
            && moment - before <= self.gap
        {
            self.listened += moment - before;
        }
        self.proven = Some(moment);
        self.broken = false;
    }

    /// For how long that node was listened for in vain, if it was met when [`Listener::listened`] was `met`.
    pub(super) fn silence(&self, id: &str, met: Duration) -> Duration {
        let since = self.lines.get(id).map_or(met, |line| line.since.max(met));
        self.listened.saturating_sub(since)
    }

    /// The clocks of its nodes, as far as several heartbeats agree about them.
    pub(super) fn offsets(&self) -> impl Iterator<Item = (&str, Option<Offset>)> {
        self.lines.iter().map(|(id, line)| (id.as_str(), line.bounds.offset()))
    }
}
