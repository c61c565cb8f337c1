//! A repository behind a network: a mirror on this machine, a fetch to read, a push to write.

use std::time::Duration;

use git2::Oid;

use super::commit::{self, NodeFiles, Prepared};
use super::mirror::{self, Heads, Mirror};
use super::push::{self, Command, Report, Session};
use super::read::Found;
use super::{Backoff, inbox, network, transport, tree};
use crate::change::Change;
use crate::store::copy::Copy;
use crate::store::error::InStore;
use crate::store::{Edit, Folder, Look, Options, Outcome, Snapshot, Store, StoreError, StoreErrorKind};

/// Of so many that wait, about this many look whether somebody merges, besides the one who came first.
const HELPERS: usize = 16;

/// How often one publisher merges what waits, before it leaves the rest to others.
const MERGES: u32 = 8;

/// A repository behind a URL.
pub(crate) struct Remote {
    /// As the transports need it, with its secrets.
    address: String,
    /// As it may be shown.
    url: String,
    copy: Copy,
    options: Options,
}

/// What became of the branch's new commit.
enum Pushed {
    Done,
    /// Others were faster.
    Lost,
}

impl Remote {
    pub(crate) fn new(url: String, options: &Options) -> Remote {
        transport::install(options.limits);
        let copy = Copy::new(&options.state_dir, &url, options.folder.as_ref(), options.branch.as_deref());
        Remote { url: without_secrets(&url), address: url, copy, options: options.clone() }
    }

    fn mirror(&self) -> Result<Mirror, StoreErrorKind> {
        Mirror::open(self.copy.place(), self.options.patience)
    }

    fn fetch(&self, mirror: &mut Mirror) -> Result<Heads, StoreErrorKind> {
        mirror.fetch(&self.address, self.options.branch.as_deref(), &mirror::waiting)
    }

    fn session(&self) -> Result<Session, StoreErrorKind> {
        let (transport, rpc) = transport::open(&self.address).map_err(|error| network("connect", error))?;
        Session::open(transport, rpc, &self.address).map_err(|error| network("connect", error))
    }

    /// Makes the change on the branch if nobody else is there, else leaves it in the inbox.
    fn apply(&self, edit: &Edit<'_>) -> Result<Option<Outcome>, StoreErrorKind> {
        let mut mirror = self.mirror()?;
        let files = NodeFiles::of(&mirror.repo, &self.options.layout, edit)?;
        let mut heads = match mirror.known() {
            Some(heads) => heads,
            None => self.fetch(&mut mirror)?,
        };
        let session = self.session()?;
        let tip = session.advert().refs.get(&heads.branch).copied();
        let waiting = inbox::entries(&session.advert().refs);
        if tip.is_some_and(|tip| !mirror.has(tip)) || !waiting.iter().all(|entry| mirror.has(entry.commit)) {
            heads = self.fetch(&mut mirror)?;
        }
        let mine = inbox::read(&mirror.repo, &self.options.folder, &waiting)?.remove(&files.id);
        if tip.is_none_or(|tip| mirror.has(tip)) && mine.as_ref().is_none_or(|mine| *mine == files) {
            let prepared = self.prepare(&mirror, tip, std::slice::from_ref(&files))?;
            match prepared {
                // What waits, if anything, says the same.
                None => {
                    session.leave();
                    return Ok(None);
                }
                Some(_) if mine.is_some() => {
                    session.leave();
                    return Ok(None);
                }
                Some(prepared) if waiting.is_empty() => {
                    match self.push(session, &mirror, &heads.branch, tip, &prepared)? {
                        Pushed::Done => {
                            heads.tip = Some(prepared.commit);
                            mirror.note(&heads)?;
                            return Ok(prepared.changes.into_values().next().map(Outcome::Merged));
                        }
                        Pushed::Lost => {
                            return self.leave_in_inbox(self.session()?, &mut mirror, &heads, &files);
                        }
                    }
                }
                Some(_) => {}
            }
        }
        self.leave_in_inbox(session, &mut mirror, &heads, &files)
    }

    fn prepare(
        &self,
        mirror: &Mirror,
        tip: Option<Oid>,
        edits: &[NodeFiles],
    ) -> Result<Option<Prepared>, StoreErrorKind> {
        commit::prepare(&mirror.repo, tip, &self.options.folder, edits, &self.options.author)
    }

    /// Offers the commit as the branch's new tip, on a connection that has shown the branch at `base`.
    fn push(
        &self,
        session: Session,
        mirror: &Mirror,
        branch: &str,
        base: Option<Oid>,
        prepared: &Prepared,
    ) -> Result<Pushed, StoreErrorKind> {
        let pack =
            push::of_commit(&mirror.repo, base, prepared.commit).map_err(|error| network("pack", error))?;
        let command = Command { name: branch.to_owned(), old: base, new: Some(prepared.commit) };
        let report = session.send(&[command], &pack, false).map_err(|error| network("push", error))?;
        judge(&report)
    }

