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

/// To so many who come first one yields: one of them might have been killed.
const MERGERS: usize = 3;

/// What waits is merged at this number although more may come: each that waits costs every push of the others, and a merge
/// costs as much as a few pushes.
const MANY: usize = 48;

/// How often one looks before the rest is left to others.
const LOOKS: u32 = 16;

/// How often in that more may have come before what waits is merged all the same.
const MAX_UNREST: i32 = 4;

/// The waits from look to look: so many times longer than the server took to answer, from, to, and how they grow while
/// there is a crowd.
const PACE: u32 = 4;
const MIN_PACE: Duration = Duration::from_millis(20);
const MAX_PACE: Duration = Duration::from_secs(2);
const GROWTH: f64 = 1.5;

impl Remote {
    /// Merges all that waits into the branch, in one commit, as soon as a crowd has come to rest or is large, and again
    /// until nothing waits. Gives the nodes whose updates were merged.
    ///
    /// Of those who look, the one whose update waits for the longest merges (`own` is the node whose update is here). The
    /// others yield to it up to three times, leave as soon as they see that somebody merges, and else do it. `known` is how
    /// many were seen to wait: if there are more at the next look, the crowd is still coming, and all of it shall get into
    /// one commit; but not for ever, since each that waits costs every push of the others. `pace` is the time that the
    /// server took to answer.
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
        let mut pace = (pace * PACE).clamp(MIN_PACE, MAX_PACE);
        let (mut known, mut unrest, mut yielded, mut lost) = (known, 0, 0, 0);
        let mut first = None;
        for _ in 0..LOOKS {
            std::thread::sleep(pace.mul_f64(GROWTH.powi(unrest) * (0.5 + fastrand::f64())));
            let session = self.session()?;
            pace = (session.opened_in() * PACE).clamp(MIN_PACE, MAX_PACE);
            let Some(mut heads) = mirror.known() else { break };
            let mut view = self.view(mirror, session, &heads.branch);
            let turn = turn(&view.waiting, own);
            let oldest = view.waiting.first().map(Entry::name);
            // Somebody does who was there before.
            let others_merge =
                merged.is_empty() && first.as_ref().is_some_and(|first| oldest.as_ref() != Some(first));
            if view.waiting.is_empty() || others_merge {
                view.session.leave();
                break;
            }
            first = oldest;
            let comes = view.waiting.len() > known && unrest < MAX_UNREST && view.waiting.len() < MANY;
            if comes || (turn > yielded && merged.is_empty()) {
                view.session.leave();
                known = view.waiting.len();
                unrest += i32::from(comes);
                yielded += usize::from(!comes);
                continue;
            }
            if view.tip.is_some_and(|tip| !mirror.has(tip))
                || !view.waiting.iter().all(|entry| mirror.has(entry.commit))
            {
                heads = self.persist(|| self.fetch(mirror, None))?;
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
                Pushed::Lost => lost += 1,
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

/// How often one yields: once to each that looks and comes first, because its update waits for longer than our own. To no
/// more than [`MERGERS`], since they may all have been killed.
fn turn(waiting: &[Entry], own: Option<&Name>) -> usize {
    let before = waiting.iter().take_while(|entry| Some(&entry.id) != own);
    before.filter(|entry| entry.looked_after).count().min(MERGERS)
}

pub(super) fn deletion(entry: &Entry) -> Command {
    Command { name: entry.name(), old: Some(entry.commit), new: None }
}
