//! Publishes one change.

use std::cell::Cell;
use std::time::Instant;

use jiff::Timestamp;
use presence_git::send_pack::RefUpdate;

use super::election::Election;
use super::heartbeat::{PendingBeat, push_heartbeat};
use super::merge::{Merged, deletion};
use super::verdict::{Pushed, judge};
use super::{Operation, View};
use crate::change::Change;
use crate::store::git::GitError;
use crate::store::git::commit::Prepared;
use crate::store::git::contention::{Contention, LoadEstimate};
use crate::store::git::held::Standing;
use crate::store::git::inbox::{self, WaitingUpdate};
use crate::store::git::mirror::{Mirror, RemoteRefs};
use crate::store::git::node_files::NodeFiles;
use crate::store::git::{Backoff, network};
use crate::store::{Edit, Options, Outcome, StoreErrorKind};

/// A node whose turn is in this last part of the window looks after the updates of all: there may be nobody
/// after it.
const LATE: f64 = 0.95;

/// The result of pushing an update to the inbox, together with a commit for the branch if there is one to
/// offer.
enum Left {
    /// The branch has it.
    Merged,
    /// It waits in the inbox.
    Waiting,
    /// The server accepts only branches.
    BranchesOnly,
}

/// An update to publish.
struct Update<'a> {
    files: &'a NodeFiles,
    /// The commit for the branch, if nobody else waits.
    offer: Option<Prepared>,
    /// The change that it makes.
    change: Change,
}

/// The result of a change.
pub(super) struct Published {
    pub(super) outcome: Option<Outcome>,
    /// How the list disappeared, if this change restored it.
    pub(super) gone: Option<StoreErrorKind>,
    /// The result of the heartbeat beside it: the time of the one that it replaced.
    pub(super) beat: Result<Option<Timestamp>, StoreErrorKind>,
}

