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
    #[error("`{}` is no plain file", .0.display())]
    NotAFile(PathBuf),
    /// The file itself is a mount point, so it cannot be replaced. The old file stays.
    #[error("`{}` is a mount point, such as docker makes of `-v FILE:FILE`, and cannot be replaced; the old file stands", .0.display())]
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
    #[error("`{}` is in place, but its reload failed; it will be tried again at the next run", path.display())]
    Reload {
        /// The target.
        path: PathBuf,
        /// What the command did.
        #[source]
        source: CommandError,
    },
    /// The new file is in place and the reload command succeeded, but HAProxy continues with the old file.
    /// The reload is owed until another process serves.
    #[error("`{}` is in place, but its reload failed; it will be tried again at the next run", path.display())]
    NotLoaded {
        /// The target.
        path: PathBuf,
        /// Which process serves.
        #[source]
        source: NotLoaded,
    },
    /// The file is in place, but the socket cannot tell whether HAProxy follows, now or after a reload.
    #[error("`{}` is in place, but whether HAProxy follows is not known", path.display())]
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
    #[error("`{}` is in place, but HAProxy does not follow, nor did {MAX_VAIN} reloads help: {why}", path.display())]
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
                "mount the folder instead of the file; or write into the file with --in-place (in a [[render]] table: in-place = true), where readers can see it half written"
                    .into(),
            ),
            TargetError::Protected { path, flag } => {
                let letter = if *flag == "immutable" { "i" } else { "a" };
                Some(format!("`chattr -{letter} {}`, as root, takes the flag away", pasted(path)))
            }
            TargetError::NotAFile(_) => Some("name a file, or leave out -o to print to stdout".into()),
            TargetError::Check { source: CommandError::Start { .. }, .. } => {
                Some("see that the program is installed and in PATH".into())
            }
            TargetError::Check { .. } => Some(
                "see what the check says above; nothing was changed"
                    .into(),
            ),
            TargetError::NotConverged { .. } => Some(
                "see that `socket` is that of the HAProxy which reads this file, and that it answers; then reload HAProxy by hand"
                    .into(),
            ),
            TargetError::NotAsked { source, .. } => source.hint(),
            TargetError::NotLoaded { source: NotLoaded::Silent { .. }, .. } => Some(
                "is HAProxy running, and is `socket` the one that it listens on? `presence doctor` asks it".into(),
            ),
            TargetError::NotLoaded { .. } => Some(
                "HAProxy's log says why: a port that is taken, for one. If the command is no reload of the HAProxy at `socket`, mend that".into(),
            ),
            TargetError::Reload { source: CommandError::Start { .. }, .. } => {
                Some("see that the program is installed and in PATH, then run the same command again".into())
            }
            TargetError::Reload { .. } => {
                Some("fix what the command complains of, then run the same command again".into())
            }
        }
    }
}
