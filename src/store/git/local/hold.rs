//! Writes into a local repository through its open directory.
//!
//! libgit2 writes by path. If the repository was just moved away, libgit2 creates its directories anew, and
//! what it writes there is lost. Here every write goes to the directory that was opened, wherever that is
//! now, and fails if that was removed. So commits are made in memory, and this module writes the objects and
//! the branch. It also gives new files the modes that `core.sharedRepository` demands, which libgit2 does
//! not. It tolerates `git gc` and `git prune`, which remove directories and temporary files under a writer.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use git2::{ObjectType, Oid, Repository};
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;

use super::shared::Shared;
use crate::errors::{AtPath, PathError};
use crate::folder::{self, Folder};
use crate::store::StoreErrorKind;
use crate::store::git::error::During;
use crate::store::git::network;

/// How often a file or directory may be removed during a write before that is an error.
const TRIES: usize = 16;

/// The open directory of a repository.
pub(super) struct Hold {
    dir: OwnedFd,
    /// Its path when it was opened.
    pub(super) path: PathBuf,
    shared: Shared,
}

impl Hold {
    /// Opens the directory with the objects and refs of that repository.
    pub(super) fn of(repo: &Repository) -> Result<Hold, StoreErrorKind> {
        let path = repo.commondir().to_owned();
        let dir = Folder::open(&path)?.into_handle();
        let shared = Shared::of(&repo.config().during("read the configuration")?);
        Ok(Hold { dir, path, shared })
    }

