//! The folder as the refs named it at one moment: the branch, what waits to be merged into it, heartbeats.

use git2::{Oid, Repository};

use super::mirror::Heads;
use super::read::Found;
use super::{beats, inbox, tree};
use crate::store::copy::Copy;
use crate::store::{Beats, Folder, Options, Snapshot, StoreErrorKind};

/// What there is to be read.
pub(super) struct Seen {
    found: Found,
    waiting: Vec<inbox::Entry>,
    /// The shards of the heartbeats, if they are asked for.
    beats: Option<Vec<Oid>>,
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
            folder: options.folder.clone(),
        })
    }

    /// Names the records. What waits may not all be there to be read: then only reading tells.
    pub(super) fn stamp(&self) -> Option<String> {
        self.waiting.is_empty().then(|| self.found.version())
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
