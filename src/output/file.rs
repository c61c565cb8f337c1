//! A file that is replaced as a whole: staged beside the old one, with its mode and owner, never through a
//! link.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Gid, Uid};

use super::{TargetError, attributes};
use crate::errors::{AtPath, PathError};
use crate::folder::{self, Folder, Lasting, NotPlain, PRIVATE, Staged};
use crate::stat_key::{Key, Times};

/// The mode of a new file if none was asked for.
const NEW_FILE_MODE: u32 = 0o644;

/// The rights of the folder's default access control list that a new file gets: all except execution.
const INHERITED_MODE: u32 = 0o666;

/// The largest file that this program writes.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// The owner that a file should have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Owner {
    /// The user id.
    pub uid: u32,
    /// The group id; `None` keeps the group that the file has or gets.
    pub gid: Option<u32>,
}

/// The text does not name an owner.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` does not name a user or group of this machine")]
pub struct UnknownOwner(String);

impl Owner {
    /// Parses USER or USER:GROUP, names or numbers.
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

/// A file's location: its open folder, and its name in it. Everything is done with the file through these.
#[derive(Debug)]
pub(super) struct Location {
    pub(super) folder: Folder,
    pub(super) name: OsString,
    path: PathBuf,
}

/// A file as it was found.
#[derive(Debug)]
pub struct CurrentFile {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The file of this machine, open for reading; `None` in a simulation.
    found: Option<(fs::Metadata, fs::File)>,
}

impl CurrentFile {
    /// A file with these bytes that is not on this machine.
    pub fn of(bytes: Vec<u8>) -> CurrentFile {
        CurrentFile { bytes, found: None }
    }

    pub(super) fn handle(&self) -> Option<&fs::File> {
        self.found.as_ref().map(|(_, handle)| handle)
    }

    pub(super) fn metadata(&self) -> Option<&fs::Metadata> {
        self.found.as_ref().map(|(metadata, _)| metadata)
    }
}

/// The current bytes of that file; `None` if there is no file.
pub(super) fn current(path: &Path) -> Result<Option<Vec<u8>>, TargetError> {
    let Some(place) = Location::find(path)? else { return Ok(None) };
    Ok(place.current()?.map(|found| found.bytes))
}

impl Location {
    pub(super) fn open(path: &Path) -> Result<Location, PathError> {
        let (folder, name) = Folder::of(path)?;
        Ok(Location { folder, name, path: path.to_owned() })
    }

    /// The same; `None` if the folder does not exist.
    pub(super) fn find(path: &Path) -> Result<Option<Location>, PathError> {
        match Location::open(path) {
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// The current file; `None` if there is none. A link, a directory or a device is an error.
    pub(super) fn current(&self) -> Result<Option<CurrentFile>, TargetError> {
        let file = self.folder.file(&self.name).map_err(|error| match NotPlain::of(&error) {
            Some(NotPlain::Link) => TargetError::Link(self.path.clone()),
            Some(NotPlain::Other) => TargetError::NotAFile(self.path.clone()),
            None => error.into(),
        });
        let Some(handle) = file? else { return Ok(None) };
        let bytes = folder::read_within(&handle, MAX_BYTES).at("read", &self.path)?;
        let metadata = handle.metadata().at("look at", &self.path)?;
        Ok(Some(CurrentFile { bytes, found: Some((metadata, handle)) }))
    }

    /// The key of the current file's bytes; `None` if there is no plain file, or its times prove nothing.
    pub(super) fn key(&self, now: SystemTime) -> Option<(Key, fs::File)> {
        let file = self.folder.file(&self.name).ok()??;
        let found = rustix::fs::fstat(&file).ok()?;
        let key = Times::of(&file, now)?.key(&found)?;
        Some((key, file))
    }

    /// Writes the bytes into a new file with the target's name at its end: some checkers go by the extension.
    fn draft_in<'f>(&self, folder: &'f Folder, bytes: &[u8]) -> Result<Staged<'f>, PathError> {
        let mut staged = folder.stage(&self.suffix())?;
        staged.fill(bytes, PRIVATE, Lasting::Cached).at("write", &staged.path())?;
        Ok(staged)
    }

