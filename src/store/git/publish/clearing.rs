//! Deletes refs that stop presence from writing its own:
//! - refs whose objects the server lacks: git then refuses all pushes except deletions
//! - refs in the inbox that are no updates
//! - refs that conflict with another ref's name

use presence_git::send_pack::RefUpdate;

use super::Protocol;
use super::merge::deletion;
use super::port::{Connected, Mirror, Port, Push, Wanted};
use super::verdict::judge;
use crate::store::StoreErrorKind;
use crate::store::git::{beats, inbox, is_in_the_way};

/// How often refs are deleted and the push is retried. The server names one bad ref at a time.
const CLEARINGS: u32 = 4;

/// The most refs to delete without an atomic push.
const FEW: usize = 50;

impl<P: Port> Protocol<'_, P> {
    /// Runs `act`, and runs it again after deleting the refs because of which the server refused it.
    pub(super) async fn clearing<T>(
        &self,
        mirror: &mut P::Mirror,
        mut act: impl AsyncFnMut(&mut P::Mirror) -> Result<T, StoreErrorKind>,
    ) -> Result<T, StoreErrorKind> {
        for _ in 0..CLEARINGS {
            match act(mirror).await {
                Err(refusal) if refusal.lacks_objects() => {
                    if !self.clear(mirror, &refusal).await? {
                        return Err(refusal);
                    }
                }
                result => return result,
            }
        }
        act(mirror).await
    }

    /// Deletes the refs in the inbox that are no updates. In one transaction if the server supports that,
    /// since it otherwise rewrites its packed refs for each.
    pub(super) async fn sweep(&self, mirror: &P::Mirror) -> Result<(), StoreErrorKind> {
        let mut junk = self.junk.take();
        if junk.is_empty() {
            return Ok(());
        }
        let session = self.session().await?;
        let refs = session.refs();
        junk.retain(|entry| refs.get(&entry.name()) == Some(&entry.commit));
        let atomic = session.is_atomic();
        if !atomic {
            junk.truncate(FEW);
        }
        if junk.is_empty() {
            self.port.leave(session).await;
            return Ok(());
        }
        let commands = junk.iter().map(deletion).collect();
        self.port.push(mirror, session, &Push { atomic, ..Push::of_deletions(commands) }).await?;
        Ok(())
    }

    /// Deletes the refs that git cannot have beside `own`, a few at a time. Returns the connection if there
    /// are none.
    pub(super) async fn make_way(
        &self,
        mirror: &P::Mirror,
        session: P::Session,
        own: &str,
    ) -> Result<Option<P::Session>, StoreErrorKind> {
        let refs = session.refs().iter().filter(|(name, _)| is_in_the_way(name, own));
        let deletions: Vec<RefUpdate> =
            refs.take(FEW).map(|(name, oid)| RefUpdate::deletion(name, *oid)).collect();
        let Some(first) = deletions.first().map(|first| first.name.clone()) else { return Ok(Some(session)) };
        let report = self.port.push(mirror, session, &Push::of_deletions(deletions)).await?;
        judge(&report, &first, false)?;
        Ok(None)
    }

    /// Deletes updates and heartbeats of which the server has only the refs. Their nodes send them again.
    /// Returns false if nothing was deleted.
    async fn clear(&self, mirror: &mut P::Mirror, refusal: &StoreErrorKind) -> Result<bool, StoreErrorKind> {
        let ours = |name: &str| name.starts_with(inbox::PREFIX) || name.starts_with(beats::PREFIX);
        // Fetching everything shows which refs are broken. If it fails, the refs that the server named
        // remain.
        let _ = mirror.fetch(Wanted::Everything).await;
        let broken = mirror.broken();
        let session = self.session().await?;
        let refs = session.refs().iter();
        let bad = refs.filter(|(name, oid)| {
            ours(name) && (broken.get(*name) == Some(oid) || refusal.names_bad_ref(name))
        });
        let deletions: Vec<RefUpdate> = bad.map(|(name, oid)| RefUpdate::deletion(name, *oid)).collect();
        if deletions.is_empty() {
            self.port.leave(session).await;
            return Ok(false);
        }
        self.cleared.set(true);
        let count = deletions.len();
        let report = self.port.push(mirror, session, &Push::of_deletions(deletions)).await?;
        Ok(report.refused.len() < count)
    }
}
