//! The folder as the refs named it at one moment: the branch, what waits to be merged into it, heartbeats.

use git2::{Oid, Repository};

use super::mirror::Heads;
use super::read::Found;
use super::{beats, inbox, tree};
use crate::store::copy::Copy;
use crate::store::snapshot::{Batch, NO_KEY};
use crate::store::{Beats, Folder, Options, Snapshot, StoreErrorKind};

/// What is wrong with a ref, as the end of a sentence that begins with its name.
const UNSENT: &str = "names objects that the server does not send; the next node that publishes deletes the ref if the server lacks them";

/// What there is to be read.
pub(super) struct Seen {
    found: Found,
    waiting: Vec<inbox::Entry>,
    /// The shards of the heartbeats, if they are asked for.
    beats: Option<Vec<Oid>>,
    /// The refs that the server lists and does not send.
    broken: Vec<String>,
    folder: Folder,
}

impl Seen {
    pub(super) fn new(repo: &Repository, heads: &Heads, options: &Options) -> Result<Seen, StoreErrorKind> {
        let mut waiting = inbox::entries(&heads.others);
        waiting.retain(|entry| !entry.is_merged(repo, heads.tip));
        let shards = heads.others.iter().filter(|(name, _)| name.starts_with(beats::PREFIX));
        Ok(Seen {
            found: Found::new(repo, heads.tip, &options.folder)?,
            waiting,
            beats: options.beats.then(|| shards.map(|(_, commit)| *commit).collect()),
            broken: heads.broken.keys().cloned().collect(),
            folder: options.folder.clone(),
        })
    }

    /// Names the records. What waits may not all be there to be read: then only reading tells.
    pub(super) fn stamp(&self) -> Option<String> {
        (self.waiting.is_empty() && self.broken.is_empty()).then(|| self.found.version())
    }

    /// Whether the repository has what was seen. A mirror may have been made anew since.
    pub(super) fn is_here(&self, repo: &Repository) -> bool {
        let Ok(odb) = repo.odb() else { return false };
        let beats = self.beats.iter().flatten().copied();
        let waiting = self.waiting.iter().map(|entry| entry.commit);
        self.found.tree().into_iter().chain(waiting).chain(beats).all(|oid| odb.exists(oid))
    }

    /// The folder at the branch's tip, with what waits counted in, and with heartbeats if they are asked for.
    pub(super) fn read(&self, repo: &Repository, copy: &Copy) -> Result<Snapshot, StoreErrorKind> {
        let mut snapshot = copy.refresh(|known| self.found.read(repo, known))?;
        if !self.waiting.is_empty() {
            let waiting = inbox::read(repo, &self.folder, &self.waiting)?;
            snapshot = tree::with(repo, snapshot, waiting.values())?;
        }
        if !self.broken.is_empty() {
            snapshot = with_problems(snapshot, &self.broken);
        }
        let beats = self.beats.as_ref().map(|shards| {
            let mut latest = Beats::new();
            for (id, time) in shards.iter().flat_map(|commit| beats::read(repo, *commit)) {
                let known = latest.entry(id).or_insert(time);
                *known = time.max(*known);
            }
            latest
        });
        Ok(copy.with_beats(snapshot, beats))
    }
}

/// The snapshot with a problem for each of the refs.
fn with_problems(snapshot: Snapshot, broken: &[String]) -> Snapshot {
    let mut version = snapshot.version.clone();
    let mut batch = Batch::default();
    for name in broken {
        version.push_str(&format!("!{name}"));
        batch.add(0, name.as_bytes(), NO_KEY, Err(UNSENT.to_owned()));
    }
    Snapshot { version, ..snapshot.overlaid(|_| false, batch) }
}
