//! Rehearses a push up to the point of sending.

use super::Operation;
use crate::store::git::branch_ref;
use crate::store::{Branch, StoreErrorKind};

impl Operation<'_> {
    /// Connects for writing, as a push does, and disconnects. `None` if the branch is unknown because nothing
    /// was read there yet.
    pub(super) fn rehearse(&self) -> Result<Option<Branch>, StoreErrorKind> {
        let known = self.mirror()?.known().map(|refs_seen| refs_seen.branch);
        let session = self.session()?;
        let branch = self.remote.options.git.branch.as_deref().map(branch_ref).or(known);
        let refs = &session.advertisement().refs;
        let branch = branch.map(|branch| Branch::among(&branch, refs.keys().map(String::as_str)));
        session.leave();
        Ok(branch)
    }
}
