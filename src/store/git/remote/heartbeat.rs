//! Leaves a heartbeat: with the push of a record where there is one, else in a push of its own.

use std::cell::{Cell, LazyCell};
use std::collections::BTreeMap;

use git2::Oid;
use jiff::Timestamp;

use super::Operation;
use super::verdict::{Pushed, judge};
use crate::name::Name;
use crate::store::git::mirror::Mirror;
use crate::store::git::push::{self, RefUpdate, Session};
use crate::store::git::{Backoff, beats, is_in_the_way, network};
use crate::store::{Folder, StoreErrorKind};

/// A heartbeat that is to be left.
pub(super) struct Heartbeat<'a> {
    id: &'a Name,
    time: Timestamp,
    /// The ref that it goes to.
    pub(super) shard: String,
    /// The folder of the list, if that is in the same repository.
    list: Option<&'a Folder>,
    /// Gets the heartbeat of the node whose place it takes.
    replaced: &'a Cell<Option<Timestamp>>,
}

impl Heartbeat<'_> {
    pub(super) fn new<'a>(
        id: &'a Name,
        time: Timestamp,
        shards: u16,
        list: Option<&'a Folder>,
        replaced: &'a Cell<Option<Timestamp>>,
    ) -> Heartbeat<'a> {
        Heartbeat { id, time, shard: beats::shard(id, shards), list, replaced }
    }

    /// Whether this machine has the beats that the server has in the shard: without them none can be added. If the server
    /// itself has them no more, the shard starts anew.
    pub(super) fn is_ready(&self, mirror: &Mirror, refs: &BTreeMap<String, Oid>) -> bool {
        refs.get(&self.shard)
            .is_none_or(|base| mirror.has(*base) || mirror.broken().get(&self.shard) == Some(base))
    }

    /// What adds it to the shard, if this machine is ready for that.
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
        // As this machine knows the list: no line goes before a shard has hundreds of others.
        let listed: beats::Listed<'_> = LazyCell::new(Box::new(|| {
            let folder = self.list?;
            beats::listed(&mirror.repo, mirror.known()?.tip, folder)
        }));
        let known = match base {
            // What the server itself has lost begins anew.
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
    /// Leaves the heartbeat in pushes of its own, until one of them gets through.
    pub(super) fn leave_heartbeat(
        &self,
        mirror: &mut Mirror,
        beat: &Heartbeat<'_>,
    ) -> Result<(), StoreErrorKind> {
        let mut backoff = Backoff::new(self.deadline);
        loop {
            let Some(session) = self.make_way(self.session()?, &beat.shard)? else {
                backoff.lost()?;
                continue;
            };
            if !beat.is_ready(mirror, &session.advert().refs) {
                self.persist(|| self.fetch(mirror, Some(beat)))?;
            }
            match beat.command(mirror, &session.advert().refs)? {
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

/// Pushes a heartbeat, and what else there is to be deleted.
pub(super) fn push_heartbeat(
    mirror: &Mirror,
    session: Session,
    command: RefUpdate,
    deletions: Vec<RefUpdate>,
) -> Result<Pushed, StoreErrorKind> {
    let shard = command.name.clone();
    let commits: Vec<_> = command.new.iter().map(|commit| (None, *commit)).collect();
    let pack = push::pack_of(&mirror.repo, &commits).map_err(|error| network("pack", error))?;
    let commands: Vec<RefUpdate> = std::iter::once(command).chain(deletions).collect();
    let report = session.send(&commands, &pack, false).map_err(|error| network("push", error))?;
    judge(&report, &shard, false)
}
