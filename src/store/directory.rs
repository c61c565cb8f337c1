//! A plain directory as a store.

mod departures;
mod listing;
mod read;

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use walkdir::WalkDir;

use super::error::InStore;
use super::kind::{self, Identity, KindMemory};
use super::snapshot::{Cache, CacheWriter};
use super::{
    Applied, At, Beats, Branch, Capabilities, Edit, Folder, Heartbeat, Heartbeats, Layout, Look, Options,
    Outcome, Reached, Snapshot, Step, Store, StoreError, StoreErrorKind,
};
use crate::access::may_make_files_in;
use crate::change::Change;
use crate::deadline::Deadline;
use crate::errors::{AtPath, PathError};
use crate::folder::{self, Lasting, NotPlain, READABLE};
use crate::limits;
use crate::name::Name;
use crate::record::{MAX_BYTES, Record};
use listing::Listing;
use read::Scan;

/// The deepest level of sub-folders to read below the folder.
pub(super) const MAX_DEPTH: usize = 16;

/// The sub-folder of heartbeats. It is hidden, so readers find no records in it.
const BEATS: &str = ".beats";

/// The mode of new directories, before the umask.
const NEW_DIR: u32 = 0o777;

/// A plain directory.
pub(super) struct Directory {
    url: String,
    root: PathBuf,
    folder: Folder,
    layout: Layout,
    cache: Cache,
    /// The state directory's record of its kind.
    memory: KindMemory,
}

impl Directory {
    pub(super) fn new(
        url: &str,
        root: PathBuf,
        options: &Options,
        memory: KindMemory,
        writer: &CacheWriter,
    ) -> Directory {
        let cache = Cache::of_path(&options.state_dir, &root, options.folder.as_ref(), None, writer);
        let (folder, layout) = (options.folder.clone(), options.layout.clone());
        let url = super::shown_url(url);
        Directory { url, root, folder, layout, cache, memory }
    }

    /// The folder in this directory, or the directory itself if it has no such folder.
    fn folder(&self) -> Result<PathBuf, StoreErrorKind> {
        kind::must_be_dir(&self.root, &self.memory)?;
        let mut path = self.root.clone();
        for part in self.folder.as_ref().split('/') {
            path.push(part);
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_symlink() => return Err(StoreErrorKind::Link(path)),
                Ok(found) if found.is_dir() => {}
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).at("look at", &path)?;
                }
                _ => return Ok(self.root.clone()),
            }
        }
        Ok(path)
    }

    /// The folder for writing, if it is still the recorded one.
    fn folder_to_write(&self) -> Result<(PathBuf, Identity), StoreErrorKind> {
        let folder = self.folder()?;
        let open = fs::File::open(&folder).at("open", &folder)?;
        let identity = Identity::of(&open, &folder)?;
        self.memory.judge(&folder, identity, || Ok(Listing::new(&folder)?.has_files()))?;
        Ok((folder, identity))
    }

    /// Writes the record. Also returns why a second file of the node could not be removed, if it was not.
    fn put(&self, record: &Record) -> Result<(Option<Change>, Option<StoreErrorKind>), StoreErrorKind> {
        let (folder, identity) = self.folder_to_write()?;
        let paths: Vec<PathBuf> = self.layout.paths(record)?.iter().map(|path| folder.join(path)).collect();
        let present = paths.iter().map(|path| read_record(path)).collect::<Result<Vec<_>, _>>()?;
        // With another layout, the record is still at its old path. If it cannot be found or read, that must
        // not stop this node.
        let elsewhere = || {
            let files = find_files(&folder, record.id().as_ref(), &paths).ok()?;
            files.paths.iter().find_map(|path| read_record(path).ok().flatten())
        };
        let old = present.iter().flatten().next().cloned().or_else(elsewhere);
        // A file that states these facts keeps its bytes: they may have a signature, which this program cannot
        // make.
        let stated = present.iter().flatten().chain(&old).find(|found| *found == record);
        let bytes = stated.unwrap_or(record).to_bytes();
        let mut changed = false;
        for (path, found) in paths.iter().zip(&present) {
            if found.as_ref() != Some(record) {
                changed = true;
                replace(&folder, path, &bytes)?;
            }
        }
        // A note that another user owns may stay, and must not stop this node.
        let _ = departures::forget(&folder, record.id().as_ref());
        // Readers may take another file of this node, however long ago it was written. A file of another user
        // may stay, and must not stop this node.
        let others = find_files(&folder, record.id().as_ref(), &paths)?;
        let removed = remove_files(&others.paths)?;
        changed |= removed.any;
        // Reported with a change only: a beat would repeat it each minute.
        let stays = removed.stays.filter(|_| changed).map(StoreErrorKind::from);
        self.memory.is_directory(identity, true);
        let change = changed.then(|| Change::between(old.as_ref(), Some(record)).unwrap_or(Change::Moved));
        Ok((change, stays))
    }

    fn remove(&self, id: &str) -> Result<Option<Change>, StoreErrorKind> {
        let (folder, _) = self.folder_to_write()?;
        let files = find_files(&folder, id, &[])?;
        // Noted before the removal, so that everybody who misses the file sees that it was withdrawn. Without
        // a note the record may seem lost, and readers keep the node's server for a while. That is no reason
        // to stay on the list.
        if !files.paths.is_empty() {
            let _ = departures::note(&folder, id, SystemTime::now());
        }
        match (remove_files(&files.paths)?, files.closed) {
            (Removed { stays: Some(error), .. }, _) => Err(error.into()),
            (Removed { any: true, .. }, _) => Ok(Some(Change::Left)),
            // The file may be in there.
            (_, Some(error)) => Err(error.into()),
            _ => Ok(None),
        }
    }

    /// Writes a heartbeat: sets the time of an empty file, so that no record seems changed.
    fn beat(&self, id: &Name, time: Timestamp) -> Result<Option<Timestamp>, StoreErrorKind> {
        let (folder, _) = self.folder_to_write()?;
        let dir = open_dirs(&folder, &folder.join(BEATS))?;
        let path = dir.at(id.as_ref());
        let replaced = fs::symlink_metadata(&path).and_then(|found| found.modified()).ok();
        let replaced = replaced.and_then(|time| Timestamp::try_from(time).ok());
        // All users may see its time.
        let file = dir.open_or_make(id.as_ref(), READABLE)?;
        file.set_modified(time.into()).at("write a heartbeat to", &path)?;
        Ok(replaced)
    }
}

