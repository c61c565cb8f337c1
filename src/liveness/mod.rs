//! Which nodes are silent, as one observer can tell from their heartbeats.
//!
//! Nothing here reads a store or a clock. The inputs are readings, the results of the observer's own
//! heartbeats, and the time; the output is how long each node has been silent. The rules:
//!
//! 1. A node is heard when its heartbeat *changes*, as seen by the observer. The time in it is compared with
//!    no clock.
//! 2. A store proves silence only while it takes heartbeats: between two moments at which the observer's own
//!    heartbeat was accepted, or any heartbeat changed, without a failed reading or a refused heartbeat in
//!    between.
//! 3. A node is silent only if *every* store of heartbeats was listened to for that long without a change, since
//!    the node was last heard in any of them. What a store proved before that is over.
//! 4. A new record, or one with a changed state, is a sign of life too.
//! 5. The observer begins with nothing: a node that it has just met, or meets again after a restart, is not
//!    silent.

mod clock;
mod listener;
mod sightings;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;

pub use clock::{Clocks, Offset};
use listener::Listener;
pub use sightings::Sightings;

use crate::store::Beats;

/// A moment of the observer's own clock, which never jumps: the time since any fixed moment.
pub type Moment = Duration;

/// What one observer knows of the heartbeats of a fleet.
#[derive(Debug, Clone)]
pub struct Liveness {
    /// One for each store of heartbeats.
    listeners: Vec<Listener>,
    /// For each node on the list, its record when it was met, and the listeners' times then.
    met: HashMap<String, Met>,
    /// Nodes that were silent before a restart.
    silent_before: BTreeMap<String, Silent>,
}

/// A record when it was new, or when it last changed its state.
#[derive(Debug, Clone, PartialEq)]
struct Met {
    changed: Option<DateTime>,
    /// [`Listener::listened`] of each listener then.
    since: Vec<Duration>,
}

/// A node that has been silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Silent {
    /// The time that its last sign of life states.
    pub last_seen: Option<Timestamp>,
    /// For how long it was silent.
    pub silent_for: Duration,
}

/// One node of the list, with the fields that liveness needs.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// Its instance-id.
    pub id: &'a str,
    /// When its state changed, by its record.
    pub changed: Option<DateTime>,
    /// The time that its last sign of life states.
    pub last_seen: Option<Timestamp>,
}

impl Liveness {
    /// An observer of that many stores of heartbeats. Proofs that are further apart than `gap` prove nothing
    /// about the time in between: the observer itself may have been stopped.
    pub fn new(stores: usize, gap: Duration, silent_before: BTreeMap<String, Silent>) -> Liveness {
        let listeners = (0..stores).map(|_| Listener::new(gap)).collect();
        Liveness { listeners, met: HashMap::new(), silent_before }
    }

    /// The nodes that the last observer left as silent, and for how long they were.
    pub fn silent_before(&self) -> impl Iterator<Item = (&str, Duration)> {
        self.silent_before.iter().map(|(id, silent)| (id.as_str(), silent.silent_for))
    }

    /// A store was read, and has these heartbeats. `wall` is this machine's clock.
    pub fn heard(&mut self, store: usize, beats: &Beats, now: Moment, wall: Timestamp) {
        let Some(listener) = self.listeners.get_mut(store) else { return };
        let heard = listener.read(beats, now, wall);
        for id in &heard {
            self.silent_before.remove(*id);
        }
        if self.listeners.len() > 1 {
            self.restart(heard.into_iter());
        }
    }

    /// A store could not be read.
    pub fn unheard(&mut self, store: usize) {
        if let Some(listener) = self.listeners.get_mut(store) {
            listener.fail();
        }
    }

    /// A store accepted the observer's own heartbeat, or refused it, or it did not arrive.
    pub fn own_heartbeat(&mut self, store: usize, accepted: bool, now: Moment) {
        if let Some(listener) = self.listeners.get_mut(store) {
            match accepted {
                true => listener.accept(now),
                false => listener.refuse(),
            }
        }
    }

    /// These nodes are on the list now. The others are forgotten.
    pub fn listed<'a>(&mut self, nodes: impl Iterator<Item = Listed<'a>>) {
        let now: Vec<Duration> = self.listeners.iter().map(Listener::listened).collect();
        let mut met = HashMap::with_capacity(self.met.len());
        for node in nodes {
            let known = self.met.remove(node.id).filter(|known| known.changed == node.changed);
            let fresh = || Met { changed: node.changed, since: now.clone() };
            met.insert(node.id.to_owned(), known.unwrap_or_else(fresh));
            // The node has given a sign of life since.
            if self.silent_before.get(node.id).is_some_and(|before| before.last_seen != node.last_seen) {
                self.silent_before.remove(node.id);
            }
        }
        self.met = met;
        self.silent_before.retain(|id, _| self.met.contains_key(id));
    }

    /// How long a node has been silent, in the store where that time is the shortest.
    pub fn silence(&self, id: &str) -> Duration {
        let Some(met) = self.met.get(id) else { return Duration::ZERO };
        let here = self.listeners.iter().zip(&met.since);
        let here = here.map(|(listener, met)| listener.silence(id, *met)).min().unwrap_or_default();
        self.silent_before.get(id).map_or(here, |before| here.max(before.silent_for))
    }

    /// The nodes that were silent for longer than that, for the observer after a restart.
    pub fn silent<'a>(
        &self,
        nodes: impl Iterator<Item = Listed<'a>>,
        longer_than: Duration,
    ) -> BTreeMap<String, Silent> {
        let silent = nodes.map(|node| {
            (node.id.to_owned(), Silent { last_seen: node.last_seen, silent_for: self.silence(node.id) })
        });
        silent.filter(|(_, silent)| silent.silent_for > longer_than).collect()
    }

    /// Restarts the silence of these nodes: their silence until now proves nothing.
    pub fn pardon<'a>(&mut self, ids: impl Iterator<Item = &'a str> + Clone) {
        for id in ids.clone() {
            self.silent_before.remove(id);
        }
        self.restart(ids);
    }

    /// The silence of these nodes begins now, in every store.
    fn restart<'a>(&mut self, ids: impl Iterator<Item = &'a str>) {
        let now: Vec<Duration> = self.listeners.iter().map(Listener::listened).collect();
        for id in ids {
            if let Some(met) = self.met.get_mut(id) {
                met.since.clone_from(&now);
            }
        }
    }

    /// Whether silence in that store proves anything at present: it answers, and takes heartbeats.
    pub fn proves(&self, store: usize) -> bool {
        self.listeners.get(store).is_some_and(Listener::proves)
    }

    /// How far the nodes' clocks are off, compared with this machine's.
    pub fn clocks(&self) -> Clocks {
        Clocks::of(self.listeners.iter().flat_map(Listener::offsets))
    }
}

#[cfg(test)]
mod tests;