    /// Whether the path still leads to this directory. An error if nothing is there.
    pub(super) fn is_in_place(&self) -> Result<bool, StoreErrorKind> {
        let here = rustix::fs::fstat(&self.dir).map_err(io::Error::from).at("look at", &self.path)?;
        match std::fs::metadata(&self.path) {
            Ok(found) => Ok((found.dev(), found.ino()) == (here.st_dev, here.st_ino)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreErrorKind::Missing(self.path.clone()))
            }
            Err(error) => Err(error).at("look at", &self.path)?,
        }
    }

    /// Writes the objects that a commit adds to its base, as loose objects that survive a power failure.
    /// Touches the objects that exist already, so that `git prune` keeps them.
    pub(super) fn store(
        &self,
        repo: &Repository,
        base: Option<Oid>,
        commit: Oid,
    ) -> Result<(), StoreErrorKind> {
        let added = network::added(repo, base, commit).during("list the new objects")?;
        let odb = repo.odb().during("open the object database")?;
        for oid in added {
            let object = odb.read(oid).during("read a new object")?;
            self.store_one(oid, object.kind(), object.data())?;
        }
        Ok(())
    }

    /// Writes one object.
    pub(super) fn store_one(&self, oid: Oid, kind: ObjectType, bytes: &[u8]) -> Result<(), StoreErrorKind> {
        let hex = oid.to_string();
        let dir = format!("objects/{}", &hex[..2]);
        let name = format!("{dir}/{}", &hex[2..]);
        if self.refresh(&name)? {
            return Ok(());
        }
        let mut loose = ZlibEncoder::new(Vec::new(), Compression::fast());
        let packed = write!(loose, "{} {}\0", kind.str(), bytes.len())
            .and_then(|()| loose.write_all(bytes))
            .and_then(|()| loose.finish());
        let path = self.path.join(&name);
        let packed = packed.at("compress", &path)?;
        let staged = format!("{dir}/tmp_obj_{:016x}", fastrand::u64(..));
        let write = || {
            let mut file = self.create(&staged, 0o444)?;
            file.write_all(&packed)?;
            file.sync_all()?;
            self.rename(&staged, &name)?;
            self.sync(&dir)
        };
        self.persist(write).map_err(|error| {
            // It is not an object yet, and `git prune` will remove it if this fails.
            let _ = self.remove(&staged, AtFlags::empty());
            PathError { operation: "write", path, source: error }.into()
        })
    }

    /// Whether that file exists. Touches it if it does.
    fn refresh(&self, name: &str) -> Result<bool, PathError> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        let touched = self.folder_of(name).and_then(|(dir, file)| {
            Ok(rustix::fs::utimensat(&dir, file, &times, AtFlags::SYMLINK_NOFOLLOW)?)
        });
        match touched {
            Ok(()) => Ok(true),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound => Ok(false),
                // It belongs to another user: its age cannot be changed.
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Ok(true),
                _ => Err(error).at("touch", &self.path.join(name)),
            },
        }
    }

    /// Repeats a write while `git gc` or `git prune` removes its directory or its temporary file.
    fn persist<T>(&self, mut write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let mut tries = 0;
        loop {
            match write() {
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => tries += 1,
                result => return result,
            }
        }
    }

    /// Creates a new file, and its missing parent directories.
    pub(super) fn create(&self, name: &str, mode: u32) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || {
            let (dir, file) = self.folder_of(name)?;
            Ok::<_, io::Error>(rustix::fs::openat(&dir, file, flags, Mode::from_raw_mode(mode))?)
        };
        let made = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_dirs(name)?;
                open()?
            }
            result => result?,
        };
        self.adjust(&made, false)?;
        Ok(File::from(made))
    }

    /// Creates the parent directories of that name, except the topmost one outside `logs`: a repository that
    /// lacks it is broken.
    fn make_dirs(&self, name: &str) -> io::Result<()> {
        let firsts = name.find('/').unwrap_or(name.len());
        for (end, _) in name.match_indices('/').filter(|(end, _)| *end > firsts || name.starts_with("logs/"))
        {
            let (above, dir) = self.folder_of(&name[..end])?;
            match rustix::fs::mkdirat(&above, dir, Mode::from_raw_mode(0o777)) {
                Ok(()) if self.shared != Shared::Umask => {
                    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let made = rustix::fs::openat(&above, dir, flags, Mode::empty())?;
                    self.adjust(&made, true)?;
                }
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives a new file or directory the mode that the repository's configuration demands.
    fn adjust(&self, made: &OwnedFd, is_dir: bool) -> io::Result<()> {
        if self.shared == Shared::Umask {
            return Ok(());
        }
        let found = rustix::fs::fstat(made)?.st_mode & 0o7777;
        let wanted = self.shared.mode(found, is_dir);
        if wanted != found {
            rustix::fs::fchmod(made, Mode::from_raw_mode(wanted))?;
        }
        Ok(())
    }

    /// Makes the names in that directory survive a power failure.
    pub(super) fn sync(&self, dir: &str) -> io::Result<()> {
        let (dir, _) = self.folder_of(&format!("{dir}/."))?;
        match rustix::fs::fsync(dir) {
            // The directory may be writable but not readable.
            Err(Errno::BADF) => Err(Errno::ACCESS.into()),
            synced => Ok(synced?),
        }
    }

    /// Opens a file below the directory.
    pub(super) fn open(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let (dir, file) = self.folder_of(name)?;
        Ok(rustix::fs::openat(&dir, file, flags, Mode::empty())?.into())
    }

    /// Renames a file, and replaces an existing one.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let ((old, from), (new, to)) = (self.folder_of(from)?, self.folder_of(to)?);
        Ok(rustix::fs::renameat(&old, from, &new, to)?)
    }

    /// Removes a file, or with `REMOVEDIR` an empty directory.
    pub(super) fn remove(&self, name: &str, flags: AtFlags) -> io::Result<()> {
        let (dir, file) = self.folder_of(name)?;
        Ok(rustix::fs::unlinkat(&dir, file, flags)?)
    }

    /// Opens the directory of a file, and returns it with the file's name. Follows only links that are
    /// permitted.
    fn folder_of<'n>(&self, name: &'n str) -> io::Result<(OwnedFd, &'n str)> {
        folder::of_file(self.dir.as_fd(), name)
    }

    /// The path of a file, for messages.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.path.join(Path::new(name))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn repository() -> (tempfile::TempDir, Repository) {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path().join("list.git")).unwrap();
        (dir, repo)
    }

    fn write(hold: &Hold, text: &str) -> Result<Oid, StoreErrorKind> {
        let oid = Oid::hash_object(ObjectType::Blob, text.as_bytes()).unwrap();
        hold.store_one(oid, ObjectType::Blob, text.as_bytes()).map(|()| oid)
    }

    #[test]
    fn an_object_is_one_for_libgit2() {
        let (_dir, repo) = repository();
        let oid = write(&Hold::of(&repo).unwrap(), "a record").unwrap();
        assert_eq!(repo.find_blob(oid).unwrap().content(), b"a record");
    }

    #[test]
    fn what_was_moved_away_is_not_made_anew() {
        let (dir, repo) = repository();
        let hold = Hold::of(&repo).unwrap();
        let (here, away) = (dir.path().join("list.git"), dir.path().join("away.git"));
        fs::rename(&here, &away).unwrap();
        let oid = write(&hold, "a record").unwrap();
        assert!(!here.exists());
        assert!(Repository::open_bare(&away).unwrap().find_blob(oid).is_ok());
        assert!(matches!(hold.is_in_place(), Err(StoreErrorKind::Missing(_))));
        fs::create_dir(&here).unwrap();
        assert!(!hold.is_in_place().unwrap());
        fs::remove_dir_all(&away).unwrap();
        assert!(write(&hold, "another record").is_err());
        assert!(!away.exists() && fs::read_dir(&here).unwrap().next().is_none());
    }

    #[test]
    fn a_repository_without_its_objects_gets_no_new_ones() {
        let (dir, repo) = repository();
        let hold = Hold::of(&repo).unwrap();
        fs::rename(dir.path().join("list.git/objects"), dir.path().join("objects")).unwrap();
        assert!(write(&hold, "a record").is_err());
        assert!(!dir.path().join("list.git/objects").exists());
    }

    #[test]
    fn several_users_share_what_is_new() {
        let (dir, repo) = repository();
        repo.config().unwrap().set_str("core.sharedRepository", "0660").unwrap();
        let oid = write(&Hold::of(&repo).unwrap(), "a record").unwrap().to_string();
        let mode = |path: &str| {
            fs::metadata(dir.path().join("list.git").join(path)).unwrap().permissions().mode() & 0o7777
        };
        assert_eq!(mode(&format!("objects/{}", &oid[..2])), 0o2770);
        assert_eq!(mode(&format!("objects/{}/{}", &oid[..2], &oid[2..])), 0o440);
    }
}
