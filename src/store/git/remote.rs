//! A repository behind a network: a mirror on this machine, a fetch to read, a push to write.

use std::time::{Duration, Instant};

use git2::Oid;
use jiff::Timestamp;

use super::commit::{self, NodeFiles, Prepared};
use super::confirmed::Confirmed;
use super::crowd::Crowd;
use super::inbox::{self, Entry};
use super::mirror::{Heads, Mirror};
use super::push::{self, Command, Report, Session, SessionError};
use super::seen::Seen;
use super::{Backoff, beats, history, network, transport};
use crate::change::Change;
use crate::excerpt;
use crate::name::Name;
use crate::store::copy::Copy;
use crate::store::error::InStore;
use crate::store::{Edit, Event, Look, Options, Outcome, Snapshot, Store, StoreError, StoreErrorKind};

/// Of a crowd that leaves updates at once, about this many look afterwards whether somebody merges them.
const LOOKERS: f64 = 3.0;

/// How often one publisher merges what waits, before it leaves the rest to others.
const MERGES: u32 = 8;

/// How often in that others may be faster: then it is they who merge.
const LOSSES: u32 = 3;

/// The longest that somebody who merges waits for others to be merged with.
const MAX_PACE: Duration = Duration::from_secs(5);

/// The most that is repeated of what a server says, in characters of one line.
const MAX_SAID: usize = 4096;

/// A repository behind a URL.
#[derive(Clone)]
pub(crate) struct Remote {
    /// As the transports need it, with its secrets.
    address: String,
    /// As it may be shown.
    url: String,
    copy: Copy,
    options: Options,
}

/// What became of a push.
enum Pushed {
    Done,
    /// Others were faster at the branch.
    Lost,
}

/// The server's refs as a connection has shown them, seen through this machine's mirror.
struct View {
    session: Session,
    tip: Option<Oid>,
    waiting: Vec<Entry>,
    /// What the branch has, but is still in the inbox.
    merged: Vec<Entry>,
}

impl Remote {
    pub(crate) fn new(url: String, options: &Options) -> Remote {
        transport::install(transport::Settings::from_env(options.limits));
        let copy = Copy::new(&options.state_dir, &url, options.folder.as_ref(), options.branch.as_deref());
        Remote { url: without_secrets(&url), address: url, copy, options: options.clone() }
    }

    fn mirror(&self) -> Result<Mirror, StoreErrorKind> {
        Mirror::open(self.copy.place(), self.options.patience)
    }

    fn fetch(&self, mirror: &mut Mirror) -> Result<Heads, StoreErrorKind> {
        let beats = self.options.beats;
        let also = |name: &str| name.starts_with(inbox::PREFIX) || (beats && name.starts_with(beats::PREFIX));
        mirror.fetch(&self.address, self.options.branch.as_deref(), &also)
    }

    /// Connects to write.
    fn session(&self) -> Result<Session, StoreErrorKind> {
        self.persist(|| {
            transport::open(&self.address)
                .map_err(SessionError::from)
                .and_then(|(transport, rpc)| Session::open(transport, rpc, &self.address))
                .map_err(|error| network("connect", error))
        })
    }

    /// Asks a server that is too busy to answer again, as long as the patience lasts. Only for what changes nothing.
    fn persist<T>(&self, mut ask: impl FnMut() -> Result<T, StoreErrorKind>) -> Result<T, StoreErrorKind> {
        let mut backoff = Backoff::new(self.options.patience);
        loop {
            match ask() {
                Err(StoreErrorKind::Transport(error)) if error.is_overload() => {
                    backoff.lost().map_err(|_| StoreErrorKind::Transport(error))?;
                }
                result => return result,
            }
        }
    }

    /// Does it again with a new mirror if git failed, and not the network: the mirror may be broken.
    fn repairing<T>(&self, act: impl Fn() -> Result<T, StoreErrorKind>) -> Result<T, StoreErrorKind> {
        self.repaired(act(), &act)
    }

    fn repaired<T>(
        &self,
        result: Result<T, StoreErrorKind>,
        again: impl FnOnce() -> Result<T, StoreErrorKind>,
    ) -> Result<T, StoreErrorKind> {
        match result {
            Err(StoreErrorKind::Git { .. }) => {
                Mirror::discard(self.copy.place(), self.options.patience)?;
                again()
            }
            result => result,
        }
    }

