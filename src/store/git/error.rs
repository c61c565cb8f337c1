//! Errors of git repositories, and hints what to do about them.

mod refusal;

use std::path::Path;

use jiff::Timestamp;
use presence_git::TransportError;
use refusal::PushRefusal;
pub(super) use refusal::READ_ONLY;

use super::hint;
use super::opening::Obstacle;
use crate::errors::PathError;
use crate::store::StoreErrorKind;
use crate::store::error::shown;

/// A git repository could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is a repository, or the remains of one, that cannot be opened.
    #[error("cannot open the repository `{}`: {obstacle}", shown(path))]
    Unopenable {
        /// Where it is.
        path: std::path::PathBuf,
        /// The reason.
        obstacle: Obstacle,
        /// libgit2's error.
        #[source]
        source: git2::Error,
    },
    /// A signal killed the process that read the repository first.
    #[error("the process that read the repository `{}` was killed by signal {signal}", shown(path))]
    Crashed {
        /// Where it is.
        path: std::path::PathBuf,
        /// The signal.
        signal: i32,
    },
    /// The repository held records, and the list has disappeared.
    #[error("the list that was here is gone: {how}")]
    Gone {
        /// What is there instead.
        how: Vanished,
        /// The file that records it.
        memory: std::path::PathBuf,
    },
    /// The branch has no list, but another branch has.
    #[error(
        "the branch `{}` has no records in `{folder}`; the list is on the branch `{}`",
        branch_name(branch),
        branch_name(list)
    )]
    OtherBranch {
        /// The ref that HEAD names, or the only branch.
        branch: String,
        /// The ref of the branch with the list.
        list: String,
        /// The folder.
        folder: String,
    },
    /// The folder, or part of its path, is not a folder in the repository.
    #[error("`{path}` is {is} in the repository, not a folder")]
    NoFolder {
        /// Its path in the repository.
        path: String,
        /// What it is.
        is: &'static str,
    },
    /// git's configuration reads and writes at different places, and at least one is a path.
    #[error("git's configuration fetches from `{read}` but pushes to `{write}`, and one of them is a path")]
    Split {
        /// Where the store is read.
        read: String,
        /// Where the store is written.
        write: String,
    },
    /// An error of the network or the server.
    #[error(transparent)]
    Transport(TransportError),
    /// HEAD names no existing branch, and there is not exactly one other branch to use.
    #[error("HEAD names {}; existing branches: {there}", unborn(head.as_deref()))]
    NoBranch {
        /// The branch that HEAD names, if any.
        head: Option<String>,
        /// Some existing branches.
        there: String,
    },
    /// The configured branch does not exist.
    #[error("the configured branch `{branch}` does not exist; existing branches: {there}")]
    NoSuchBranch {
        /// Its name.
        branch: String,
        /// Some existing branches.
        there: String,
    },
    /// The repository has no such version.
    #[error("there is no version `{version}`")]
    NoSuchVersion {
        /// The name of the version.
        version: String,
    },
    /// Several commits begin with these digits.
    #[error("several commits begin with `{version}`")]
    Ambiguous {
        /// The digits.
        version: String,
    },
    /// The time is before the first commit.
    #[error("{}", first_commit(*begins))]
    BeforeHistory {
        /// When the first commit was made, if there is one.
        begins: Option<Timestamp>,
    },
    /// The time is before the oldest commit that the repository has: it lacks older ones.
    #[error("its history is known since {begins} only: older commits are missing")]
    Shallow {
        /// When that commit was made.
        begins: Timestamp,
    },
    /// libgit2 failed.
    #[error("git cannot {operation}")]
    Libgit2 {
        /// The operation, as a verb with its object.
        operation: &'static str,
        /// libgit2's error.
        #[source]
        source: git2::Error,
    },
    /// The server lists a ref but sends no objects for it.
    #[error("the server lists `{name}` but does not send its objects")]
    Unsent {
        /// The ref.
        name: String,
        /// How the fetch failed.
        #[source]
        source: Box<StoreErrorKind>,
    },
    /// The connection to a server broke off, or the peer does not speak git's protocol.
    #[error("git cannot {operation}")]
    Conversation {
        /// The operation, as a verb with its object.
        operation: &'static str,
        /// The error of the connection.
        #[source]
        source: std::io::Error,
    },
    /// The server answered and refused the push.
    #[error("the server refused the push: {reason}{said}")]
    Refused {
        /// The reason, in git's words.
        reason: String,
        /// The output of its hooks, on separate lines.
        said: String,
    },
    /// Other publishers were faster at every attempt.
    #[error("other publishers updated the branch first, {tries} times in {seconds} s")]
    Busy {
        /// The number of attempts.
        tries: u32,
        /// The duration of all attempts.
        seconds: u64,
        /// The key of the limit in the configuration.
        key: &'static str,
    },
    /// Another process of this machine, or another thread of this process, holds the mirror's lock.
    #[error("{} has held `{}` for {seconds} s", process(*.holder), path.display())]
    Locked {
        /// The lock file.
        path: std::path::PathBuf,
        /// The pid that the holder wrote into it.
        holder: Option<u32>,
        /// The duration of the wait.
        seconds: u64,
        /// The key of the limit in the configuration.
        key: &'static str,
    },
    /// This thread already holds the mirror's lock: it would wait for itself.
    #[error("presence asked for its own lock `{}` a second time: this is a bug in presence", .0.display())]
    LockedByItself(std::path::PathBuf),
}

