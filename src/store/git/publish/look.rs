//! Looks at the folder, and reads it.

use std::collections::BTreeSet;

use git2::Oid;

use super::port::{Mirror, Port, Snapshot, Wanted};
use super::{Protocol, WaitingUpdate, latest, operate};
use crate::store::StoreErrorKind;
use crate::store::git::inbox;
use crate::store::git::node_files::NodeFiles;
use crate::store::git::refs::RemoteRefs;

/// What a look found. It does not contain the mirror: its lock must not live in a value that may be read at any
/// later time.
#[derive(Debug)]
pub struct Looked<S> {
    seen: S,
    heartbeats: bool,
}

impl<S> Looked<S> {
    /// What the mirror remembers of it.
    pub fn seen(&self) -> &S {
        &self.seen
    }
}

/// Looks at the folder, and at the heartbeats if the reading shall include them.
pub async fn look<P: Port>(
    port: &P,
    heartbeats: bool,
) -> Result<Looked<<P::Mirror as Mirror>::Seen>, StoreErrorKind> {
    let protocol = Protocol::new(port);
    operate(port, async || Ok(protocol.see(heartbeats).await?.1)).await
}

/// Reads what a look found.
pub async fn read<P: Port>(
    port: &P,
    looked: &Looked<<P::Mirror as Mirror>::Seen>,
) -> Result<<P::Mirror as Mirror>::Read, StoreErrorKind> {
    let protocol = Protocol::new(port);
    let read = async || protocol.read(looked).await;
    let found = operate(port, read).await?;
    // The server has the objects that its list names, so the mirror is broken.
    match found.is_damaged() && port.renew_mirror().await? {
        true => operate(port, read).await,
        false => Ok(found),
    }
}

impl<P: Port> Protocol<'_, P> {
    /// What there is to read, and the mirror to read it from.
    async fn see(
        &self,
        heartbeats: bool,
    ) -> Result<(P::Mirror, Looked<<P::Mirror as Mirror>::Seen>), StoreErrorKind> {
        let mut mirror = self.port.open_mirror().await?;
        let wanted = if heartbeats { Wanted::Heartbeats } else { Wanted::Updates(None) };
        let remembered = mirror.remembered();
        let mut refs_seen = mirror.fetch(wanted).await?;
        // git lists branches before the inbox, and others merge meanwhile: then the branch is as it was before
        // the merge, and the inbox as it is after. An update that this reader saw must not disappear. Once the
        // inbox was seen without it, the next listing has a branch with it. But that listing may miss another
        // one.
        let mut missed = BTreeSet::new();
        if let Some(remembered) = remembered {
            loop {
                let count = missed.len();
                missed.extend(missing(&mirror, &remembered, &refs_seen)?);
                if missed.len() == count {
                    break;
                }
                refs_seen = mirror.fetch(wanted).await?;
            }
        }
        mirror.standing(&refs_seen.branch, refs_seen.tip, &refs_seen.elsewhere).await?.sound()?;
        let seen = mirror.observe(&refs_seen, heartbeats)?;
        Ok((mirror, Looked { seen, heartbeats }))
    }

    /// Reads what the look found. Looks again if another process made the mirror anew meanwhile.
    async fn read(
        &self,
        looked: &Looked<<P::Mirror as Mirror>::Seen>,
    ) -> Result<<P::Mirror as Mirror>::Read, StoreErrorKind> {
        let mirror = self.port.open_mirror().await?;
        if mirror.is_here(&looked.seen) {
            return mirror.read(&looked.seen);
        }
        drop(mirror);
        let (mirror, again) = self.see(looked.heartbeats).await?;
        mirror.read(&again.seen)
    }
}

/// The refs of the updates that waited at the last look and are neither in the inbox now nor on the branch.
fn missing(
    mirror: &impl Mirror,
    remembered: &RemoteRefs,
    now: &RemoteRefs,
) -> Result<Vec<String>, StoreErrorKind> {
    let is_gone = |update: &WaitingUpdate| {
        let name = update.name();
        !now.others.contains_key(&name) && !now.broken.contains_key(&name)
    };
    let gone: Vec<WaitingUpdate> = inbox::entries(&remembered.others).into_iter().filter(is_gone).collect();
    let offered: Vec<Option<Oid>> = gone.iter().map(|update| update.offered).collect();
    let was_merged = mirror.contains(remembered.tip, &offered)?;
    let waited = gone.into_iter().zip(was_merged).filter(|(_, was_merged)| !was_merged);
    let waited: Vec<WaitingUpdate> = waited.map(|(update, _)| update).collect();
    // Without their objects, nobody can tell.
    let are_here = waited.iter().all(|update| mirror.has(update.commit));
    let edits: Vec<NodeFiles> = latest(mirror, &waited)?.into_values().collect();
    // A branch that cannot be read is an error of what follows.
    let differs = || !edits.is_empty() && mirror.prepare(now.tip, &edits).is_ok_and(|made| made.is_some());
    match are_here && !differs() {
        true => Ok(Vec::new()),
        false => Ok(waited.iter().map(WaitingUpdate::name).collect()),
    }
}
