//! Publishes one change.

use std::cell::Cell;

use git2::Oid;
use jiff::Timestamp;
use presence_git::send_pack::RefUpdate;

use super::election::Election;
use super::heartbeat::PendingBeat;
use super::merge::{Merged, deletion};
use super::port::{Connected, Mirror, NewBeat, Port, Push};
use super::verdict::{Pushed, judge};
use super::{Protocol, Published, View, latest};
use crate::change::Change;
use crate::store::git::Backoff;
use crate::store::git::GitError;
use crate::store::git::commit::Prepared;
use crate::store::git::contention::LoadEstimate;
use crate::store::git::held::Standing;
use crate::store::git::inbox::{self, WaitingUpdate};
use crate::store::git::node_files::NodeFiles;
use crate::store::git::refs::RemoteRefs;
use crate::store::{Edit, Outcome, StoreErrorKind};

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
    /// The server accepts only branches: how it refused the update.
    BranchesOnly(StoreErrorKind),
}

/// An update to publish.
struct Update<'a> {
    files: &'a NodeFiles,
    /// The commit for the branch, if nobody else waits.
    offer: Option<Prepared>,
    /// The change that it makes.
    change: Change,
}

impl<P: Port> Protocol<'_, P> {
    /// Makes the change, and writes the heartbeat of that time.
    pub(super) async fn publish(
        &self,
        edit: &Edit<'_>,
        beat: Option<Timestamp>,
    ) -> Result<Published, StoreErrorKind> {
        let mut mirror = self.port.open_mirror().await?;
        self.was_confirmed.set(matches!(edit, Edit::Put(record) if self.port.was_confirmed(record)));
        // Before the change, which may be interrupted. The lock is held until this process remembers what it
        // wrote: another one would make an older record the confirmed one.
        self.port.forget_confirmed().await?;
        let replaced = Cell::new(None);
        let mut beat = beat.map(|time| {
            PendingBeat::new(self.port, NewBeat { id: edit.id(), time, beside_list: true }, &replaced)
        });
        let mut gone = None;
        let mut outcome = self
            .clearing(&mut mirror, async |mirror: &mut P::Mirror| {
                self.put(mirror, edit, &mut beat, &mut gone).await
            })
            .await?;
        if let Some(refs_seen) = mirror.known() {
            // The change is made even if this fails.
            let _ = mirror.note_list(&refs_seen).await;
        }
        self.cleared.set(false);
        let beat = match beat {
            Some(beat) => {
                self.clearing(&mut mirror, async |mirror: &mut P::Mirror| {
                    self.leave_heartbeat(mirror, &beat).await
                })
                .await
            }
            None => Ok(()),
        };
        if self.cleared.get() {
            // What was cleared away may have been this node's own update.
            outcome = self.put(&mut mirror, edit, &mut None, &mut gone).await?.or(outcome);
        }
        // The result does not depend on this: the next publisher removes what remains.
        let _ = self.sweep(&mirror).await;
        // A waiting update may still be superseded by another one.
        if let (Edit::Put(record), None | Some(Outcome::Merged(_))) = (edit, &outcome) {
            self.port.remember_confirmed(record).await;
        }
        Ok(Published { outcome, gone, beat: beat.map(|()| replaced.get()), asked: true })
    }

    /// Whether the list is on that branch, if this machine has the branch's tip.
    async fn standing_here(
        &self,
        mirror: &mut P::Mirror,
        refs_seen: &RemoteRefs,
        view: &View<P::Session>,
    ) -> Result<Standing, StoreErrorKind> {
        match view.tip.is_none_or(|tip| mirror.has(tip)) {
            true => mirror.standing(&refs_seen.branch, view.tip, view.session.refs()).await,
            false => Ok(Standing::Sound),
        }
    }

    /// Puts the change on the branch if no other node publishes, else into the inbox. Takes `beat` if the
    /// heartbeat was part of the push.
    async fn put(
        &self,
        mirror: &mut P::Mirror,
        edit: &Edit<'_>,
        beat: &mut Option<PendingBeat<'_>>,
        gone: &mut Option<StoreErrorKind>,
    ) -> Result<Option<Outcome>, StoreErrorKind> {
        let files = mirror.files_of(edit)?;
        let asked = self.port.elapsed();
        let session = self.session().await?;
        let load = self.port.load(self.port.elapsed().saturating_sub(asked), session.opened_in());
        let remembered = mirror.known();
        let mut is_fresh = remembered.is_none();
        let mut refs_seen = match remembered {
            Some(refs_seen) => refs_seen,
            // An update does not depend on the list, so under contention no node fetches the list first. A
            // single waiting update may just be a leftover.
            None if inbox::entries(session.refs()).len() > 1 => {
                let view = self.view(mirror, session, "")?;
                let update = Update { files: &files, offer: None, change: Change::Joined };
                let load = load.of(view.waiting.len());
                return self.leave_in_turn(mirror, view, None, update, load, beat).await;
            }
            None => self.fetch(mirror, beat.as_ref()).await?,
        };
        let mut view = self.view(mirror, session, &refs_seen.branch)?;
        let known = refs_seen.tip;
        let changed = match mirror.prepare(known, std::slice::from_ref(&files)) {
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
        let astray =
            view.tip.is_none() && view.session.refs().keys().any(|name| name.starts_with("refs/heads/"));
        // git lists branches before the inbox. If others merged and deleted an earlier update of this node in
        // between, the branch is as it was before that update, and may seem to have this record.
        let doubtful = changed.is_none() && mine.is_none() && !self.was_confirmed.get();
        if (looks && (refs_seen.tip != view.tip || mine.is_some_and(|mine| !mirror.has(mine.commit))))
            || doubtful
            || beat.as_ref().is_some_and(|beat| !beat.is_ready(mirror, view.session.refs()))
            || astray
        {
            refs_seen = self.fetch(mirror, beat.as_ref()).await?;
            view = self.view(mirror, view.session, &refs_seen.branch)?;
            is_fresh = true;
        }
        let mut standing = self.standing_here(mirror, &refs_seen, &view).await;
        if !is_fresh && matches!(standing, Err(StoreErrorKind::Git(GitError::OtherBranch { .. }))) {
            // HEAD no longer names the recorded branch, but perhaps the one with the list.
            refs_seen = self.fetch(mirror, beat.as_ref()).await?;
            view = self.view(mirror, view.session, &refs_seen.branch)?;
            standing = self.standing_here(mirror, &refs_seen, &view).await;
        }
        match (standing?, edit) {
            (Standing::Gone(error), Edit::Put(_)) => *gone = Some(error),
            (standing, _) => standing.sound()?,
        }
        let here = view.tip.is_none_or(|tip| mirror.has(tip));
        let (prepared, changed) = match here {
            true if view.tip == known => (changed, None),
            true => (mirror.prepare(view.tip, std::slice::from_ref(&files))?, changed),
            false => (None, changed),
        };
        let load = load.of(view.waiting.len());
        let mine = latest(mirror, &view.waiting)?.remove(&files.id);
        let said = match &mine {
            Some(mine) => mirror.states(&files, mine),
            // The branch as it was fetched is newer than the connection.
            None if is_fresh && refs_seen.tip != view.tip => {
                mirror.prepare(refs_seen.tip, std::slice::from_ref(&files))?.is_none()
            }
            None => here && prepared.is_none(),
        };
        if said {
            let left_over = view.waiting.len();
            self.leave_unchanged(mirror, view, beat).await?;
            if left_over > 0 && load.falls_to_one(self.port.chance()) {
                // A passing node merges what others left over. Its own result does not depend on this.
                let _ = self.look_after(mirror, Election::new(None, left_over), load.answer).await;
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
        if begins || load.merges_at_once(view.waiting.len(), self.port.chance()) {
            // Beside an earlier update of this node that waits, its change would not be the last one.
            let waits = view.waiting.iter().any(|update| update.id == files.id);
            view = match self.merge(mirror, view, (!waits).then_some(&files)).await {
                Ok(Merged::Done(_)) if !waits => {
                    // The other nodes saw this merge, and rely on this node for later updates.
                    let _ = self.look_after(mirror, Election::after_merge(), load.answer).await;
                    return Ok(Some(Outcome::Merged(change)));
                }
                Ok(Merged::Stale(view)) => view,
                // If the merge failed, the update is left in the inbox.
                Ok(Merged::Done(_) | Merged::Lost) | Err(_) => {
                    self.view(mirror, self.session().await?, &refs_seen.branch)?
                }
            };
        }
        let update = Update { files: &files, offer, change };
        self.leave_in_turn(mirror, view, Some(refs_seen), update, load, beat).await
    }

    /// Pushes the update at this node's turn among those that publish now, and merges waiting updates if that
    /// falls to this node.
    async fn leave_in_turn(
        &self,
        mirror: &mut P::Mirror,
        view: View<P::Session>,
        refs_seen: Option<RemoteRefs>,
        Update { files, offer, change }: Update<'_>,
        load: LoadEstimate,
        beat: &mut Option<PendingBeat<'_>>,
    ) -> Result<Option<Outcome>, StoreErrorKind> {
        let window = load.window(self.port.left() / 2);
        let end = self.port.elapsed() + window;
        let turn = self.port.chance();
        self.port.sleep(window.mul_f64(turn)).await;
        let known = view.waiting.len() + 1;
        let looks = load.falls_to_one(self.port.chance()) || (!window.is_zero() && turn > LATE);
        let branch = refs_seen.as_ref().map_or("", |refs_seen| &refs_seen.branch);
        let mut backoff = Backoff::default();
        let (mut view, mut offered) = (view, offer.as_ref());
        let left = loop {
            if let Some(left) = self.leave(mirror, view, branch, files, (offered, looks), beat).await? {
                break left;
            }
            // Not on the branch: a merger may be about to put an earlier update of this node there.
            offered = None;
            let session = loop {
                self.lost(&mut backoff).await?;
                let session = self.session().await?;
                if let Some(session) = self.make_way(mirror, session, &inbox::of(&files.id)).await? {
                    break session;
                }
            };
            view = self.view(mirror, session, branch)?;
        };
        match left {
            Left::Merged => {
                if let Some(refs_seen) = refs_seen {
                    let tip = offer.map(|offer| offer.commit);
                    mirror.note(&RemoteRefs { tip, ..refs_seen }).await?;
                }
                Ok(Some(Outcome::Merged(change)))
            }
            Left::Waiting if !looks => Ok(Some(Outcome::Waiting(change))),
            Left::Waiting => {
                // The update is durable. If this merge fails, it is left to the next node.
                let election = Election::new(Some(&files.id), known);
                let merged = self.look_after(mirror, election, load.answer).await;
                if !window.is_zero() {
                    // Other nodes came meanwhile, which may rely on this one.
                    self.port.sleep(end.saturating_sub(self.port.elapsed())).await;
                    let _ = self.look_after(mirror, Election::new(None, 0), load.answer).await;
                }
                match merged.is_ok_and(|ids| ids.contains(&files.id)) {
                    true => Ok(Some(Outcome::Merged(change))),
                    false => Ok(Some(Outcome::Waiting(change))),
                }
            }
            // Falls back to pushing the branch, with retries.
            Left::BranchesOnly(refusal) => self.contend(mirror, files, refusal).await,
        }
    }

    /// Ends a connection without a change, but pushes the heartbeat if there is one.
    async fn leave_unchanged(
        &self,
        mirror: &P::Mirror,
        view: View<P::Session>,
        beat: &mut Option<PendingBeat<'_>>,
    ) -> Result<(), StoreErrorKind> {
        let refs = view.session.refs();
        let command = beat.as_ref().map(|beat| beat.command(mirror, refs)).transpose()?.flatten();
        let Some(command) = command else {
            self.port.leave(view.session).await;
            return Ok(());
        };
        let deletions = view.merged.iter().map(deletion).collect();
        // In any other case the next attempt gets the server's answer again.
        if let Ok(Pushed::Done) = self.push_heartbeat(mirror, view.session, command, deletions).await {
            *beat = None;
        }
        Ok(())
    }

    /// Pushes the update to the inbox, and in the same push the commit for the branch and the heartbeat, if
    /// any. The server accepts or refuses each ref separately. The ref's name tells whether this process
    /// looks after the update. `None` if the server could not create the ref in the inbox now.
    async fn leave(
        &self,
        mirror: &P::Mirror,
        view: View<P::Session>,
        branch: &str,
        files: &NodeFiles,
        (offer, looks): (Option<&Prepared>, bool),
        beat: &mut Option<PendingBeat<'_>>,
    ) -> Result<Option<Left>, StoreErrorKind> {
        let entry = mirror.write_update(files)?;
        let own: Vec<&WaitingUpdate> = view.waiting.iter().filter(|entry| entry.id == files.id).collect();
        let earlier = own.iter().copied().chain(&view.merged).chain(&view.done);
        let earlier = earlier.filter(|update| update.id == files.id).map(WaitingUpdate::time);
        let now = (self.port.clock(), self.random());
        let name = inbox::next(&files.id, now, earlier, looks, offer.map(|offer| offer.commit));
        let refs = view.session.refs();
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
        // Of this node's earlier updates, all but the last are out of date. The last one stays until this one
        // is durable: the server may refuse this one and delete nevertheless. An update of a later time, which
        // would win over this one, was pushed by somebody else.
        let stays = own.last().copied().filter(|update| update.name() < name);
        let outdated = own.into_iter().filter(|update| Some(*update) != stays);
        let deletions = outdated.chain(&view.merged).map(deletion);
        let commands: Vec<RefUpdate> = commands.into_iter().chain(deletions).collect();
        let push = Push { commands, commits, atomic: false };
        let report = self.port.push(mirror, view.session, &push).await?;
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
            Ok(Pushed::Done) if offer.is_some() => Ok(Some(Left::Merged)),
            Ok(_) if waits => Ok(Some(Left::Waiting)),
            Ok(_) => Ok(judge(&report, &name, false).err().map(Left::BranchesOnly)),
            Err(error) => {
                if waits {
                    // A change that the server refuses on its branch must not enter through the inbox.
                    let gone = Push::of_deletions(vec![RefUpdate::deletion(&name, entry)]);
                    let session = self.session().await?;
                    self.port.push(mirror, session, &gone).await?;
                }
                Err(error)
            }
        }
    }

    /// Pushes to the branch only, for servers that accept no other refs: fetch, commit, push, and again if
    /// others were faster. `refusal` is how the server refused the update in the inbox. It is the result if
    /// an earlier update of this node waits there: that one would come after the branch.
    async fn contend(
        &self,
        mirror: &mut P::Mirror,
        files: &NodeFiles,
        refusal: StoreErrorKind,
    ) -> Result<Option<Outcome>, StoreErrorKind> {
        let mut backoff = Backoff::default();
        loop {
            let mut refs_seen = self.fetch(mirror, None).await?;
            let mut earlier = inbox::entries(&refs_seen.others);
            earlier.retain(|entry| entry.id == files.id);
            let offered: Vec<Option<Oid>> = earlier.iter().map(|entry| entry.offered).collect();
            if mirror.contains(refs_seen.tip, &offered)?.contains(&false) {
                return Err(refusal);
            }
            let prepared = mirror.prepare(refs_seen.tip, std::slice::from_ref(files))?;
            let session = self.session().await?;
            if session.refs().get(&refs_seen.branch).copied() == refs_seen.tip {
                let Some(prepared) = prepared else {
                    self.port.leave(session).await;
                    return Ok(None);
                };
                let (name, new) = (refs_seen.branch.clone(), Some(prepared.commit));
                let push = Push {
                    commands: vec![RefUpdate { name, old: refs_seen.tip, new }],
                    commits: vec![(refs_seen.tip, prepared.commit)],
                    atomic: false,
                };
                let report = self.port.push(mirror, session, &push).await?;
                if let Pushed::Done = judge(&report, &refs_seen.branch, false)? {
                    refs_seen.tip = Some(prepared.commit);
                    mirror.note(&refs_seen).await?;
                    return Ok(prepared.changes.into_values().next().map(Outcome::Merged));
                }
            }
            self.lost(&mut backoff).await?;
        }
    }
}
