//! Looks at the folder, and reads it.

use super::Protocol;
use super::port::{Mirror, Port, Snapshot, Wanted};
use crate::store::StoreErrorKind;

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
    protocol.operate(async || Ok(protocol.see(heartbeats).await?.1)).await
}

/// Reads what a look found.
pub async fn read<P: Port>(
    port: &P,
    looked: &Looked<<P::Mirror as Mirror>::Seen>,
) -> Result<<P::Mirror as Mirror>::Read, StoreErrorKind> {
    let protocol = Protocol::new(port);
    let read = async || protocol.read(looked).await;
    let found = protocol.operate(read).await?;
    // The server has the objects that its list names, so the mirror is broken.
    match found.is_damaged() && port.renew_mirror().await? {
        true => protocol.operate(read).await,
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
        let refs_seen = mirror.fetch(wanted).await?;
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
