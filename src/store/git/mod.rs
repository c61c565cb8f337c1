//! The folder in a git repository: one readable commit for each change, without a work tree.

mod backoff;
pub(super) mod beats;
mod branch;
mod commit;
mod commits;
mod confirmed;
mod contention;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod held;
mod hint;
mod history;
pub mod inbox;
mod local;
mod mirror;
mod network;
mod node_files;
mod objects;
mod opening;
mod past;
pub mod publish;
mod read;
mod refs;
mod remote;
mod seen;
mod tree;
pub mod trial;
mod updates;
mod urls;

use backoff::Backoff;
use branch::Wanted;
pub use error::{GitError, Vanished};
use hint::hint;
pub(super) use local::Local;
pub(super) use network::see_tags;
pub use opening::Obstacle;
pub(super) use remote::Remote;
pub(super) use urls::Urls;

use std::time::Duration;

use git2::{Oid, Repository};

use super::{Capabilities, Heartbeats, StoreErrorKind};
use error::During;

/// How to use git repositories.
#[derive(Debug, Clone)]
pub struct Options {
    /// The branch of the list; `None` means the branch that the repository's HEAD names.
    pub branch: Option<String>,
    /// Whether to start that branch in a repository that has other branches.
    pub create_branch: bool,
    /// The number of refs over which heartbeats are spread.
    pub beat_shards: u16,
    /// How long a repository behind a network is trusted to still have what it confirmed.
    pub recheck: Duration,
    /// Time limits of the network.
    pub network: presence_git::Timeouts,
    /// Keys and logins for some URLs.
    pub credentials: Vec<presence_git::Credential>,
}

impl Options {
    fn wanted_branch(&self) -> Wanted<'_> {
        Wanted { configured: self.branch.as_deref(), create: self.create_branch }
    }
}

/// What a repository can do.
const CAPABILITIES: Capabilities =
    Capabilities { history: true, past: true, heartbeats: Heartbeats::Times, waits: false };

/// The prefix of all refs of presence.
const PRESENCE: &str = "refs/presence";

/// The prefix of branches.
const BRANCHES: &str = "refs/heads/";

/// The prefix of tags.
const TAGS: &str = "refs/tags/";

/// The ref of a branch.
fn branch_ref(branch: &str) -> String {
    format!("{BRANCHES}{branch}")
}

/// The commit that a ref names; `None` if the ref does not exist.
fn tip(repo: &Repository, reference: &str) -> Result<Option<Oid>, StoreErrorKind> {
    match repo.refname_to_id(reference) {
        Ok(oid) => Ok(Some(oid)),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error).during("look up the branch"),
    }
}

/// Whether git cannot have that ref beside presence's `own`, since one of them would be a folder of the
/// other. Such a ref belongs to nobody.
fn is_in_the_way(name: &str, own: &str) -> bool {
    let is_below =
        |name: &str, folder: &str| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    name.starts_with(PRESENCE) && (is_below(own, name) || is_below(name, own))
}
