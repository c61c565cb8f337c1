//! Rehearses a push up to the point of sending.

use super::Protocol;
use super::port::{Connected, Mirror, Port};
use crate::store::{Branch, StoreErrorKind};

impl<P: Port> Protocol<'_, P> {
    /// Connects for writing, as a push does, and disconnects. `None` if the branch is unknown because nothing
    /// was read there yet.
    pub(super) async fn rehearse(&self) -> Result<Option<Branch>, StoreErrorKind> {
        let known = self.port.open_mirror().await?.known().map(|refs_seen| refs_seen.branch);
        let session = self.session().await?;
        let branch = self.port.configured_branch().or(known);
        let refs = session.refs();
        let branch = branch.map(|branch| Branch::among(&branch, refs.keys().map(String::as_str)));
        self.port.leave(session).await;
        Ok(branch)
    }
}
