//! Reads a folder in one pass. Files that did not change since the last reading are only looked at, the
//! others are opened.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::listing::{Listing, Sort, open_dir};
use crate::errors::{AtPath, PathError, chain};
use crate::record::MAX_BYTES;
use crate::stat_key::Times;
use crate::store::kind::Identity;
use crate::store::snapshot::{self, Batch, Item, Key, NO_KEY, Snapshot, Total, version_of};
use crate::store::{StoreErrorKind, Version};
use crate::threads;

/// A second thread does not pay for fewer files than this.
const MANY: usize = 500;

/// The problem of a fifo or a device.
const SPECIAL: &str = "is not a regular file";

/// The key of a folder with a record's name, whatever it contains.
const FOLDER: Key = [1; 32];

/// The result of scanning a folder.
pub(super) struct Scan {
    folder: PathBuf,
    listing: Listing,
    /// The files' keys, if there are earlier ones to compare with.
    keys: Option<Vec<Key>>,
    /// `None` if the times of files in this file system prove nothing.
    times: Option<Times>,
}

impl Scan {
    /// Lists the folder, and determines the files' keys if `compare`.
    pub(super) fn new(folder: &Path, compare: bool, now: SystemTime) -> Result<Scan, PathError> {
        let listing = Listing::new(folder)?;
        let times = Times::of(&listing.root, now);
        let mut seen = Scan { folder: folder.to_owned(), listing, keys: None, times };
        if compare && times.is_some() {
            let keys = threads::in_parts(seen.listing.len(), MANY, |files| {
                let mut dir = Dir::default();
                files.map(|file| seen.look_at(&mut dir, file)).collect::<Vec<_>>()
            });
            seen.keys = Some(keys.concat());
        }
        Ok(seen)
    }

    /// The identity of the directory that was listed.
    pub(super) fn identity(&self, folder: &Path) -> Result<Identity, PathError> {
        let dir = self.listing.root.try_clone().at("look at", folder)?;
        Identity::of(&std::fs::File::from(dir), folder)
    }

    /// Whether there may be records. A directory that could not be listed may have some.
    pub(super) fn holds_records(&self) -> bool {
        self.listing.has_files() || !self.listing.problems.is_empty()
    }

    /// See [`Look::version`](crate::store::Look::version).
    pub(super) fn version(&self) -> Option<Version> {
        let keys = self.keys.as_ref().filter(|_| self.listing.problems.is_empty())?;
        version_of((0..keys.len()).map(|file| (self.listing.path(file), &keys[file])))
    }

    /// Reads the files that are not in `known` with their present content.
    ///
    /// A directory that cannot be listed keeps its last known files. If there are files but no readable
    /// record, that is an error: the list is not empty.
    pub(super) fn read(self, known: &Snapshot) -> Result<Snapshot, StoreErrorKind> {
        let mut items = Vec::new();
        let mut fresh = Vec::new();
        let mut candidates = known.entries.iter().enumerate().peekable();
        for file in 0..self.listing.len() {
            let path = self.listing.path(file);
            while candidates.next_if(|(_, entry)| known.path(entry) < path).is_some() {}
            let key = self.keys.as_ref().map_or(NO_KEY, |keys| keys[file]);
            match candidates.peek() {
                Some((at, entry)) if key != NO_KEY && entry.key == key && known.path(entry) == path => {
                    snapshot::keep(&mut items, *at..at + 1);
                }
                _ => {
                    items.push(Item::Fresh(fresh.len()));
                    fresh.push(file);
                }
            }
        }
        let total = Total::default();
        let read = threads::in_parts(fresh.len(), MANY, |numbers| {
            let mut batch = Batch::with_capacity(numbers.len());
            let mut unreadable = Vec::new();
            let mut dir = Dir::default();
            let mut buffer = vec![0; MAX_BYTES + 1];
            for number in numbers {
                let file = fresh[number];
                let path = self.listing.path(file);
                match self.open(&mut dir, file, &mut buffer) {
                    Ok((key, content)) => batch.add(number, path, key, total.count(content)),
                    Err(Errno::NOENT) => {} // removed since the listing: it left
                    Err(error) => {
                        unreadable.push((file, error));
                        let error = std::io::Error::from(error);
                        batch.add(number, path, NO_KEY, Err(format!("cannot be read: {error}")));
                    }
                }
            }
            (batch, unreadable)
        });
        let (mut batches, unreadable): (Vec<Batch>, Vec<_>) = read.into_iter().unzip();
        let mut problems = Batch::default();
        for (number, (path, error)) in (fresh.len()..).zip(&self.listing.problems) {
            let below = known.below(&[path, b"/".as_slice()].concat(), 0..known.entries.len());
            snapshot::keep(&mut items, below);
            items.push(Item::Fresh(number));
            problems.add(number, path, NO_KEY, Err(chain(error)));
        }
        batches.push(problems);
        let mut snapshot = Snapshot::assemble(known, &items, batches);
        if !self.listing.problems.is_empty() {
            snapshot.sort();
        }
        total.judge()?;
        self.judge(&snapshot, &unreadable.concat())?;
        let same = !known.is_empty() && snapshot.entries == known.entries;
        snapshot.digest = if same { known.digest.clone() } else { snapshot.digest_of_files() };
        if self.listing.problems.is_empty() {
            snapshot.version =
                version_of(snapshot.entries.iter().map(|entry| (snapshot.path(entry), &entry.key)));
        }
        Ok(snapshot)
    }

