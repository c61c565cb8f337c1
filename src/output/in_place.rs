//! A file that stays in its place while its bytes change, for a mount point, which cannot be replaced.
//!
//! This is weaker than a replacement: a reader can meanwhile see the beginning of the new bytes and the end
//! of the old ones. The target's memory has the new bytes until they are completely written
//! ([`Memory::begin_in_place`]).

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{AtFlags, FallocateFlags, StatxAttributes, StatxFlags};

use super::file::{CurrentFile, Location};
use super::memory::Memory;
use crate::errors::{AtPath, PathError};

/// Whether the file itself is a mount point. False if the kernel does not tell (before Linux 5.8); then the
/// replacement fails with EBUSY.
pub(super) fn is_mount_point(place: &Location) -> bool {
    rustix::fs::statx(&place.folder, &place.name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Writes the bytes into the file that was found, durably, and returns it open. If that fails, the old bytes
/// are restored.
pub(super) fn write(
    memory: &Memory,
    place: &Location,
    old: &CurrentFile,
    new: &[u8],
) -> Result<File, PathError> {
    let path = &place.folder.at(&place.name);
    let file = place.folder.file_to_write(&place.name)?;
    let file = file
        .filter(|file| old.metadata().is_some_and(|found| is_same(file, found)))
        .ok_or_else(|| io::Error::other("another process has just replaced the file"));
    let file = file.at("write", path)?;
    // Before anything is written, so that a full disk leaves the old file complete.
    reserve(&file, new.len()).at("write", path)?;
    memory.begin_in_place(new)?;
    if let Err(error) = fill(&file, new) {
        if fill(&file, &old.bytes).is_ok() {
            memory.end_in_place()?;
        }
        return Err(error).at("write", path);
    }
    memory.end_in_place()?;
    Ok(file)
}

fn is_same(file: &File, found: &Metadata) -> bool {
    file.metadata().is_ok_and(|now| (now.dev(), now.ino()) == (found.dev(), found.ino()))
}

/// Finishes the write of a killed run. True if there was one.
pub(super) fn recover(memory: &Memory, path: &Path) -> Result<bool, PathError> {
    let Some(bytes) = memory.in_place() else { return Ok(false) };
    if let Some(place) = Location::find(path)?
        && let Some(file) = place.folder.file_to_write(&place.name)?
    {
        fill(&file, &bytes).at("write", path)?;
    }
    // If the file was removed meanwhile, a new one is made as usual.
    memory.end_in_place()?;
    Ok(true)
}

fn reserve(file: &File, length: usize) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, length as u64) {
        Err(error) if error == rustix::io::Errno::NOSPC || error == rustix::io::Errno::DQUOT => {
            Err(error.into())
        }
        // Not every file system supports it.
        _ => Ok(()),
    }
}

/// First the bytes, then the length: the file is never shorter than its new content.
fn fill(file: &File, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, 0)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}
