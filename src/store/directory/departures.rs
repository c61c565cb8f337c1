//! Which nodes were withdrawn from the folder: an empty file each in `.left`. A directory has no history, and a file that
//! is only gone may have been lost.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::make_dirs;
use crate::errors::AtPath;
use crate::store::StoreErrorKind;

/// Where the files are, inside the folder. Readers of records pass over hidden folders.
const LEFT: &str = ".left";

/// By then every reader has seen that the node is away.
const LASTING: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Notes that the node leaves, and drops old notes.
pub(super) fn note(folder: &Path, id: &str, now: SystemTime) -> Result<(), StoreErrorKind> {
    let dir = folder.join(LEFT);
    make_dirs(folder, &dir)?;
    for entry in fs::read_dir(&dir).at("read", &dir)?.flatten() {
        let modified = entry.metadata().and_then(|found| found.modified());
        let age = modified.ok().and_then(|modified| now.duration_since(modified).ok());
        if age.is_some_and(|age| age > LASTING) {
            // Another one may have done so.
            let _ = fs::remove_file(entry.path());
        }
    }
    let path = dir.join(id);
    match fs::File::create_new(&path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).at("note that a node leaves in", &path)?
        }
        _ => Ok(()),
    }
}

/// The node is back.
pub(super) fn forget(folder: &Path, id: &str) -> Result<(), StoreErrorKind> {
    let path = folder.join(LEFT).join(id);
    match fs::remove_file(&path) {
        Err(error) if ![ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            Err(error).at("remove", &path)?
        }
        _ => Ok(()),
    }
}

/// Whether the node has left by a withdrawal.
pub(super) fn is_noted(folder: &Path, id: &str) -> bool {
    fs::symlink_metadata(folder.join(LEFT).join(id)).is_ok_and(|found| found.is_file())
}
