//! The protocol of publishing to a repository behind a network: decides what to do next, and does nothing
//! itself.
//!
//! An operation is `async` code over a [`Port`]: the compiler makes it a state machine, whose inputs are
//! advertisements, reports on pushes, the ids of fetched objects, the time and chance. The program runs it over
//! connections and a mirror (`store/git/remote/`). `tests/simulation` runs it over a server, clocks and crashes
//! of its own.

mod clearing;
mod election;
mod heartbeat;
mod look;
mod merge;
mod port;
mod put;
mod rehearsal;
mod verdict;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};

use git2::Oid;
use jiff::Timestamp;

use super::{Backoff, inbox};
use crate::limits;
use crate::name::Name;
use crate::store::git::GitError;
use crate::store::{Branch, Edit, Outcome, StoreErrorKind};
use heartbeat::PendingBeat;

pub use super::commit::Prepared;
pub use super::contention::LoadEstimate;
pub use super::held::Standing;
pub use super::inbox::{Says, WaitingUpdate};
pub use super::node_files::NodeFiles;
pub use super::refs::{Refs, RemoteRefs};
pub use look::{Looked, look, read};
pub use port::{Connected, Mirror, NewBeat, Port, Push, Snapshot, Wanted};

/// The result of a change.
#[derive(Debug)]
pub struct Published {
    /// What changed; `None` if the server has it already.
    pub outcome: Option<Outcome>,
    /// How the list disappeared, if this change restored it.
    pub gone: Option<StoreErrorKind>,
    /// The result of the heartbeat beside it: the time of the one that it replaced.
    pub beat: Result<Option<Timestamp>, StoreErrorKind>,
    /// Whether the server was asked.
    pub asked: bool,
}

/// Makes one change, and writes the node's heartbeat of that time. The change is durable when this returns.
pub async fn apply<P: Port>(
    port: &P,
    edit: &Edit<'_>,
    beat: Option<Timestamp>,
) -> Result<Published, StoreErrorKind> {
    if let Edit::Put(record) = edit
        && beat.is_none()
        && port.is_confirmed(record)
    {
        return Ok(Published { outcome: None, gone: None, beat: Ok(None), asked: false });
    }
    let protocol = Protocol::new(port);
    operate(port, async || protocol.publish(edit, beat).await).await
}

/// Writes a heartbeat. Returns the heartbeat of this node that it replaced.
pub async fn beat<P: Port>(
    port: &P,
    id: &Name,
    time: Timestamp,
) -> Result<Option<Timestamp>, StoreErrorKind> {
    let protocol = Protocol::new(port);
    let replaced = Cell::new(None);
    let beat = PendingBeat::new(port, NewBeat { id, time, beside_list: false }, &replaced);
    operate(port, async || {
        let mut mirror = port.open_mirror().await?;
        let act = async |mirror: &mut P::Mirror| protocol.leave_heartbeat(mirror, &beat).await;
        protocol.clearing(&mut mirror, act).await
    })
    .await?;
    Ok(replaced.get())
}

/// Rehearses a push up to the point of sending. Returns the branch, if it is known.
pub async fn rehearse<P: Port>(port: &P) -> Result<Option<Branch>, StoreErrorKind> {
    let protocol = Protocol::new(port);
    operate(port, async || protocol.rehearse().await).await
}

/// Runs an operation. If git failed rather than the network, the mirror may be broken: then runs it again with a
/// new mirror.
pub async fn operate<P: Port, T>(
    port: &P,
    mut act: impl AsyncFnMut() -> Result<T, StoreErrorKind>,
) -> Result<T, StoreErrorKind> {
    match act().await {
        Err(StoreErrorKind::Git(GitError::Libgit2 { .. })) => {
            port.discard_mirror().await?;
            act().await
        }
        result => result,
    }
}

/// One operation.
struct Protocol<'p, P: Port> {
    port: &'p P,
    /// Refs in the inbox that are no updates, at most as many as one push deletes.
    junk: RefCell<Vec<WaitingUpdate>>,
    /// The refs of the updates that this operation has merged, each with the commit that has it.
    merges: RefCell<BTreeMap<String, Oid>>,
    /// Whether it has deleted refs whose objects the server lost.
    cleared: Cell<bool>,
    /// Whether the server confirmed the record before.
    was_confirmed: Cell<bool>,
}

/// The server's refs on one connection, interpreted with this machine's mirror.
struct View<S> {
    session: S,
    tip: Option<Oid>,
    waiting: Vec<WaitingUpdate>,
    /// Updates that were offered with a commit that the branch has, but whose refs still exist.
    merged: Vec<WaitingUpdate>,
    /// Updates that this operation has merged. No other publisher knows that they are merged.
    done: Vec<WaitingUpdate>,
}

