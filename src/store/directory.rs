//! A folder that is just a folder.

use std::fs;
use std::hash::Hasher;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::error::InStore;
use super::{Edit, File, FileProblem, Folder, Options, Snapshot, Store, StoreError, StoreErrorKind, copy};
use crate::change::Change;
use crate::errors::{AtPath, PathError};
use crate::record::{MAX_BYTES, Record};

/// Sub-folders deeper than this below the folder are not looked into.
pub(super) const MAX_DEPTH: usize = 16;

/// A plain directory.
pub(super) struct Directory {
    url: String,
    root: PathBuf,
    folder: Folder,
    copy: PathBuf,
}

impl Directory {
    pub(super) fn new(url: &str, root: PathBuf, options: &Options) -> Directory {
        let copy = copy::place(&options.state_dir, url);
        Directory { url: url.to_owned(), root, folder: options.folder.clone(), copy }
    }

    /// The folder in this directory; where there is none inside, the directory itself.
    fn folder(&self) -> Result<PathBuf, StoreErrorKind> {
        if !self.root.is_dir() {
            return Err(StoreErrorKind::Missing(self.root.clone()));
        }
        let mut path = self.root.clone();
        for part in self.folder.as_ref().split('/') {
            path.push(part);
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_symlink() => return Err(StoreErrorKind::Link(path)),
                Ok(found) if found.is_dir() => {}
                _ => return Ok(self.root.clone()),
            }
        }
        Ok(path)
    }

    fn put(&self, record: &Record) -> Result<Option<Change>, StoreErrorKind> {
        let folder = self.folder()?;
        let path = folder.join(format!("{}.json", record.id()));
        let bytes = record.to_bytes();
        let old = read_plain(&path).ok().flatten();
        if old.as_deref() == Some(&bytes[..]) {
            return Ok(None);
        }
        replace(&folder, &path, &bytes)?;
        let old = old.and_then(|bytes| Record::parse(&bytes).ok());
        Ok(Change::between(old.as_ref(), Some(record)).or(Some(Change::Joined)))
    }

    fn remove(&self, id: &str) -> Result<Option<Change>, StoreErrorKind> {
        let wanted = format!("{id}.json");
        let mut change = None;
        for entry in walk(&self.folder()?).filter_map(Result::ok) {
            if entry.file_name() == wanted.as_str() && !entry.file_type().is_dir() {
                fs::remove_file(entry.path()).at("remove", entry.path())?;
                change = Some(Change::Left);
            }
        }
        Ok(change)
    }

    fn read(&self) -> Result<Snapshot, StoreErrorKind> {
        let folder = self.folder()?;
        let mut snapshot = Snapshot::default();
        let mut version = fnv::FnvHasher::default();
        for entry in walk(&folder) {
            let entry = match entry {
                Ok(entry) => entry,
                // The folder itself cannot be read: that is the store's failure, not one file's.
                Err(error) if error.depth() == 0 => return Err(walk_error(error, &folder).into()),
                Err(error) => {
                    let path = error.path().unwrap_or(&folder).to_owned();
                    let reason = crate::errors::chain(&walk_error(error, &path));
                    snapshot.problems.push(FileProblem { path: below(&folder, &path), reason });
                    continue;
                }
            };
            let path = entry.path();
            if entry.file_type().is_dir() || path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let name = below(&folder, path);
            let text = match entry.file_type().is_symlink() {
                true => Err("is a link, and links are not followed".to_owned()),
                false => read_text(path),
            };
            match text {
                Ok(Some(text)) => {
                    version.write(name.as_bytes());
                    version.write(&[0]);
                    version.write(text.as_bytes());
                    version.write(&[0]);
                    snapshot.files.push(File { path: name, text });
                }
                Ok(None) => {} // gone between the listing and the reading: it left
                Err(reason) => snapshot.problems.push(FileProblem { path: name, reason }),
            }
        }
        snapshot.version = format!("{:016x}-{}", version.finish(), snapshot.problems.len());
        Ok(snapshot)
    }
}

impl Store for Directory {
    fn url(&self) -> &str {
        &self.url
    }

    fn apply(&self, edit: &Edit<'_>) -> Result<Option<Change>, StoreError> {
        match edit {
            Edit::Put(record) => self.put(record),
            Edit::Remove(id) => self.remove(id.as_ref()),
        }
        .in_store(&self.url)
    }

    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let snapshot = self.read().in_store(&self.url)?;
        copy::keep(&self.copy, &snapshot);
        Ok(snapshot)
    }

    fn last_copy(&self) -> Option<Snapshot> {
        copy::kept(&self.copy)
    }
}

/// Everything below the folder in the order of the names, without hidden files and without following links.
fn walk(folder: &Path) -> impl Iterator<Item = walkdir::Result<walkdir::DirEntry>> {
    WalkDir::new(folder)
        .follow_links(false)
        .follow_root_links(true)
        .max_depth(MAX_DEPTH)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b"."))
}

fn walk_error(error: walkdir::Error, path: &Path) -> PathError {
    let path = error.path().unwrap_or(path).to_owned();
    let source = error.into_io_error().unwrap_or_else(|| std::io::Error::other("a loop of directories"));
    PathError { doing: "read", path, source }
}

fn below(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned()
}

/// The file's bytes, one more than allowed at most; none if it is gone. Neither follows a link nor waits for a fifo.
fn read_plain(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let file = match fs::OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::with_capacity(1024);
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn read_text(path: &Path) -> Result<Option<String>, String> {
    let Some(bytes) = read_plain(path).map_err(|error| format!("cannot be read: {error}"))? else {
        return Ok(None);
    };
    super::text_of(bytes).map(Some)
}

fn replace(folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    let mut staged =
        tempfile::Builder::new().prefix(".presence-").tempfile_in(folder).at("write a record in", folder)?;
    staged.write_all(bytes).at("write", path)?;
    staged.as_file().set_permissions(fs::Permissions::from_mode(0o644)).at("write", path)?;
    staged.as_file().sync_all().at("write", path)?;
    staged.persist(path).map_err(|error| error.error).at("replace", path)?;
    fs::File::open(folder).and_then(|dir| dir.sync_all()).at("write", folder)
}
