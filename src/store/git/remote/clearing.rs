//! Deletes refs that stop presence from writing its own:
//! - refs whose objects the server lacks: git then refuses all pushes except deletions
//! - refs in the inbox that are no updates
//! - refs that conflict with another ref's name

use presence_git::send_pack::{RefUpdate, Session};

use super::Operation;
use super::merge::deletion;
use super::verdict::judge;
use crate::store::StoreErrorKind;
use crate::store::git::mirror::Mirror;
use crate::store::git::{beats, inbox, is_in_the_way, network};

/// How often refs are deleted and the push is retried. The server names one bad ref at a time.
const CLEARINGS: u32 = 4;

/// The most refs to delete without an atomic push.
const FEW: usize = 50;

impl Operation<'_> {
    /// Runs `act`, and runs it again after deleting the refs because of which the server refused it.
    pub(super) fn clearing<T>(
        &self,
        mirror: &mut Mirror,
        mut act: impl FnMut(&mut Mirror) -> Result<T, StoreErrorKind>,
    ) -> Result<T, StoreErrorKind> {
        for _ in 0..CLEARINGS {
            match act(mirror) {
                Err(refusal) if refusal.lacks_objects() => {
                    if !self.clear(mirror, &refusal)? {
                        return Err(refusal);
                    }
                }
                result => return result,
            }
        }
        act(mirror)
    }

    /// Deletes the refs in the inbox that are no updates. In one transaction if the server supports that,
    /// since it otherwise rewrites its packed refs for each.
    pub(super) fn sweep(&self) -> Result<(), StoreErrorKind> {
        let mut junk = self.junk.take();
        if junk.is_empty() {
            return Ok(());
        }
        let session = self.session()?;
        let refs = &session.advertisement().refs;
        junk.retain(|entry| refs.get(&entry.name()) == Some(&entry.commit));
        let atomic = session.advertisement().can("atomic");
        if !atomic {
            junk.truncate(FEW);
        }
        if junk.is_empty() {
            session.leave();
            return Ok(());
        }
        let deletions: Vec<RefUpdate> = junk.iter().map(deletion).collect();
        session.send(&deletions, &[], atomic).map_err(|error| network::pushing("push", error))?;
        Ok(())
    }

    /// Deletes the refs that git cannot have beside `own`, a few at a time. Returns the connection if there
    /// are none.
    pub(super) fn make_way(&self, session: Session, own: &str) -> Result<Option<Session>, StoreErrorKind> {
        let refs = session.advertisement().refs.iter().filter(|(name, _)| is_in_the_way(name, own));
        let deletions: Vec<RefUpdate> =
            refs.take(FEW).map(|(name, oid)| RefUpdate::deletion(name, *oid)).collect();
        let Some(first) = deletions.first() else { return Ok(Some(session)) };
        let report = session.send(&deletions, &[], false).map_err(|error| network::pushing("push", error))?;
        judge(&report, &first.name, false)?;
        Ok(None)
    }

    /// Deletes updates and heartbeats of which the server has only the refs. Their nodes send them again.
    /// Returns false if nothing was deleted.
    fn clear(&self, mirror: &mut Mirror, refusal: &StoreErrorKind) -> Result<bool, StoreErrorKind> {
        let ours = |name: &str| name.starts_with(inbox::PREFIX) || name.starts_with(beats::PREFIX);
        // Fetching everything shows which refs are broken. If it fails, the refs that the server named
        // remain.
        let _ = mirror.fetch(self.upstream(&ours));
        let broken = mirror.broken();
        let session = self.session()?;
        let refs = session.advertisement().refs.iter();
        let bad = refs.filter(|(name, oid)| {
            ours(name) && (broken.get(*name) == Some(oid) || refusal.names_bad_ref(name))
        });
        let deletions: Vec<RefUpdate> = bad.map(|(name, oid)| RefUpdate::deletion(name, *oid)).collect();
        if deletions.is_empty() {
            session.leave();
            return Ok(false);
        }
        let report = session.send(&deletions, &[], false).map_err(|error| network::pushing("push", error))?;
        Ok(report.refused.len() < deletions.len())
    }
}
