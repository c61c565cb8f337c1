//! A file on disk that is replaced whole: staged beside it, with its mode and owner, never through a link.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Gid, Mode, OFlags, Uid};
use tempfile::NamedTempFile;

use super::{TargetError, attributes};
use crate::errors::{AtPath, PathError};
use crate::unread::{Key, Times};

/// The mode of a file that did not exist and for which none was asked.
const NEW_FILE_MODE: u32 = 0o644;

/// What of the folder's default access control list a new file gets: all but the right to be run.
const INHERITED_MODE: u32 = 0o666;

/// What begins the name of a staged file.
const STAGED: &str = ".presence-";

/// Who a file shall belong to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Owner {
    /// The user, by number.
    pub uid: u32,
    /// The group, by number; none keeps the group that the file has or gets.
    pub gid: Option<u32>,
}

/// That text names no owner.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` names no user or group of this machine")]
pub struct UnknownOwner(String);

impl Owner {
    /// Reads USER or USER:GROUP, names or numbers.
    pub fn parse(text: &str) -> Result<Owner, UnknownOwner> {
        let unknown = || UnknownOwner(text.to_owned());
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let uid = match user.parse() {
            Ok(uid) => uid,
            Err(_) => nix::unistd::User::from_name(user).ok().flatten().ok_or_else(unknown)?.uid.as_raw(),
        };
        let gid = match group {
            None => None,
            Some(group) => Some(match group.parse() {
                Ok(gid) => gid,
                Err(_) => {
                    nix::unistd::Group::from_name(group).ok().flatten().ok_or_else(unknown)?.gid.as_raw()
                }
            }),
        };
        Ok(Owner { uid, gid })
    }
}

/// A file as it was found.
pub(super) struct Found {
    pub(super) bytes: Vec<u8>,
    pub(super) metadata: fs::Metadata,
    /// Open for reading.
    handle: fs::File,
}

/// What is at the path now; none if nothing is. A link, a directory or a device is an error.
pub(super) fn current(path: &Path) -> Result<Option<Found>, TargetError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at("look at", path).map_err(Into::into),
    };
    if found.is_symlink() {
        return Err(TargetError::Link(path.to_owned()));
    }
    if !found.is_file() {
        return Err(TargetError::NotAFile(path.to_owned()));
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let handle =
        rustix::fs::open(path, flags, Mode::empty()).map_err(std::io::Error::from).at("read", path)?;
    let mut handle = fs::File::from(handle);
    let mut bytes = Vec::new();
    handle.read_to_end(&mut bytes).at("read", path)?;
    let metadata = handle.metadata().at("look at", path)?;
    Ok(Some(Found { bytes, metadata, handle }))
}

/// Names the bytes of the file that is at the path now; none if nothing does, or if it is no plain file.
pub(super) fn key(path: &Path, now: SystemTime) -> Option<Key> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let found = rustix::fs::fstat(&file).ok()?;
    let plain = rustix::fs::FileType::from_raw_mode(found.st_mode).is_file();
    Times::of(&file, now).filter(|_| plain)?.key(&found)
}

/// Writes the bytes into a file in that folder that has the ending of the target's name: some checkers go by it.
pub(super) fn draft(dir: &Path, path: &Path, bytes: &[u8]) -> Result<NamedTempFile, PathError> {
    let (_, name) = split(path);
    let mut staged = tempfile::Builder::new()
        .prefix(STAGED)
        .suffix(&format!(".{name}"))
        .tempfile_in(dir)
        .at("write a file in", dir)?;
    staged.write_all(bytes).at("write", staged.path())?;
    Ok(staged)
}

/// The same beside the target, for a file that keeps its place and is only to be checked; in that other folder if nobody
/// may write there.
pub(super) fn draft_beside(path: &Path, other: &Path, bytes: &[u8]) -> Result<NamedTempFile, PathError> {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    match draft(&split(path).0, path, bytes) {
        Err(error) if matches!(error.source.kind(), PermissionDenied | ReadOnlyFilesystem) => {
            draft(other, path, bytes)
        }
        drafted => drafted,
    }
}

