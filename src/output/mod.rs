//! A file to keep up to date: limits, check, replacement, reload, and the memory of unfinished work.
//!
//! A target knows nothing of nodes except their numbers, and nothing of the source of its bytes.

mod attributes;
mod command;
mod done;
mod error;
mod file;
mod in_place;
pub mod limits;
mod memory;
mod port;
mod runtime;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

pub use command::{BadCommand, Command, CommandError};
pub use done::{Done, Held};
pub use error::TargetError;
use file::Location;
pub use file::{CurrentFile, Owner, UnknownOwner};
pub use memory::{LastGood, Made, Memory, digest};
use port::OnDiskPlace;
pub use port::{Place, Port, Ready};
pub use runtime::{FailedServer, Followed, Runtime};

use crate::errors::{AtPath, chain};
use crate::folder::Folder;
use crate::haproxy::{self, ApplyError, Serving};

/// The most reloads of one file without effect: a signal can be lost, and a process may start slowly.
const MAX_VAIN: u32 = 3;

/// How long to wait for the effect of a reload. The next run detects a later one.
const LOADING: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(5) };

/// The name of the note with the process that had not loaded the file.
const SERVING: &str = "serving.json";

/// The process that had not loaded the file after a reload.
#[derive(Debug, Serialize, Deserialize)]
struct ServingBefore {
    /// The socket where it was asked.
    socket: PathBuf,
    process: Serving,
}

/// A file to keep up to date.
#[derive(Debug, Clone)]
pub struct Target {
    /// The file.
    pub path: PathBuf,
    /// Its mode; `None` keeps the current one.
    pub mode: Option<u32>,
    /// Its owner; `None` keeps the current one.
    pub owner: Option<Owner>,
    /// Write into the existing file instead of replacing it, for a mount point. See [`TargetError::Mounted`].
    pub in_place: bool,
    /// Must succeed on the new file before it replaces the old one.
    pub check: Option<Command>,
    /// Runs after the file was replaced.
    pub reload: Option<Command>,
    /// A socket of the HAProxy that reads the file, its stats socket or its master's: it shows whether a
    /// reload has happened.
    pub socket: Option<PathBuf>,
    /// A HAProxy that follows changes of servers without a reload.
    pub runtime: Option<Runtime>,
    /// Owe a reload instead of running it, since there were enough reloads lately.
    pub hold_reload: bool,
    /// The time limit of check and reload, for each.
    pub command_limit: Duration,
}

impl Target {
    /// A file that keeps its mode and owner, without check and reload.
    pub fn plain(path: PathBuf, command_limit: Duration) -> Target {
        Target {
            path,
            mode: None,
            owner: None,
            in_place: false,
            check: None,
            reload: None,
            socket: None,
            runtime: None,
            hold_reload: false,
            command_limit,
        }
    }

    /// Gives the file these bytes: check, replace, reload. If the process is killed at any point, the file is
    /// the old or the new one, and the next run does the rest. Losses, such as of attributes, go to
    /// `warnings`, as sentences about the file.
    pub fn apply(
        &self,
        memory: &Memory,
        bytes: &[u8],
        warnings: &mut Vec<String>,
    ) -> Result<Done, TargetError> {
        let place = memory.port().open(&self.path)?;
        place.sweep();
        self.recover(memory)?;
        let old = place.current()?;
        if let Some(old) = &old
            && old.bytes == bytes
        {
            return self.stand(memory, &*place, old);
        }
        let before = old.as_ref().map(|old| old.bytes.as_slice());
        let mut why = None;
        let mut ready = |draft: &Path| {
            if let Some(runtime) = &self.runtime {
                runtime.forget(memory)?;
            }
            self.check(memory, draft)?;
            why = self.needs_reload(memory, before, bytes);
            if self.reload.is_some() && why.is_some() {
                // Before the replacement: killed after it, the next run would see the right bytes and not
                // reload.
                memory.owe_reload()?;
            }
            Ok(())
        };
        place.replace(self, memory, old.as_ref(), bytes, warnings, &mut ready)?;
        memory.follows()?;
        match self.settle(memory, before.unwrap_or(bytes), bytes, why)? {
            Done::Unchanged | Done::Reloaded => Ok(Done::Replaced),
            Done::Held(held) => Ok(Done::Held(Held { replaced: true, ..held })),
            done => Ok(done),
        }
    }