    /// An error if some files or directories are unreadable, and no record is readable.
    fn judge(&self, snapshot: &Snapshot, unreadable: &[(usize, Errno)]) -> Result<(), StoreErrorKind> {
        let count = unreadable.len() + self.listing.problems.len();
        let first = unreadable.first().map(|(file, error)| (self.listing.path(*file), *error));
        let path = |below: &[u8]| self.folder.join(OsStr::from_bytes(below));
        let source = match (first, self.listing.problems.first()) {
            (Some((file, error)), _) => {
                PathError { operation: "read", path: path(file), source: error.into() }
            }
            (None, Some((_, error))) => error.again(),
            (None, None) => return Ok(()),
        };
        match snapshot.has_records() {
            true => Ok(()),
            false => Err(StoreErrorKind::Unreadable { path: self.folder.clone(), count, source }),
        }
    }

    fn look_at(&self, dir: &mut Dir, file: usize) -> Key {
        if self.listing.sort(file) == Sort::Folder {
            return FOLDER;
        }
        let found = dir
            .of(&self.listing, file)
            .and_then(|(dir, name)| rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW));
        found.map_or(NO_KEY, |found| self.key(file, &found))
    }

    /// The file's key and content.
    fn open<'b>(
        &self,
        dir: &mut Dir,
        file: usize,
        buffer: &'b mut [u8],
    ) -> rustix::io::Result<(Key, Result<&'b [u8], String>)> {
        if self.listing.sort(file) == Sort::Link {
            let reason = "is a link, and links are not followed".to_owned();
            return Ok((self.look_at(dir, file), Err(reason)));
        }
        if self.listing.sort(file) == Sort::Folder {
            return Ok((FOLDER, Err(snapshot::IS_FOLDER.to_owned())));
        }
        // Opening a device may have an effect.
        if self.listing.sort(file) == Sort::Special {
            return Ok((NO_KEY, Err(SPECIAL.to_owned())));
        }
        let (dir, name) = dir.of(&self.listing, file)?;
        // Does not follow a file that has become a link, or wait for a fifo.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        let found = rustix::fs::fstat(&opened)?;
        if !FileType::from_raw_mode(found.st_mode).is_file() {
            return Ok((NO_KEY, Err(SPECIAL.to_owned())));
        }
        let key = self.key(file, &found);
        let size = usize::try_from(found.st_size).unwrap_or_default();
        let mut length = 0;
        while length < buffer.len() {
            match rustix::io::read(&opened, &mut buffer[length..]) {
                // The whole size found by `fstat` is read: the read at the end of the file is saved.
                Ok(more) if more > 0 && length + more == size => {
                    length += more;
                    break;
                }
                Ok(0) => break,
                Ok(more) => length += more,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((key, Ok(&buffer[..length])))
    }

    fn key(&self, file: usize, found: &Stat) -> Key {
        let times = self.times.filter(|_| self.listing.sort(file) != Sort::Special);
        times.and_then(|times| times.key(found)).unwrap_or(NO_KEY)
    }
}

/// The last opened directory: the files are sorted, so those of a directory come together.
#[derive(Default)]
struct Dir(Option<(Vec<u8>, OwnedFd)>);

impl Dir {
    /// The file's directory, and its name there.
    fn of<'a>(
        &'a mut self,
        listing: &'a Listing,
        file: usize,
    ) -> rustix::io::Result<(&'a OwnedFd, &'a [u8])> {
        let path = listing.path(file);
        let Some(slash) = path.iter().rposition(|byte| *byte == b'/') else {
            return Ok((&listing.root, path));
        };
        let (prefix, name) = (&path[..slash], &path[slash + 1..]);
        if self.0.as_ref().is_none_or(|(opened, _)| opened != prefix) {
            self.0 = Some((prefix.to_vec(), open_dir(&listing.root, prefix, OFlags::NOFOLLOW)?));
        }
        let (_, dir) = self.0.as_ref().ok_or(Errno::NOENT)?;
        Ok((dir, name))
    }
}

#[cfg(test)]
mod tests;
