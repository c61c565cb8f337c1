//! The mirror as an operation uses it.

use std::cell::LazyCell;

use git2::{Oid, Repository};
use jiff::Timestamp;

use super::Remote;
use crate::deadline::Deadline;
use crate::progress::{self, Operation};
use crate::store::git::commit::{self, Prepared};
use crate::store::git::error::During;
use crate::store::git::held::{Held, Standing};
use crate::store::git::inbox::{self, Says, WaitingUpdate};
use crate::store::git::mirror::{Mirror, Upstream};
use crate::store::git::node_files::NodeFiles;
use crate::store::git::past::{Found, Past};
use crate::store::git::publish::{self, NewBeat, Refs, RemoteRefs, Wanted};
use crate::store::git::seen::{Observation, Read};
use crate::store::git::{BRANCHES, GitError, TAGS, beats, updates};
use crate::store::{At, Edit, StoreErrorKind};

/// The mirror, open and locked.
pub(super) struct OpenMirror<'a> {
    mirror: Mirror,
    remote: &'a Remote,
    /// The author of commits.
    author: &'a str,
}

impl<'a> OpenMirror<'a> {
    /// Waits for the mirror's lock until the deadline. `author` makes the commits.
    pub(super) fn open(
        remote: &'a Remote,
        author: &'a str,
        deadline: Deadline,
    ) -> Result<OpenMirror<'a>, StoreErrorKind> {
        Ok(OpenMirror { mirror: Mirror::open(remote.cache.place(), deadline)?, remote, author })
    }

    /// The same for the copy of the whole history.
    pub(super) fn of_past(remote: &'a Remote, deadline: Deadline) -> Result<OpenMirror<'a>, StoreErrorKind> {
        progress::note(Operation::Fetch, 0, 0);
        Ok(OpenMirror { mirror: Mirror::whole(&remote.past_place(), deadline)?, remote, author: "" })
    }

    /// Gives up the lock, and opens the repository to read what it has now.
    pub(super) fn into_reader(self) -> Result<Repository, StoreErrorKind> {
        Repository::open_bare(self.repo().path()).during("open the mirror")
    }

    pub(super) fn repo(&self) -> &Repository {
        &self.mirror.repo
    }

    fn upstream<'u>(&self, also: &'u dyn Fn(&str) -> bool) -> Upstream<'u>
    where
        'a: 'u,
    {
        Upstream { url: &self.remote.urls.read, branch: self.remote.options.git.wanted_branch(), also }
    }

    fn held(&self) -> Held {
        self.remote.held()
    }

    /// Fetches the branch and the refs that `also` accepts, and the history if an update's fate depends on it.
    fn fetch(&mut self, also: &dyn Fn(&str) -> bool) -> Result<RemoteRefs, StoreErrorKind> {
        let upstream = Upstream { also, ..self.upstream(&|_| false) };
        let refs_seen = self.mirror.fetch(upstream)?;
        let repo = &self.mirror.repo;
        let doubtful = |entry: &WaitingUpdate| updates::is_doubtful(repo, entry, refs_seen.tip);
        match self.mirror.is_shallow() && inbox::entries(&refs_seen.others).iter().any(doubtful) {
            true => self.mirror.deepen(upstream),
            false => Ok(refs_seen),
        }
    }

    fn standing(&mut self, branch: &str, tip: Option<Oid>, refs: &Refs) -> Result<Standing, StoreErrorKind> {
        let held = self.held();
        if let Ok(true) = held.note(self.repo(), branch, tip) {
            return Ok(Standing::Sound);
        }
        let branches = refs.iter().filter(|(name, _)| name.starts_with(BRANCHES) && *name != branch);
        let elsewhere: Refs = branches.map(|(name, oid)| (name.clone(), *oid)).collect();
        let upstream = self.upstream(&|_| false);
        let look = |mirror: &Mirror| {
            held.look(&mirror.repo, branch, tip, &elsewhere, |wanted| mirror.bring(upstream, wanted))
        };
        match look(&self.mirror)? {
            // The commit that had the list may be older than the commits here.
            Standing::Gone(StoreErrorKind::Git(GitError::Gone { .. }))
                if tip.is_some() && self.mirror.is_shallow() =>
            {
                self.mirror.deepen(upstream)?;
                look(&self.mirror)
            }
            standing => Ok(standing),
        }
    }
}

