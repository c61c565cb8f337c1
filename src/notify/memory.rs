//! What the notifier keeps on disk: what it saw last, and for each sink what is still to be told.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::hash::Hasher;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Message;
use crate::config::Notify;
use crate::errors::{AtPath, PathError};
use crate::folder::{Folder, Lasting};
use crate::record::Facts;
use crate::roster::Roster;
use crate::state;

/// More messages than this do not wait for one sink; the oldest go. Weeks of a fleet, or a sink that is no more.
const MAX_WAITING: usize = 1_000;

/// How long it is waited for a process that holds the memory. An agent holds it for as long as it runs.
const LOCK_PATIENCE: Duration = Duration::from_millis(200);

/// What was seen of the list.
const SEEN: &str = "seen.json";

/// The directory of the memory, held by this process alone.
pub(super) struct LockedFolder {
    folder: Arc<Folder>,
    _lock: File,
}

/// What was seen of the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Notified {
    /// Tells the messages of this memory from those of another.
    pub(super) origin: String,
    /// The number of the next message: all below it count.
    pub(super) next: u64,
    /// The facts of all nodes, by instance-id.
    pub(super) records: BTreeMap<String, Facts>,
}

impl Notified {
    /// The first look.
    pub(super) fn first(roster: &Roster) -> Notified {
        Notified::after(roster, format!("{:016x}", fastrand::u64(..)))
    }

    /// A look, to be numbered.
    pub(super) fn after(roster: &Roster, origin: String) -> Notified {
        let records =
            roster.nodes.iter().map(|node| (node.record.id().to_string(), node.record.facts().clone()));
        Notified { origin, next: 0, records: records.collect() }
    }
}

impl LockedFolder {
    /// The memory below the state directory; none if another process holds it.
    pub(super) fn open(state_dir: &Path) -> Result<Option<LockedFolder>, PathError> {
        let folder = Arc::new(Folder::private(&state_dir.join("notify"))?);
        let lock = folder.lock_file("lock")?;
        let started = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Some(LockedFolder { folder, _lock: lock })),
                // A process that is just being started holds what its parent held, for a moment.
                Err(fs::TryLockError::WouldBlock) if started.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(fs::TryLockError::WouldBlock) => return Ok(None),
                Err(fs::TryLockError::Error(error)) => return Err(error).at("lock", &folder.at("lock")),
            }
        }
    }

    /// What was seen last. One that cannot be read counts as none: better no news than the whole list as news.
    pub(super) fn seen(&self) -> Option<Notified> {
        state::load_from(&self.folder, SEEN)
    }

    pub(super) fn keep(&self, seen: &Notified) -> Result<(), PathError> {
        state::save_in(&self.folder, SEEN, seen, Lasting::Durable)
    }

    /// What that sink is still to be told, of the messages below `committed`.
    pub(super) fn queue(&self, notify: &Notify, committed: u64) -> Queue {
        let mut hash = fnv::FnvHasher::default();
        hash.write(notify.url.as_deref().unwrap_or_default().as_bytes());
        hash.write_u8(0);
        hash.write(notify.command.as_ref().map(ToString::to_string).unwrap_or_default().as_bytes());
        let name = format!("queue-{:016x}.json", hash.finish());
        let mut waiting: VecDeque<(u64, Message)> = state::load_from(&self.folder, &name).unwrap_or_default();
        waiting.retain(|(number, _)| *number < committed);
        Queue { folder: Arc::clone(&self.folder), name, waiting, committed }
    }
}

/// What one sink is still to be told, in order.
#[derive(Debug)]
pub(super) struct Queue {
    folder: Arc<Folder>,
    name: String,
    waiting: VecDeque<(u64, Message)>,
    committed: u64,
}

impl Queue {
    #[cfg(test)]
    pub(super) fn path(&self) -> std::path::PathBuf {
        self.folder.at(&self.name)
    }

    /// Adds a message. It does not count before [`Queue::commit`].
    pub(super) fn push(&mut self, number: u64, message: Message) -> Result<(), PathError> {
        self.waiting.retain(|(other, _)| *other != number);
        self.waiting.push_back((number, message));
        while self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
        }
        self.save()
    }

    /// The messages below that number count.
    pub(super) fn commit(&mut self, next: u64) {
        self.committed = next;
    }

    /// What is to be told next.
    pub(super) fn first(&self) -> Option<&(u64, Message)> {
        self.waiting.front().filter(|(number, _)| *number < self.committed)
    }

    /// That message was told.
    pub(super) fn told(&mut self, number: u64) -> Result<(), PathError> {
        self.waiting.retain(|(other, _)| *other != number);
        self.save()
    }

    fn save(&self) -> Result<(), PathError> {
        state::save_in(&self.folder, &self.name, &self.waiting, Lasting::Durable)
    }
}
