//! Errors of stores, and hints what to do about them.

use std::path::Path;

use crate::deadline::Deadline;
use crate::errors::PathError;
#[cfg(feature = "etcd")]
use crate::store::etcd::EtcdError;
use crate::store::git::GitError;
use crate::store::kind::Difference;

/// A store could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("store `{url}`")]
pub struct StoreError {
    /// The store as the user named it, without secrets.
    pub url: String,
    /// What happened.
    #[source]
    pub kind: StoreErrorKind,
}

/// What happened.
#[derive(Debug, thiserror::Error)]
pub enum StoreErrorKind {
    /// There is nothing at that path.
    #[error("there is no directory or repository `{}`", shown(.0))]
    Missing(std::path::PathBuf),
    /// There was a store at that path, and now there is nothing.
    #[error("there is no directory or repository `{}` any more", shown(.0))]
    Away(std::path::PathBuf),
    /// The path is neither a directory nor a repository.
    #[error("`{}` is {is}, not a directory or repository", shown(path))]
    NoDirectory {
        /// The path.
        path: std::path::PathBuf,
        /// What it is.
        is: &'static str,
    },
    /// The store is not what it was at its last use.
    #[error("{}", changed(path, *was))]
    Changed {
        /// Where it is.
        path: std::path::PathBuf,
        /// How it differs.
        was: Difference,
        /// The file that records what it was.
        memory: std::path::PathBuf,
    },
    /// No record of the directory can be read.
    #[error("none of the {count} files in `{}` can be read; the first error", shown(path))]
    Unreadable {
        /// The folder.
        path: std::path::PathBuf,
        /// The number of files and folders.
        count: usize,
        /// The first one, and the reason.
        #[source]
        source: PathError,
    },
    /// A `file://` URL names another host.
    #[error("the URL names a host, but `file://` reads this machine only")]
    OtherHost,
    /// This build has no transport for the URL's scheme.
    #[error("this build of presence has no transport for `{0}`")]
    UnknownScheme(String),
    /// A file or directory could not be read or written.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The folder, or part of its path, is a link.
    #[error("`{0}` is a link, and links are not followed")]
    Link(std::path::PathBuf),
    /// Only a git store has a history.
    #[error("a plain directory keeps no history")]
    NoHistory,
    /// The record does not fit the layout.
    #[error(transparent)]
    Layout(#[from] super::LayoutError),
    /// The deadline passed. The store may still do what it was asked for.
    #[error("has not answered within {seconds} s")]
    Late {
        /// The limit, in seconds.
        seconds: u64,
        /// Its key in the configuration.
        key: &'static str,
    },
    /// Another store answered, and this one did not answer soon after.
    #[error("has not answered within {seconds} s of another store's answer")]
    Behind {
        /// The limit, in seconds.
        seconds: u64,
    },
    /// The operation panicked: a defect of presence.
    #[error("presence crashed while it used this store")]
    Panicked,
    /// Something exceeds a limit of what is read.
    #[error("{place} has more than {most} {what}")]
    TooMuch {
        /// Where: a name in backticks, or a phrase.
        place: String,
        /// What is counted.
        what: &'static str,
        /// The limit.
        most: u64,
    },
    /// The store was asked and may still answer.
    #[error("has not answered yet")]
    NotYet,
    /// An error of a git repository.
    #[error(transparent)]
    Git(#[from] GitError),
    /// An error of etcd.
    #[cfg(feature = "etcd")]
    #[error(transparent)]
    Etcd(#[from] EtcdError),
}

impl StoreError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match &self.kind {
            StoreErrorKind::Missing(path) => Some(format!(
                "create a repository with `git init --bare {0}`, or a plain directory with `mkdir -p {0}`",
                crate::errors::pasted(Path::new(&shown(path)))
            )),
            StoreErrorKind::Away(path) => {
                Some(format!("mount or restore `{}`: it held the list at its last use", shown(path)))
            }
            StoreErrorKind::NoDirectory { path, .. } => Some(format!(
                "`ls -ld {}` shows it; name the directory or repository of the list with --store",
                crate::errors::pasted(Path::new(&shown(path)))
            )),
            StoreErrorKind::Unreadable { source, .. } => source.hint(),
            StoreErrorKind::OtherHost => Some(
                "write `file:///PATH` for a path on this machine, `ssh://HOST/PATH` for one on another \
                 machine"
                    .into(),
            ),
            StoreErrorKind::Changed { was, memory, .. } => Some(format!(
                "{}; if the change is intended, run `rm {}`, then the same command again",
                match was {
                    Difference::Repository => "restore the repository",
                    Difference::Directory => "remove what `git init` created",
                    Difference::Emptied | Difference::Elsewhere | Difference::Unmounted =>
                        "mount or restore it",
                },
                crate::errors::pasted(memory)
            )),
            StoreErrorKind::UnknownScheme(_) => Some(
                "use a path, file://, git://, ssh://, user@host:path, http://, https://, etcd:// or etcds://; \
                 from ssh:// on, they need the Cargo features `ssh`, `https` and `etcd`"
                    .into(),
            ),
            StoreErrorKind::Io(error) => error.hint(),
            StoreErrorKind::Link(path) => Some(format!("make `{}` a real directory", path.display())),
            StoreErrorKind::Panicked => Some(
                "report the bug with the text that presence printed; meanwhile presence uses its last copy \
                 of the store"
                    .into(),
            ),
            StoreErrorKind::TooMuch { .. } => Some(
                "no list of nodes needs that much: find out who wrote it (`git log` in a repository) and \
                 remove it, or raise the limit in [store-limits] of presence.toml"
                    .into(),
            ),
            StoreErrorKind::NotYet => None,
            StoreErrorKind::NoHistory => Some("name a git store with --store".into()),
            StoreErrorKind::Layout(_) => {
                Some("state the fact in nodeinfo, or change `layout` in presence.toml".into())
            }
            StoreErrorKind::Late { key, .. } => Some(format!(
                "the store hangs or is slow; `{key}` in `[timeouts]` of presence.toml sets the limit"
            )),
            StoreErrorKind::Behind { .. } => Some(
                "the store hangs or is slow; once another store has answered, `connect` in `[timeouts]` of \
                 presence.toml sets the limit"
                    .into(),
            ),
            StoreErrorKind::Git(error) => error.hint(),
            #[cfg(feature = "etcd")]
            StoreErrorKind::Etcd(error) => error.hint(),
        }
    }
}

impl StoreErrorKind {
    /// The error that the deadline has passed.
    pub(super) fn late(deadline: Deadline) -> StoreErrorKind {
        StoreErrorKind::Late { seconds: deadline.within().as_secs(), key: deadline.setting() }
    }
}

/// The path without secrets: a mistyped URL with a password is taken for a path.
pub(super) fn shown(path: &Path) -> String {
    super::shown_url(&path.display().to_string())
}

fn changed(path: &Path, was: Difference) -> String {
    let path = shown(path);
    match was {
        Difference::Repository => format!("`{path}` was a git repository, but nothing of it is left"),
        Difference::Directory => {
            format!("`{path}` was a plain directory with records, but is now a git repository")
        }
        Difference::Emptied => format!("`{path}` held records, but is now another directory without any"),
        Difference::Elsewhere => {
            format!("`{path}` held records on another file system, which is not mounted there now")
        }
        Difference::Unmounted => format!("`{path}` was on a file system that is not mounted there now"),
    }
}

/// Adds the store's URL to an error.
pub(super) trait InStore<T> {
    /// Adds the URL of the store.
    fn in_store(self, url: &str) -> Result<T, StoreError>;
}

impl<T, E: Into<StoreErrorKind>> InStore<T> for Result<T, E> {
    fn in_store(self, url: &str) -> Result<T, StoreError> {
        self.map_err(|kind| StoreError { url: super::shown_url(url), kind: kind.into() })
    }
}
