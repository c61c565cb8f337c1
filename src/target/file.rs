//! A file on disk that is replaced whole: staged beside it, with its mode and owner, never through a link.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Gid, Uid};
use tempfile::NamedTempFile;

use super::TargetError;
use crate::errors::{AtPath, PathError};
use crate::unread::{Key, Times};

/// The mode of a file that did not exist and for which none was asked.
const NEW_FILE_MODE: u32 = 0o644;

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

/// What is at the path now; none if nothing is. A link, a directory or a device is an error.
pub(super) fn current(path: &Path) -> Result<Option<(Vec<u8>, fs::Metadata)>, TargetError> {
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
    Ok(Some((fs::read(path).at("read", path)?, found)))
}

/// Names the bytes of the file that is at the path now; none if nothing does, or if it is no plain file.
pub(super) fn key(path: &Path, now: SystemTime) -> Option<Key> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let found = rustix::fs::fstat(&file).ok()?;
    let plain = rustix::fs::FileType::from_raw_mode(found.st_mode).is_file();
    Times::of(&file, now).filter(|_| plain)?.key(&found)
}

/// Writes the bytes beside the file, ready to take its place: on disk, with the mode and owner that it shall have.
pub(super) fn stage(
    path: &Path,
    bytes: &[u8],
    old: Option<&fs::Metadata>,
    mode: Option<u32>,
    owner: Option<Owner>,
) -> Result<NamedTempFile, PathError> {
    let (dir, name) = split(path);
    // The file's own ending stays at the end: some checkers go by it.
    let mut staged = tempfile::Builder::new()
        .prefix(STAGED)
        .suffix(&format!(".{name}"))
        .tempfile_in(&dir)
        .at("write a file in", &dir)?;
    staged.write_all(bytes).at("write", staged.path())?;
    let uid = owner.map(|owner| owner.uid).or(old.map(MetadataExt::uid));
    let gid = owner.and_then(|owner| owner.gid).or(old.map(MetadataExt::gid));
    let mine = staged.as_file().metadata().at("look at", staged.path())?;
    // Only a change needs the right to change: a user who owns the file keeps it without being root.
    if uid.is_some_and(|uid| uid != mine.uid()) || gid.is_some_and(|gid| gid != mine.gid()) {
        rustix::fs::fchown(staged.as_file(), uid.map(Uid::from_raw), gid.map(Gid::from_raw))
            .map_err(std::io::Error::from)
            .at("give the right owner to", staged.path())?;
    }
    // After the owner: changing that drops set-id bits (chown(2)).
    let mode = mode.or(old.map(|old| old.mode() & 0o7777)).unwrap_or(NEW_FILE_MODE);
    staged
        .as_file()
        .set_permissions(fs::Permissions::from_mode(mode))
        .at("set the mode of", staged.path())?;
    staged.as_file().sync_all().at("write", staged.path())?;
    Ok(staged)
}

/// Puts the staged file in place, durably. Readers see the old file or the new one, never something between.
pub(super) fn replace(staged: NamedTempFile, path: &Path) -> Result<(), PathError> {
    staged.persist(path).map_err(|error| error.error).at("replace", path)?;
    let (dir, _) = split(path);
    fs::File::open(&dir).and_then(|dir| dir.sync_all()).at("write", &dir)
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