impl Operation<'_> {
    /// Makes the change, and writes the heartbeat of that time.
    pub(super) fn publish(
        &self,
        edit: &Edit<'_>,
        beat: Option<Timestamp>,
    ) -> Result<Published, StoreErrorKind> {
        let mut mirror = self.mirror()?;
        let replaced = Cell::new(None);
        let Options { folder, git, .. } = &*self.remote.options;
        let mut beat =
            beat.map(|time| PendingBeat::new(edit.id(), time, git.beat_shards, Some(folder), &replaced));
        let mut gone = None;
        let outcome = self.clearing(&mut mirror, |mirror| self.put(mirror, edit, &mut beat, &mut gone))?;
        if let Some(refs_seen) = mirror.known() {
            // The change is made even if this fails.
            let _ = self.remote.held().note(&mirror.repo, &refs_seen.branch, refs_seen.tip);
        }
        let beat = beat
            .map_or(Ok(()), |beat| self.clearing(&mut mirror, |mirror| self.leave_heartbeat(mirror, &beat)));
        // The result does not depend on this: the next publisher removes what remains.
        let _ = self.sweep();
        Ok(Published { outcome, gone, beat: beat.map(|()| replaced.get()) })
    }

    /// Whether the list is on that branch, if this machine has the branch's tip.
    fn standing_here(
        &self,
        mirror: &mut Mirror,
        refs_seen: &RemoteRefs,
        view: &View,
    ) -> Result<Standing, StoreErrorKind> {
        match view.tip.is_none_or(|tip| mirror.has(tip)) {
            true => self.standing(mirror, &refs_seen.branch, view.tip, &view.session.advertisement().refs),
            false => Ok(Standing::Sound),
        }
    }

    /// Puts the change on the branch if no other node publishes, else into the inbox. Takes `beat` if the
    /// heartbeat was part of the push.
    fn put(
        &self,
        mirror: &mut Mirror,
        edit: &Edit<'_>,
        beat: &mut Option<PendingBeat<'_>>,
        gone: &mut Option<StoreErrorKind>,
    ) -> Result<Option<Outcome>, StoreErrorKind> {
        let files = NodeFiles::of(&mirror.repo, &self.remote.options.layout, edit)?;
        let asked = Instant::now();
        let session = self.session()?;
        let load = Contention::new(self.remote.cache.place()).guess(asked.elapsed(), session.opened_in());
        let remembered = mirror.known();
        let mut is_fresh = remembered.is_none();
        let mut refs_seen = match remembered {
            Some(refs_seen) => refs_seen,
            // An update does not depend on the list, so under contention no node fetches the list first. A
            // single waiting update may just be a leftover.
            None if inbox::entries(&session.advertisement().refs).len() > 1 => {
                let view = self.view(mirror, session, "")?;
                let update = Update { files: &files, offer: None, change: Change::Joined };
                let load = load.of(view.waiting.len());
                return self.leave_in_turn(mirror, view, None, update, load, beat);
            }
            None => self.persist(|| self.fetch(mirror, beat.as_ref()))?,
        };
        let mut view = self.view(mirror, session, &refs_seen.branch)?;
        let known = refs_seen.tip;
        let changed = match self.prepare(mirror, known, std::slice::from_ref(&files)) {
            // The last known list cannot be read, and it has changed since.
            Err(StoreErrorKind::TooMuch { .. } | StoreErrorKind::Git(GitError::NoFolder { .. }))
                if known != view.tip =>
            {
                None
            }
            result => result?,
        };
        let mine = view.waiting.iter().rev().find(|entry| entry.id == files.id);
        // If others wait, and this is a change whatever the branch contains now, nothing needs to be fetched.
        let looks = view.waiting.is_empty() || changed.is_none() || mine.is_some();
        // The known branch does not exist: the list may now be on a different one.
        let astray = view.tip.is_none()
            && view.session.advertisement().refs.keys().any(|name| name.starts_with("refs/heads/"));
        if (looks && (refs_seen.tip != view.tip || mine.is_some_and(|mine| !mirror.has(mine.commit))))
            || beat.as_ref().is_some_and(|beat| !beat.is_ready(mirror, &view.session.advertisement().refs))
            || astray
        {
            refs_seen = self.persist(|| self.fetch(mirror, beat.as_ref()))?;
            view = self.view(mirror, view.session, &refs_seen.branch)?;
            is_fresh = true;
        }
        let mut standing = self.standing_here(mirror, &refs_seen, &view);
        if !is_fresh && matches!(standing, Err(StoreErrorKind::Git(GitError::OtherBranch { .. }))) {
            // HEAD no longer names the recorded branch, but perhaps the one with the list.
            refs_seen = self.persist(|| self.fetch(mirror, beat.as_ref()))?;
            view = self.view(mirror, view.session, &refs_seen.branch)?;
            standing = self.standing_here(mirror, &refs_seen, &view);
        }
        match (standing?, edit) {
            (Standing::Gone(error), Edit::Put(_)) => *gone = Some(error),
            (standing, _) => standing.sound()?,
        }
        let here = view.tip.is_none_or(|tip| mirror.has(tip));
        let (prepared, changed) = match here {
            true if view.tip == known => (changed, None),
            true => (self.prepare(mirror, view.tip, std::slice::from_ref(&files))?, changed),
            false => (None, changed),
        };
        let load = load.of(view.waiting.len());
        let mine = inbox::read(&mirror.repo, &self.remote.options.folder, &view.waiting)?.remove(&files.id);
        let said = match &mine {
            Some(mine) => *files.beside(&mirror.repo, &mine.files) == mine.files,
            None => here && prepared.is_none(),
        };
        if said {
            let left_over = view.waiting.len();
            self.leave_unchanged(mirror, view, beat)?;
            if left_over > 0 && load.falls_to_one() {
                // A passing node merges what others left over. Its own result does not depend on this.
                let _ = self.look_after(mirror, Election::new(None, left_over), load.answer);
            }
            return Ok(None);
        }
        // Only as exact as this machine's knowledge of the branch.
        let known = prepared.as_ref().or(changed.as_ref());
        let change = known.and_then(|known| known.changes.get(&files.id)).cloned().unwrap_or(Change::Joined);
        let files = match known.and_then(|known| known.files.get(&files.id)) {
            Some(written) => NodeFiles { files: written.clone(), ..files },
            None => files,
        };
        // Decided now: the commit must be on top of the tip that this connection showed.
        let offer = prepared.filter(|_| view.waiting.is_empty());
        // If the list disappeared, waiting updates are all that is left of it. For readers it stays gone
        // until they are on the branch.
        let begins = gone.is_some() && !view.waiting.is_empty();
        if begins || load.merges_at_once(view.waiting.len()) {
            view = match self.merge(mirror, view, Some(&files)) {
                Ok(Merged::Done(_)) => {
                    // The other nodes saw this merge, and rely on this node for later updates.
                    let _ = self.look_after(mirror, Election::after_merge(), load.answer);
                    return Ok(Some(Outcome::Merged(change)));
                }
                Ok(Merged::Stale(view)) => view,
                // If the merge failed, the update is left in the inbox.
                Ok(Merged::Lost) | Err(_) => self.view(mirror, self.session()?, &refs_seen.branch)?,
            };
        }
        let update = Update { files: &files, offer, change };
        self.leave_in_turn(mirror, view, Some(refs_seen), update, load, beat)
    }

    /// Pushes the update at this node's turn among those that publish now, and merges waiting updates if that
    /// falls to this node.
    fn leave_in_turn(
        &self,
        mirror: &mut Mirror,
        view: View,
        refs_seen: Option<RemoteRefs>,
        Update { files, offer, change }: Update<'_>,
        load: LoadEstimate,
        beat: &mut Option<PendingBeat<'_>>,
    ) -> Result<Option<Outcome>, StoreErrorKind> {
        let window = load.window(self.deadline.left() / 2);
        let end = Instant::now() + window;
        let turn = fastrand::f64();
        self.deadline.sleep(window.mul_f64(turn));
        let known = view.waiting.len() + 1;
        let looks = load.falls_to_one() || (!window.is_zero() && turn > LATE);
        let branch = refs_seen.as_ref().map_or("", |refs_seen| &refs_seen.branch);
        match self.leave(mirror, view, branch, files, (offer.as_ref(), looks), beat)? {
            Left::Merged => {
                if let Some(refs_seen) = refs_seen {
                    mirror.note(&RemoteRefs { tip: offer.map(|offer| offer.commit), ..refs_seen })?;
                }
                Ok(Some(Outcome::Merged(change)))
            }
            Left::Waiting if !looks => Ok(Some(Outcome::Waiting(change))),
            Left::Waiting => {
                // The update is durable. If this merge fails, it is left to the next node.
                let merged = self.look_after(mirror, Election::new(Some(&files.id), known), load.answer);
                if !window.is_zero() {
                    // Other nodes came meanwhile, which may rely on this one.
                    self.deadline.sleep(end.saturating_duration_since(Instant::now()));
                    let _ = self.look_after(mirror, Election::new(None, 0), load.answer);
                }
                match merged.is_ok_and(|ids| ids.contains(&files.id)) {
                    true => Ok(Some(Outcome::Merged(change))),
                    false => Ok(Some(Outcome::Waiting(change))),
                }
            }
            // Falls back to pushing the branch, with retries.
            Left::BranchesOnly => self.contend(mirror, files),
        }
    }

    /// Ends a connection without a change, but pushes the heartbeat if there is one.
    fn leave_unchanged(
        &self,
        mirror: &Mirror,
        view: View,
        beat: &mut Option<PendingBeat<'_>>,
    ) -> Result<(), StoreErrorKind> {
        let refs = &view.session.advertisement().refs;
        let command = beat.as_ref().map(|beat| beat.command(mirror, refs)).transpose()?.flatten();
        let Some(command) = command else {
            view.session.leave();
            return Ok(());
        };
        let deletions = view.merged.iter().map(deletion).collect();
        // In any other case the next attempt gets the server's answer again.
        if let Ok(Pushed::Done) = push_heartbeat(mirror, view.session, command, deletions) {
            *beat = None;
        }
        Ok(())
    }

    /// Pushes the update to the inbox, and in the same push the commit for the branch and the heartbeat, if
    /// any. The server accepts or refuses each ref separately. The ref's name tells whether this process
    /// looks after the update.
    fn leave(
        &self,
        mirror: &Mirror,
        view: View,
        branch: &str,
        files: &NodeFiles,
        (offer, looks): (Option<&Prepared>, bool),
        beat: &mut Option<PendingBeat<'_>>,
    ) -> Result<Left, StoreErrorKind> {
        let entry = inbox::write(&mirror.repo, &self.remote.options.folder, files, self.author)?;
        // This node's earlier updates are out of date, and those that somebody else pushed for it all the
        // more.
        let own: Vec<&WaitingUpdate> = view.waiting.iter().filter(|entry| entry.id == files.id).collect();
        let last = own.iter().copied().chain(&view.merged).map(WaitingUpdate::time).max();
        let name = inbox::next(&files.id, last, looks, offer.map(|offer| offer.commit));
        let refs = &view.session.advertisement().refs;
        let heartbeat = beat.as_ref().map(|beat| beat.command(mirror, refs)).transpose()?.flatten();
        let offered =
            offer.map(|offer| RefUpdate { name: branch.to_owned(), old: view.tip, new: Some(offer.commit) });
        let waiting = RefUpdate { name: name.clone(), old: None, new: Some(entry) };
        let shard = heartbeat.as_ref().map(|command| command.name.clone());
        let commands: Vec<RefUpdate> = offered.into_iter().chain([waiting]).chain(heartbeat).collect();
        let commits: Vec<_> = commands
            .iter()
            .filter_map(|command| Some((view.tip.filter(|_| command.name == branch), command.new?)))
            .collect();
        let deletions = own.into_iter().chain(&view.merged).map(deletion);
        let commands: Vec<RefUpdate> = commands.into_iter().chain(deletions).collect();
        let pack = network::pack_of(&mirror.repo, &commits)?;
        let report =
            view.session.send(&commands, &pack, false).map_err(|error| network::pushing("push", error))?;
        if shard.is_some_and(|shard| matches!(judge(&report, &shard, false), Ok(Pushed::Done))) {
            *beat = None;
        }
        if let Err(refusal) = judge(&report, &name, false)
            && refusal.lacks_objects()
        {
            // The server would refuse every other push, too.
            return Err(refusal);
        }
        let waits = report.unpack.is_none() && !report.refuses(&name);
        match judge(&report, branch, false) {
            Ok(Pushed::Done) if offer.is_some() => Ok(Left::Merged),
            Ok(_) if waits => Ok(Left::Waiting),
            Ok(_) => Ok(Left::BranchesOnly),
            Err(error) => {
                if waits {
                    // A change that the server refuses on its branch must not enter through the inbox.
                    let gone = RefUpdate::deletion(&name, entry);
                    self.session()?
                        .send(&[gone], &[], false)
                        .map_err(|error| network::pushing("push", error))?;
                }
                Err(error)
            }
        }
    }

    /// Pushes to the branch only, for servers that accept no other refs: fetch, commit, push, and again if
    /// others were faster.
    fn contend(&self, mirror: &mut Mirror, files: &NodeFiles) -> Result<Option<Outcome>, StoreErrorKind> {
        let mut backoff = Backoff::new(self.deadline);
        loop {
            let mut refs_seen = self.persist(|| self.fetch(mirror, None))?;
            let Some(prepared) = self.prepare(mirror, refs_seen.tip, std::slice::from_ref(files))? else {
                return Ok(None);
            };
            let session = self.session()?;
            if session.advertisement().refs.get(&refs_seen.branch).copied() == refs_seen.tip {
                let pack = network::pack_of(&mirror.repo, &[(refs_seen.tip, prepared.commit)])?;
                let command = RefUpdate {
                    name: refs_seen.branch.clone(),
                    old: refs_seen.tip,
                    new: Some(prepared.commit),
                };
                let report = session
                    .send(&[command], &pack, false)
                    .map_err(|error| network::pushing("push", error))?;
                if let Pushed::Done = judge(&report, &refs_seen.branch, false)? {
                    refs_seen.tip = Some(prepared.commit);
                    mirror.note(&refs_seen)?;
                    return Ok(prepared.changes.into_values().next().map(Outcome::Merged));
                }
            }
            backoff.lost()?;
        }
    }
}