    /// Finishes the write of a run that was killed while it wrote in place. Call it before the file is used.
    pub fn recover(&self, memory: &Memory) -> Result<(), TargetError> {
        memory.port().recover(memory, &self.path)
    }

    /// What prevents even root from changing the file.
    pub fn protection(&self) -> Option<TargetError> {
        let place = Location::open(&self.path).ok()?;
        let (path, flag) = attributes::protection(&place.folder, &place.name)?;
        Some(TargetError::Protected { path, flag })
    }

    /// Why the new file needs a reload. If there was no file before, it is unknown what runs.
    fn needs_reload(&self, memory: &Memory, old: Option<&[u8]>, new: &[u8]) -> Option<String> {
        match (&self.runtime, old) {
            (Some(runtime), Some(old)) => runtime.needs_reload(memory, old, new),
            _ => Some("the file is new".to_owned()),
        }
    }

    /// Does what is left once the file is in place: the owed reload, otherwise the changes at run time.
    fn settle(
        &self,
        memory: &Memory,
        old: &[u8],
        new: &[u8],
        why: Option<String>,
    ) -> Result<Done, TargetError> {
        let reload = |why: Option<String>| {
            let done = self.reload(memory, new)?;
            Ok(match (done, why) {
                (Done::Reloaded, Some(why)) if self.runtime.is_some() => Done::ReloadedFor(why),
                (Done::Held(held), why) if self.runtime.is_some() => Done::Held(Held { why, ..held }),
                (done, _) => done,
            })
        };
        if self.reload.is_some() && memory.owes_reload() && !self.was_reloaded_since(memory)? {
            self.may_reload_again(memory)?;
            return reload(why);
        }
        let Some(runtime) = &self.runtime else { return Ok(Done::Unchanged) };
        let why = match runtime.follow(memory, old, new) {
            runtime::FollowOutcome::Followed(followed) => {
                memory.follows()?;
                let nothing = followed == Followed::default();
                return Ok(if nothing { Done::Unchanged } else { Done::Followed(followed) });
            }
            runtime::FollowOutcome::Reload(why) => why,
            // The new file needs a reload, and the same error would follow it.
            runtime::FollowOutcome::Unknown(error) if old != new => chain(&error),
            runtime::FollowOutcome::Unknown(source) => return Err(self.not_asked(source, false)),
        };
        // With a wrong socket, another file or a hung process, a reload every minute does not help.
        if memory.reloads_in_vain(&self.reloaded_by()) >= MAX_VAIN {
            return Err(TargetError::NotConverged { path: self.path.clone(), why });
        }
        memory.owe_reload()?;
        reload(Some(why))
    }

    /// What [`Target::apply`] does with the bytes of the last good output, if the file has them: next to
    /// nothing. `None`, without any change, if it does not. A file with the key of one that was read and
    /// found right is not read again.
    pub fn confirm(&self, memory: &Memory, last: &LastGood) -> Result<Option<Done>, TargetError> {
        self.confirm_at(memory, last, SystemTime::now())
    }

