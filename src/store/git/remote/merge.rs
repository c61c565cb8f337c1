//! Merges waiting updates into the branch.

use std::time::Duration;

use presence_git::send_pack::{RefUpdate, Session};

use super::election::{Election, Next};
use super::verdict::{Pushed, judge};
use super::{Operation, View};
use crate::name::Name;
use crate::store::StoreErrorKind;
use crate::store::git::commit::Prepared;
use crate::store::git::inbox::{self, WaitingUpdate};
use crate::store::git::mirror::Mirror;
use crate::store::git::network;
use crate::store::git::node_files::NodeFiles;

/// How many merges may lose the race before they are left to the others.
const LOSSES: u32 = 3;

/// How many looks a node takes before it leaves the rest to others.
const LOOKS: u32 = 16;

/// The result of a merge.
pub(super) enum Merged {
    /// The branch has the updates of these nodes.
    Done(Vec<Name>),
    /// Nothing was pushed: the branch moved since this connection was opened, or no waiting update could be
    /// read.
    Stale(View),
    /// Others were faster.
    Lost,
}

impl Operation<'_> {
    /// Looks repeatedly until nothing is left to do, and merges the waiting updates when that falls to this
    /// node. `answer` is the server's last response time. Returns the nodes whose updates were merged.
    pub(super) fn look_after(
        &self,
        mirror: &mut Mirror,
        mut election: Election<'_>,
        mut answer: Duration,
    ) -> Result<Vec<Name>, StoreErrorKind> {
        let mut merged = Vec::new();
        let mut lost = 0;
        for _ in 0..LOOKS {
            let pause = election.pause(answer);
            if self.deadline.left() < pause + answer {
                // The updates are durable, and other nodes look as well.
                break;
            }
            self.deadline.sleep(pause);
            let session = self.session()?;
            answer = session.opened_in();
            let refs_seen = match mirror.known() {
                Some(refs_seen) => refs_seen,
                None => self.persist(|| self.fetch(mirror, None))?,
            };
            let view = self.view(mirror, session, &refs_seen.branch)?;
            match election.next(&view.waiting) {
                Next::Wait => view.session.leave(),
                Next::Leave => {
                    view.session.leave();
                    break;
                }
                Next::Merge => match self.merge(mirror, view, None)? {
                    Merged::Done(ids) => {
                        merged.extend(ids);
                        election.has_merged();
                    }
                    Merged::Stale(view) => view.session.leave(),
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
    pub(super) fn merge(
        &self,
        mirror: &mut Mirror,
        mut view: View,
        own: Option<&NodeFiles>,
    ) -> Result<Merged, StoreErrorKind> {
        let Some(mut refs_seen) = mirror.known() else { return Ok(Merged::Stale(view)) };
        let is_missing = |mirror: &Mirror, view: &View| {
            view.tip.is_some_and(|tip| !mirror.has(tip))
                || !view.waiting.iter().all(|entry| mirror.has(entry.commit))
        };
        if is_missing(mirror, &view) {
            refs_seen = self.persist(|| self.fetch(mirror, None))?;
            view = self.view(mirror, view.session, &refs_seen.branch)?;
            if refs_seen.tip != view.tip {
                return Ok(Merged::Stale(view));
            }
        }
        // An error here prevents a second list beside one on another branch. A list that disappeared is
        // restored from the waiting updates.
        let _ = self.standing(mirror, &refs_seen.branch, view.tip, &view.session.advertisement().refs)?;
        let mut edits = inbox::read(&mirror.repo, &self.remote.options.folder, &view.waiting)?;
        // Keeps only the updates that were read.
        view.waiting.retain(|entry| edits.contains_key(&entry.id) && mirror.has(entry.commit));
        if view.waiting.is_empty() {
            return Ok(Merged::Stale(view));
        }
        edits.extend(own.map(|own| (own.id.clone(), own.clone())));
        let ids = edits.keys().cloned().collect();
        let edits: Vec<NodeFiles> = edits.into_values().collect();
        let prepared = self.prepare(mirror, view.tip, &edits)?;
        let tip = prepared.as_ref().map(|prepared| prepared.commit).or(view.tip);
        match self.push_merged(mirror, view, &refs_seen.branch, prepared.as_ref())? {
            Pushed::Done => {
                refs_seen.tip = tip;
                refs_seen.others.clear();
                mirror.note(&refs_seen)?;
                Ok(Merged::Done(ids))
            }
            Pushed::Lost => Ok(Merged::Lost),
        }
    }

    fn push_merged(
        &self,
        mirror: &Mirror,
        view: View,
        branch: &str,
        prepared: Option<&Prepared>,
    ) -> Result<Pushed, StoreErrorKind> {
        let deletions: Vec<RefUpdate> = view.waiting.iter().chain(&view.merged).map(deletion).collect();
        let send = |session: Session, commands: &[RefUpdate], pack: &[u8], atomic: bool| {
            let report =
                session.send(commands, pack, atomic).map_err(|error| network::pushing("push", error))?;
            judge(&report, branch, atomic)
        };
        let Some(prepared) = prepared else { return send(view.session, &deletions, &[], false) };
        let pack = network::pack_of(&mirror.repo, &[(view.tip, prepared.commit)])?;
        let mut commands =
            vec![RefUpdate { name: branch.to_owned(), old: view.tip, new: Some(prepared.commit) }];
        if view.session.advertisement().can("atomic") {
            commands.extend(deletions);
            return send(view.session, &commands, &pack, true);
        }
        match send(view.session, &commands, &pack, false)? {
            Pushed::Done => send(self.session()?, &deletions, &[], false),
            Pushed::Lost => Ok(Pushed::Lost),
        }
    }
}

pub(super) fn deletion(entry: &WaitingUpdate) -> RefUpdate {
    RefUpdate::deletion(&entry.name(), entry.commit)
}
