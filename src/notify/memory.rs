//! The notifier's files: what it last saw, and a queue for each receiver.

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

/// The most messages that wait for one receiver: weeks of a fleet, or a receiver that no longer exists. The
/// oldest are dropped.
const MAX_WAITING: usize = 1_000;

/// How long to wait for a process that holds the memory. An agent holds it while it runs.
const LOCK_PATIENCE: Duration = Duration::from_millis(200);

/// The file with the list as last seen.
const SEEN: &str = "seen.json";

/// The directory of the memory, locked by this process.
pub(super) struct LockedFolder {
    folder: Arc<Folder>,
    _lock: File,
}

/// The list as last seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Notified {
    /// Distinguishes the messages of this memory from those of another.
    pub(super) origin: String,
    /// The number of the next message: all messages below it are valid.
    pub(super) next: u64,
    /// The facts of all nodes, by instance-id.
    pub(super) records: BTreeMap<String, Facts>,
}

impl Notified {
    /// The memory after the first look.
    pub(super) fn first(roster: &Roster) -> Notified {
        Notified::after(roster, format!("{:016x}", fastrand::u64(..)))
    }

    /// The memory after a look; the caller sets the number.
    pub(super) fn after(roster: &Roster, origin: String) -> Notified {
        let records =
            roster.nodes.iter().map(|node| (node.record.id().to_string(), node.record.facts().clone()));
        Notified { origin, next: 0, records: records.collect() }
    }
}

impl LockedFolder {
    /// The memory below the state directory; `None` if another process holds it.
    pub(super) fn open(state_dir: &Path) -> Result<Option<LockedFolder>, PathError> {
        let folder = Arc::new(Folder::private(&state_dir.join("notify"))?);
        let lock = folder.lock_file("lock")?;
        let started = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Some(LockedFolder { folder, _lock: lock })),
                // Until a started process calls exec, it holds its parent's locks for a moment.
                Err(fs::TryLockError::WouldBlock) if started.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(fs::TryLockError::WouldBlock) => return Ok(None),
                Err(fs::TryLockError::Error(error)) => return Err(error).at("lock", &folder.at("lock")),
            }
        }
    }

    /// The list as last seen. An unreadable file is treated as missing: better no news than the whole list as
    /// news.
    pub(super) fn seen(&self) -> Option<Notified> {
        state::load_from(&self.folder, SEEN)
    }

    pub(super) fn keep(&self, seen: &Notified) -> Result<(), PathError> {
        state::save_in(&self.folder, SEEN, seen, Lasting::Durable)
    }

    /// The queue of that receiver, with the messages below `committed`.
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

/// The messages that wait for one receiver, in order.
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

    /// Adds a message. It is not valid before [`Queue::commit`].
    pub(super) fn push(&mut self, number: u64, message: Message) -> Result<(), PathError> {
        self.waiting.retain(|(other, _)| *other != number);
        self.waiting.push_back((number, message));
        while self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
        }
        self.save()
    }

    /// Makes the messages below that number valid.
    pub(super) fn commit(&mut self, next: u64) {
        self.committed = next;
    }

    /// The next message to deliver.
    pub(super) fn first(&self) -> Option<&(u64, Message)> {
        self.waiting.front().filter(|(number, _)| *number < self.committed)
    }

    /// Removes a message that was delivered.
    pub(super) fn told(&mut self, number: u64) -> Result<(), PathError> {
        self.waiting.retain(|(other, _)| *other != number);
        self.save()
    }

    fn save(&self) -> Result<(), PathError> {
        state::save_in(&self.folder, &self.name, &self.waiting, Lasting::Durable)
    }
}
