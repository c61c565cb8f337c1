//! Determines what a store at a path is: a git repository or a plain directory.
//!
//! What is there decides, together with what was there before. A repository that cannot be opened is not a
//! plain directory, and an empty directory where a share should be mounted is not an empty list. So the state
//! directory records what a store was at its last use. The decisions are pure; [`KindMemory`] reads one small
//! file, and writes it only if it changes.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::StoreErrorKind;
use crate::errors::{AtPath, PathError};
use crate::state;

/// The kind of a store at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreKind {
    /// A git repository, bare or with a work tree.
    Repository,
    /// A directory without signs of git.
    Directory,
}

/// The signs of git at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Signs {
    /// The path is a directory.
    pub(super) is_there: bool,
    /// Its name ends in `.git`.
    pub(super) suffix: bool,
    /// It contains a `.git`, as a directory or a file.
    pub(super) dot_git: bool,
    /// How many of `HEAD`, `objects` and `refs` it contains, plus `config` if it contains one of them.
    pub(super) parts: usize,
}

impl Signs {
    /// Examines the path. An error if the permission is missing.
    pub(super) fn of(path: &Path) -> Result<Signs, PathError> {
        let suffix = path.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(b".git"));
        if !is_dir(path)? {
            return Ok(Signs { suffix, ..Signs::default() });
        }
        let has = |name: &str| match fs::symlink_metadata(path.join(name)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).at("look into", path),
        };
        let parts = usize::from(has("HEAD")?) + usize::from(has("objects")?) + usize::from(has("refs")?);
        // A repository that is being copied may have only some parts yet.
        let parts = parts + usize::from(parts > 0 && has("config")?);
        Ok(Signs { is_there: true, suffix, dot_git: has(".git")?, parts })
    }

    fn are_of_git(self) -> bool {
        self.suffix || self.dot_git || self.parts >= 2
    }
}

/// Whether there is a directory. An error if the permission to look is missing.
pub(super) fn is_dir(path: &Path) -> Result<bool, PathError> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.is_dir()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => Err(error).at("look at", path),
    }
}

/// An error if there is no directory. It tells what is there instead, and whether a store was there before.
pub(super) fn must_be_dir(path: &Path, memory: &KindMemory) -> Result<(), StoreErrorKind> {
    match missing(path)? {
        None => Ok(()),
        Some(StoreErrorKind::Missing(path)) if memory.was_used() => Err(StoreErrorKind::Away(path)),
        Some(error) => Err(error),
    }
}

/// Why there is no directory at that path; `None` if there is one.
pub(super) fn missing(path: &Path) -> Result<Option<StoreErrorKind>, PathError> {
    if is_dir(path)? {
        return Ok(None);
    }
    let is = match fs::symlink_metadata(path).map(|found| found.file_type()) {
        Ok(found) if found.is_symlink() => "a link that does not lead to a directory",
        Ok(found) if found.is_file() => "a file",
        Ok(found) if found.is_fifo() => "a fifo",
        Ok(found) if found.is_socket() => "a socket",
        // It appeared just now.
        Ok(found) if found.is_dir() => return Ok(None),
        Ok(_) => "a device",
        Err(_) => return Ok(Some(StoreErrorKind::Missing(path.to_owned()))),
    };
    Ok(Some(StoreErrorKind::NoDirectory { path: path.to_owned(), is }))
}

/// The kind of the store at a path.
///
/// If nothing is there, the recorded kind applies, and the store itself reports that it is missing. A former
/// repository without any sign of git is an error. So is a former directory with records that shows signs of
/// git.
pub(super) fn judge(path: &Path, signs: Signs, memory: &KindMemory) -> Result<StoreKind, StoreErrorKind> {
    match (signs.is_there, signs.are_of_git(), &memory.known) {
        (true, false, Some(Known::Repository)) => Err(memory.changed(path, Difference::Repository)),
        (true, true, Some(Known::Directory { records: true, .. })) => {
            Err(memory.changed(path, Difference::Directory))
        }
        (_, true, _) | (false, _, Some(Known::Repository)) => Ok(StoreKind::Repository),
        _ => Ok(StoreKind::Directory),
    }
}

/// How a store differs from its recorded state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// It was a repository, and shows no sign of one.
    Repository,
    /// It was a plain directory with records, and shows signs of a repository.
    Directory,
    /// It held records, and is now another directory without records.
    Emptied,
    /// It held records, and is now on another file system.
    Elsewhere,
    /// It was on a mounted file system, which is not mounted now. It held no records.
    Unmounted,
}

