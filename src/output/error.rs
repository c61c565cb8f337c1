//! Why a file is not as it should be, and what to do about it.

use std::path::PathBuf;

use super::{CommandError, MAX_VAIN};
use crate::errors::{PathError, pasted};
use crate::haproxy::{ApplyError, NotLoaded};

/// Why a target is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The file, or the memory of it, could not be read or written. The old file stands.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The path is a link. The old file stands.
    #[error("`{}` is a link, and links are not followed", .0.display())]
    Link(PathBuf),
    /// The path is a directory or a device.
    #[error("`{}` is no plain file", .0.display())]
    NotAFile(PathBuf),
    /// Something is mounted on that very file, so that it cannot be replaced. The old file stands.
    #[error("`{}` is a mount point, such as docker makes of `-v FILE:FILE`, and cannot be replaced; the old file stands", .0.display())]
    Mounted(PathBuf),
    /// The file, or its folder, has a flag that stops everybody, root too. The old file stands.
    #[error("`{}` is {flag}, so the file cannot be replaced; the old file stands", path.display())]
    Protected {
        /// The file, or its folder.
        path: PathBuf,
        /// "immutable" or "append-only".
        flag: &'static str,
    },
    /// The check command refused the new file. The old file stands.
    #[error("the new `{}` was refused by its check; the old file stands", path.display())]
    Check {
        /// The target.
        path: PathBuf,
        /// What the command did.
        #[source]
        source: CommandError,
    },
    /// The new file is in place, and the reload command failed. It is owed until it succeeds.
    #[error("`{}` is in place, but its reload failed; it will be tried again at the next run", path.display())]
    Reload {
        /// The target.
        path: PathBuf,
        /// What the command did.
        #[source]
        source: CommandError,
    },
    /// The new file is in place, the reload command succeeded, and HAProxy goes on with the old one. The reload is owed until
    /// another process serves.
    #[error("`{}` is in place, but its reload failed; it will be tried again at the next run", path.display())]
    NotLoaded {
        /// The target.
        path: PathBuf,
        /// Which process serves.
        #[source]
        source: NotLoaded,
    },
    /// The file is in place, and whether HAProxy follows cannot be asked at that socket, now or after a reload.
    #[error("`{}` is in place, but whether HAProxy follows is not known", path.display())]
    NotAsked {
        /// The target.
        path: PathBuf,
        /// Whether the file was reloaded first.
        reloaded: bool,
        /// Why it cannot be asked.
        #[source]
        source: ApplyError,
    },
    /// The file is in place, and what runs is another one however often it is reloaded.
    #[error("`{}` is in place, but HAProxy does not follow, nor did {MAX_VAIN} reloads help: {why}", path.display())]
    NotConverged {
        /// The target.
        path: PathBuf,
        /// What the next reload would have been for.
        why: String,
    },
}

impl TargetError {
    /// Whether the new file is in place all the same.
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