impl publish::Mirror for OpenMirror<'_> {
    type Seen = Observation;
    type Read = Read;

    fn remembered(&self) -> Option<RemoteRefs> {
        self.mirror.remembered()
    }

    async fn note(&mut self, refs_seen: &RemoteRefs) -> Result<(), StoreErrorKind> {
        self.mirror.note(refs_seen)
    }

    fn broken(&self) -> Refs {
        self.mirror.broken()
    }

    fn has(&self, oid: Oid) -> bool {
        self.mirror.has(oid)
    }

    async fn fetch(&mut self, wanted: Wanted<'_>) -> Result<RemoteRefs, StoreErrorKind> {
        match wanted {
            Wanted::Updates(shard) => {
                self.fetch(&|name| name.starts_with(inbox::PREFIX) || shard == Some(name))
            }
            Wanted::Heartbeats => {
                self.fetch(&|name| name.starts_with(inbox::PREFIX) || beats::is_shard(name))
            }
            Wanted::Everything => {
                let ours = |name: &str| name.starts_with(inbox::PREFIX) || name.starts_with(beats::PREFIX);
                let upstream = Upstream { also: &ours, ..self.upstream(&|_| false) };
                self.mirror.fetch(upstream)
            }
        }
    }

    async fn standing(
        &mut self,
        branch: &str,
        tip: Option<Oid>,
        refs: &Refs,
    ) -> Result<Standing, StoreErrorKind> {
        self.standing(branch, tip, refs)
    }

    async fn note_list(&mut self, refs_seen: &RemoteRefs) -> Result<(), StoreErrorKind> {
        self.held().note(self.repo(), &refs_seen.branch, refs_seen.tip).map(drop)
    }

    fn files_of(&self, edit: &Edit<'_>) -> Result<NodeFiles, StoreErrorKind> {
        NodeFiles::of(self.repo(), &self.remote.options.layout, edit)
    }

    fn states(&self, wanted: &NodeFiles, present: &NodeFiles) -> bool {
        *wanted.beside(self.repo(), &present.files) == present.files
    }

    fn contains(&self, tip: Option<Oid>, commits: &[Option<Oid>]) -> Result<Vec<bool>, StoreErrorKind> {
        let mut merges = updates::Merges::new(self.repo(), tip);
        commits.iter().map(|commit| merges.have(*commit)).collect()
    }

    fn judge(&self, update: &WaitingUpdate) -> Result<Says, StoreErrorKind> {
        updates::judge(self.repo(), &self.remote.options.folder, update)
    }

    fn prepare(&self, tip: Option<Oid>, edits: &[NodeFiles]) -> Result<Option<Prepared>, StoreErrorKind> {
        let folder = &self.remote.options.folder;
        commit::prepare(self.repo(), tip, folder, edits, self.author, || self.held().was_seen())
    }

    fn repeat(&self, tip: Option<Oid>) -> Result<Prepared, StoreErrorKind> {
        commit::repeat(self.repo(), tip, self.author)
    }

    fn write_update(&self, files: &NodeFiles) -> Result<Oid, StoreErrorKind> {
        updates::write(self.repo(), &self.remote.options.folder, files, self.author)
    }

    fn write_beat(
        &self,
        base: Option<Oid>,
        beat: NewBeat<'_>,
    ) -> Result<(Oid, Option<Timestamp>), StoreErrorKind> {
        // The list as this machine knows it, which suffices: a shard drops lines of others only when it has
        // hundreds.
        let listed: beats::Listed<'_> = LazyCell::new(Box::new(|| {
            let tip = beat.beside_list.then(|| publish::Mirror::known(self))??.tip;
            beats::listed(self.repo(), tip, &self.remote.options.folder)
        }));
        let known = match base {
            Some(base) => beats::read(self.repo(), base, beats::MOST, &listed)?.into_base(),
            None => beats::Beats::new(),
        };
        let replaced = known.get(beat.id.as_ref()).copied();
        Ok((beats::write(self.repo(), known, beat.id, beat.time, &listed)?, replaced))
    }

    fn observe(&self, refs_seen: &RemoteRefs, heartbeats: bool) -> Result<Observation, StoreErrorKind> {
        Observation::new(self.repo(), refs_seen, &self.remote.options.folder, heartbeats)
    }

    fn is_here(&self, seen: &Observation) -> bool {
        seen.is_here(self.repo())
    }

    fn read(&self, seen: &Observation) -> Result<Read, StoreErrorKind> {
        seen.read(self.repo(), &self.remote.cache)
    }
}

impl publish::Snapshot for Read {
    fn is_damaged(&self) -> bool {
        self.unreadable > 0
    }
}

impl OpenMirror<'_> {
    /// Fetches what is new in the history, and returns the branch's tip.
    pub(super) fn history(&mut self) -> Result<Option<Oid>, StoreErrorKind> {
        let mut refs_seen = self.fetch(&|name| name.starts_with(inbox::PREFIX))?;
        // The server's own repository may be shallow, and have older commits later.
        if self.mirror.is_shallow() {
            let also = |name: &str| refs_seen.others.contains_key(name);
            let upstream = Upstream { also: &also, ..self.upstream(&|_| false) };
            refs_seen = self.mirror.deepen(upstream)?;
        }
        self.standing(&refs_seen.branch, refs_seen.tip, &refs_seen.elsewhere)?.sound()?;
        Ok(refs_seen.tip)
    }

    /// Finds the folder as it was, after fetching what is new in the history.
    pub(super) fn find(&mut self, at: &At, deadline: Deadline) -> Result<Found, StoreErrorKind> {
        let wanted = match at {
            At::Named(name) => format!("{TAGS}{name}"),
            At::Latest | At::Version(_) | At::Time(_) => TAGS.to_owned(),
        };
        let also = |name: &str| name.starts_with(inbox::PREFIX) || name == wanted;
        let refs_seen = self.fetch(&also)?;
        match self.find_here(&refs_seen, at, deadline) {
            Err(StoreErrorKind::Git(GitError::Shallow { .. } | GitError::NoSuchVersion { .. }))
                if self.mirror.is_shallow() =>
            {
                let upstream = Upstream { also: &also, ..self.upstream(&|_| false) };
                let refs_seen = self.mirror.deepen(upstream)?;
                self.find_here(&refs_seen, at, deadline)
            }
            found => found,
        }
    }

    fn find_here(
        &self,
        refs_seen: &RemoteRefs,
        at: &At,
        deadline: Deadline,
    ) -> Result<Found, StoreErrorKind> {
        let tag = |name: &str| refs_seen.others.get(&format!("{TAGS}{name}")).copied();
        let folder = &self.remote.options.folder;
        Past { repo: self.repo(), tip: refs_seen.tip, folder, tag: &tag }.find(at, deadline)
    }
}
