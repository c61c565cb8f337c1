//! Sends the changes of the list to webhooks and commands, and never delays a beat.
//!
//! The state directory has what was last seen, and the messages that wait. Delivery is *at least* once: if a
//! process is killed after it sent a message and before it recorded that, the next run sends the message
//! again, with the same `id`. At most 1,000 messages wait for one receiver; then the oldest are dropped. The
//! first look at a list sends nothing, since nothing has changed.

mod deliver;
mod memory;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Notify;
use crate::errors::PathError;
use crate::health::WEDGED;
use crate::name::Name;
use crate::record::{Facts, MAX_REASON, REASON, Record};
use crate::roster::{Availability, NodeChange, Roster, States, diff};
use memory::{LockedFolder, Notified, Queue};

/// The most lines in a message. Further changes are only counted.
const MAX_LINES: usize = 20;

/// One change of one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its instance-id.
    pub node: String,
    /// Its part, if it states one.
    pub part: Option<String>,
    /// Its stacktype, if it states one.
    pub stacktype: Option<String>,
    /// Its deployment, if it states one.
    pub deployment: Option<String>,
    /// Its state now, if it states one.
    pub state: Option<String>,
    /// Why it, or one of its services, is wedged, if it states that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What changed, in words: "joined", "state done -> wedged".
    pub change: String,
    /// Whether somebody should act now: the node or one of its services is wedged, or it disappeared while it was active.
    pub critical: bool,
}

/// A message: all changes that were seen in one look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The same for the same changes, however often they are sent.
    pub id: String,
    /// When the changes were seen.
    pub time: String,
    /// The text for people; chat programs expect this name.
    pub text: String,
    /// Whether one of the events is critical.
    pub critical: bool,
    /// The changes.
    pub events: Vec<Event>,
}

/// What changed between two looks at the list, by instance-id.
pub fn events(before: &BTreeMap<String, Facts>, after: &Roster, states: &States) -> Vec<Event> {
    let before: Vec<Record> = before.values().filter_map(|facts| Record::new(facts.clone()).ok()).collect();
    let changes = diff(&before, after.nodes.iter().map(|node| &node.record));
    changes.iter().filter_map(|node| event(node, states)).collect()
}

fn event(node: &NodeChange<'_>, states: &States) -> Option<Event> {
    let about = node.last()?;
    let fact = |name: &str| about.text(name).map(|text| crate::sanitize::excerpt(&text));
    let ill = |record: &Record| wedged(record);
    let critical = match (node.before, node.after) {
        (before, Some(now)) => {
            let before = before.map(ill).unwrap_or_default();
            ill(now).iter().any(|ill| !before.contains(ill))
        }
        (Some(gone), None) => states.of(gone.state().as_deref()) == Availability::Active,
        (None, None) => false,
    };
    Some(Event {
        node: about.id().to_string(),
        part: fact("nodepart"),
        stacktype: fact("stacktype"),
        deployment: fact("deployment"),
        state: fact("state"),
        reason: about.text(REASON).map(|text| crate::sanitize::said(&text, MAX_REASON)).or_else(|| {
            let services = about.services().good;
            let reason =
                services.iter().find_map(|service| service.facts.get(REASON)?.as_str().map(str::to_owned));
            reason.map(|reason| crate::sanitize::said(&reason, MAX_REASON))
        }),
        change: node.change.to_string(),
        critical,
    })
}

/// What is wedged of a node: itself (`None`) and its services.
fn wedged(record: &Record) -> Vec<Option<Name>> {
    let itself = (record.state().as_deref() == Some(WEDGED)).then_some(None);
    let services = record.services().good.into_iter();
    let services =
        services.filter(|service| service.facts.get("state").and_then(Value::as_str) == Some(WEDGED));
    itself.into_iter().chain(services.map(|service| Some(service.name))).collect()
}

