//! Which nodes were withdrawn from the folder: an empty file each in `.left`. A directory has no history, and a file that
//! is only gone may have been lost.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::open_dirs;
use crate::folder::{Folder, READABLE};
use crate::store::StoreErrorKind;

/// Where the files are, inside the folder. Readers of records pass over hidden folders.
const LEFT: &str = ".left";

/// By then every reader has seen that the node is away.
const LASTING: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// So long counts a note of somebody who could not remove the record.
const BRIEF: Duration = Duration::from_secs(60 * 60);

/// The bit of a folder in which nobody removes files of others.
const STICKY: u32 = 0o1000;

/// Notes that the node leaves, and drops old notes.
pub(super) fn note(folder: &Path, id: &str, now: SystemTime) -> Result<(), StoreErrorKind> {
    let dir = open_dirs(folder, &folder.join(LEFT))?;
    share(&dir, folder);
    for name in dir.names()? {
        let modified = dir.file(&name).ok().flatten().and_then(|file| file.metadata().ok()?.modified().ok());
        let age = modified.and_then(|modified| now.duration_since(modified).ok());
        if age.is_some_and(|age| age > LASTING) {
            // Another one may have done so.
            let _ = dir.remove(&name);
        }
    }
    dir.open_or_make(id, READABLE)?;
    Ok(())
}

/// Whoever may write the list may write here too: the first who withdraws makes the folder for all.
fn share(dir: &Folder, folder: &Path) {
    let (Ok(made), Ok(list)) = (dir.as_file().metadata(), fs::metadata(folder)) else { return };
    if made.mode() != list.mode() && made.uid() == rustix::process::geteuid().as_raw() {
        // Otherwise it is as good as no folder for the others, and their nodes leave without a note.
        let _ = dir.as_file().set_permissions(list.permissions());
    }
}

/// The node is back.
pub(super) fn forget(folder: &Path, id: &str) -> Result<(), StoreErrorKind> {
    match Folder::open(folder)?.existing(OsStr::new(LEFT)) {
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.source.kind()) => {
            Ok(())
        }
        dir => Ok(dir?.remove(id)?),
    }
}

/// Whether the node has left by a withdrawal.
///
/// Where anybody may make files and nobody may remove those of others (a sticky folder, as `/tmp`), anybody can leave a note
/// of any node, and the node cannot remove it. There the notes of root and of the folder's owner count like all notes
/// elsewhere; those of others, among them the node's own, only for a while, so that one of long ago makes no withdrawal of a
/// later accident.
pub(super) fn is_noted(folder: &Path, id: &str, now: SystemTime) -> bool {
    let dir = folder.join(LEFT);
    let Ok(note) = fs::symlink_metadata(dir.join(id)) else { return false };
    let (Ok(list), Ok(dir)) = (fs::metadata(folder), fs::symlink_metadata(&dir)) else { return false };
    let is_sticky = |found: &Metadata| found.mode() & STICKY != 0;
    let is_trusted = |found: &Metadata| [0, list.uid()].contains(&found.uid());
    // Whoever owns the folder of the notes may rename them.
    let lasts = !is_sticky(&list) || (is_trusted(&note) && is_trusted(&dir) && is_sticky(&dir));
    let age = note.modified().ok().and_then(|modified| now.duration_since(modified).ok());
    note.is_file() && (lasts || age.is_some_and(|age| age < BRIEF))
}
