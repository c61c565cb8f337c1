//! What the errors of this crate have in common: an I/O error names its path, and a chain of causes is one
//! line.

use std::io;
use std::path::{Path, PathBuf};

pub use presence_git::message::chain;

/// "Operation not permitted" (errno(3)); missing permissions alone are mostly EACCES.
const EPERM: i32 = 1;

/// An I/O error with its operation and path. "No such file or directory" alone does not help.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} `{}`", path.display())]
pub struct PathError {
    /// The operation, as a verb: "read", "replace".
    pub operation: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// The system's error.
    #[source]
    pub source: io::Error,
}

impl PathError {
    /// A copy of the error.
    pub fn again(&self) -> PathError {
        let source = match self.source.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(self.source.kind(), self.source.to_string()),
        };
        PathError { operation: self.operation, path: self.path.clone(), source }
    }

    /// The next step, for causes that have an obvious one.
    pub fn hint(&self) -> Option<String> {
        let path = self.path.display();
        match self.source.kind() {
            // Not only missing permissions: a flag of the file or a mount can stop root as well.
            io::ErrorKind::PermissionDenied if self.source.raw_os_error() == Some(EPERM) => Some(format!(
                "run as a user that may {} `{path}`; if root may not either, `lsattr -d` on it and on its \
                 folder shows why",
                self.operation
            )),
            io::ErrorKind::PermissionDenied => {
                Some(format!("run as a user that may {} `{path}`, or choose another place", self.operation))
            }
            io::ErrorKind::NotFound => Some(format!("create `{path}` first, or name another one")),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(format!(
                "free some space on the file system of `{path}`, then run the same command again"
            )),
            io::ErrorKind::ReadOnlyFilesystem => {
                Some(format!("`{path}` is on a read-only file system: name a writable place"))
            }
            _ => None,
        }
    }
}

/// Adds the path to an [`io::Error`].
pub trait AtPath<T> {
    /// Wraps the error with the operation (a verb) and the path.
    fn at(self, operation: &'static str, path: &Path) -> Result<T, PathError>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, PathError> {
        self.map_err(|source| PathError { operation, path: path.to_owned(), source })
    }
}

/// The path quoted for a shell, for commands in messages that are meant to be pasted.
pub fn pasted(path: &Path) -> String {
    shell_words::quote(&path.to_string_lossy()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_can_be_pasted() {
        let words = |path: &str| shell_words::split(&pasted(Path::new(path))).unwrap();
        for path in ["/etc/haproxy/haproxy.cfg", "/srv/a b/c", "it's", "$HOME;x", "~/x"] {
            assert_eq!(words(path), [path]);
        }
        assert_eq!(pasted(Path::new("/etc/haproxy/haproxy.cfg")), "/etc/haproxy/haproxy.cfg");
    }

    #[test]
    fn a_chain_is_one_line_and_names_the_path() {
        let error = std::fs::read("/nowhere/at/all").at("read", Path::new("/nowhere/at/all")).unwrap_err();
        assert_eq!(chain(&error), "cannot read `/nowhere/at/all`: No such file or directory (os error 2)");
        assert!(error.hint().unwrap().contains("/nowhere/at/all"));
    }
}
