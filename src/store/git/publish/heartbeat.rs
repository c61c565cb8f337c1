//! Writes a heartbeat: in the push of a record if there is one, otherwise in a push of its own.

use std::cell::Cell;

use jiff::Timestamp;
use presence_git::send_pack::RefUpdate;

use super::Protocol;
use super::port::{Connected, Mirror, NewBeat, Port, Push};
use super::verdict::{Pushed, judge};
use crate::store::StoreErrorKind;
use crate::store::git::refs::Refs;
use crate::store::git::{Backoff, is_in_the_way};

/// A heartbeat to write.
pub(super) struct PendingBeat<'a> {
    beat: NewBeat<'a>,
    /// The ref of its shard.
    pub(super) shard: String,
    /// Receives the node's heartbeat that this one replaces.
    replaced: &'a Cell<Option<Timestamp>>,
}

impl<'a> PendingBeat<'a> {
    pub(super) fn new(
        port: &impl Port,
        beat: NewBeat<'a>,
        replaced: &'a Cell<Option<Timestamp>>,
    ) -> PendingBeat<'a> {
        PendingBeat { beat, shard: port.shard(beat.id), replaced }
    }

    /// Whether this machine has the shard's present heartbeats, without which none can be added. A shard that
    /// the server itself has lost starts empty.
    pub(super) fn is_ready(&self, mirror: &impl Mirror, refs: &Refs) -> bool {
        refs.get(&self.shard)
            .is_none_or(|base| mirror.has(*base) || mirror.broken().get(&self.shard) == Some(base))
    }

    /// The command that adds it to the shard, if this machine is ready.
    pub(super) fn command(
        &self,
        mirror: &impl Mirror,
        refs: &Refs,
    ) -> Result<Option<RefUpdate>, StoreErrorKind> {
        let in_the_way = |name: &String| is_in_the_way(name, &self.shard);
        if !self.is_ready(mirror, refs) || refs.keys().any(in_the_way) {
            return Ok(None);
        }
        let base = refs.get(&self.shard).copied();
        // A shard that the server has lost starts empty.
        let here = base.filter(|base| mirror.has(*base));
        let (commit, replaced) = mirror.write_beat(here, self.beat)?;
        self.replaced.set(replaced);
        Ok(Some(RefUpdate { name: self.shard.clone(), old: base, new: Some(commit) }))
    }
}

impl<P: Port> Protocol<'_, P> {
    /// Writes the heartbeat in pushes of its own, until one succeeds.
    pub(super) async fn leave_heartbeat(
        &self,
        mirror: &mut P::Mirror,
        beat: &PendingBeat<'_>,
    ) -> Result<(), StoreErrorKind> {
        let mut backoff = Backoff::default();
        loop {
            let session = self.session().await?;
            let Some(session) = self.make_way(mirror, session, &beat.shard).await? else {
                self.lost(&mut backoff).await?;
                continue;
            };
            if !beat.is_ready(mirror, session.refs()) {
                self.fetch(mirror, Some(beat)).await?;
            }
            match beat.command(mirror, session.refs())? {
                Some(command) => {
                    let pushed = self.push_heartbeat(mirror, session, command, Vec::new()).await?;
                    if let Pushed::Done = pushed {
                        return Ok(());
                    }
                }
                None => self.port.leave(session).await,
            }
            self.lost(&mut backoff).await?;
        }
    }

    /// Pushes a heartbeat together with deletions.
    pub(super) async fn push_heartbeat(
        &self,
        mirror: &P::Mirror,
        session: P::Session,
        command: RefUpdate,
        deletions: Vec<RefUpdate>,
    ) -> Result<Pushed, StoreErrorKind> {
        let shard = command.name.clone();
        let commits = command.new.iter().map(|commit| (None, *commit)).collect();
        let commands = std::iter::once(command).chain(deletions).collect();
        let report = self.port.push(mirror, session, &Push { commands, commits, atomic: false }).await?;
        judge(&report, &shard, false)
    }
}
