//! Merges what waits into the branch.

use std::time::Duration;

use super::verdict::{Pushed, judge};
use super::{Remote, View};
use crate::name::Name;
use crate::store::StoreErrorKind;
use crate::store::git::commit::{NodeFiles, Prepared};
use crate::store::git::inbox::{self, Entry};
use crate::store::git::mirror::Mirror;
use crate::store::git::network;
use crate::store::git::push::{self, Command, Session};

/// How often in that others may be faster: then it is they who merge.
const LOSSES: u32 = 3;

/// The longest that somebody who merges waits for others to be merged with.
const MAX_PACE: Duration = Duration::from_secs(5);

impl Remote {
    /// Merges all that waits into the branch, in one commit, until nothing waits or `rounds` are over. Gives the nodes
    /// whose updates were merged.
    ///
    /// One atomic push moves the branch and deletes exactly the refs that were merged. A crash at any point loses
    /// nothing: what still waits is merged again, to no effect. The waits grow with `pace`, the time that the server
    /// took for the update itself: on a busy one more get into the same commit, and fewer get in each other's way.
    pub(super) fn merge(
        &self,
        mirror: &mut Mirror,
        rounds: u32,
        pace: Duration,
    ) -> Result<Vec<Name>, StoreErrorKind> {
        let mut merged = Vec::new();
        let mut pace = pace.min(MAX_PACE);
        let mut lost = 0;
        for _ in 0..rounds {
            if lost == LOSSES {
                break;
            }
            std::thread::sleep(pace.mul_f64(0.2 + 1.8 * fastrand::f64()));
            let session = self.session()?;
            let Some(mut heads) = mirror.known() else { break };
            let mut view = self.view(mirror, session, &heads.branch);
            if view.waiting.is_empty() {
                view.session.leave();
                break;
            }
            if view.tip.is_some_and(|tip| !mirror.has(tip))
                || !view.waiting.iter().all(|entry| mirror.has(entry.commit))
            {
                heads = self.fetch(mirror, None)?;
                view = self.view(mirror, view.session, &heads.branch);
            }
            if view.tip.is_some_and(|tip| !mirror.has(tip)) {
                view.session.leave();
                continue;
            }
            view.waiting.retain(|entry| mirror.has(entry.commit));
            let edits: Vec<NodeFiles> =
                inbox::read(&mirror.repo, &self.options.folder, &view.waiting)?.into_values().collect();
            let ids: Vec<Name> = edits.iter().map(|edit| edit.id.clone()).collect();
            view.waiting.retain(|entry| ids.contains(&entry.id));
            if view.waiting.is_empty() {
                view.session.leave();
                break;
            }
            let prepared = self.prepare(mirror, view.tip, &edits)?;
            let tip = prepared.as_ref().map(|prepared| prepared.commit).or(view.tip);
            match self.push_merged(mirror, view, &heads.branch, prepared.as_ref())? {
                Pushed::Done => {
                    merged.extend(ids);
                    heads.tip = tip;
                    heads.others.clear();
                    mirror.note(&heads)?;
                }
                Pushed::Lost => {
                    lost += 1;
                    pace = (pace * 2).min(MAX_PACE);
                }
            }
        }
        Ok(merged)
    }

    fn push_merged(
        &self,
        mirror: &Mirror,
        view: View,
        branch: &str,
        prepared: Option<&Prepared>,
    ) -> Result<Pushed, StoreErrorKind> {
        let deletions: Vec<Command> = view.waiting.iter().chain(&view.merged).map(deletion).collect();
        let send = |session: Session, commands: &[Command], pack: &[u8], atomic: bool| {
            let report = session.send(commands, pack, atomic).map_err(|error| network("push", error))?;
            judge(&report, branch, atomic)
        };
        let Some(prepared) = prepared else { return send(view.session, &deletions, &[], false) };
        let pack = push::pack_of(&mirror.repo, &[(view.tip, prepared.commit)]);
        let pack = pack.map_err(|error| network("pack", error))?;
        let mut commands =
            vec![Command { name: branch.to_owned(), old: view.tip, new: Some(prepared.commit) }];
        if view.session.advert().can("atomic") {
            commands.extend(deletions);
            return send(view.session, &commands, &pack, true);
        }
        match send(view.session, &commands, &pack, false)? {
            Pushed::Done => send(self.session()?, &deletions, &[], false),
            Pushed::Lost => Ok(Pushed::Lost),
        }
    }
}

pub(super) fn deletion(entry: &Entry) -> Command {
    Command { name: entry.name(), old: Some(entry.commit), new: None }
}