/// Writes the bytes beside the file, ready to take its place: on disk, with the mode, owner and attributes that it shall
/// have. Also gives a sentence about each thing that the replacement loses.
pub(super) fn stage(
    path: &Path,
    bytes: &[u8],
    old: Option<&Found>,
    mode: Option<u32>,
    owner: Option<Owner>,
) -> Result<(NamedTempFile, Vec<String>), PathError> {
    let (dir, _) = split(path);
    let staged = draft(&dir, path, bytes)?;
    let handle = old.map(|old| &old.handle);
    let old = old.map(|old| &old.metadata);
    let uid = owner.map(|owner| owner.uid).or(old.map(MetadataExt::uid));
    let gid = owner.and_then(|owner| owner.gid).or(old.map(MetadataExt::gid));
    let mine = staged.as_file().metadata().at("look at", staged.path())?;
    // Only a change needs the right to change: a user who owns the file keeps it without being root.
    if uid.is_some_and(|uid| uid != mine.uid()) || gid.is_some_and(|gid| gid != mine.gid()) {
        rustix::fs::fchown(staged.as_file(), uid.map(Uid::from_raw), gid.map(Gid::from_raw))
            .map_err(std::io::Error::from)
            .at("give the right owner to", staged.path())?;
    }
    let mut lost = match handle {
        Some(handle) => attributes::keep(handle, staged.as_file()).at("keep the attributes of", path)?,
        None => Vec::new(),
    };
    if let Some(names) = old.map(MetadataExt::nlink).filter(|names| *names > 1) {
        let others = names - 1;
        let names =
            if others == 1 { "name (a hard link) which keeps" } else { "names (hard links) which keep" };
        lost.push(format!("the file has {others} other {names} the old bytes: only this one is replaced"));
    }
    let inherits = || {
        let folder = fs::File::open(&dir)?;
        attributes::inherit(&folder, staged.as_file(), INHERITED_MODE)
    };
    // After the owner: changing that drops set-id bits (chown(2)).
    let kept = mode.or(old.map(|old| old.mode() & 0o7777));
    if kept.is_some() || !inherits().at("give what its folder has for new files to", staged.path())? {
        let mode = fs::Permissions::from_mode(kept.unwrap_or(NEW_FILE_MODE));
        staged.as_file().set_permissions(mode).at("set the mode of", staged.path())?;
    }
    staged.as_file().sync_all().at("write", staged.path())?;
    Ok((staged, lost))
}

/// Puts the staged file in place, durably. Readers see the old file or the new one, never something between.
pub(super) fn replace(staged: NamedTempFile, path: &Path) -> Result<(), TargetError> {
    if let Err(error) = staged.persist(path) {
        return match error.error.kind() {
            std::io::ErrorKind::ResourceBusy => Err(TargetError::Mounted(path.to_owned())),
            _ => Err(error.error).at("replace", path).map_err(TargetError::from),
        };
    }
    let (dir, _) = split(path);
    Ok(fs::File::open(&dir).and_then(|dir| dir.sync_all()).at("write", &dir)?)
}

/// Sets a mode and owner that were asked for on a file whose bytes are right. True if something changed.
pub(super) fn adjust(
    path: &Path,
    found: &fs::Metadata,
    mode: Option<u32>,
    owner: Option<Owner>,
) -> Result<bool, PathError> {
    let mut changed = false;
    if let Some(owner) = owner
        && (owner.uid != found.uid() || owner.gid.is_some_and(|gid| gid != found.gid()))
    {
        std::os::unix::fs::lchown(path, Some(owner.uid), owner.gid).at("give the right owner to", path)?;
        changed = true;
    }
    if let Some(mode) = mode
        && mode != found.mode() & 0o7777
    {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).at("set the mode of", path)?;
        changed = true;
    }
    Ok(changed)
}

/// Removes staged files that runs left which were killed. Only called while the target's lock is held.
pub(super) fn sweep(path: &Path) {
    let (dir, name) = split(path);
    let Ok(entries) = fs::read_dir(&dir) else { return };
    for entry in entries.flatten() {
        let file = entry.file_name();
        let file = file.to_string_lossy();
        let ours = file.strip_prefix(STAGED).and_then(|rest| rest.strip_suffix(&name));
        if ours.is_some_and(|middle| middle.len() == 7 && middle.ends_with('.')) {
            // One that stays is only untidy.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn split(path: &Path) -> (PathBuf, String) {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    };
    (dir, path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default())
}
