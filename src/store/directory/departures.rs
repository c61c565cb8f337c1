//! Notes of nodes that were withdrawn from the folder: an empty file for each in `.left`. A directory has no
//! history, and a file that is just missing may have been lost.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::open_dirs;
use crate::folder::{Folder, READABLE};
use crate::store::StoreErrorKind;

/// The folder of the notes. Readers of records skip hidden folders.
const LEFT: &str = ".left";

/// By then every reader has seen that the node left.
const LASTING: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long an untrusted note is valid in a sticky folder.
const BRIEF: Duration = Duration::from_secs(60 * 60);

/// The mode bit of a folder in which users cannot remove each other's files.
const STICKY: u32 = 0o1000;

/// Notes that the node leaves, and removes old notes.
pub(super) fn note(folder: &Path, id: &str, now: SystemTime) -> Result<(), StoreErrorKind> {
    let dir = open_dirs(folder, &folder.join(LEFT))?;
    share(&dir, folder);
    for name in dir.names()? {
        let modified = dir.file(&name).ok().flatten().and_then(|file| file.metadata().ok()?.modified().ok());
        let age = modified.and_then(|modified| now.duration_since(modified).ok());
        if age.is_some_and(|age| age > LASTING) {
            // It may already be removed.
            let _ = dir.remove(&name);
        }
    }
    dir.open_or_make(id, READABLE)?;
    Ok(())
}

/// Gives the folder of notes the mode of the list, so that all writers of the list may leave notes, whoever
/// made the folder.
fn share(dir: &Folder, folder: &Path) {
    let (Ok(made), Ok(list)) = (dir.as_file().metadata(), fs::metadata(folder)) else { return };
    if made.mode() != list.mode() && made.uid() == rustix::process::geteuid().as_raw() {
        // If this fails, the nodes of other users leave without a note.
        let _ = dir.as_file().set_permissions(list.permissions());
    }
}

/// Removes the note of a node that is back.
pub(super) fn forget(folder: &Path, id: &str) -> Result<(), StoreErrorKind> {
    match Folder::open(folder)?.existing(OsStr::new(LEFT)) {
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.source.kind()) => {
            Ok(())
        }
        dir => Ok(dir?.remove(id)?),
    }
}

/// Whether a note says that the node was withdrawn.
///
/// In a sticky folder such as `/tmp`, anybody can leave a note for any node, and the node cannot remove it.
/// There the notes of root and of the folder's owner are valid as elsewhere. The notes of other users,
/// including the node's own, are valid only for a while: an old note must not turn a later accident into a
/// withdrawal.
pub(super) fn is_noted(folder: &Path, id: &str, now: SystemTime) -> bool {
    let dir = folder.join(LEFT);
    let Ok(note) = fs::symlink_metadata(dir.join(id)) else { return false };
    let (Ok(list), Ok(dir)) = (fs::metadata(folder), fs::symlink_metadata(&dir)) else { return false };
    let is_sticky = |found: &Metadata| found.mode() & STICKY != 0;
    let is_trusted = |found: &Metadata| [0, list.uid()].contains(&found.uid());
    // The owner of the folder of notes may rename them.
    let lasts = !is_sticky(&list) || (is_trusted(&note) && is_trusted(&dir) && is_sticky(&dir));
    let age = note.modified().ok().and_then(|modified| now.duration_since(modified).ok());
    note.is_file() && (lasts || age.is_some_and(|age| age < BRIEF))
}
