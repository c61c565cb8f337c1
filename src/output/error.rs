//! Why a file is not in order, and what to do about it.

use std::path::PathBuf;

use super::{CommandError, MAX_VAIN};
use crate::errors::{PathError, pasted};
use crate::haproxy::{ApplyError, NotLoaded};

/// Why a target is not in order.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The file or its memory could not be read or written. The old file stays.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The path is a link. The old file stays.
    #[error("`{}` is a link, and links are not followed", .0.display())]
    Link(PathBuf),
    /// The path is a directory or a device.
    #[error("`{}` is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// The file itself is a mount point, so it cannot be replaced. The old file stays.
    #[error("`{}` is a mount point, as docker creates for `-v FILE:FILE`, and cannot be replaced; the old file stands", .0.display())]
    Mounted(PathBuf),
    /// The file or its folder has a flag that prevents even root from replacing it. The old file stays.
    #[error("`{}` is {flag}, so the file cannot be replaced; the old file stands", path.display())]
    Protected {
        /// The file or its folder.
        path: PathBuf,
        /// "immutable" or "append-only".
        flag: &'static str,
    },
    /// The check command refused the new file. The old file stays.
    #[error("the new `{}` was refused by its check; the old file stands", path.display())]
    Check {
        /// The target.
        path: PathBuf,
        /// What the command did.
        #[source]
        source: CommandError,
    },
    /// The new file is in place, and the reload command failed. The reload is owed until it succeeds.
    #[error("`{}` is in place, but its reload failed; the next run tries it again", path.display())]
    Reload {
        /// The target.
        path: PathBuf,
        /// What the command did.
        #[source]
        source: CommandError,
    },
    /// The new file is in place and the reload command succeeded, but HAProxy continues with the old file.
    /// The reload is owed until another process serves.
    #[error("`{}` is in place, but its reload failed; the next run tries it again", path.display())]
    NotLoaded {
        /// The target.
        path: PathBuf,
        /// Which process serves.
        #[source]
        source: NotLoaded,
    },
    /// The file is in place, but the socket cannot tell whether HAProxy follows, now or after a reload.
    #[error("`{}` is in place, but presence cannot tell whether HAProxy uses it", path.display())]
    NotAsked {
        /// The target.
        path: PathBuf,
        /// Whether HAProxy was reloaded before.
        reloaded: bool,
        /// Why the socket cannot tell.
        #[source]
        source: ApplyError,
    },
    /// The file is in place, but HAProxy runs something else after several reloads.
    #[error("`{}` is in place, but HAProxy still does not use it after {MAX_VAIN} reloads: {why}", path.display())]
    NotConverged {
        /// The target.
        path: PathBuf,
        /// The reason for the next reload, which was not run.
        why: String,
    },
}

impl TargetError {
    /// Whether the new file is in place nevertheless.
    pub fn is_in_place(&self) -> bool {
        match self {
            TargetError::Reload { .. }
            | TargetError::NotLoaded { .. }
            | TargetError::NotAsked { .. }
            | TargetError::NotConverged { .. } => true,
            TargetError::Io(_)
            | TargetError::Link(_)
            | TargetError::NotAFile(_)
            | TargetError::Mounted(_)
            | TargetError::Protected { .. }
            | TargetError::Check { .. } => false,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            TargetError::Io(error) => error.hint(),
            TargetError::Link(path) => Some(format!(
                "name the file that `{}` points to, or leave out -o to print to stdout",
                path.display()
            )),
            TargetError::Mounted(_) => Some(
                "mount the folder instead of the file; or write into the file with --in-place (in a \
                 [[render]] table: in-place = true); readers may then see it half written"
                    .into(),
            ),
            TargetError::Protected { path, flag } => {
                let letter = if *flag == "immutable" { "i" } else { "a" };
                Some(format!("`chattr -{letter} {}`, as root, removes the flag", pasted(path)))
            }
            TargetError::NotAFile(_) => Some("name a file, or leave out -o to print to stdout".into()),
            TargetError::Check { source: CommandError::Start { .. }, .. } => {
                Some("check that the program is installed and in PATH".into())
            }
            TargetError::Check { .. } => Some("see what the check says above; nothing was changed".into()),
            TargetError::NotConverged { .. } => Some(
                "check that `socket` belongs to the HAProxy that reads this file, and that it answers; then \
                 reload HAProxy by hand"
                    .into(),
            ),
            TargetError::NotAsked { source, .. } => source.hint(),
            TargetError::NotLoaded { source: NotLoaded::Silent { .. }, .. } => Some(
                "check that HAProxy is running and listens on `socket`; `presence doctor` tests it".into(),
            ),
            TargetError::NotLoaded { .. } => Some(
                "see HAProxy's log: often a port is in use. If the command does not reload the HAProxy at \
                 `socket`, correct it"
                    .into(),
            ),
            TargetError::Reload { source: CommandError::Start { .. }, .. } => Some(
                "check that the program is installed and in PATH, then run the same command again".into(),
            ),
            TargetError::Reload { .. } => {
                Some("correct the problem that the command reports, then run the same command again".into())
            }
        }
    }
}
