//! Files of a folder, read and written through the folder's open directory.
//!
//! By path, the file that is checked and the file that is written can differ: a user who may change the
//! folder, or one above it, can put a link there in between. So a folder is opened once, and everything in it
//! is done through that handle and the handles of its files. No link in it is followed; [`way`] says which
//! links on the path to it are.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::errors::{AtPath, PathError};

mod way;

/// Opens the folder of a file whose path starts at an open folder. Also returns the file's name in it.
pub(crate) fn of_file<'n>(start: BorrowedFd<'_>, file: &'n str) -> io::Result<(OwnedFd, &'n str)> {
    let (folder, name) = file.rsplit_once('/').unwrap_or((".", file));
    Ok((way::open_from(start, Path::new(folder))?, name))
}

/// The mode of files and folders that only this user may use.
pub(crate) const PRIVATE: u32 = 0o600;
pub(crate) const PRIVATE_FOLDER: u32 = 0o700;

/// A file that everybody may read.
pub(crate) const READABLE: u32 = 0o644;

/// How a file is opened for reading: without following another user's link, or waiting for another user's
/// fifo.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// The beginning of an unfinished file's name. It is hidden, and readers of a folder ignore it.
const STAGED: &str = ".presence-";

/// The number of names to try for such a file: an existing file is never written into.
const TRIES: usize = 64;

/// Whether a file survives a power failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// The file is on disk before it gets its name, and the name as well.
    Durable,
    /// After a power failure it may be missing or empty: its content can be found out again.
    Cached,
}

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    handle: File,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder.
    pub(crate) fn open(path: &Path) -> Result<Folder, PathError> {
        let place = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let handle = way::open(place).at("open", place)?.into();
        Ok(Folder { handle, path: path.to_owned() })
    }

    /// Opens the folder of that file. Also returns the file's name in it.
    pub(crate) fn of(file: &Path) -> Result<(Folder, OsString), PathError> {
        let name = file.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename));
        let name = name.at("find", file)?.to_owned();
        Ok((Folder::open(file.parent().unwrap_or(Path::new("")))?, name))
    }

    /// Opens a folder of this program. If it does not exist, it is made for this user only.
    pub(crate) fn private(path: &Path) -> Result<Folder, PathError> {
        match Folder::open(path) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER).create(path).at("make", path)?;
                Folder::open(path)
            }
            opened => opened,
        }
    }

    /// Opens a folder in this one, and makes it with this mode if it does not exist.
    pub(crate) fn sub(&self, name: &OsStr, mode: u32) -> Result<Folder, PathError> {
        let path = self.at(name);
        match rustix::fs::mkdirat(&self.handle, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(io::Error::from(error)).at("make", &path),
        }
        self.existing(name)
    }

    /// Opens an existing folder in this one.
    pub(crate) fn existing(&self, name: &OsStr) -> Result<Folder, PathError> {
        let path = self.at(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(&self.handle, name, flags, Mode::empty()).map_err(|error| {
            // For a link, too, the system only says that it is not a folder.
            match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) if FileType::from_raw_mode(found.st_mode).is_symlink() => explained(Errno::LOOP),
                _ => error.into(),
            }
        });
        Ok(Folder { handle: handle.at("open", &path)?.into(), path })
    }

    /// The open folder.
    pub(crate) fn as_file(&self) -> &File {
        &self.handle
    }

    /// The open folder, without its path.
    pub(crate) fn into_handle(self) -> OwnedFd {
        self.handle.into()
    }

    /// The names in it.
    pub(crate) fn names(&self) -> Result<Vec<OsString>, PathError> {
        let entries =
            rustix::fs::Dir::read_from(&self.handle).map_err(io::Error::from).at("read", &self.path)?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io::Error::from).at("read", &self.path)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// Its path when it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of that file, for messages and for other programs.
    pub(crate) fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Opens that file for reading; `None` if it does not exist. A link, or anything but a plain file, is an
    /// error.
    pub(crate) fn file(&self, name: impl AsRef<Path>) -> Result<Option<File>, PathError> {
        self.open_plain(name.as_ref(), READ, "read")
    }

    /// The same, for overwriting it.
    pub(crate) fn file_to_write(&self, name: impl AsRef<Path>) -> Result<Option<File>, PathError> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        self.open_plain(name.as_ref(), flags, "write")
    }

    fn open_plain(
        &self,
        name: &Path,
        flags: OFlags,
        operation: &'static str,
    ) -> Result<Option<File>, PathError> {
        match rustix::fs::openat(&self.handle, name, flags, Mode::empty()) {
            Ok(handle) => plain(handle.into()).at(operation, &self.at(name)).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(explained(error)).at(operation, &self.at(name)),
        }
    }

    /// The bytes of that file; `None` if it does not exist. More than `limit` bytes are an error.
    pub(crate) fn read(&self, name: impl AsRef<Path>, limit: u64) -> Result<Option<Vec<u8>>, PathError> {
        let name = name.as_ref();
        let Some(file) = self.file(name)? else { return Ok(None) };
        read_within(file, limit).at("read", &self.at(name)).map(Some)
    }

    /// A file to lock, made for this user only if it does not exist.
    pub(crate) fn lock_file(&self, name: impl AsRef<Path>) -> Result<File, PathError> {
        self.open_or_make(name, PRIVATE)
    }

    /// A file for reading and writing, made with this mode if it does not exist.
    pub(crate) fn open_or_make(&self, name: impl AsRef<Path>, mode: u32) -> Result<File, PathError> {
        let name = name.as_ref();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.handle, name, flags, Mode::from_raw_mode(mode));
        opened.map_err(explained).and_then(|handle| plain(handle.into())).at("open", &self.at(name))
    }

    /// A new file that will get a name in this folder. Until then, only this user can read it, and its name
    /// ends with `suffix`.
    pub(crate) fn stage(&self, suffix: &str) -> Result<Staged<'_>, PathError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut tries = 0;
        loop {
            let middle: String = std::iter::repeat_with(fastrand::alphanumeric).take(6).collect();
            let name = OsString::from(format!("{STAGED}{middle}{suffix}"));
            tries += 1;
            match rustix::fs::openat(&self.handle, &name, flags, Mode::from_raw_mode(PRIVATE)) {
                Ok(handle) => return Ok(Staged { folder: self, name, file: handle.into(), placed: false }),
                Err(Errno::EXIST) if tries < TRIES => {}
                Err(error) => return Err(io::Error::from(error)).at("write a file in", &self.path),
            }
        }
    }

    /// Replaces a whole file, with this mode.
    pub(crate) fn replace(
        &self,
        name: impl AsRef<Path>,
        bytes: &[u8],
        mode: u32,
        lasting: Lasting,
    ) -> Result<(), PathError> {
        let name = name.as_ref();
        let mut staged = self.stage("")?;
        staged.fill(bytes, mode, lasting).at("write", &self.at(name))?;
        staged.place(name, lasting).at("replace", &self.at(name))
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: impl AsRef<Path>) -> Result<(), PathError> {
        let name = name.as_ref();
        match rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(io::Error::from(error)).at("remove", &self.at(name)),
        }
    }

    /// Removes files of [`Folder::stage`] with this suffix, which killed runs left behind.
    pub(crate) fn sweep(&self, suffix: &str) {
        for name in self.names().unwrap_or_default() {
            let name = name.to_string_lossy();
            let middle = name.strip_prefix(STAGED).and_then(|rest| rest.strip_suffix(suffix));
            if middle.is_some_and(|middle| middle.len() == 6 && middle.bytes().all(|byte| byte != b'.')) {
                // A file that stays is only untidy.
                let _ = self.remove(&*name);
            }
        }
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// A file without its final name. It is removed when the value is dropped, unless it was placed.
#[derive(Debug)]
pub(crate) struct Staged<'f> {
    folder: &'f Folder,
    name: OsString,
    file: File,
    placed: bool,
}

