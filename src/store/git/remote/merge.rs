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

/// So many of those who look merge: one might be killed.
const MERGERS: usize = 3;

/// How often one looks before the rest is left to others.
const LOOKS: u32 = 16;

/// How often in that more may have come before what waits is merged all the same.
const MAX_UNREST: u32 = 4;

/// The waits from look to look: from, to, and how they grow while there is a crowd.
const MIN_PACE: Duration = Duration::from_millis(20);
const MAX_PACE: Duration = Duration::from_millis(500);
const GROWTH: f64 = 1.5;

impl Remote {
    /// Merges all that waits into the branch, in one commit, as soon as a crowd has come to rest, and again until nothing
    /// waits. Gives the nodes whose updates were merged.
    ///
    /// Of those who look, the ones whose updates wait for the longest merge (`own` is the node whose update is here), and
    /// the others leave it to them. `known` is how many were seen to wait: if there are more at the next look, the crowd is
    /// still coming, and all of it shall get into one commit; but not for ever, since each that waits costs every push of
    /// the others. The waits grow from `pace`, the time that the server took for the update itself.
    ///
    /// One atomic push moves the branch and deletes exactly the refs that were merged. A crash at any point loses
    /// nothing: what still waits is merged again, to no effect.
    pub(super) fn merge(
        &self,
        mirror: &mut Mirror,
        own: Option<&Name>,
        known: usize,
        pace: Duration,
    ) -> Result<Vec<Name>, StoreErrorKind> {
        let mut merged = Vec::new();
        let mut pace = pace.clamp(MIN_PACE, MAX_PACE);
        let (mut known, mut unrest, mut lost) = (known, 0, 0);
        for _ in 0..LOOKS {
            std::thread::sleep(pace.mul_f64(0.5 + fastrand::f64()));
            let session = self.session()?;
            let Some(mut heads) = mirror.known() else { break };
            let mut view = self.view(mirror, session, &heads.branch);
            let rank = view.waiting.iter().position(|entry| Some(&entry.id) == own).unwrap_or_default();
            if view.waiting.is_empty() || rank >= MERGERS {
                view.session.leave();
                break;
            }
            if view.waiting.len() > known && unrest < MAX_UNREST {
                view.session.leave();
                known = view.waiting.len();
                unrest += 1;
                pace = pace.mul_f64(GROWTH).min(MAX_PACE);
                continue;
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
                    (known, unrest) = (0, 0);
                    heads.tip = tip;
                    heads.others.clear();
                    mirror.note(&heads)?;
                }
                Pushed::Lost if lost == LOSSES => break,
                Pushed::Lost => {
                    lost += 1;
                    pace = pace.mul_f64(GROWTH).min(MAX_PACE);
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