/// Identifies a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// The type of its file system (statfs(2)).
    system: i64,
    device: u64,
    inode: u64,
    /// Its creation time in nanoseconds since 1970; 0 if the file system does not record it.
    born: u64,
    /// Whether it is on a file system other than that of `/`.
    mounted: bool,
}

impl Identity {
    /// The identity of an open directory.
    pub(super) fn of(dir: &fs::File, path: &Path) -> Result<Identity, PathError> {
        let found = dir.metadata().at("look at", path)?;
        let system = rustix::fs::fstatfs(dir).map_err(io::Error::from).at("look at", path)?;
        let born = found.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let root = fs::metadata("/").at("look at", Path::new("/"))?;
        Ok(Identity {
            system: system.f_type as i64,
            device: found.dev(),
            inode: found.ino(),
            born: born.and_then(|age| u64::try_from(age.as_nanos()).ok()).unwrap_or_default(),
            mounted: found.dev() != root.dev(),
        })
    }

    /// Whether it is the same directory. A "no" may be wrong: after a restart, a share may have another
    /// device number.
    fn is_same(self, other: Identity) -> bool {
        let born = self.born == other.born || self.born == 0 || other.born == 0;
        (self.device, self.inode) == (other.device, other.inode) && born
    }

    /// Whether it is certainly on another file system: one of another type, or that of `/` instead of a
    /// mounted one.
    fn is_elsewhere(self, before: Identity) -> bool {
        self.system != before.system || (before.mounted && !self.mounted)
    }
}

/// The recorded state of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Repository,
    Directory { identity: Identity, records: bool },
}

impl Known {
    fn parse(text: &str) -> Option<Known> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            ["repository"] => Some(Known::Repository),
            ["directory", system, device, inode, born, mounted, records] => Some(Known::Directory {
                identity: Identity {
                    system: system.parse().ok()?,
                    device: device.parse().ok()?,
                    inode: inode.parse().ok()?,
                    born: born.parse().ok()?,
                    mounted: mounted == "mounted",
                },
                records: records == "records",
            }),
            _ => None,
        }
    }

    fn text(self) -> String {
        match self {
            Known::Repository => "repository\n".to_owned(),
            Known::Directory { identity: Identity { system, device, inode, born, mounted }, records } => {
                let mounted = if mounted { "mounted" } else { "root" };
                let records = if records { "records" } else { "none" };
                format!("directory {system} {device} {inode} {born} {mounted} {records}\n")
            }
        }
    }
}

/// The name of the memory's file.
const FILE: &str = "kind";

/// The state directory's record of one store's kind. It is only a safeguard: without a usable state directory
/// there is none.
#[derive(Debug, Clone)]
pub(super) struct KindMemory {
    path: PathBuf,
    known: Option<Known>,
}

impl KindMemory {
    /// Reads it from the store's place in the state directory.
    pub(super) fn of(place: &Path) -> KindMemory {
        let path = place.join(FILE);
        let known = state::load_text(place, FILE).and_then(|text| Known::parse(&text));
        KindMemory { path, known }
    }

    /// Whether a store was there before: a repository, or a directory with records.
    pub(super) fn was_used(&self) -> bool {
        matches!(self.known, Some(Known::Repository | Known::Directory { records: true, .. }))
    }

    /// The error that the store differs from its recorded state.
    pub(super) fn changed(&self, path: &Path, was: Difference) -> StoreErrorKind {
        StoreErrorKind::Changed { path: path.to_owned(), was, memory: self.path.clone() }
    }

    /// Records that it is a repository, which has been opened.
    pub(super) fn is_repository(&self) {
        self.remember(Known::Repository);
    }

    /// Whether this directory may be the list. `records` tells whether it holds records now.
    ///
    /// If the recorded directory held no records, any directory may, except one below the mount point.
    /// Otherwise the same directory may: its last node has left. Another directory with records may too,
    /// since a share that is mounted anew can look like that. A directory on the file system below the mount
    /// point may not.
    pub(super) fn judge(
        &self,
        path: &Path,
        now: Identity,
        records: impl FnOnce() -> Result<bool, PathError>,
    ) -> Result<(), StoreErrorKind> {
        let Some(Known::Directory { identity, records: held }) = self.known else { return Ok(()) };
        let was = match () {
            () if now.is_same(identity) => return Ok(()),
            // Records published below a mount point become invisible once the file system is mounted again.
            () if !held && identity.mounted && !now.mounted => Difference::Unmounted,
            () if !held => return Ok(()),
            () if now.is_elsewhere(identity) => Difference::Elsewhere,
            () if !records()? => Difference::Emptied,
            () => return Ok(()),
        };
        Err(self.changed(path, was))
    }