impl Staged<'_> {
    /// The open file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Its present path, for another program.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.at(&self.name)
    }

    /// Writes these bytes, and sets the mode.
    pub(crate) fn fill(&mut self, bytes: &[u8], mode: u32, lasting: Lasting) -> io::Result<()> {
        self.file.write_all(bytes)?;
        if mode != PRIVATE {
            self.file.set_permissions(Permissions::from_mode(mode))?;
        }
        match lasting {
            Lasting::Durable => self.file.sync_all(),
            Lasting::Cached => Ok(()),
        }
    }

    /// Gives it its name, and replaces what had that name.
    pub(crate) fn place(mut self, name: &Path, lasting: Lasting) -> io::Result<()> {
        rustix::fs::renameat(self.folder, &self.name, self.folder, name)?;
        self.placed = true;
        match lasting {
            Lasting::Durable => match rustix::fs::fsync(self.folder) {
                // A folder without read permission cannot be synced.
                Ok(()) | Err(Errno::BADF) => Ok(()),
                Err(error) => Err(error.into()),
            },
            Lasting::Cached => Ok(()),
        }
    }

    /// Gives it its name if nothing has that name. False if something has.
    pub(crate) fn place_new(mut self, name: &Path) -> io::Result<bool> {
        let folder = self.folder;
        let placed = match rustix::fs::renameat_with(folder, &self.name, folder, name, RenameFlags::NOREPLACE)
        {
            // The file system cannot do that. The staged name is removed when this value is dropped.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::linkat(folder, &self.name, folder, name, AtFlags::empty())
            }
            Ok(()) => {
                self.placed = true;
                Ok(())
            }
            refused => refused,
        };
        match placed {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if !self.placed {
            // A file that stays is only untidy.
            let _ = rustix::fs::unlinkat(self.folder, &self.name, AtFlags::empty());
        }
    }
}

/// Opens a file for reading; `None` if it does not exist. A link, or anything but a plain file, is an error.
pub(crate) fn open_plain(path: &Path) -> Result<Option<File>, PathError> {
    match rustix::fs::open(path, READ, Mode::empty()) {
        Ok(handle) => plain(handle.into()).at("read", path).map(Some),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(explained(error)).at("read", path),
    }
}

/// All bytes of a file. More than `limit` bytes are an error.
pub(crate) fn read_within(file: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {limit} bytes"))),
        false => Ok(bytes),
    }
}

fn plain(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other(NotPlain::Other)),
    }
}

/// Something that is not a plain file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotPlain {
    /// A symbolic link.
    #[error("it is a link, and links are not followed")]
    Link,
    /// A folder, a fifo, a device.
    #[error("it is not a regular file")]
    Other,
}

impl NotPlain {
    /// Whether the error has this cause.
    pub(crate) fn of(error: &PathError) -> Option<NotPlain> {
        error.source.get_ref()?.downcast_ref().copied()
    }
}

/// The system reports a link that must not be followed as "Too many levels of symbolic links".
fn explained(error: Errno) -> io::Error {
    match error {
        Errno::LOOP => io::Error::other(NotPlain::Link),
        // A fifo without a reader or a socket, opened for writing, or a folder.
        Errno::NXIO | Errno::ISDIR => io::Error::other(NotPlain::Other),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests;