impl Store for Directory {
    fn url(&self) -> &str {
        &self.url
    }

    fn capabilities(&self) -> Result<Capabilities, StoreError> {
        let heartbeats = Heartbeats::Times;
        Ok(Capabilities { history: false, past: false, heartbeats, waits: false })
    }

    fn apply(
        &self,
        edit: &Edit<'_>,
        _: &str,
        beat: Option<Timestamp>,
        _: Deadline,
    ) -> Result<Applied, StoreError> {
        let change = match edit {
            Edit::Put(record) => self.put(record),
            Edit::Remove(id) => self.remove(id.as_ref()).map(|change| (change, None)),
        };
        let (change, stays) = change.in_store(&self.url)?;
        let outcome = change.map(Outcome::Merged);
        let beat = beat.map_or(Ok(None), |time| self.beat(edit.id(), time)).in_store(&self.url);
        let stays = stays.map(|kind| StoreError { url: self.url.clone(), kind });
        Ok(Applied { outcome, beat, stays, ..Applied::after(&self.url, None) })
    }

    fn beat(
        &self,
        id: &Name,
        _: &str,
        time: Timestamp,
        _: Deadline,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.beat(id, time).in_store(&self.url)
    }

    fn rehearse(&self, _: Deadline) -> Result<(Option<Branch>, Option<&'static str>), StoreError> {
        let may_write = || {
            let folder = self.folder()?;
            may_make_files_in(&folder)?;
            Ok::<_, StoreErrorKind>(may_make_files_in(&folder.join(BEATS))?)
        };
        may_write().in_store(&self.url)?;
        Ok((None, None))
    }

    fn look(&self, at: &At, heartbeats: bool, _: Deadline) -> Result<Look, StoreError> {
        if *at != At::Latest {
            return Err(StoreErrorKind::NoHistory).in_store(&self.url);
        }
        let look = || {
            let folder = self.folder()?;
            let seen = Scan::new(&folder, self.cache.exists(), SystemTime::now())?;
            let (identity, records) = (seen.identity(&folder)?, seen.holds_records());
            self.memory.judge(&folder, identity, || Ok(records))?;
            self.memory.is_directory(identity, records);
            let beats = if heartbeats { Some(read_beats(&folder)?) } else { None };
            Ok::<_, StoreErrorKind>((seen, beats))
        };
        let (seen, beats) = look().in_store(&self.url)?;
        let (cache, url) = (self.cache.clone(), self.url.clone());
        Ok(Look::new(seen.version(), move |_| {
            let snapshot = cache.refresh(|known| seen.read(known).in_store(&url))?;
            Ok(cache.with_beats(snapshot, beats))
        }))
    }

    fn history(
        &self,
        _: Deadline,
        _: &mut dyn FnMut(Step) -> ControlFlow<()>,
    ) -> Result<Reached, StoreError> {
        Err(StoreErrorKind::NoHistory).in_store(&self.url)
    }