    /// Pushes the update to a ref of its own, then sees to it that somebody merges it.
    fn leave_in_inbox(
        &self,
        session: Session,
        mirror: &mut Mirror,
        heads: &Heads,
        files: &NodeFiles,
    ) -> Result<Option<Outcome>, StoreErrorKind> {
        let waiting = inbox::entries(&session.advert().refs);
        let last = waiting.iter().rev().find(|entry| entry.id == files.id).map(inbox::Entry::time);
        let entry = inbox::write(&mirror.repo, &self.options.folder, files, &self.options.author)?;
        let name = inbox::next(&files.id, last);
        let pack = push::of_commit(&mirror.repo, None, entry).map_err(|error| network("pack", error))?;
        let command = Command { name, old: None, new: Some(entry) };
        let report = session.send(&[command], &pack, false).map_err(|error| network("push", error))?;
        if let Err(StoreErrorKind::Refused(_)) = judge(&report) {
            // A server that takes branches only: then the branch it is, try by try.
            return self.contend(mirror, files);
        }
        // Known only as well as this machine knew the branch; a commit that nobody sees tells it.
        let change = self
            .prepare(mirror, heads.tip, std::slice::from_ref(files))?
            .and_then(|prepared| prepared.changes.into_values().next());
        let change = change.unwrap_or(Change::Joined);
        if waiting.is_empty() || fastrand::usize(..=waiting.len()) < HELPERS {
            // The update is durable. Who cannot merge now leaves it to the next one.
            if let Ok(merged) = self.merge(mirror, MERGES)
                && merged.contains(&files.id)
            {
                return Ok(Some(Outcome::Merged(change)));
            }
        }
        Ok(Some(Outcome::Waiting(change)))
    }

    /// Merges all that waits into the branch, in one commit, until nothing waits or `rounds` are over. Gives the nodes
    /// whose updates were merged.
    ///
    /// One atomic push moves the branch and deletes exactly the refs that were merged. A crash at any point loses
    /// nothing: what still waits is merged again, to no effect.
    fn merge(&self, mirror: &mut Mirror, rounds: u32) -> Result<Vec<crate::name::Name>, StoreErrorKind> {
        let mut merged = Vec::new();
        let mut backoff = Backoff::new(self.options.patience);
        for _ in 0..rounds {
            // Those who come at the same moment get into the same commit.
            std::thread::sleep(Duration::from_millis(fastrand::u64(5..50)));
            let session = self.session()?;
            let waiting = inbox::entries(&session.advert().refs);
            if waiting.is_empty() {
                session.leave();
                break;
            }
            let mut heads = mirror.known();
            let branch = heads.as_ref().map(|heads| heads.branch.clone());
            let tip = branch.as_ref().and_then(|branch| session.advert().refs.get(branch)).copied();
            if heads.is_none()
                || tip.is_some_and(|tip| !mirror.has(tip))
                || !waiting.iter().all(|entry| mirror.has(entry.commit))
            {
                heads = Some(self.fetch(mirror)?);
            }
            let Some(mut heads) = heads.filter(|_| tip.is_none_or(|tip| mirror.has(tip))) else {
                session.leave();
                continue;
            };
            let here: Vec<inbox::Entry> =
                waiting.into_iter().filter(|entry| mirror.has(entry.commit)).collect();
            let edits: Vec<NodeFiles> =
                inbox::read(&mirror.repo, &self.options.folder, &here)?.into_values().collect();
            if edits.is_empty() {
                session.leave();
                break;
            }
            let ids: Vec<_> = edits.iter().map(|edit| edit.id.clone()).collect();
            let prepared = self.prepare(mirror, tip, &edits)?;
            let done: Vec<&inbox::Entry> = here.iter().filter(|entry| ids.contains(&entry.id)).collect();
            match self.push_merged(session, mirror, &heads.branch, tip, prepared.as_ref(), &done)? {
                Pushed::Done => {
                    merged.extend(ids);
                    heads.tip = prepared.map(|prepared| prepared.commit).or(tip);
                    heads.others.retain(|name, _| done.iter().all(|entry| entry.name() != *name));
                    mirror.note(&heads)?;
                }
                Pushed::Lost => backoff.lost()?,
            }
        }
        Ok(merged)
    }

    fn push_merged(
        &self,
        session: Session,
        mirror: &Mirror,
        branch: &str,
        base: Option<Oid>,
        prepared: Option<&Prepared>,
        done: &[&inbox::Entry],
    ) -> Result<Pushed, StoreErrorKind> {
        let deletions =
            done.iter().map(|entry| Command { name: entry.name(), old: Some(entry.commit), new: None });
        let send = |session: Session, commands: &[Command], pack: &[u8], atomic| {
            session.send(commands, pack, atomic).map_err(|error| network("push", error))
        };
        let Some(prepared) = prepared else {
            return judge(&send(session, &deletions.collect::<Vec<_>>(), &[], false)?);
        };
        if !session.advert().can("atomic") {
            return match self.push(session, mirror, branch, base, prepared)? {
                Pushed::Done => judge(&send(self.session()?, &deletions.collect::<Vec<_>>(), &[], false)?)
                    .map(|_| Pushed::Done),
                Pushed::Lost => Ok(Pushed::Lost),
            };
        }
        let pack =
            push::of_commit(&mirror.repo, base, prepared.commit).map_err(|error| network("pack", error))?;
        let branch = Command { name: branch.to_owned(), old: base, new: Some(prepared.commit) };
        let commands: Vec<Command> = std::iter::once(branch).chain(deletions).collect();
        judge(&send(session, &commands, &pack, true)?)
    }

