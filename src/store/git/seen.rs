//! The folder as the refs described it at one moment: the branch, waiting updates, heartbeats.

use std::cell::LazyCell;
use std::collections::HashSet;

use git2::{Oid, Repository};

use super::read::FolderTree;
use super::refs::RemoteRefs;
use super::{beats, commits, inbox, tree, updates};
use crate::limits;
use crate::store::git::error::During;
use crate::store::snapshot::{Batch, Cache, NO_KEY};
use crate::store::{Beats, Folder, Heartbeat, Snapshot, StoreErrorKind, Version};

/// Problems of refs, as ends of sentences that begin with the ref's name.
const LOST: &str =
    "names objects that the repository lacks; the node's next update or heartbeat replaces them";
const UNSENT: &str = "names objects that the server does not send; the next node that publishes deletes the ref if the server lacks them";

/// The same for too many updates or heartbeats.
const TOO_MANY: &str =
    "holds more updates than presence reads; the next node that publishes removes what is not an update";
const MANY_BEATS: &str = "is not read: the other refs already hold as many heartbeats as presence remembers";
const CUT: &str = "names too many heartbeats: presence keeps those of nodes on the list, and few others";

/// What a look found, to be read later.
pub(super) struct Observation {
    found: FolderTree,
    waiting: Vec<inbox::WaitingUpdate>,
    /// The shards of heartbeats, if requested.
    beats: Option<Vec<(String, Oid)>>,
    /// The refs that the server lists but does not send.
    broken: Vec<String>,
    /// The number of updates that are ignored.
    left_out: usize,
    folder: Folder,
    /// Whether the repository is used in place. There a ref below `refs/presence/` with lost objects is only
    /// a problem of its own. A mirror with lost objects can be made anew instead.
    in_place: bool,
}

/// The result of a reading.
pub(super) struct Read {
    pub(super) snapshot: Snapshot,
    /// The number of records on the list, and in place of refs too, whose objects cannot be read.
    pub(super) unreadable: usize,
}

impl Observation {
    pub(super) fn new(
        repo: &Repository,
        refs_seen: &RemoteRefs,
        folder: &Folder,
        heartbeats: bool,
    ) -> Result<Observation, StoreErrorKind> {
        let mut waiting = Vec::new();
        let mut merges = updates::Merges::new(repo, refs_seen.tip);
        for entry in inbox::select(inbox::entries(&refs_seen.others)) {
            if !merges.have(entry.offered)? {
                waiting.push(entry);
            }
        }
        let shards = refs_seen.others.iter().filter(|(name, _)| beats::is_shard(name));
        Ok(Observation {
            found: FolderTree::new(repo, refs_seen.tip, folder)?,
            waiting,
            beats: heartbeats.then(|| shards.map(|(name, commit)| (name.clone(), *commit)).collect()),
            broken: refs_seen.broken.keys().cloned().collect(),
            left_out: refs_seen.left_out,
            folder: folder.clone(),
            in_place: false,
        })
    }

    /// Marks it as read in place.
    pub(super) fn in_place(self) -> Observation {
        Observation { in_place: true, ..self }
    }

    /// Identifies the records. `None` with waiting updates or broken refs, since some of their objects may be
    /// missing: only reading can tell.
    pub(super) fn version(&self) -> Option<Version> {
        (self.waiting.is_empty() && self.broken.is_empty()).then(|| self.found.version())
    }

    /// Whether the repository still has the objects. A mirror may have been made anew since the look.
    pub(super) fn is_here(&self, repo: &Repository) -> bool {
        let Ok(odb) = repo.odb() else { return false };
        let beats = self.beats.iter().flatten().map(|(_, commit)| *commit);
        let waiting = self.waiting.iter().map(|entry| entry.commit);
        self.found.tree().into_iter().chain(waiting).chain(beats).all(|oid| odb.exists(oid))
    }

