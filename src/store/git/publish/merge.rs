//! Merges waiting updates into the branch.

use std::collections::BTreeMap;
use std::time::Duration;

use presence_git::send_pack::RefUpdate;

use super::election::{Election, Next};
use super::port::{Connected, Mirror, Port, Push};
use super::verdict::{Pushed, judge};
use super::{Protocol, View, latest};
use crate::name::Name;
use crate::store::StoreErrorKind;
use crate::store::git::commit::Prepared;
use crate::store::git::inbox::{Says, WaitingUpdate};
use crate::store::git::node_files::NodeFiles;

/// How many merges may lose the race before they are left to the others.
const LOSSES: u32 = 3;

/// How many looks a node takes before it leaves the rest to others.
const LOOKS: u32 = 16;

/// The result of a merge.
pub(super) enum Merged<S> {
    /// The branch has the updates of these nodes.
    Done(Vec<Name>),
    /// Nothing was pushed: the branch moved since this connection was opened, or no waiting update could be
    /// read.
    Stale(View<S>),
    /// Others were faster.
    Lost,
}

impl<P: Port> Protocol<'_, P> {
    /// Looks repeatedly until nothing is left to do, and merges the waiting updates when that falls to this
    /// node. `answer` is the server's last response time. Returns the nodes whose updates were merged.
    pub(super) async fn look_after(
        &self,
        mirror: &mut P::Mirror,
        mut election: Election<'_>,
        mut answer: Duration,
    ) -> Result<Vec<Name>, StoreErrorKind> {
        let mut merged = Vec::new();
        let mut lost = 0;
        for _ in 0..LOOKS {
            let pause = election.pause(answer, self.port.chance());
            if self.port.left() < pause + answer {
                // The updates are durable, and other nodes look as well.
                break;
            }
            self.port.sleep(pause).await;
            let session = self.session().await?;
            answer = session.opened_in();
            let refs_seen = match mirror.known() {
                Some(refs_seen) => refs_seen,
                None => self.fetch(mirror, None).await?,
            };
            let view = self.view(mirror, session, &refs_seen.branch)?;
            match election.next(&view.waiting) {
                Next::Wait => self.port.leave(view.session).await,
                Next::Leave => {
                    self.leave_clean(mirror, view).await;
                    break;
                }
                Next::Merge => match self.merge(mirror, view, None).await? {
                    Merged::Done(ids) => {
                        merged.extend(ids);
                        election.has_merged();
                    }
                    Merged::Stale(view) => self.port.leave(view.session).await,
                    Merged::Lost if lost == LOSSES => break,
                    Merged::Lost => lost += 1,
                },
            }
        }
        Ok(merged)
    }

    /// Ends a connection, but deletes the refs of the updates that this operation has merged.
    async fn leave_clean(&self, mirror: &P::Mirror, view: View<P::Session>) {
        if view.done.is_empty() {
            return self.port.leave(view.session).await;
        }
        let updates = view.done.iter().chain(&view.merged);
        let push = deletions(updates, view.session.is_atomic());
        // If this fails, the next publisher deletes them.
        let _ = self.port.push(mirror, view.session, &push).await;
    }

    /// Merges all waiting updates, and `own`, into the branch in one commit.
    ///
    /// Their refs are deleted by a later push, once the branch is known to have them: git carries out the
    /// deletions even of an atomic push whose branch it refuses because of missing objects (seen with 2.47). A
    /// crash at any point loses nothing: merging the remaining refs again has no effect.
    pub(super) async fn merge(
        &self,
        mirror: &mut P::Mirror,
        mut view: View<P::Session>,
        own: Option<&NodeFiles>,
    ) -> Result<Merged<P::Session>, StoreErrorKind> {
        let Some(mut refs_seen) = mirror.known() else { return Ok(Merged::Stale(view)) };
        let is_missing = |mirror: &P::Mirror, view: &View<P::Session>| {
            view.tip.is_some_and(|tip| !mirror.has(tip))
                || !view.waiting.iter().all(|entry| mirror.has(entry.commit))
        };
        if is_missing(mirror, &view) {
            refs_seen = self.fetch(mirror, None).await?;
            view = self.view(mirror, view.session, &refs_seen.branch)?;
            if refs_seen.tip != view.tip {
                return Ok(Merged::Stale(view));
            }
        }
        // An error here prevents a second list beside one on another branch. A list that disappeared is
        // restored from the waiting updates.
        let _ = mirror.standing(&refs_seen.branch, view.tip, view.session.refs()).await?;
        let mut edits = latest(mirror, &view.waiting)?;
        // Keeps only the updates that were read.
        view.waiting.retain(|entry| edits.contains_key(&entry.id) && mirror.has(entry.commit));
        if view.waiting.is_empty() {
            return Ok(Merged::Stale(view));
        }
        edits.extend(own.map(|own| (own.id.clone(), own.clone())));
        let ids = edits.keys().cloned().collect();
        let edits: Vec<NodeFiles> = edits.into_values().collect();
        let prepared = match mirror.prepare(view.tip, &edits)? {
            None if cancel_out(mirror, &view)? => Some(mirror.repeat(view.tip)?),
            prepared => prepared,
        };
        let merged = match &prepared {
            Some(_) => view.waiting.iter().map(WaitingUpdate::name).collect(),
            None => Vec::new(),
        };
        if let Pushed::Lost = self.push_merged(mirror, view, &refs_seen.branch, prepared.as_ref()).await? {
            return Ok(Merged::Lost);
        }
        if let Some(prepared) = prepared {
            self.merges.borrow_mut().extend(merged.into_iter().map(|name| (name, prepared.commit)));
            refs_seen.tip = Some(prepared.commit);
            mirror.note(&refs_seen).await?;
        }
        Ok(Merged::Done(ids))
    }

    /// Pushes the commit with the waiting updates, or deletes their refs if the branch has them already.
    async fn push_merged(
        &self,
        mirror: &P::Mirror,
        view: View<P::Session>,
        branch: &str,
        prepared: Option<&Prepared>,
    ) -> Result<Pushed, StoreErrorKind> {
        let push = match prepared {
            Some(prepared) => {
                let (name, new) = (branch.to_owned(), Some(prepared.commit));
                let moves = RefUpdate { name, old: view.tip, new };
                let commands = std::iter::once(moves).chain(view.merged.iter().map(deletion)).collect();
                Push { commands, commits: vec![(view.tip, prepared.commit)], atomic: false }
            }
            None => {
                let updates = view.waiting.iter().chain(&view.done).chain(&view.merged);
                deletions(updates, view.session.is_atomic())
            }
        };
        let report = self.port.push(mirror, view.session, &push).await?;
        judge(&report, branch, false)
    }
}

