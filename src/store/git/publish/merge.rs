//! Merges waiting updates into the branch.

use std::time::Duration;

use presence_git::send_pack::RefUpdate;

use super::election::{Election, Next};
use super::port::{Connected, Mirror, Port, Push};
use super::verdict::{Pushed, judge};
use super::{Protocol, View, latest};
use crate::name::Name;
use crate::store::StoreErrorKind;
use crate::store::git::commit::Prepared;
use crate::store::git::inbox::WaitingUpdate;
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
                    self.port.leave(view.session).await;
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

    /// Merges all waiting updates, and `own`, into the branch in one commit.
    ///
    /// One atomic push moves the branch and deletes exactly the merged refs. A crash at any point loses
    /// nothing: merging the remaining refs again has no effect.
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
        let prepared = mirror.prepare(view.tip, &edits)?;
        let tip = prepared.as_ref().map(|prepared| prepared.commit).or(view.tip);
        match self.push_merged(mirror, view, &refs_seen.branch, prepared.as_ref()).await? {
            Pushed::Done => {
                refs_seen.tip = tip;
                refs_seen.others.clear();
                mirror.note(&refs_seen).await?;
                Ok(Merged::Done(ids))
            }
            Pushed::Lost => Ok(Merged::Lost),
        }
    }

    async fn push_merged(
        &self,
        mirror: &P::Mirror,
        view: View<P::Session>,
        branch: &str,
        prepared: Option<&Prepared>,
    ) -> Result<Pushed, StoreErrorKind> {
        let deletions: Vec<RefUpdate> = view.waiting.iter().chain(&view.merged).map(deletion).collect();
        let send = async |session: P::Session, push: &Push| {
            let report = self.port.push(mirror, session, push).await?;
            judge(&report, branch, push.atomic)
        };
        let Some(prepared) = prepared else {
            return send(view.session, &Push::of_deletions(deletions)).await;
        };
        let mut push = Push {
            commands: vec![RefUpdate { name: branch.to_owned(), old: view.tip, new: Some(prepared.commit) }],
            commits: vec![(view.tip, prepared.commit)],
            atomic: view.session.is_atomic(),
        };
        if push.atomic {
            push.commands.extend(deletions);
            return send(view.session, &push).await;
        }
        match send(view.session, &push).await? {
            Pushed::Done => send(self.session().await?, &Push::of_deletions(deletions)).await,
            Pushed::Lost => Ok(Pushed::Lost),
        }
    }
}

pub(super) fn deletion(entry: &WaitingUpdate) -> RefUpdate {
    RefUpdate::deletion(&entry.name(), entry.commit)
}
