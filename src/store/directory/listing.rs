//! Lists a folder: one pass over its directories, without looking at files.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::MAX_DEPTH;
use crate::errors::{AtPath, PathError};
use crate::limits;

/// Bytes of a directory to read at a time.
const BUFFER: usize = 128 * 1024;

/// The `*.json` files of a folder and its sub-folders, by path.
pub(super) struct Listing {
    pub(super) root: OwnedFd,
    files: Vec<(Range<usize>, Sort)>,
    /// The number of entries of any kind.
    entries: usize,
    /// All paths, one after the other.
    paths: Vec<u8>,
    /// Directories that could not be read, by path, with the reason.
    pub(super) problems: Vec<(Vec<u8>, PathError)>,
}

/// The type of a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sort {
    Plain,
    Link,
    /// A folder with a record's name. Its path ends with `/`.
    Folder,
    /// A fifo or a device.
    Special,
}

impl Listing {
    /// Lists the folder. Skips hidden files and directories, and does not follow links to directories.
    pub(super) fn new(folder: &Path) -> Result<Listing, PathError> {
        let root = open_dir(rustix::fs::CWD, folder.as_os_str().as_bytes(), OFlags::empty());
        let root = root.map_err(std::io::Error::from).at("read", folder)?;
        let mut listing =
            Listing { root, files: Vec::new(), entries: 0, paths: Vec::new(), problems: Vec::new() };
        let mut dirs = vec![Vec::new()];
        while let Some(dir) = dirs.pop() {
            if let Err(error) = listing.list(&dir, &mut dirs) {
                let path = folder.join(OsStr::from_bytes(&dir));
                let error = PathError { operation: "read", path, source: error.into() };
                match dir.is_empty() {
                    true => return Err(error),
                    false => listing.problems.push((dir[..dir.len() - 1].to_vec(), error)),
                }
            }
        }
        if let Some(excess) = listing.excess() {
            let error = std::io::Error::other(format!("there are more than {excess}"));
            return Err(error).at("read", folder);
        }
        let Listing { files, paths, .. } = &mut listing;
        if !files.is_sorted_by(|a, b| paths[a.0.clone()] <= paths[b.0.clone()]) {
            files.sort_unstable_by(|a, b| paths[a.0.clone()].cmp(&paths[b.0.clone()]));
        }
        Ok(listing)
    }

    /// Which limit is exceeded, if any.
    fn excess(&self) -> Option<String> {
        if self.entries > limits::get().entries {
            return Some(format!("{} files and folders", limits::get().entries));
        }
        (self.paths.len() > limits::get().path_bytes)
            .then(|| format!("{} bytes of paths", limits::get().path_bytes))
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is a file that may be a record.
    pub(super) fn has_files(&self) -> bool {
        self.files.iter().any(|(_, sort)| *sort != Sort::Folder)
    }

    pub(super) fn path(&self, file: usize) -> &[u8] {
        &self.paths[self.files[file].0.clone()]
    }

    pub(super) fn sort(&self, file: usize) -> Sort {
        self.files[file].1
    }

    /// Adds the content of one directory, whose path ends with `/`.
    fn list(&mut self, prefix: &[u8], dirs: &mut Vec<Vec<u8>>) -> rustix::io::Result<()> {
        let name = if prefix.is_empty() { b".".as_slice() } else { prefix };
        let dir = open_dir(&self.root, name, OFlags::NOFOLLOW)?;
        let mut buffer = Vec::with_capacity(BUFFER);
        let mut entries = RawDir::new(&dir, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            self.entries += 1;
            if self.excess().is_some() {
                dirs.clear();
                return Ok(());
            }
            if name.starts_with(b".") {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not tell.
                FileType::Unknown => {
                    match rustix::fs::statat(&dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(found) => FileType::from_raw_mode(found.st_mode),
                        Err(Errno::NOENT) => continue,
                        Err(error) => return Err(error),
                    }
                }
                kind => kind,
            };
            let sort = match kind {
                FileType::Directory => {
                    if prefix.iter().filter(|byte| **byte == b'/').count() + 1 < MAX_DEPTH {
                        dirs.push([prefix, name, b"/"].concat());
                    }
                    Sort::Folder
                }
                FileType::RegularFile => Sort::Plain,
                FileType::Symlink => Sort::Link,
                _ => Sort::Special,
            };
            if name.ends_with(b".json") {
                let start = self.paths.len();
                self.paths.extend_from_slice(prefix);
                self.paths.extend_from_slice(name);
                if sort == Sort::Folder {
                    self.paths.push(b'/');
                }
                self.files.push((start..self.paths.len(), sort));
            }
        }
        Ok(())
    }
}

/// Opens a directory below another.
pub(super) fn open_dir(
    at: impl std::os::fd::AsFd,
    path: &[u8],
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(at, path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | flags, Mode::empty())
}