/// Whether the waiting updates change nothing together, but some of them would alone. Another publisher may be about
/// to merge just these on top of the same tip. So the branch must move before the refs are deleted.
fn cancel_out<S>(mirror: &impl Mirror, view: &View<S>) -> Result<bool, StoreErrorKind> {
    for update in &view.waiting {
        if let Says::Files(files) = mirror.judge(update)?
            && mirror.prepare(view.tip, &[files])?.is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Deletes the refs of updates that the branch has. If an older update of a node stayed without its last one,
/// others would merge it again. So a server that cannot delete all or none keeps the last one of several for
/// now.
fn deletions<'u>(updates: impl Iterator<Item = &'u WaitingUpdate>, atomic: bool) -> Push {
    let mut of: BTreeMap<&Name, Vec<&WaitingUpdate>> = BTreeMap::new();
    for update in updates {
        of.entry(&update.id).or_default().push(update);
    }
    let mut gone = Vec::new();
    for mut of_node in of.into_values() {
        of_node.sort();
        if !atomic && of_node.len() > 1 {
            of_node.pop();
        }
        gone.extend(of_node.into_iter().map(deletion));
    }
    Push { atomic, ..Push::of_deletions(gone) }
}

pub(super) fn deletion(entry: &WaitingUpdate) -> RefUpdate {
    RefUpdate::deletion(&entry.name(), entry.commit)
}
