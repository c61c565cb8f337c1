//! The last snapshot of a store, on this machine: what counts while the store is away, and what makes the next reading
//! cheap.
//!
//! It is two files, and one for the heartbeats. `records` is a whole snapshot; `changes` says how the last one differs from it, and is small: when
//! it no longer is, `records` is written anew. Both are replaced whole, bear a checksum, and may be deleted at any time.
//! Nothing in them is believed without a check: a file whose key is not the one that the store names now is read again.

mod format;

use std::fs;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::Beats;
use super::snapshot::Snapshot;
use crate::folder::{Folder, Lasting, PRIVATE};
use format::Whole;

/// No copy is larger, in bytes: some 700,000 nodes. Greater fleets are read whole each time.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// `changes` may hold one of so many files, and a few more, before `records` is written anew.
const SHARE: usize = 64;
const FEW: usize = 64;

/// A copy that is being written while its snapshot is used. Who drops the last of the snapshot waits for it.
#[derive(Debug)]
pub(super) struct CacheWriter(Option<JoinHandle<()>>);

impl Drop for CacheWriter {
    fn drop(&mut self) {
        // A copy that could not be kept is none.
        let _ = self.0.take().map(JoinHandle::join);
    }
}

/// Where the copy of one store is kept.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    place: PathBuf,
    /// Of what it is a copy: folder and branch. One of anything else is none.
    label: String,
}

impl Cache {
    /// The copy of that folder and branch of the store with this URL.
    pub(super) fn new(state_dir: &Path, url: &str, folder: &str, branch: Option<&str>) -> Cache {
        let mut hash = fnv::FnvHasher::default();
        hash.write(url.as_bytes());
        let place = state_dir.join("stores").join(format!("{:016x}", hash.finish()));
        Cache { place, label: format!("{folder} {branch:?} {url}") }
    }

    /// The same of a store at a path. A relative path is another one in another directory.
    pub(super) fn of_path(state_dir: &Path, path: &Path, folder: &str, branch: Option<&str>) -> Cache {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Cache::new(state_dir, &path.display().to_string(), folder, branch)
    }

    /// The directory of the state directory that belongs to the store.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// Whether there seems to be one.
    pub(super) fn exists(&self) -> bool {
        self.place.join("records").exists()
    }

    /// The last snapshot, for want of a newer one.
    pub(super) fn last(&self) -> Option<Snapshot> {
        let (snapshot, _) = self.load()?;
        let beats = fs::read(self.place.join("beats")).ok();
        let beats = beats.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Some(Snapshot { beats, ..snapshot })
    }

    /// The snapshot with these heartbeats, if somebody asked for them; they are kept too.
    pub(super) fn with_beats(&self, snapshot: Snapshot, beats: Option<Beats>) -> Snapshot {
        let Some(beats) = beats else { return snapshot };
        if let Ok(bytes) = serde_json::to_vec(&beats) {
            self.replace("beats", &bytes);
        }
        Snapshot { beats, ..snapshot }
    }

    /// Has a snapshot made with the help of the last one, and keeps it as the last one. A copy is a convenience: if it
    /// cannot be kept, reading goes on without.
    pub(super) fn refresh<E>(
        &self,
        read: impl FnOnce(&Snapshot) -> Result<Snapshot, E>,
    ) -> Result<Snapshot, E> {
        let build = crate::program::build();
        let (known, whole) = match self.load() {
            // What another build has understood of a file, this one might not.
            Some((known, whole)) if build.is_some() && whole.build == build => (known, Some(whole)),
            _ => (Snapshot::default(), None),
        };
        let snapshot = read(&known)?;
        let same = whole.is_some() && snapshot.version == known.version;
        match same && snapshot.unsure() >= known.unsure() {
            true => Ok(snapshot),
            false => Ok(self.keep(snapshot, whole, build)),
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

    /// Keeps the snapshot. What comes back is the same one, perhaps in other memory.
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
                // Whoever wants the snapshot need not wait for that.
                match thread::Builder::new().spawn(move || copy.replace_whole(&written)) {
                    Ok(writing) => {
                        Snapshot { keeping: Some(Arc::new(CacheWriter(Some(writing)))), ..snapshot }
                    }
                    Err(_) => {
                        self.replace_whole(&bytes);
                        snapshot
                    }
                }
            }
            false => {
                let _ = fs::remove_file(self.place.join("records"));
                snapshot
            }
        }
    }

    fn replace_whole(&self, bytes: &[u8]) {
        self.replace("records", bytes);
        // They belong to another `records`; those that stay would be seen to.
        let _ = fs::remove_file(self.place.join("changes"));
    }

    fn replace(&self, name: &str, bytes: &[u8]) {
        let written = Folder::private(&self.place)
            .and_then(|place| place.replace(name, bytes, PRIVATE, Lasting::Cached));
        if written.is_err() {
            // One that is not replaced is out of date: as a last copy it would mislead.
            let _ = fs::remove_file(self.place.join(name));
        }
    }
}
