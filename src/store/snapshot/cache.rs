//! The cache of a store's last snapshot on this machine. It applies while the store is away, and makes the
//! next reading cheap.
//!
//! It has two files, and one for the heartbeats. `records` is a whole snapshot. `changes` has the differences
//! between it and the last one. When `changes` grows too large, `records` is rewritten. Both are replaced
//! atomically, carry a checksum, and may be deleted at any time. Nothing in them is used unchecked: a file
//! whose key differs from the store's is read again.

use std::fs;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::Snapshot;
use super::format::{self, Whole};
use crate::folder::{Folder, Lasting, PRIVATE};
use crate::store::Beats;

/// The largest cache in bytes: about 700,000 nodes. Larger fleets are read in full each time.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// `changes` may hold one file in `SHARE`, plus `FEW`, before `records` is rewritten.
const SHARE: usize = 64;
const FEW: usize = 64;

/// Writes the cache of one store in threads of its own, while the snapshots are in use. A clone is the same
/// writer.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct CacheWriter(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl CacheWriter {
    /// Starts to write. Returns false if that needs a thread that the system does not give.
    fn start(&self, write: impl FnOnce() + Send + 'static) -> bool {
        let thread = thread::Builder::new().spawn(write).ok();
        let is_started = thread.is_some();
        self.running().extend(thread);
        is_started
    }

    /// Waits for the writes that have started.
    pub(in crate::store) fn finish(&self) {
        // The lock is free while this thread waits.
        let running = std::mem::take(&mut *self.running());
        for thread in running {
            // A failed write leaves no cache, which is harmless.
            let _ = thread.join();
        }
    }

    fn running(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one store's cache.
#[derive(Debug, Clone)]
pub(in crate::store) struct Cache {
    place: PathBuf,
    /// What is cached: folder, branch and URL. A cache with another label is ignored.
    label: String,
    writer: CacheWriter,
}

impl Cache {
    /// The cache for that folder and branch of the store with this URL.
    pub(in crate::store) fn new(
        state_dir: &Path,
        url: &str,
        folder: &str,
        branch: Option<&str>,
        writer: &CacheWriter,
    ) -> Cache {
        let mut hash = fnv::FnvHasher::default();
        hash.write(url.as_bytes());
        let place = state_dir.join("stores").join(format!("{:016x}", hash.finish()));
        Cache { place, label: format!("{folder} {branch:?} {url}"), writer: writer.clone() }
    }

    /// The same for a store at a path. Makes a relative path absolute: it depends on the working directory.
    pub(in crate::store) fn of_path(
        state_dir: &Path,
        path: &Path,
        folder: &str,
        branch: Option<&str>,
        writer: &CacheWriter,
    ) -> Cache {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Cache::new(state_dir, &path.display().to_string(), folder, branch, writer)
    }

    /// The store's directory in the state directory.
    pub(in crate::store) fn place(&self) -> &Path {
        &self.place
    }

    /// Whether there seems to be a cache.
    pub(in crate::store) fn exists(&self) -> bool {
        self.place.join("records").exists()
    }

    /// The last snapshot, for use without the store.
    pub(in crate::store) fn last(&self) -> Option<Snapshot> {
        let (snapshot, _) = self.load()?;
        Some(Snapshot { beats: self.last_beats(), ..snapshot })
    }

    /// The heartbeats of the last reading that asked for them.
    pub(in crate::store) fn last_beats(&self) -> Beats {
        let beats = fs::read(self.place.join("beats")).ok();
        beats.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Adds the heartbeats to the snapshot, if they were asked for, and caches them.
    pub(in crate::store) fn with_beats(&self, snapshot: Snapshot, beats: Option<Beats>) -> Snapshot {
        let Some(beats) = beats else { return snapshot };
        if let Ok(bytes) = serde_json::to_vec(&beats) {
            self.replace("beats", &bytes);
        }
        Snapshot { beats, ..snapshot }
    }

    /// Makes a snapshot with the help of the cached one, and caches it. Failing to write the cache is no
    /// error. A large cache is written later, until [`CacheWriter::finish`].
    pub(in crate::store) fn refresh<E>(
        &self,
        read: impl FnOnce(&Snapshot) -> Result<Snapshot, E>,
    ) -> Result<Snapshot, E> {
        // What an earlier reading of this process still writes, this one can use.
        self.writer.finish();
        let build = crate::program::build();
        let (known, whole) = self.known(build.as_ref());
        let snapshot = read(&known)?;
        let same = whole.is_some() && snapshot.digest == known.digest;
        match same && snapshot.unsure() >= known.unsure() {
            true => Ok(snapshot),
            false => Ok(self.keep(snapshot, whole, build)),
        }
    }

    /// Makes a snapshot of the past with the help of the cached one, which stays.
    pub(in crate::store) fn consult<E>(
        &self,
        read: impl FnOnce(&Snapshot) -> Result<Snapshot, E>,
    ) -> Result<Snapshot, E> {
        self.writer.finish();
        read(&self.known(crate::program::build().as_ref()).0)
    }

    /// The cached snapshot, if this build wrote it.
    fn known(&self, build: Option<&String>) -> (Snapshot, Option<Whole>) {
        match self.load() {
            // This build may parse a file differently from the build that wrote the cache.
            Some((known, whole)) if build.is_some() && whole.build.as_ref() == build => (known, Some(whole)),
            _ => (Snapshot::default(), None),
        }
    }

    fn load(&self) -> Option<(Snapshot, Whole)> {
        let (whole, snapshot) = format::whole(fs::read(self.place.join("records")).ok()?, &self.label)?;
        let changes = fs::read(self.place.join("changes")).ok();
        match changes.and_then(|bytes| format::changed(bytes, &whole, &snapshot)) {
            Some(changed) => Some((changed, whole)),
            None => Some((snapshot, whole)),
        }
    }

    /// Caches the snapshot. Returns the same snapshot, perhaps in other memory.
    fn keep(&self, snapshot: Snapshot, whole: Option<Whole>, build: Option<String>) -> Snapshot {
        let Some(build) = build else { return snapshot };
        let of_whole = |heap: u16| whole.is_some() && heap == 0;
        let fresh = snapshot.entries.iter().filter(|entry| !of_whole(entry.heap)).count();
        if let Some(whole) = &whole
            && fresh <= snapshot.len() / SHARE + FEW
            && whole.count <= snapshot.len() * 2 + FEW
        {
            self.replace("changes", &format::write_changes(&snapshot, whole));
            return snapshot;
        }
        let size: usize = snapshot.entries.iter().map(format::size).sum();
        match size <= MAX_BYTES {
            true => {
                let (bytes, snapshot) = format::write_whole(snapshot, &self.label, &build);
                let (copy, written) = (self.clone(), bytes.clone());
                // The caller need not wait for the write.
                if !self.writer.start(move || copy.replace_whole(&written)) {
                    self.replace_whole(&bytes);
                }
                snapshot
            }
            false => {
                let _ = fs::remove_file(self.place.join("records"));
                snapshot
            }
        }
    }

    fn replace_whole(&self, bytes: &[u8]) {
        self.replace("records", bytes);
        // The changes belong to the old `records`. If they stay, their checksum rejects them.
        let _ = fs::remove_file(self.place.join("changes"));
    }

    fn replace(&self, name: &str, bytes: &[u8]) {
        let written = Folder::private(&self.place)
            .and_then(|place| place.replace(name, bytes, PRIVATE, Lasting::Cached));
        if written.is_err() {
            // Without the new content, the old file is out of date and would mislead as a last copy.
            let _ = fs::remove_file(self.place.join(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_finds_what_the_one_before_it_still_writes() {
        let dir = tempfile::tempdir().unwrap();
        let writer = CacheWriter::default();
        let cache = Cache::new(dir.path(), "list", "it", None, &writer);
        let text = format!(r#"{{"filetype":"nodepresence","value":{{"x":"{}"}}}}"#, "y".repeat(10_000));
        for round in 0..10 {
            // More than may stand in `changes`.
            let paths: Vec<String> = (0..200).map(|file| format!("{round}/i-{file}.json")).collect();
            let files = paths.iter().map(|path| (path.as_str(), Ok(text.as_str())));
            let read = |known: &Snapshot| {
                let before = if round == 0 { String::new() } else { (round - 1).to_string() };
                assert_eq!(known.digest, before);
                Ok::<_, ()>(Snapshot { digest: round.to_string(), ..Snapshot::of(files) })
            };
            cache.refresh(read).unwrap();
        }
        writer.finish();
        assert!(cache.exists() && cache.last().is_some_and(|last| last.digest == "9"));
    }
}