    /// What there is to be read, and the mirror that it is to be read from.
    fn see(&self) -> Result<(Mirror, Seen), StoreErrorKind> {
        let mut mirror = self.mirror()?;
        let heads = self.fetch(&mut mirror)?;
        let seen = Seen::new(&mirror.repo, &heads, &self.options)?;
        Ok((mirror, seen))
    }

    /// Sorts what the connection has shown.
    fn view(&self, mirror: &Mirror, session: Session, branch: &str) -> View {
        let refs = &session.advert().refs;
        let tip = refs.get(branch).copied();
        let (merged, waiting) =
            inbox::entries(refs).into_iter().partition(|entry| entry.is_merged(&mirror.repo, tip));
        View { session, tip, waiting, merged }
    }

    /// Puts the change on the branch if nobody else is there, else into the inbox.
    fn apply(&self, edit: &Edit<'_>) -> Result<Option<Outcome>, StoreErrorKind> {
        let started = Instant::now();
        let mut mirror = self.mirror()?;
        let files = NodeFiles::of(&mirror.repo, &self.options.layout, edit)?;
        let mut heads = match mirror.known() {
            Some(heads) => heads,
            None => self.persist(|| self.fetch(&mut mirror))?,
        };
        let mut view = self.view(&mirror, self.session()?, &heads.branch);
        let changed = self.prepare(&mirror, heads.tip, std::slice::from_ref(&files))?;
        let mine = view.waiting.iter().rev().find(|entry| entry.id == files.id);
        // With others waiting, and a change that is one whatever the branch says now, nothing needs to be fetched.
        if (view.waiting.is_empty() || changed.is_none() || mine.is_some())
            && (heads.tip != view.tip || mine.is_some_and(|mine| !mirror.has(mine.commit)))
        {
            heads = self.persist(|| self.fetch(&mut mirror))?;
            view = self.view(&mirror, view.session, &heads.branch);
        }
        let here = view.tip.is_none_or(|tip| mirror.has(tip));
        let prepared = match here {
            true => self.prepare(&mirror, view.tip, std::slice::from_ref(&files))?,
            false => None,
        };
        let mine = inbox::read(&mirror.repo, &self.options.folder, &view.waiting)?.remove(&files.id);
        let said = match mine {
            Some(mine) => mine == files,
            None => here && prepared.is_none(),
        };
        if said {
            view.session.leave();
            return Ok(None);
        }
        // Known only as well as this machine knows the branch.
        let change =
            prepared.as_ref().or(changed.as_ref()).and_then(|prepared| prepared.changes.get(&files.id));
        let change = change.cloned().unwrap_or(Change::Joined);
        let offer = prepared.filter(|_| view.waiting.is_empty());
        let crowd =
            Crowd::new(self.copy.place()).guess(view.session.opened_in()).max(view.waiting.len() as f64);
        match self.leave(&mirror, view, &heads.branch, &files, offer.as_ref())? {
            Some(Pushed::Done) if offer.is_some() => {
                heads.tip = offer.map(|offer| offer.commit);
                mirror.note(&heads)?;
                Ok(Some(Outcome::Merged(change)))
            }
            Some(_) => {
                let merges = fastrand::f64() * crowd < LOOKERS;
                // The update is durable. Who cannot merge now leaves it to the next one.
                match merges
                    && self
                        .merge(&mut mirror, MERGES, started.elapsed())
                        .is_ok_and(|ids| ids.contains(&files.id))
                {
                    true => Ok(Some(Outcome::Merged(change))),
                    false => Ok(Some(Outcome::Waiting(change))),
                }
            }
            // A server that takes branches only: then the branch it is, try by try.
            None => self.contend(&mut mirror, &files),
        }
    }

    fn prepare(
        &self,
        mirror: &Mirror,
        tip: Option<Oid>,
        edits: &[NodeFiles],
    ) -> Result<Option<Prepared>, StoreErrorKind> {
        commit::prepare(&mirror.repo, tip, &self.options.folder, edits, &self.options.author)
    }