impl GitError {
    /// What to do next.
    pub(in crate::store) fn hint(&self) -> Option<String> {
        match self {
            GitError::Gone { memory, .. } => Some(format!(
                "restore it from a clone or a backup, or let each node publish again. If it was removed on \
                 purpose, run `rm {}`, then the same command again",
                crate::errors::pasted(memory)
            )),
            GitError::OtherBranch { list, .. } => Some(format!(
                "run `git symbolic-ref HEAD {}` in the repository, or set `branch` in presence.toml",
                list.escape_debug()
            )),
            GitError::NoFolder { .. } => {
                Some("remove it from the branch, or name another folder with --folder".into())
            }
            GitError::Unopenable { path, obstacle, .. } => Some(obstacle.hint(path)),
            GitError::Crashed { path, .. } => Some(format!(
                "`git -C {} fsck` shows whether it is damaged; if it is, restore it from a clone or a backup",
                crate::errors::pasted(Path::new(&shown(path)))
            )),
            GitError::Split { .. } => {
                Some("set `insteadOf` and `pushInsteadOf` to the same path, or both to URLs".into())
            }
            GitError::Transport(error) => hint(error),
            GitError::NoBranch { .. } => Some(
                "set `branch` in presence.toml, or run `git symbolic-ref HEAD refs/heads/BRANCH` in the \
                 repository"
                    .into(),
            ),
            GitError::NoSuchBranch { .. } => Some(
                "correct `branch` in presence.toml; `presence publish --create-branch` creates the branch"
                    .into(),
            ),
            GitError::NoSuchVersion { .. } => Some("`presence log` lists the commits".into()),
            GitError::BeforeHistory { .. } | GitError::Shallow { .. } | GitError::Ambiguous { .. } => None,
            GitError::Conversation { .. } => {
                Some("check that the URL is that of a git repository, then run the same command again".into())
            }
            GitError::Unsent { .. } => Some(
                "run the same command again; if that does not help, `git fsck --connectivity-only` in the \
                 server's repository lists the missing objects"
                    .into(),
            ),
            GitError::Libgit2 { .. } => Some(
                "run the same command again; if that does not help, `git fsck` in the repository shows what is wrong with it"
                    .into(),
            ),
            GitError::Refused { reason, said } => Some(PushRefusal::of(reason, said).hint().into()),
            GitError::Busy { key, .. } => Some(format!(
                "run the same command again; `{key}` in `[timeouts]` of presence.toml sets the limit"
            )),
            GitError::Locked { path, holder, key, .. } => Some(format!(
                "`{}` shows the process; if it hangs, kill it; `{key}` in `[timeouts]` of presence.toml \
                 sets the limit",
                match holder {
                    Some(pid) => format!("ps -fp {pid}"),
                    None => format!("fuser -v {}", crate::errors::pasted(path)),
                }
            )),
            GitError::LockedByItself(_) => {
                Some("run the same command again, and report the bug".into())
            }
        }
    }

    /// Whether something that is no folder is in the place of the list.
    pub(in crate::store) fn is_in_its_place(&self) -> bool {
        matches!(self, GitError::NoFolder { .. })
    }
}