impl<'p, P: Port> Protocol<'p, P> {
    fn new(port: &'p P) -> Protocol<'p, P> {
        Protocol {
            port,
            junk: RefCell::default(),
            merges: RefCell::default(),
            cleared: Cell::default(),
            was_confirmed: Cell::default(),
        }
    }

    /// Connects for writing.
    async fn session(&self) -> Result<P::Session, StoreErrorKind> {
        self.persist(async || self.port.connect().await).await
    }

    /// Fetches what is missing: the branch, waiting updates, and the shard to which `beat` will be added.
    async fn fetch(
        &self,
        mirror: &mut P::Mirror,
        beat: Option<&PendingBeat<'_>>,
    ) -> Result<RemoteRefs, StoreErrorKind> {
        let wanted = Wanted::Updates(beat.map(|beat| beat.shard.as_str()));
        self.persist(async || mirror.fetch(wanted).await).await
    }

    /// Retries until the deadline while the server is too busy. Only for requests that change nothing.
    async fn persist<T>(
        &self,
        mut ask: impl AsyncFnMut() -> Result<T, StoreErrorKind>,
    ) -> Result<T, StoreErrorKind> {
        let mut backoff = Backoff::default();
        let mut last = None;
        loop {
            match ask().await {
                Err(error) if error.is_overload() => {
                    if self.lost(&mut backoff).await.is_err() {
                        return Err(error);
                    }
                    last = Some(error);
                }
                // The reason for the retries tells more than that the last one ran into the deadline.
                Err(error) if self.port.left().is_zero() => return Err(last.unwrap_or(error)),
                result => return result,
            }
        }
    }

    /// Counts a failed attempt and waits, or gives up at the deadline.
    async fn lost(&self, backoff: &mut Backoff) -> Result<(), StoreErrorKind> {
        let pause = backoff.pause(self.port.chance());
        if self.port.left().is_zero() {
            return Err(backoff.gives_up(self.port.elapsed(), self.port.setting()));
        }
        self.port.sleep(pause).await;
        Ok(())
    }

    /// Sorts the refs that the connection shows.
    fn view(
        &self,
        mirror: &P::Mirror,
        session: P::Session,
        branch: &str,
    ) -> Result<View<P::Session>, StoreErrorKind> {
        let refs = session.refs();
        let tip = refs.get(branch).copied();
        let broken = mirror.broken();
        let mut all = inbox::entries(refs);
        all.retain(|entry| broken.get(&entry.name()) != Some(&entry.commit));
        let (mut merged, mut done, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        let mut bad = HashSet::new();
        let considered = inbox::select(all.clone());
        let merges = self.merges.borrow();
        let ours: Vec<Option<Oid>> =
            considered.iter().map(|update| merges.get(&update.name()).copied()).collect();
        let offered: Vec<Option<Oid>> = considered.iter().map(|update| update.offered).collect();
        let is_done = mirror.contains(tip, &ours)?;
        let is_merged = mirror.contains(tip, &offered)?;
        for ((entry, is_done), is_merged) in considered.into_iter().zip(is_done).zip(is_merged) {
            if is_done {
                done.push(entry);
                continue;
            }
            if is_merged {
                merged.push(entry);
                continue;
            }
            match mirror.judge(&entry)? {
                Says::Files(_) | Says::Lost => waiting.push(entry),
                Says::Elsewhere => {}
                Says::Junk => drop(bad.insert((entry.commit, entry.id))),
            }
        }
        // A flood of the inbox names the same object many times.
        all.retain(|entry| bad.contains(&(entry.commit, entry.id.clone())));
        all.truncate(limits::get().swept);
        self.junk.replace(all);
        Ok(View { session, tip, waiting, merged, done })
    }

    /// A random number for the name of an update.
    fn random(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within 32 bits")]
        let random = (self.port.chance() * f64::from(u32::MAX)) as u32;
        random
    }
}

/// The last waiting update of each node. Skips updates without [files](Says::Files) for this folder, and nodes
/// whose last update is not here: it may have been merged, and an older one must not replace it.
fn latest(
    mirror: &impl Mirror,
    updates: &[WaitingUpdate],
) -> Result<BTreeMap<Name, NodeFiles>, StoreErrorKind> {
    let mut latest = BTreeMap::new();
    for update in updates {
        match mirror.judge(update)? {
            Says::Files(files) => drop(latest.insert(update.id.clone(), files)),
            Says::Lost => drop(latest.remove(&update.id)),
            Says::Elsewhere | Says::Junk => {}
        }
    }
    Ok(latest)
}