    fn confirm_at(
        &self,
        memory: &Memory,
        last: &LastGood,
        now: SystemTime,
    ) -> Result<Option<Done>, TargetError> {
        let Some(place) = Location::find(&self.path)? else { return Ok(None) };
        let keyed = place.key(now);
        let settled = self.runtime.is_none() && !memory.owes_reload();
        if let Some((key, file)) = &keyed
            && settled
            && Some(*key) == last.key
        {
            place.sweep();
            return Ok(Some(match file::adjust(&self.path, file, self.mode, self.owner)? {
                true => Done::Adjusted,
                false => Done::Unchanged,
            }));
        }
        match place.current()? {
            Some(file) if memory::digest(&file.bytes) == last.digest => {
                place.sweep();
                if let Some((key, _)) = keyed {
                    memory.keep(&LastGood { key: Some(key), ..last.clone() }, None)?;
                }
                let place = OnDiskPlace { place, memory: &Folder::open(&std::env::temp_dir())? };
                self.stand(memory, &place, &file).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Does what is left for a file whose bytes are right.
    fn stand(&self, memory: &Memory, place: &dyn Place, file: &CurrentFile) -> Result<Done, TargetError> {
        let adjusted = place.adjust(self, file)?;
        match self.settle(memory, &file.bytes, &file.bytes, None)? {
            Done::Unchanged if adjusted => Ok(Done::Adjusted),
            done => Ok(done),
        }
    }

    /// What `apply` would do, up to the check, without touching the file. Gives the same warnings.
    pub fn rehearse(&self, bytes: &[u8], warnings: &mut Vec<String>) -> Result<Done, TargetError> {
        let place = Location::open(&self.path)?;
        let old = place.current()?;
        if old.as_ref().is_some_and(|old| old.bytes == bytes) {
            return Ok(Done::Unchanged);
        }
        let other = Folder::open(&std::env::temp_dir())?;
        let staged = port::stage(self, &place, old.as_ref(), bytes, &other, warnings)?;
        match (self.check_draft(&staged.path()), self.runtime.as_ref().and_then(Runtime::remembers)) {
            (Err(error), Some(state_file)) => warnings.push(format!(
                "{}; the cause may be `{}` alone: presence empties it before a real check, but not in a \
                 rehearsal",
                chain(&error),
                state_file.display()
            )),
            (checked, _) => checked?,
        }
        Ok(Done::Replaced)
    }

    /// The current bytes of the file; `None` if there is no file.
    pub fn current(&self) -> Result<Option<Vec<u8>>, TargetError> {
        file::current(&self.path)
    }

    /// Whether HAProxy was reloaded after it had not loaded the file: by hand, or too late for the wait. Then
    /// nothing is owed any more.
    fn was_reloaded_since(&self, memory: &Memory) -> Result<bool, TargetError> {
        let (Some(socket), Some(before)) = (&self.socket, self.served_before(memory)) else {
            return Ok(false);
        };
        let since = haproxy::serving(&*memory.port().haproxy(socket)).is_some_and(|now| now != before);
        if since {
            self.forget_states(memory);
            memory.reloaded()?;
            memory.write_note::<ServingBefore>(SERVING, None)?;
            if let (Some(runtime), Some(bytes)) = (&self.runtime, memory.port().current(&self.path)?) {
                runtime.reloaded(memory, &bytes)?;
            }
        }
        Ok(since)
    }

    /// Empties the state file after a confirmed reload: a later start of HAProxy must not bring back settings
    /// that have ended since. A run that is killed before that still owes the reload, and ends here again.
    fn forget_states(&self, memory: &Memory) {
        if let Some(runtime) = &self.runtime {
            // The reload has happened. If the file cannot be emptied, the next check reports it.
            let _ = runtime.forget(memory);
        }
    }

    /// The process that had not loaded the file, if it was asked at the same socket.
    fn served_before(&self, memory: &Memory) -> Option<Serving> {
        let before = memory.note::<ServingBefore>(SERVING)?;
        (self.socket.as_ref() == Some(&before.socket)).then_some(before.process)
    }

    /// Whether another reload may help. It may if there were few. It may also if HAProxy never answered
    /// before and does now, so that this one can be confirmed.
    fn may_reload_again(&self, memory: &Memory) -> Result<(), TargetError> {
        let Some(socket) = &self.socket else { return Ok(()) };
        if memory.reloads_in_vain(&self.reloaded_by()) < MAX_VAIN {
            return Ok(());
        }
        match (haproxy::worker(&*memory.port().haproxy(socket)), self.served_before(memory)) {
            (Err(error), _) => Err(self.not_asked(error.into(), false)),
            (Ok(_), None) => Ok(()),
            (Ok(_), Some(_)) => {
                let why = "the old process still serves".to_owned();
                Err(TargetError::NotConverged { path: self.path.clone(), why })
            }
        }
    }

    fn not_asked(&self, source: ApplyError, reloaded: bool) -> TargetError {
        TargetError::NotAsked { path: self.path.clone(), reloaded, source }
    }

    /// A digest of the way in which the file is reloaded and confirmed. A reload in another way may help.
    fn reloaded_by(&self) -> String {
        memory::digest(format!("{:?} {:?}", self.reload, self.socket).as_bytes())
    }

    fn check(&self, memory: &Memory, draft: &Path) -> Result<(), TargetError> {
        let Some(check) = &self.check else { return Ok(()) };
        let checked = memory.port().run(check, draft, self.command_limit);
        checked.map_err(|source| TargetError::Check { path: self.path.clone(), source })
    }

    fn check_draft(&self, draft: &Path) -> Result<(), TargetError> {
        let Some(check) = &self.check else { return Ok(()) };
        let checked = check.run(draft, self.command_limit);
        checked.map_err(|source| TargetError::Check { path: self.path.clone(), source })
    }

    /// The process that serves now.
    fn serving(&self, memory: &Memory) -> Option<Serving> {
        haproxy::serving(&*memory.port().haproxy(self.socket.as_deref()?))
    }

    fn reload(&self, memory: &Memory, bytes: &[u8]) -> Result<Done, TargetError> {
        let Some(reload) = &self.reload else { return Ok(Done::Unchanged) };
        if self.hold_reload {
            return Ok(Done::Held(Held { replaced: false, why: None }));
        }
        if let Some(runtime) = &self.runtime {
            runtime.remember(memory, bytes);
        }
        let before = self.serving(memory);
        let ran = memory.port().run(reload, &self.path, self.command_limit);
        self.reloaded(memory, ran, before)?;
        Ok(Done::Reloaded)
    }

    /// Records the result of a reload. `before` served until then.
    fn reloaded(
        &self,
        memory: &Memory,
        outcome: Result<(), CommandError>,
        before: Option<Serving>,
    ) -> Result<(), TargetError> {
        outcome.map_err(|source| TargetError::Reload { path: self.path.clone(), source })?;
        if let Some(socket) = &self.socket {
            let loaded =
                haproxy::confirm(&*memory.port().haproxy(socket), before, LOADING.min(self.command_limit));
            if let Err(source) = loaded {
                memory.count_reload(&self.reloaded_by())?;
                // Even if HAProxy does not answer now, the process from before shows later whether it was
                // reloaded.
                if let Some(process) = before {
                    memory.write_note(SERVING, Some(&ServingBefore { socket: socket.clone(), process }))?;
                }
                return Err(TargetError::NotLoaded { path: self.path.clone(), source });
            }
            self.forget_states(memory);
        }
        memory.reloaded()?;
        // It was from an earlier attempt.
        memory.write_note::<ServingBefore>(SERVING, None)?;
        if let Some(runtime) = &self.runtime {
            // Until HAProxy is seen to follow.
            memory.count_reload(&self.reloaded_by())?;
            if before.is_some()
                && let Some(bytes) = memory.port().current(&self.path)?
            {
                runtime.reloaded(memory, &bytes)?;
            }
            runtime.can_follow(memory).map_err(|source| self.not_asked(source, true))?;
        }
        Ok(())
    }
}

/// Runs the reload that these files owe, once for all of them. The command is the first file's, and the
/// others have the same. Returns the result for each file.
pub fn reload_together(files: &[(&Target, &Memory)]) -> Vec<Result<(), TargetError>> {
    let Some((first, machine)) = files.first() else { return Vec::new() };
    let before: Vec<Option<Serving>> = files.iter().map(|(target, memory)| target.serving(memory)).collect();
    for (target, memory) in files {
        if let (Some(runtime), Ok(Some(bytes))) = (&target.runtime, memory.port().current(&target.path)) {
            runtime.remember(memory, &bytes);
        }
    }
    let outcome = match &first.reload {
        Some(reload) => machine.port().run(reload, &first.path, first.command_limit),
        None => Ok(()),
    };
    let outcomes = files.iter().zip(before);
    outcomes.map(|((target, memory), before)| target.reloaded(memory, outcome.clone(), before)).collect()
}

/// Runs a check on a text without a file of its own, under that file name.
pub fn check_text(check: &Command, name: &str, text: &str, limit: Duration) -> Result<(), TargetError> {
    let dir = tempfile::tempdir().at("make a directory in", &std::env::temp_dir())?;
    let path = dir.path().join(name);
    std::fs::write(&path, text).at("write", &path)?;
    check.run(&path, limit).map_err(|source| TargetError::Check { path: name.into(), source })
}

#[cfg(test)]
mod tests;
