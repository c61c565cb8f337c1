//! What is done with one target outside this program: its memory, its file, its commands and its HAProxy.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use super::file::{self, Location};
use super::{Command, CommandError, CurrentFile, Memory, Target, TargetError, attributes, in_place};
use crate::errors::PathError;
use crate::folder::{Folder, Lasting, PRIVATE};
use crate::haproxy::{self, Socket};

/// The largest file of a memory.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// What remains to be done with the draft of a new file before it is put in place.
pub type Ready<'a> = dyn FnMut(&Path) -> Result<(), TargetError> + 'a;

/// The machine of one target. While it exists, no other run works on the target.
///
/// Each method is one step, so that a process can be killed before and after it.
pub trait Port {
    /// A file of the memory.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, PathError>;

    /// The first line of a file of the memory.
    fn read_line(&self, name: &str) -> Result<Option<Vec<u8>>, PathError> {
        self.read(name)
    }

    /// Whether the memory has that file.
    fn has(&self, name: &str) -> Result<bool, PathError>;

    /// Replaces a file of the memory as a whole, durably.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), PathError>;

    /// Removes a file of the memory, if it is there.
    fn remove(&self, name: &str) -> Result<(), PathError>;

    /// Finishes the write of a run that was killed while it wrote the file in place.
    fn recover(&self, memory: &Memory, path: &Path) -> Result<(), TargetError>;

    /// Opens the folder of the target's file.
    fn open<'p>(&'p self, path: &'p Path) -> Result<Box<dyn Place + 'p>, TargetError>;

    /// The current bytes of the target's file; `None` if there is no file.
    fn current(&self, path: &Path) -> Result<Option<Vec<u8>>, TargetError>;

    /// Runs a command on a file, and waits for its end.
    fn run(&self, command: &Command, file: &Path, limit: Duration) -> Result<(), CommandError>;

    /// The HAProxy behind that socket.
    fn haproxy<'p>(&'p self, socket: &'p Path) -> Box<dyn haproxy::Port + 'p>;

    /// Replaces HAProxy's state file.
    fn write_states(&self, path: &Path, text: &str) -> Result<(), PathError>;
}

/// The folder of a target's file.
pub trait Place {
    /// Removes what killed runs have left beside the file.
    fn sweep(&self);

    /// The current file; `None` if the file does not exist.
    fn current(&self) -> Result<Option<CurrentFile>, TargetError>;

    /// Sets mode and owner of a file whose bytes are right. True if something changed.
    fn adjust(&self, target: &Target, file: &CurrentFile) -> Result<bool, TargetError>;

    /// Writes the bytes beside the file, calls `ready` with that draft, and puts the bytes in place, durably.
    /// Losses go to `warnings`.
    fn replace(
        &self,
        target: &Target,
        memory: &Memory,
        old: Option<&CurrentFile>,
        bytes: &[u8],
        warnings: &mut Vec<String>,
        ready: &mut Ready<'_>,
    ) -> Result<(), TargetError>;
}

/// A target of this machine.
#[derive(Debug)]
pub(super) struct OnDisk {
    /// The memory.
    pub(super) folder: Folder,
    pub(super) _lock: File,
}

impl Port for OnDisk {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, PathError> {
        self.folder.read(name, MAX_BYTES)
    }

    fn read_line(&self, name: &str) -> Result<Option<Vec<u8>>, PathError> {
        let Some(file) = self.folder.file(name)? else { return Ok(None) };
        let mut line = Vec::new();
        let read = BufReader::new(file.take(MAX_BYTES)).read_until(b'\n', &mut line);
        Ok(read.is_ok().then_some(line))
    }

    fn has(&self, name: &str) -> Result<bool, PathError> {
        Ok(self.folder.file(name)?.is_some())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), PathError> {
        self.folder.replace(name, bytes, PRIVATE, Lasting::Durable)
    }

    fn remove(&self, name: &str) -> Result<(), PathError> {
        self.folder.remove(name)
    }

    fn recover(&self, memory: &Memory, path: &Path) -> Result<(), TargetError> {
        in_place::recover(memory, path)?;
        Ok(())
    }

    fn open<'p>(&'p self, path: &'p Path) -> Result<Box<dyn Place + 'p>, TargetError> {
        Ok(Box::new(OnDiskPlace { place: Location::open(path)?, memory: &self.folder }))
    }

    fn current(&self, path: &Path) -> Result<Option<Vec<u8>>, TargetError> {
        file::current(path)
    }

    fn run(&self, command: &Command, file: &Path, limit: Duration) -> Result<(), CommandError> {
        command.run(file, limit)
    }

    fn haproxy<'p>(&'p self, socket: &'p Path) -> Box<dyn haproxy::Port + 'p> {
        Box::new(Socket::new(socket))
    }

    fn write_states(&self, path: &Path, text: &str) -> Result<(), PathError> {
        haproxy::state_file::write(path, text)
    }
}

/// The folder of a file of this machine.
pub(super) struct OnDiskPlace<'p> {
    pub(super) place: Location,
    /// For drafts, if that folder takes none.
    pub(super) memory: &'p Folder,
}

impl Place for OnDiskPlace<'_> {
    fn sweep(&self) {
        self.place.sweep();
    }

    fn current(&self) -> Result<Option<CurrentFile>, TargetError> {
        self.place.current()
    }

    fn adjust(&self, target: &Target, file: &CurrentFile) -> Result<bool, TargetError> {
        match file.handle() {
            Some(handle) => Ok(file::adjust(&target.path, handle, target.mode, target.owner)?),
            None => Ok(false),
        }
    }

    fn replace(
        &self,
        target: &Target,
        memory: &Memory,
        old: Option<&CurrentFile>,
        bytes: &[u8],
        warnings: &mut Vec<String>,
        ready: &mut Ready<'_>,
    ) -> Result<(), TargetError> {
        let place = &self.place;
        let staged = stage(target, place, old, bytes, self.memory, warnings)?;
        ready(&staged.path())?;
        match old {
            Some(old) if target.in_place => {
                let file = in_place::write(memory, place, old, bytes)?;
                file::adjust(&target.path, &file, target.mode, target.owner)?;
                Ok(())
            }
            _ => place.replace(staged),
        }
    }
}

/// The new file, ready to be checked and to replace the old one; only a draft if the file is written in
/// place.
pub(super) fn stage<'p>(
    target: &Target,
    place: &'p Location,
    old: Option<&CurrentFile>,
    bytes: &[u8],
    other: &'p Folder,
    warnings: &mut Vec<String>,
) -> Result<crate::folder::Staged<'p>, TargetError> {
    if let Some((path, flag)) = attributes::protection(&place.folder, &place.name) {
        return Err(TargetError::Protected { path, flag });
    }
    if old.is_some() && target.in_place {
        return Ok(place.draft(other, bytes)?);
    }
    if in_place::is_mount_point(place) {
        return Err(TargetError::Mounted(target.path.clone()));
    }
    let (staged, lost) = file::stage(place, bytes, old, target.mode, target.owner)?;
    warnings.extend(lost);
    Ok(staged)
}