impl StoreErrorKind {
    /// Whether the cause may be an overloaded server.
    pub(super) fn is_overload(&self) -> bool {
        match self {
            StoreErrorKind::Git(GitError::Transport(error)) => error.is_overload(),
            StoreErrorKind::Git(GitError::Unsent { source, .. }) => source.is_overload(),
            _ => false,
        }
    }

    /// Whether the server refused a push because one of its refs names a missing object.
    pub(super) fn lacks_objects(&self) -> bool {
        matches!(self, StoreErrorKind::Git(GitError::Refused { reason, said }) if PushRefusal::of(reason, said) == PushRefusal::LacksObjects)
    }

    /// Whether the server's output says that this ref names a missing object.
    pub(super) fn names_bad_ref(&self, name: &str) -> bool {
        let StoreErrorKind::Git(GitError::Refused { said, .. }) = self else { return false };
        let bad = said.lines().filter_map(|line| line.split_once("bad object "));
        bad.map(|(_, rest)| rest.split_whitespace().next()).any(|bad| bad == Some(name))
    }
}

/// What is in the place of a list that disappeared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vanished {
    /// The branch, given by its ref, is gone.
    Branch(String),
    /// The branch has no records, and does not descend from the commit that had records.
    Emptied {
        /// The ref of the branch.
        branch: String,
        /// The folder.
        folder: String,
    },
}

impl std::fmt::Display for Vanished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Vanished::Branch(branch) => write!(f, "the branch `{}` does not exist", branch_name(branch)),
            Vanished::Emptied { branch, folder } => write!(
                f,
                "the branch `{}` has no records in `{folder}`, and does not descend from the commit that \
                 had them",
                branch_name(branch)
            ),
        }
    }
}

/// The name of a branch for display.
fn branch_name(name: &str) -> String {
    name.strip_prefix("refs/heads/").unwrap_or(name).escape_debug().to_string()
}

fn unborn(head: Option<&str>) -> String {
    match head {
        Some(branch) => format!("the branch `{}`, which does not exist", branch.escape_debug()),
        None => "no branch".to_owned(),
    }
}

fn first_commit(begins: Option<Timestamp>) -> String {
    begins
        .map_or_else(|| "there is no history".to_owned(), |begins| format!("the history begins at {begins}"))
}

/// The holder of a lock, if known.
fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// Adds the failed operation to an error of libgit2.
pub(super) trait During<T> {
    /// `operation` is a verb with its object: "read the tree".
    fn during(self, operation: &'static str) -> Result<T, StoreErrorKind>;
}

impl<T> During<T> for Result<T, git2::Error> {
    fn during(self, operation: &'static str) -> Result<T, StoreErrorKind> {
        self.map_err(|source| match forbidden(&source) {
            Some(error) => error.into(),
            None => GitError::Libgit2 { operation, source }.into(),
        })
    }
}

/// libgit2 reports an unreadable file as "locked" (`git_fs_path_set_error`), as it does a ref that is being
/// changed. This tells them apart: an unreadable file is no race.
fn forbidden(error: &git2::Error) -> Option<PathError> {
    let path = error.message().strip_suffix("' is locked")?.split_once('\'')?.1;
    let source = std::io::ErrorKind::PermissionDenied.into();
    Some(PathError { operation: "read", path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_read_is_not_locked() {
        let error = git2::Error::from_str("failed to open - '/a/it's/refs/heads/main' is locked");
        let error = Err::<(), _>(error).during("read the ref").unwrap_err();
        assert_eq!(crate::errors::chain(&error), "cannot read `/a/it's/refs/heads/main`: permission denied");
        assert!(forbidden(&git2::Error::from_str("failed to lock file '/a' for writing: ")).is_none());
    }

    #[test]
    fn git_names_the_ref_that_makes_it_refuse_a_push() {
        let refused = |reason: &str, said: &str| {
            StoreErrorKind::Git(GitError::Refused { reason: reason.into(), said: said.into() })
        };
        // The words of git 2.47.
        let error =
            refused("missing necessary objects", "\n  | fatal: bad object refs/presence/beats/00a      ");
        assert!(error.lacks_objects());
        assert!(error.names_bad_ref("refs/presence/beats/00a"));
        assert!(!error.names_bad_ref("refs/presence/beats/00"));
        assert!(!refused("hook declined", "").lacks_objects());
    }
}
