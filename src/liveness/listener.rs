//! One store of heartbeats, as one observer reads it.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::Moment;
use super::clock::{Bounds, Offset};
use crate::store::{Beats, Heartbeat};

/// What is known of one store.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    /// Proofs that are further apart than this do not belong together.
    gap: Duration,
    /// How long it was listened to, counting proven time only.
    listened: Duration,
    /// The last moment at which the store provably took heartbeats and was read afterwards.
    proven: Option<Moment>,
    /// Something failed since then.
    broken: bool,
    /// The observer's last heartbeat was refused, or did not arrive.
    refused: bool,
    /// When the observer's last heartbeat was accepted.
    accepted: Option<Moment>,
    /// This machine's clock at the last reading.
    read: Option<Timestamp>,
    lines: HashMap<String, Line>,
}

/// The heartbeat of one node.
#[derive(Debug, Clone)]
struct Line {
    /// The time in it.
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

    /// The proven time during which it was listened to.
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

    /// The next reading makes this a proof: until then, the heartbeats of the others are unknown.
    pub(super) fn accept(&mut self, now: Moment) {
        self.refused = false;
        self.accepted = Some(now);
    }

    /// Returns the nodes that have given a sign of life since the last reading.
    pub(super) fn read<'b>(&mut self, beats: &'b Beats, now: Moment, wall: Timestamp) -> Vec<&'b str> {
        let is_first = self.read.is_none();
        let differs = |(id, beat): (&String, &Heartbeat)| {
            self.lines.get(id).is_none_or(|line| line.written != beat.last())
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
        let mut heard = Vec::new();
        for (id, beat) in beats {
            let written = beat.last();
            match self.lines.get_mut(id) {
                // A lease that has ended is silence from the moment when it was last held.
                Some(line)
                    if line.written == written || matches!(beat, Heartbeat::Lease { held: false, .. }) => {}
                Some(line) => {
                    heard.push(id.as_str());
                    line.written = written;
                    line.since = self.listened;
                    // Only a time that the node wrote tells about its clock.
                    if let Heartbeat::Time(_) = beat {
                        line.bounds.add(written, before, wall);
                    }
                }
                None => {
                    let line = Line { written, since: self.listened, bounds: Bounds::default() };
                    self.lines.insert(id.clone(), line);
                    if !is_first {
                        heard.push(id.as_str());
                    }
                }
            }
        }
        self.lines.retain(|id, _| beats.contains_key(id));
        self.read = Some(wall);
        heard
    }

    /// Records that the store took heartbeats at that moment. The time since the last proof is proven if
    /// nothing failed in between.
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

    /// How long that node has been silent, if it was met when [`Listener::listened`] was `met`.
    pub(super) fn silence(&self, id: &str, met: Duration) -> Duration {
        let since = self.lines.get(id).map_or(met, |line| line.since.max(met));
        self.listened.saturating_sub(since)
    }

    /// The clock offsets of its nodes, if several heartbeats agree.
    pub(super) fn offsets(&self) -> impl Iterator<Item = (&str, Option<Offset>)> {
        self.lines.iter().map(|(id, line)| (id.as_str(), line.bounds.offset()))
    }
}
