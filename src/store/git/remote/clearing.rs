//! Takes away refs that keep this program from its own: whose objects the server lacks, since as long as there is one git
//! takes no push but of deletions; which are no updates; or which are in the way of a ref's name.

use super::Operation;
use super::merge::deletion;
use super::verdict::judge;
use crate::store::StoreErrorKind;
use crate::store::git::mirror::Mirror;
use crate::store::git::push::{RefUpdate, Session};
use crate::store::git::{beats, inbox, is_in_the_way, network};

/// How often refs are deleted and the push is tried again. The server names one bad ref at a time.
const CLEARINGS: u32 = 4;

/// So many refs are deleted one by one.
const FEW: usize = 50;

impl Operation<'_> {
    /// Does it, and does it again once those refs are gone which made the server refuse it.
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

    /// Deletes what was seen to wait and is nobody's update. In one transaction, if the server can: else it writes the list
    /// of its packed refs anew for each.
    pub(super) fn sweep(&self) -> Result<(), StoreErrorKind> {
        let mut junk = self.junk.take();
        if junk.is_empty() {
            return Ok(());
        }
        let session = self.session()?;
        let refs = &session.advert().refs;
        junk.retain(|entry| refs.get(&entry.name()) == Some(&entry.commit));
        let atomic = session.advert().can("atomic");
        if !atomic {
            junk.truncate(FEW);
        }
        if junk.is_empty() {
            session.leave();
            return Ok(());
        }
        let deletions: Vec<RefUpdate> = junk.iter().map(deletion).collect();
        session.send(&deletions, &[], atomic).map_err(|error| network("push", error))?;
        Ok(())
    }

    /// Deletes refs beside which git cannot have that one, some at a time. Gives the connection back if there are none.
    pub(super) fn make_way(&self, session: Session, own: &str) -> Result<Option<Session>, StoreErrorKind> {
        let refs = session.advert().refs.iter().filter(|(name, _)| is_in_the_way(name, own));
        let deletions: Vec<RefUpdate> = refs
            .take(FEW)
            .map(|(name, oid)| RefUpdate { name: name.clone(), old: Some(*oid), new: None })
            .collect();
        let Some(first) = deletions.first() else { return Ok(Some(session)) };
        let report = session.send(&deletions, &[], false).map_err(|error| network("push", error))?;
        judge(&report, &first.name, false)?;
        Ok(None)
    }

    /// Deletes what waits and the heartbeats that the server has only the names of. Their nodes say it again. False if
    /// nothing was deleted.
    fn clear(&self, mirror: &mut Mirror, refusal: &StoreErrorKind) -> Result<bool, StoreErrorKind> {
        let ours = |name: &str| name.starts_with(inbox::PREFIX) || name.starts_with(beats::PREFIX);
        // Fetching all shows which ones they are. If it fails, those remain that the server has named.
        let _ = mirror.fetch(self.upstream(&ours));
        let broken = mirror.broken();
        let session = self.session()?;
        let refs = session.advert().refs.iter();
        let bad = refs.filter(|(name, oid)| {
            ours(name) && (broken.get(*name) == Some(oid) || refusal.names_bad_ref(name))
        });
        let deletions: Vec<RefUpdate> =
            bad.map(|(name, oid)| RefUpdate { name: name.clone(), old: Some(*oid), new: None }).collect();
        if deletions.is_empty() {
            session.leave();
            return Ok(false);
        }
        let report = session.send(&deletions, &[], false).map_err(|error| network("push", error))?;
        Ok(report.refused.len() < deletions.len())
    }
}