    /// Records the identity of the directory, and whether it holds records.
    pub(super) fn is_directory(&self, identity: Identity, records: bool) {
        self.remember(Known::Directory { identity, records });
    }

    fn remember(&self, known: Known) {
        if self.known == Some(known) {
            return;
        }
        let place = self.path.parent().unwrap_or(Path::new("."));
        // Without a writable state directory nothing is recorded.
        let _ = state::save_text(place, FILE, &known.text());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(known: Option<Known>) -> KindMemory {
        KindMemory { path: "/state/kind".into(), known }
    }

    const HERE: Identity = Identity { system: 61267, device: 7, inode: 12, born: 5, mounted: true };

    fn held(records: bool) -> Option<Known> {
        Some(Known::Directory { identity: HERE, records })
    }

    #[test]
    fn what_is_there_and_what_was_there_decide() {
        let there = Signs { is_there: true, ..Signs::default() };
        let kind = |signs, known| judge(Path::new("/srv/list"), signs, &memory(known)).ok();
        for signs in [
            Signs { suffix: true, ..there },
            Signs { dot_git: true, ..there },
            Signs { parts: 2, ..there },
            Signs { parts: 3, suffix: true, ..there },
        ] {
            assert_eq!(kind(signs, None), Some(StoreKind::Repository), "{signs:?}");
            assert_eq!(kind(signs, held(false)), Some(StoreKind::Repository), "{signs:?}");
            assert_eq!(kind(signs, held(true)), None, "{signs:?}");
        }
        for signs in [there, Signs { parts: 1, ..there }] {
            assert_eq!(kind(signs, None), Some(StoreKind::Directory));
            assert_eq!(kind(signs, held(true)), Some(StoreKind::Directory));
            assert_eq!(kind(signs, Some(Known::Repository)), None, "it was git yesterday");
        }
        let gone = Signs::default();
        assert_eq!(kind(gone, Some(Known::Repository)), Some(StoreKind::Repository));
        assert_eq!(kind(gone, None), Some(StoreKind::Directory));
    }

    #[test]
    fn an_emptied_list_is_told_from_a_share_that_is_not_mounted() {
        let judged = |now: Identity, records: bool| {
            memory(held(true)).judge(Path::new("/mnt/list"), now, || Ok(records)).is_ok()
        };
        assert!(judged(HERE, true) && judged(HERE, false), "the last node has left");
        let again = Identity { device: 9, ..HERE };
        assert!(judged(again, true), "mounted anew");
        assert!(!judged(again, false));
        assert!(!judged(Identity { inode: 13, ..HERE }, false), "made anew");
        assert!(!judged(Identity { born: 6, ..HERE }, false), "made anew, with the number of the old one");
        assert!(judged(Identity { born: 0, ..HERE }, false), "a kernel that does not say");
        for below in [Identity { device: 1, mounted: false, ..HERE }, Identity { system: 1, ..again }] {
            assert!(!judged(below, true) && !judged(below, false), "below the mount point");
        }
    }

    #[test]
    fn an_empty_list_is_not_begun_below_its_mount_point() {
        let judged = |before: Identity, now: Identity| {
            let known = Some(Known::Directory { identity: before, records: false });
            memory(known).judge(Path::new("/mnt/list"), now, || Ok(false)).is_ok()
        };
        let below = Identity { device: 1, inode: 2, mounted: false, ..HERE };
        assert!(!judged(HERE, below), "the share is away");
        assert!(judged(below, HERE), "it came after the first look");
        assert!(judged(HERE, Identity { device: 9, inode: 4, system: 1, ..HERE }), "another share");
        assert!(judged(below, Identity { inode: 3, ..below }), "made anew");
    }

    #[test]
    fn it_is_read_back_and_written_only_if_different() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("store");
        KindMemory::of(&place).is_directory(HERE, true);
        let memory = KindMemory::of(&place);
        assert_eq!(memory.known, held(true));
        fs::remove_file(&memory.path).unwrap();
        memory.is_directory(HERE, true);
        assert!(!memory.path.exists());
        memory.is_repository();
        assert_eq!(KindMemory::of(&place).known, Some(Known::Repository));
        fs::write(&memory.path, "directory x").unwrap();
        assert_eq!(KindMemory::of(&place).known, None);
    }
}
