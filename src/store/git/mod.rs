//! The folder in a git repository: one readable commit for each change, no work tree.

mod local;
mod remote;
pub mod transport;
mod tree;

pub(super) use local::Local;
pub(super) use remote::{Remote, without_secrets};

use std::time::{Duration, Instant};

use git2::{Commit, Oid, Repository, Signature};

use super::error::Doing;
use super::{Edit, Folder, StoreErrorKind};
use crate::change::Change;
use crate::record::Record;

/// Where a branch lives.
fn branch_ref(branch: &str) -> String {
    format!("refs/heads/{branch}")
}

/// The commit that a reference names; none if there is no such reference.
fn tip(repo: &Repository, reference: &str) -> Result<Option<Oid>, StoreErrorKind> {
    match repo.refname_to_id(reference) {
        Ok(oid) => Ok(Some(oid)),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error).doing("look up the branch"),
    }
}

/// A commit that makes a change, not yet on any branch.
struct Prepared {
    commit: Oid,
    change: Change,
}

/// Builds the commit that makes the change on top of `tip`; none if the list already says so.
fn prepare(
    repo: &Repository,
    tip: Option<Oid>,
    folder: &Folder,
    edit: &Edit<'_>,
    author: &str,
) -> Result<Option<Prepared>, StoreErrorKind> {
    let parent = tip.map(|oid| repo.find_commit(oid)).transpose().doing("read the tip of the branch")?;
    let base = parent.as_ref().map(Commit::tree).transpose().doing("read the tree")?;
    let path = folder.file_of(edit.id());
    let before = tree::blob(repo, base.as_ref(), &path)?;
    let (new, before, after) = match edit {
        Edit::Put(record) => {
            let bytes = record.to_bytes();
            if before.as_deref() == Some(&bytes[..]) {
                return Ok(None);
            }
            let new = tree::with_file(repo, base.as_ref(), &path, &bytes)?;
            (new, before, Some(*record))
        }
        Edit::Remove(id) => match tree::without_node(repo, base.as_ref(), folder, id)? {
            Some(new) => (new, before, None),
            None => return Ok(None),
        },
    };
    let before = before.and_then(|bytes| Record::parse(&bytes).ok());
    let change = match after {
        Some(_) => Change::between(before.as_ref(), after).unwrap_or(Change::Joined),
        None => Change::Left,
    };
    let part = after.or(before.as_ref()).and_then(Record::part).map(|part| part.escape_debug().to_string());
    let subject = match part {
        Some(part) => format!("{} ({part}): {change}\n", edit.id()),
        None => format!("{}: {change}\n", edit.id()),
    };
    let new = repo.find_tree(new).doing("read the new tree")?;
    let who = Signature::now(author, "presence@localhost").doing("sign the commit")?;
    let parents: Vec<&Commit<'_>> = parent.iter().collect();
    let commit = repo.commit(None, &who, &who, &subject, &new, &parents).doing("write the commit")?;
    Ok(Some(Prepared { commit, change }))
}

/// Waits between tries: full jitter below a limit that doubles, so that those who collided spread themselves.
struct Backoff {
    started: Instant,
    patience: Duration,
    tries: u32,
}

impl Backoff {
    /// The longest single wait.
    const CEILING: Duration = Duration::from_secs(2);

    fn new(patience: Duration) -> Backoff {
        Backoff { started: Instant::now(), patience, tries: 0 }
    }

    /// Counts a lost try and waits, or gives up when the patience is at its end.
    fn lost(&mut self) -> Result<(), StoreErrorKind> {
        self.tries += 1;
        if self.started.elapsed() >= self.patience {
            return Err(StoreErrorKind::Busy {
                tries: self.tries,
                seconds: self.started.elapsed().as_secs(),
            });
        }
        let limit = Duration::from_millis(10 << self.tries.min(8)).min(Self::CEILING);
        std::thread::sleep(limit.mul_f64(fastrand::f64()));
        Ok(())
    }
}
