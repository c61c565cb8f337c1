//! The way to a folder: which links are followed.
//!
//! Root's links are, and those of the user who runs this program: they may lead anywhere. A link of somebody else leads
//! only to a folder of his own, where he can write anyway. Otherwise he could have this program write where he cannot.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// As many links as the system itself follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The same for a folder that may be written and not read: what is in it can be opened by its name, and no more.
const WRITTEN_ONLY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens the folder at that path.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    open_from(CWD, path)
}

/// Opens the folder at that path, which begins at an open folder.
pub(super) fn open_from(start: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let open = |flags| rustix::fs::openat2(start, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    match open(FOLDER).or_else(|error| if error == Errno::ACCESS { open(WRITTEN_ONLY) } else { Err(error) }) {
        // There is a link; or a kernel before 5.6, or a container, knows no such call.
        Err(Errno::LOOP | Errno::NOSYS | Errno::PERM) => step_by_step(start, path),
        opened => Ok(opened?),
    }
}

fn step_by_step(start: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let at = |folder: &OwnedFd, name: &OsString| {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(folder, name, flags, Mode::empty())
    };
    let mut here = rustix::fs::openat(start, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let mut rest = steps(path);
    // Somebody else's link that was followed, and who he is.
    let mut foreign: Option<(PathBuf, u32)> = None;
    let mut links = 0;
    while let Some(step) = rest.pop_front() {
        let found = at(&here, &step)?;
        let about = rustix::fs::fstat(&found)?;
        if FileType::from_raw_mode(about.st_mode) != FileType::Symlink {
            here = found;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        let owner = about.st_uid;
        let trusted = owner == 0 || owner == rustix::process::geteuid().as_raw();
        let link = PathBuf::from(&step);
        match &foreign {
            _ if trusted => {}
            Some((first, other)) if *other != owner => return Err(refused(first, *other)),
            _ => foreign = Some((link, owner)),
        }
        let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
        let mut target = steps(Path::new(&OsString::from_vec(target.into_bytes())));
        target.append(&mut rest);
        rest = target;
    }
    let open = |flags| rustix::fs::openat(&here, ".", flags, Mode::empty());
    let opened =
        open(FOLDER).or_else(|error| if error == Errno::ACCESS { open(WRITTEN_ONLY) } else { Err(error) })?;
    match foreign {
        Some((link, owner)) if rustix::fs::fstat(&opened)?.st_uid != owner => Err(refused(&link, owner)),
        _ => Ok(opened),
    }
}

/// The steps of a path: names, `..`, and `/` at its beginning.
fn steps(path: &Path) -> VecDeque<OsString> {
    let is_step = |component: &Component<'_>| !matches!(component, Component::CurDir | Component::Prefix(_));
    path.components().filter(is_step).map(|component| component.as_os_str().to_owned()).collect()
}

fn refused(link: &Path, owner: u32) -> io::Error {
    io::Error::other(format!(
        "the link `{}` in the path belongs to user {owner} but leads to a folder of another user; run \
         `chown -h root` on the link to allow it",
        link.display()
    ))
}
