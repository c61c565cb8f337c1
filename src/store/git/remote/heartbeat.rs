//! Writes a heartbeat: in the push of a record if there is one, otherwise in a push of its own.

use std::cell::{Cell, LazyCell};
use std::collections::BTreeMap;

use git2::Oid;
use jiff::Timestamp;
use presence_git::send_pack::{RefUpdate, Session};

use super::Operation;
use super::verdict::{Pushed, judge};
use crate::name::Name;
use crate::store::git::mirror::Mirror;
use crate::store::git::{Backoff, beats, is_in_the_way, network};
use crate::store::{Folder, StoreErrorKind};

/// A heartbeat to write.
pub(super) struct PendingBeat<'a> {
    id: &'a Name,
    time: Timestamp,
    /// The ref of its shard.
    pub(super) shard: String,
    /// The folder of the list, if that is in the same repository.
    list: Option<&'a Folder>,
    /// Receives the node's heartbeat that this one replaces.
    replaced: &'a Cell<Option<Timestamp>>,
}

impl PendingBeat<'_> {
    pub(super) fn new<'a>(
        id: &'a Name,
        time: Timestamp,
        shards: u16,
        list: Option<&'a Folder>,
        replaced: &'a Cell<Option<Timestamp>>,
    ) -> PendingBeat<'a> {
        PendingBeat { id, time, shard: beats::shard(id, shards), list, replaced }
    }

    /// Whether this machine has the shard's present heartbeats, without which none can be added. A shard that
    /// the server itself has lost starts empty.
    pub(super) fn is_ready(&self, mirror: &Mirror, refs: &BTreeMap<String, Oid>) -> bool {
        refs.get(&self.shard)
            .is_none_or(|base| mirror.has(*base) || mirror.broken().get(&self.shard) == Some(base))
    }

    /// The command that adds it to the shard, if this machine is ready.
    pub(super) fn command(
        &self,
        mirror: &Mirror,
        refs: &BTreeMap<String, Oid>,
    ) -> Result<Option<RefUpdate>, StoreErrorKind> {
        let in_the_way = |name: &String| is_in_the_way(name, &self.shard);
        if !self.is_ready(mirror, refs) || refs.keys().any(in_the_way) {
            return Ok(None);
        }
        let base = refs.get(&self.shard).copied();
        // The list as this machine knows it, which suffices: a shard drops lines of others only when it has
        // hundreds.
        let listed: beats::Listed<'_> = LazyCell::new(Box::new(|| {
            let folder = self.list?;
            beats::listed(&mirror.repo, mirror.known()?.tip, folder)
        }));
        let known = match base {
            // A shard that the server has lost starts empty.
            Some(base) if mirror.has(base) => {
                beats::read(&mirror.repo, base, beats::MOST, &listed)?.into_base()
            }
            _ => beats::Beats::new(),
        };
        self.replaced.set(known.get(self.id.as_ref()).copied());
        let commit = beats::write(&mirror.repo, known, self.id, self.time, &listed)?;
        Ok(Some(RefUpdate { name: self.shard.clone(), old: base, new: Some(commit) }))
    }
}

impl Operation<'_> {
    /// Writes the heartbeat in pushes of its own, until one succeeds.
    pub(super) fn leave_heartbeat(
        &self,
        mirror: &mut Mirror,
        beat: &PendingBeat<'_>,
    ) -> Result<(), StoreErrorKind> {
        let mut backoff = Backoff::new(self.deadline);
        loop {
            let Some(session) = self.make_way(self.session()?, &beat.shard)? else {
                backoff.lost()?;
                continue;
            };
            if !beat.is_ready(mirror, &session.advertisement().refs) {
                self.persist(|| self.fetch(mirror, Some(beat)))?;
            }
            match beat.command(mirror, &session.advertisement().refs)? {
                Some(command) => {
                    if let Pushed::Done = push_heartbeat(mirror, session, command, Vec::new())? {
                        return Ok(());
                    }
                }
                None => session.leave(),
            }
            backoff.lost()?;
        }
    }
}

/// Pushes a heartbeat together with deletions.
pub(super) fn push_heartbeat(
    mirror: &Mirror,
    session: Session,
    command: RefUpdate,
    deletions: Vec<RefUpdate>,
) -> Result<Pushed, StoreErrorKind> {
    let shard = command.name.clone();
    let commits: Vec<_> = command.new.iter().map(|commit| (None, *commit)).collect();
    let pack = network::pack_of(&mirror.repo, &commits)?;
    let commands: Vec<RefUpdate> = std::iter::once(command).chain(deletions).collect();
    let report = session.send(&commands, &pack, false).map_err(|error| network::pushing("push", error))?;
    judge(&report, &shard, false)
}
