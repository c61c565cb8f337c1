//! The last copy of a store that is a path of this machine: what counts while a file system is away.

use std::fs;
use std::hash::Hasher;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::Snapshot;

/// The directory of the state directory that belongs to the store of this URL.
pub(super) fn place(state_dir: &Path, url: &str) -> PathBuf {
    let mut hash = fnv::FnvHasher::default();
    hash.write(url.as_bytes());
    state_dir.join("stores").join(format!("{:016x}", hash.finish()))
}

/// Keeps the snapshot if it is a new one. A copy is a convenience: if it cannot be kept, reading goes on without.
pub(super) fn keep(place: &Path, snapshot: &Snapshot) {
    let version = place.join("version");
    if fs::read_to_string(&version).is_ok_and(|kept| kept == snapshot.version) {
        return;
    }
    let Ok(text) = serde_json::to_vec(snapshot) else { return };
    if fs::create_dir_all(place).is_ok() && replace(&place.join("copy.json"), &text) {
        replace(&version, snapshot.version.as_bytes());
    }
}

/// The copy kept last, if there is one that can be read.
pub(super) fn kept(place: &Path) -> Option<Snapshot> {
    serde_json::from_slice(&fs::read(place.join("copy.json")).ok()?).ok()
}

fn replace(path: &Path, bytes: &[u8]) -> bool {
    let Some(dir) = path.parent() else { return false };
    tempfile::NamedTempFile::new_in(dir)
        .and_then(|mut staged| {
            staged.write_all(bytes)?;
            staged.persist(path)?;
            Ok(())
        })
        .is_ok()
}