    /// Leaves the update in the inbox, and in the same push offers a commit to the branch, if there is one: each ref is
    /// taken or refused by itself. None if the server takes no ref but branches, and has not taken that one.
    fn leave(
        &self,
        mirror: &Mirror,
        view: View,
        branch: &str,
        files: &NodeFiles,
        offer: Option<&Prepared>,
    ) -> Result<Option<Pushed>, StoreErrorKind> {
        let entry = inbox::write(&mirror.repo, &self.options.folder, files, &self.options.author)?;
        let last = view.waiting.iter().chain(&view.merged).map(Entry::time).max();
        let name = inbox::next(&files.id, last, offer.map(|offer| offer.commit));
        let mut commits = vec![(None, entry)];
        let mut commands = Vec::new();
        if let Some(offer) = offer {
            commits.push((view.tip, offer.commit));
            commands.push(Command { name: branch.to_owned(), old: view.tip, new: Some(offer.commit) });
        }
        commands.push(Command { name: name.clone(), old: None, new: Some(entry) });
        commands.extend(view.merged.iter().map(deletion));
        let pack = push::pack_of(&mirror.repo, &commits).map_err(|error| network("pack", error))?;
        let report = view.session.send(&commands, &pack, false).map_err(|error| network("push", error))?;
        let inbox_refused = report.unpack.is_some() || report.refuses(&name);
        match (offer, judge(&report, branch)) {
            (Some(_), Ok(Pushed::Done)) => Ok(Some(Pushed::Done)),
            (_, Ok(_)) if inbox_refused => Ok(None),
            (_, Ok(pushed)) => Ok(Some(pushed)),
            (_, Err(error)) => {
                if !inbox_refused {
                    // Not by a back door what the server does not want on its branch.
                    let gone = Command { name, old: Some(entry), new: None };
                    self.session()?.send(&[gone], &[], false).map_err(|error| network("push", error))?;
                }
                Err(error)
            }
        }
    }