    fn withdrawn(&self, ids: &BTreeSet<Name>) -> Result<BTreeSet<Name>, StoreError> {
        let folder = self.folder().in_store(&self.url)?;
        let now = SystemTime::now();
        Ok(ids.iter().filter(|id| departures::is_noted(&folder, id.as_str(), now)).cloned().collect())
    }

    fn last_copy(&self, _: bool) -> Option<Snapshot> {
        self.cache.last()
    }
}

/// Reads the last heartbeats of nodes.
fn read_beats(folder: &Path) -> Result<Beats, StoreErrorKind> {
    let dir = folder.join(BEATS);
    let mut beats = Beats::new();
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(beats),
        entries => entries.at("read", &dir)?,
    };
    for entry in entries.take(limits::get().beats) {
        let entry = entry.at("read", &dir)?;
        let found = match entry.metadata() {
            // A file that was removed meanwhile is no heartbeat.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            found => found.at("look at", &entry.path())?,
        };
        if found.is_file()
            && let Ok(id) = entry.file_name().into_string()
            && let Ok(time) = Timestamp::try_from(found.modified().at("look at", &entry.path())?)
        {
            beats.insert(id, Heartbeat::Time(time));
        }
    }
    Ok(beats)
}

/// The files of a node.
#[derive(Default)]
struct Files {
    paths: Vec<PathBuf>,
    /// A directory without read permission. It must not stop other nodes.
    closed: Option<PathError>,
}

/// Finds the files of this node, except those to keep.
fn find_files(folder: &Path, id: &str, keep: &[PathBuf]) -> Result<Files, PathError> {
    const OPERATION: &str = "look for this node's files in";
    let wanted = format!("{id}.json");
    let mut files = Files::default();
    for (count, entry) in walk(folder).enumerate() {
        if count > limits::get().entries {
            let most = limits::get().entries;
            let error = std::io::Error::other(format!("there are more than {most} files and folders"));
            return Err(error).at(OPERATION, folder);
        }
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => match error.into_io_error() {
                Some(error) if error.kind() == ErrorKind::PermissionDenied => {
                    let path = folder.to_owned();
                    files.closed = Some(PathError { operation: OPERATION, path, source: error });
                    continue;
                }
                // It was removed meanwhile.
                Some(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).at(OPERATION, folder);
                }
                _ => continue,
            },
        };
        let named = entry.file_name() == wanted.as_str() && !entry.file_type().is_dir();
        if named && !keep.iter().any(|path| path == entry.path()) {
            files.paths.push(entry.into_path());
        }
    }
    Ok(files)
}

/// The result of removing files.
#[derive(Default)]
struct Removed {
    /// Whether a file was removed.
    any: bool,
    /// A file that this user may not remove.
    stays: Option<PathError>,
}

fn remove_files(paths: &[PathBuf]) -> Result<Removed, PathError> {
    let mut removed = Removed::default();
    for path in paths {
        match fs::remove_file(path) {
            Ok(()) => removed.any = true,
            // Somebody else removed it meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                removed.stays = Some(PathError { operation: "remove", path: path.clone(), source: error });
            }
            Err(error) => return Err(error).at("remove", path),
        }
    }
    Ok(removed)
}

/// Everything below the folder in the order of names, without hidden files, and without following links.
fn walk(folder: &Path) -> impl Iterator<Item = walkdir::Result<walkdir::DirEntry>> {
    WalkDir::new(folder)
        .follow_links(false)
        .follow_root_links(true)
        .max_depth(MAX_DEPTH)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b"."))
}

/// The file's bytes, at most one more than allowed; `None` if it does not exist. Does not follow a link or
/// wait for a fifo.
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

/// The record in this node's own file. `None` if the file is missing or is not a record: then the publish
/// replaces it.
fn read_record(path: &Path) -> Result<Option<Record>, PathError> {
    match read_plain(path) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => Ok(None),
        result => Ok(result.at("read", path)?.and_then(|bytes| Record::parse(&bytes).ok())),
    }
}

fn replace(folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreErrorKind> {
    let dir = open_dirs(folder, path.parent().unwrap_or(folder))?;
    let name = path.file_name().unwrap_or_default();
    Ok(dir.replace(name, bytes, READABLE, Lasting::Durable)?)
}

/// Opens that directory below the folder. Creates missing directories on the way; a link among them is an
/// error.
fn open_dirs(folder: &Path, dir: &Path) -> Result<folder::Folder, StoreErrorKind> {
    let mut open = folder::Folder::open(folder)?;
    for part in dir.strip_prefix(folder).unwrap_or(Path::new("")) {
        open = open.sub(part, NEW_DIR).map_err(|error| match NotPlain::of(&error) {
            Some(NotPlain::Link) => StoreErrorKind::Link(error.path),
            _ => error.into(),
        })?;
    }
    Ok(open)
}