/// The message of these events.
fn message(origin: &str, number: u64, time: Timestamp, events: Vec<Event>) -> Message {
    let mut lines: Vec<String> = events
        .iter()
        .take(MAX_LINES)
        .map(|event| {
            let part = event.part.as_deref().unwrap_or("-");
            let mark = if event.critical { "CRITICAL: " } else { "" };
            format!("{mark}{part} {}: {}", event.node, event.change)
        })
        .collect();
    if events.len() > MAX_LINES {
        lines.push(format!("… and {} more", events.len() - MAX_LINES));
    }
    Message {
        id: format!("{origin}-{number}"),
        time: time.to_string(),
        text: lines.join("\n"),
        critical: events.iter().any(|event| event.critical),
        events,
    }
}

/// Watches the list, and notifies the receivers.
pub struct Notifier {
    place: LockedFolder,
    seen: Option<Notified>,
    sinks: Vec<Sink>,
}

/// A receiver, with a thread of its own.
struct Sink {
    notify: Notify,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the receiver's thread and the notifier share.
struct Shared {
    state: Mutex<State>,
    woken: Condvar,
}

struct State {
    queue: Queue,
    /// Set when the agent stops: the thread ends when the queue is empty, a delivery fails, or this moment
    /// comes.
    end: Option<Instant>,
    /// The last failure, to be reported.
    trouble: Option<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked has left the queue as it is on disk.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Notifier {
    /// Opens the memory, and starts to deliver what an earlier run could not. `None` if there are no
    /// receivers, or another process notifies them already.
    pub fn open(notifies: &[Notify], state_dir: &Path) -> Result<Option<Notifier>, PathError> {
        if notifies.is_empty() {
            return Ok(None);
        }
        let Some(place) = LockedFolder::open(state_dir)? else { return Ok(None) };
        let seen = place.seen();
        let committed = seen.as_ref().map_or(0, |seen| seen.next);
        let sinks = notifies
            .iter()
            .map(|notify| {
                // If a run was killed between queueing a message and recording what it saw, the change is
                // seen again.
                let queue = place.queue(notify, committed);
                let state = State { queue, end: None, trouble: None };
                let shared = Arc::new(Shared { state: Mutex::new(state), woken: Condvar::new() });
                let (theirs, notify_too) = (shared.clone(), notify.clone());
                let thread = std::thread::spawn(move || deliver::run(&notify_too, &theirs));
                Sink { notify: notify.clone(), shared, thread: Some(thread) }
            })
            .collect();
        Ok(Some(Notifier { place, seen, sinks }))
    }

    /// Looks at the list, and queues what changed since the last look. Returns without waiting for
    /// deliveries.
    pub fn look(&mut self, roster: &Roster, states: &States, now: Timestamp) -> Result<(), PathError> {
        let Some(seen) = &self.seen else {
            let first = Notified::first(roster);
            self.place.keep(&first)?;
            self.seen = Some(first);
            return Ok(());
        };
        let found = events(&seen.records, roster, states);
        if found.is_empty() {
            return Ok(());
        }
        let (number, origin) = (seen.next, seen.origin.clone());
        for sink in &self.sinks {
            let wanted = found.iter().filter(|event| event.critical || !sink.notify.critical_only);
            let wanted: Vec<Event> = wanted.cloned().collect();
            if !wanted.is_empty() {
                sink.shared.lock().queue.push(number, message(&origin, number, now, wanted))?;
            }
        }
        // The messages are valid from here on. Before, the next run would see the same changes again.
        let next = Notified { next: number + 1, ..Notified::after(roster, origin) };
        self.place.keep(&next)?;
        self.seen = Some(next);
        for sink in &self.sinks {
            sink.shared.lock().queue.commit(number + 1);
            sink.shared.woken.notify_all();
        }
        Ok(())
    }

    /// The current failures, one sentence for each receiver that cannot be notified.
    pub fn troubles(&self) -> Vec<String> {
        self.sinks.iter().filter_map(|sink| sink.shared.lock().trouble.clone()).collect()
    }

    /// Delivers what waits, for at most `limit`, and ends. The next run delivers the rest.
    pub fn finish(mut self, limit: Duration) -> Vec<String> {
        let end = Instant::now() + limit;
        for sink in &self.sinks {
            sink.shared.lock().end = Some(end);
            sink.shared.woken.notify_all();
        }
        for sink in &mut self.sinks {
            // A delivery has a limit of its own. The queue on disk is right whenever the process ends.
            while sink.thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.troubles()
    }
}

#[cfg(test)]
mod tests;