    /// Merges all that waits into the branch, in one commit, until nothing waits or `rounds` are over. Gives the nodes
    /// whose updates were merged.
    ///
    /// One atomic push moves the branch and deletes exactly the refs that were merged. A crash at any point loses
    /// nothing: what still waits is merged again, to no effect. The waits grow with `pace`, the time that the server
    /// took for the update itself: on a busy one more get into the same commit, and fewer get in each other's way.
    fn merge(&self, mirror: &mut Mirror, rounds: u32, pace: Duration) -> Result<Vec<Name>, StoreErrorKind> {
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
                heads = self.fetch(mirror)?;
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
        let send = |session: Session, commands: &[Command], pack: &[u8], atomic| {
            let report = session.send(commands, pack, atomic).map_err(|error| network("push", error))?;
            judge(&report, branch)
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

    /// The branch and nothing else, for servers that take no other ref: fetch, commit, push, and again if others were
    /// faster.
    fn contend(&self, mirror: &mut Mirror, files: &NodeFiles) -> Result<Option<Outcome>, StoreErrorKind> {
        let mut backoff = Backoff::new(self.options.patience);
        loop {
            let mut heads = self.persist(|| self.fetch(mirror))?;
            let Some(prepared) = self.prepare(mirror, heads.tip, std::slice::from_ref(files))? else {
                return Ok(None);
            };
            let session = self.session()?;
            if session.advert().refs.get(&heads.branch).copied() == heads.tip {
                let pack = push::pack_of(&mirror.repo, &[(heads.tip, prepared.commit)]);
                let pack = pack.map_err(|error| network("pack", error))?;
                let command =
                    Command { name: heads.branch.clone(), old: heads.tip, new: Some(prepared.commit) };
                let report =
                    session.send(&[command], &pack, false).map_err(|error| network("push", error))?;
                if let Pushed::Done = judge(&report, &heads.branch)? {
                    heads.tip = Some(prepared.commit);
                    mirror.note(&heads)?;
                    return Ok(prepared.changes.into_values().next().map(Outcome::Merged));
                }
            }
            backoff.lost()?;
        }
    }

    fn beat(&self, id: &Name, time: Timestamp) -> Result<(), StoreErrorKind> {
        let mut mirror = self.mirror()?;
        let shard = beats::shard(id, self.options.beat_shards);
        let mut backoff = Backoff::new(self.options.patience);
        loop {
            let session = self.session()?;
            let base = session.advert().refs.get(&shard).copied();
            if base.is_some_and(|base| !mirror.has(base)) {
                let branch = self.options.branch.as_deref();
                mirror.fetch(&self.address, branch, &|name| name == shard)?;
            }
            if base.is_none_or(|base| mirror.has(base)) {
                let known = base.map(|base| beats::read(&mirror.repo, base)).unwrap_or_default();
                let commit = beats::write(&mirror.repo, known, id, Some(time))?;
                let pack =
                    push::pack_of(&mirror.repo, &[(None, commit)]).map_err(|error| network("pack", error))?;
                let command = Command { name: shard.clone(), old: base, new: Some(commit) };
                let report =
                    session.send(&[command], &pack, false).map_err(|error| network("push", error))?;
                if let Pushed::Done = judge(&report, &shard)? {
                    return Ok(());
                }
            } else {
                session.leave();
            }
            backoff.lost()?;
        }
    }
}

impl Store for Remote {
    fn url(&self) -> &str {
        &self.url
    }

    fn apply(&self, edit: &Edit<'_>) -> Result<Option<Outcome>, StoreError> {
        let confirmed = Confirmed::new(self.copy.place(), &self.options);
        if let Edit::Put(record) = edit
            && confirmed.is_fresh(record)
        {
            return Ok(None);
        }
        confirmed.forget().in_store(&self.url)?;
        let outcome = self.repairing(|| self.apply(edit)).in_store(&self.url)?;
        if let Edit::Put(record) = edit {
            confirmed.remember(record);
        }
        Ok(outcome)
    }

    fn beat(&self, id: &Name, time: Timestamp) -> Result<(), StoreError> {
        self.repairing(|| self.beat(id, time)).in_store(&self.url)
    }

    fn look(&self) -> Result<Look, StoreError> {
        let (mirror, seen) = self.repairing(|| self.see()).in_store(&self.url)?;
        let remote = self.clone();
        Ok(Look::new(seen.stamp(), move || {
            // The mirror stays locked while it is read: nobody renews it meanwhile.
            let result = seen.read(&mirror.repo, &remote.copy);
            drop(mirror);
            remote
                .repaired(result, || {
                    let (mirror, seen) = remote.see()?;
                    seen.read(&mirror.repo, &remote.copy)
                })
                .in_store(&remote.url)
        }))
    }

    fn history(&self, id: Option<&Name>, most: usize) -> Result<Vec<Event>, StoreError> {
        let read = || {
            let mut mirror = self.mirror()?;
            let heads = self.fetch(&mut mirror)?;
            history::read(&mirror.repo, heads.tip, &self.options.folder, id, most)
        };
        self.repairing(read).in_store(&self.url)
    }

    fn last_copy(&self) -> Option<Snapshot> {
        let (repo, heads) = Mirror::last(self.copy.place())?;
        Seen::new(&repo, &heads, &self.options).and_then(|seen| seen.read(&repo, &self.copy)).ok()
    }
}

/// Whether the server did what counts, somebody else was faster, or the server does not want it. What counts is the
/// branch, where it was among the commands.
fn judge(report: &Report, branch: &str) -> Result<Pushed, StoreErrorKind> {
    let reason = match &report.unpack {
        Some(reason) => reason.as_str(),
        // In an atomic push, the one ref that could not be locked fails all others.
        None if report.refused.iter().any(|(_, reason)| is_race(reason)) => return Ok(Pushed::Lost),
        None => match report.refused.iter().find(|(name, _)| name == branch) {
            Some((_, reason)) => reason.as_str(),
            None => return Ok(Pushed::Done),
        },
    };
    Err(StoreErrorKind::Refused {
        reason: excerpt::said(reason, MAX_SAID),
        said: report
            .said
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| format!("\n  | {}", excerpt::said(line, MAX_SAID)))
            .collect(),
    })
}

fn deletion(entry: &Entry) -> Command {
    Command { name: entry.name(), old: Some(entry.commit), new: None }
}

/// What git servers say when another push came first: the words of receive-pack and of its reference transactions.
fn is_race(reason: &str) -> bool {
    [
        "non-fast-forward",
        "fetch first",
        "cannot lock ref",
        "failed to update ref",
        "failed to lock",
        "stale info",
        "incorrect old value",
        "reference already exists",
    ]
    .iter()
    .any(|race| reason.contains(race))
}

/// The URL as it may be shown: without a password.
pub(crate) fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => {
            format!("{scheme}://{}:***@{host}{path}", user.split(':').next().unwrap_or_default())
        }
        // What stands alone before the host is a user for ssh, and as often a token for https.
        Some((user, host)) if scheme.starts_with("http") && user != "git" => {
            format!("{scheme}://***@{host}{path}")
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(without_secrets("https://u:p@h/x@y"), "https://u:***@h/x@y");
        assert_eq!(without_secrets("https://t0k3n@h/x"), "https://***@h/x");
        assert_eq!(without_secrets("ssh://git@h/x"), "ssh://git@h/x");
        assert_eq!(without_secrets("git@h:x"), "git@h:x");
    }

    #[test]
    fn a_race_is_told_from_a_refusal() {
        assert!(is_race("failed to update ref") && is_race("cannot lock ref 'refs/heads/main'"));
        assert!(!is_race("pre-receive hook declined"));
    }
}