    /// Reads the folder at the branch's tip, including waiting updates, and heartbeats if requested.
    pub(super) fn read(&self, repo: &Repository, cache: &Cache) -> Result<Read, StoreErrorKind> {
        let mut unreadable = 0;
        let mut snapshot = cache.refresh(|known| {
            let snapshot = self.found.read(repo, known)?;
            unreadable = snapshot.unsure();
            Ok::<_, StoreErrorKind>(snapshot)
        })?;
        let (mut lost, mut odd) = (Vec::new(), Vec::new());
        if self.left_out > 0 {
            odd.push((inbox::PREFIX.trim_end_matches('/').to_owned(), TOO_MANY));
        }
        if !self.waiting.is_empty() {
            let mut there = Vec::with_capacity(self.waiting.len());
            for entry in &self.waiting {
                match self.in_place && is_lost(repo, entry.commit)? {
                    true => lost.push(entry.name()),
                    false => there.push(entry.clone()),
                }
            }
            let waiting = updates::read(repo, &self.folder, &there)?;
            snapshot = tree::with(repo, snapshot, waiting.values())?;
        }
        let beats = match &self.beats {
            Some(shards) => {
                let mut latest = Beats::new();
                let listed: beats::Listed<'_> = LazyCell::new(Box::new(|| ids(&snapshot)));
                for (name, commit) in shards {
                    let is_over = latest.len() > limits::get().beats;
                    if is_over && listed.is_none() {
                        odd.push((name.clone(), MANY_BEATS));
                        continue;
                    }
                    if self.in_place && is_lost(repo, *commit)? {
                        lost.push(name.clone());
                        continue;
                    }
                    let most = if is_over { 0 } else { beats::MOST };
                    let beats = match beats::read(repo, *commit, most, &listed)? {
                        beats::Shard::Beats(beats) => beats,
                        beats::Shard::Cut(beats) => {
                            odd.push((name.clone(), CUT));
                            beats
                        }
                        beats::Shard::Odd(reason) => {
                            odd.push((name.clone(), reason));
                            continue;
                        }
                    };
                    for (id, time) in beats {
                        let beat = Heartbeat::Time(time);
                        let known = latest.entry(id).or_insert(beat);
                        *known = known.later(beat);
                    }
                }
                Some(latest)
            }
            None => None,
        };
        let broken = self.broken.iter().map(|name| (name.clone(), UNSENT));
        unreadable += lost.len();
        let lost = lost.into_iter().map(|name| (name, LOST));
        let problems: Vec<(String, &str)> = broken.chain(lost).chain(odd).collect();
        if !problems.is_empty() {
            snapshot = with_problems(snapshot, &problems);
        }
        Ok(Read { snapshot: cache.with_beats(snapshot, beats), unreadable })
    }
}

/// The ids that the files are named after; `None` without files.
fn ids(snapshot: &Snapshot) -> Option<HashSet<String>> {
    let id = |path: &str| Some(path.rsplit('/').next()?.strip_suffix(".json")?.to_owned());
    let ids: HashSet<String> = snapshot.files().filter_map(|file| id(&file.path())).collect();
    Some(ids).filter(|ids| !ids.is_empty())
}

/// Whether the repository lacks that commit.
fn is_lost(repo: &Repository, commit: Oid) -> Result<bool, StoreErrorKind> {
    match commits::read(repo, commit) {
        Ok(_) => Ok(false),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(true),
        Err(error) => Err(error).during("read what a ref names"),
    }
}

/// The snapshot with a problem for each of these refs.
fn with_problems(snapshot: Snapshot, problems: &[(String, &str)]) -> Snapshot {
    let mut digest = snapshot.digest.clone();
    let mut batch = Batch::default();
    for (name, reason) in problems {
        digest.push_str(&format!("!{name}"));
        batch.add(0, name.as_bytes(), NO_KEY, Err((*reason).to_owned()));
    }
    Snapshot { digest, ..snapshot.overlaid(|_| false, batch) }
}