    /// A new file beside the target that is only for the check. If that folder is not writable, it is in the
    /// other one.
    pub(super) fn draft<'f>(&'f self, other: &'f Folder, bytes: &[u8]) -> Result<Staged<'f>, PathError> {
        use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        match self.draft_in(&self.folder, bytes) {
            Err(error) if matches!(error.source.kind(), PermissionDenied | ReadOnlyFilesystem) => {
                self.draft_in(other, bytes)
            }
            drafted => drafted,
        }
    }

    /// Puts the staged file in place, durably. Readers see either the old file or the new one.
    pub(super) fn replace(&self, staged: Staged<'_>) -> Result<(), TargetError> {
        match staged.place(Path::new(&self.name), Lasting::Durable) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                Err(TargetError::Mounted(self.path.clone()))
            }
            placed => Ok(placed.at("replace", &self.path)?),
        }
    }

    /// Removes staged files of killed runs. Call it only while the target's lock is held.
    pub(super) fn sweep(&self) {
        self.folder.sweep(&self.suffix());
    }

    fn suffix(&self) -> String {
        format!(".{}", self.name.to_string_lossy())
    }
}

/// Writes the bytes beside the file, ready to replace it: on disk, with their final mode, owner and
/// attributes. Also returns a sentence about each thing that the replacement loses.
pub(super) fn stage<'p>(
    place: &'p Location,
    bytes: &[u8],
    old: Option<&CurrentFile>,
    mode: Option<u32>,
    owner: Option<Owner>,
) -> Result<(Staged<'p>, Vec<String>), PathError> {
    let path = &place.path;
    let staged = place.draft_in(&place.folder, bytes)?;
    let handle = old.and_then(CurrentFile::handle);
    let old = old.and_then(CurrentFile::metadata);
    let uid = owner.map(|owner| owner.uid).or(old.map(MetadataExt::uid));
    let gid = owner.and_then(|owner| owner.gid).or(old.map(MetadataExt::gid));
    let mine = staged.file().metadata().at("look at", &staged.path())?;
    // Only a change needs permission: a user who owns the file keeps it without being root.
    if uid.is_some_and(|uid| uid != mine.uid()) || gid.is_some_and(|gid| gid != mine.gid()) {
        rustix::fs::fchown(staged.file(), uid.map(Uid::from_raw), gid.map(Gid::from_raw))
            .map_err(std::io::Error::from)
            .at("set the owner of", &staged.path())?;
    }
    let mut lost = match handle {
        Some(handle) => attributes::keep(handle, staged.file()).at("keep the attributes of", path)?,
        None => Vec::new(),
    };
    if let Some(names) = old.map(MetadataExt::nlink).filter(|names| *names > 1) {
        let others = names - 1;
        let names =
            if others == 1 { "name (a hard link) which keeps" } else { "names (hard links) which keep" };
        lost.push(format!("the file has {others} other {names} the old bytes: only this one is replaced"));
    }
    let inherits = || attributes::inherit(place.folder.as_file(), staged.file(), INHERITED_MODE);
    // After the owner, since a change of owner drops set-id bits (chown(2)).
    let kept = mode.or(old.map(|old| old.mode() & 0o7777));
    if kept.is_some()
        || !inherits().at("apply its folder's default access control list to", &staged.path())?
    {
        let mode = fs::Permissions::from_mode(kept.unwrap_or(NEW_FILE_MODE));
        staged.file().set_permissions(mode).at("set the mode of", &staged.path())?;
    }
    staged.file().sync_all().at("write", &staged.path())?;
    Ok((staged, lost))
}

/// Sets the requested mode and owner on a file whose bytes are right. True if something changed.
pub(super) fn adjust(
    path: &Path,
    file: &fs::File,
    mode: Option<u32>,
    owner: Option<Owner>,
) -> Result<bool, PathError> {
    let found = file.metadata().at("look at", path)?;
    let mut changed = false;
    if let Some(owner) = owner
        && (owner.uid != found.uid() || owner.gid.is_some_and(|gid| gid != found.gid()))
    {
        std::os::unix::fs::fchown(file, Some(owner.uid), owner.gid).at("set the owner of", path)?;
        changed = true;
    }
    if let Some(mode) = mode
        && mode != found.mode() & 0o7777
    {
        file.set_permissions(fs::Permissions::from_mode(mode)).at("set the mode of", path)?;
        changed = true;
    }
    Ok(changed)
}