    /// The branch and nothing else, for servers that take no other ref: fetch, commit, push, and again if others were
    /// faster.
    fn contend(&self, mirror: &mut Mirror, files: &NodeFiles) -> Result<Option<Outcome>, StoreErrorKind> {
        let mut backoff = Backoff::new(self.options.patience);
        loop {
            let mut heads = self.fetch(mirror)?;
            let Some(prepared) = self.prepare(mirror, heads.tip, std::slice::from_ref(files))? else {
                return Ok(None);
            };
            let session = self.session()?;
            let moved = session.advert().refs.get(&heads.branch).copied() != heads.tip;
            if !moved && let Pushed::Done = self.push(session, mirror, &heads.branch, heads.tip, &prepared)? {
                heads.tip = Some(prepared.commit);
                mirror.note(&heads)?;
                return Ok(prepared.changes.into_values().next().map(Outcome::Merged));
            }
            backoff.lost()?;
        }
    }
}

/// What of the folder is known from the server: the branch's tip, and what waits beside it.
struct Seen {
    found: Found,
    waiting: Vec<inbox::Entry>,
    folder: Folder,
}

impl Seen {
    fn new(repo: &git2::Repository, heads: &Heads, folder: &Folder) -> Result<Seen, StoreErrorKind> {
        let found = Found::new(repo, heads.tip, folder)?;
        Ok(Seen { found, waiting: inbox::entries(&heads.others), folder: folder.clone() })
    }

    /// What waits may not all be there to be read: then only reading tells.
    fn stamp(&self) -> Option<String> {
        self.waiting.is_empty().then(|| self.found.version())
    }

    /// The folder at the branch's tip, with what waits counted in.
    fn read(self, repo: &git2::Repository, copy: &Copy) -> Result<Snapshot, StoreErrorKind> {
        let snapshot = copy.refresh(|known| self.found.read(repo, known))?;
        if self.waiting.is_empty() {
            return Ok(snapshot);
        }
        let waiting = inbox::read(repo, &self.folder, &self.waiting)?;
        tree::with(repo, snapshot, waiting.values())
    }
}

impl Store for Remote {
    fn url(&self) -> &str {
        &self.url
    }

    fn apply(&self, edit: &Edit<'_>) -> Result<Option<Outcome>, StoreError> {
        self.apply(edit).in_store(&self.url)
    }

    fn look(&self) -> Result<Look, StoreError> {
        let look = || {
            let mut mirror = self.mirror()?;
            let heads = self.fetch(&mut mirror)?;
            let seen = Seen::new(&mirror.repo, &heads, &self.options.folder)?;
            Ok::<_, StoreErrorKind>((mirror, seen))
        };
        let (mirror, seen) = look().in_store(&self.url)?;
        let (url, copy) = (self.url.clone(), self.copy.clone());
        // The mirror stays locked while it is read: nobody renews it meanwhile.
        Ok(Look::new(seen.stamp(), move || seen.read(&mirror.repo, &copy).in_store(&url)))
    }

    fn last_copy(&self) -> Option<Snapshot> {
        let (repo, heads) = Mirror::last(self.copy.place())?;
        Seen::new(&repo, &heads, &self.options.folder).and_then(|seen| seen.read(&repo, &self.copy)).ok()
    }
}

/// Whether the server did it, somebody else was faster, or the server does not want it.
fn judge(report: &Report) -> Result<Pushed, StoreErrorKind> {
    let refused = || {
        let said = if report.said.is_empty() { String::new() } else { format!("\n{}", report.said) };
        report
            .unpack
            .clone()
            .into_iter()
            .chain(report.refused.iter().map(|(name, reason)| format!("{name}: {reason}")))
            .next()
            .map(|reason| StoreErrorKind::Refused(format!("{reason}{said}")))
    };
    if report.unpack.is_none() && report.refused.iter().any(|(_, reason)| is_race(reason)) {
        return Ok(Pushed::Lost);
    }
    refused().map_or(Ok(Pushed::Done), Err)
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
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(without_secrets("https://u:p@h/x@y"), "https://u:***@h/x@y");
        assert_eq!(without_secrets("https://u@h/x"), "https://u@h/x");
        assert_eq!(without_secrets("git@h:x"), "git@h:x");
    }

    #[test]
    fn a_race_is_told_from_a_refusal() {
        assert!(is_race("failed to update ref") && is_race("cannot lock ref 'refs/heads/main'"));
        assert!(!is_race("pre-receive hook declined"));
    }
}
