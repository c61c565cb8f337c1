//! What this process may do with files, found out without doing it.

use std::io;
use std::path::Path;

use rustix::fs::{Access, access};

use crate::errors::{AtPath, PathError};

/// Whether files can be made in that folder, or the folder itself if it does not exist yet.
pub(crate) fn may_make_files_in(dir: &Path) -> Result<(), PathError> {
    for ancestor in dir.ancestors() {
        let ancestor = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
        match access(ancestor, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) if ancestor.is_dir() => return Ok(()),
            Ok(()) => return Err(io::Error::from(io::ErrorKind::NotADirectory)).at("write in", ancestor),
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(io::Error::from(error)).at("write in", ancestor),
        }
    }
    Err(io::Error::from(io::ErrorKind::NotFound)).at("write in", dir)
}

/// Whether that file can be overwritten.
pub(crate) fn may_write(file: &Path) -> Result<(), PathError> {
    access(file, Access::WRITE_OK).map_err(io::Error::from).at("write", file)
}

/// Whether that file is an executable program.
pub(crate) fn may_run(file: &Path) -> Result<(), PathError> {
    let found = std::fs::metadata(file).at("find", file)?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a file")).at("run", file);
    }
    access(file, Access::EXEC_OK).map_err(io::Error::from).at("run", file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_done_is_told_from_what_may_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        std::fs::write(at("file"), "").unwrap();
        assert!(may_make_files_in(dir.path()).is_ok() && may_make_files_in(&at("new/deep")).is_ok());
        let error = may_make_files_in(&at("file/below")).unwrap_err();
        assert!(error.path == at("file/below") || error.path == at("file"), "{error}");
        assert!(may_write(&at("file")).is_ok() && may_write(&at("none")).is_err());
        assert!(may_run(Path::new("/bin/sh")).is_ok());
        assert!(
            may_run(&at("file")).is_err() && may_run(dir.path()).is_err() && may_run(&at("none")).is_err()
        );
    }
}
