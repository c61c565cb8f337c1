//! A target that HAProxy follows without a reload if only servers changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Memory;
use crate::errors::PathError;
use crate::haproxy::{self, ApplyError, ApplyRequest, Config, Overrides, Remember, state_file};

/// How changes reach a running HAProxy.
#[derive(Debug, Clone, PartialEq)]
pub struct Runtime {
    /// Its stats socket, with `level admin`.
    pub socket: PathBuf,
    /// Its server-state file, if it has one.
    pub state_file: Option<PathBuf>,
    /// How long to wait for checks and sessions. A later run finishes the rest.
    pub patience: Duration,
}

/// The result of a change at run time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Followed {
    /// What was done, as sentences.
    pub done: Vec<String>,
    /// What a later run will finish.
    pub pending: Vec<String>,
    /// New servers that get no requests because their checks fail.
    pub failed: Vec<FailedServer>,
}

impl Followed {
    /// Whether nothing was done, and nothing is pending.
    pub fn is_silent(&self) -> bool {
        self.done.is_empty() && self.pending.is_empty()
    }
}

/// A new server that does not come up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedServer {
    /// Its name, after that of its backend.
    pub name: String,
    /// What it waits for.
    pub why: String,
}

/// What to do about a file at run time.
pub(super) enum FollowOutcome {
    /// HAProxy follows, or will.
    Followed(Followed),
    /// A reload is necessary, for this reason.
    Reload(String),
    /// HAProxy cannot be asked, and a reload will not change that.
    Unknown(ApplyError),
}

/// The name of the note with the overrides.
const OVERRIDES: &str = "overrides.json";

impl Remember for Memory {
    fn recall(&self) -> Option<Overrides> {
        self.note(OVERRIDES)
    }

    fn keep(&self, overrides: &Overrides) -> Result<(), PathError> {
        // If the note cannot be written (the disk is full), the old one must not stay either.
        self.write_note(OVERRIDES, Some(overrides)).or_else(|_| self.write_note::<Overrides>(OVERRIDES, None))
    }
}

impl Runtime {
    /// Why a file needs a reload after the old one; `None` if it does not.
    pub(super) fn needs_reload(&self, memory: &Memory, old: &[u8], new: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(old);
        let (old, new) = (Config::parse(&text), Config::parse(&String::from_utf8_lossy(new)));
        let differ = haproxy::needs_reload(&old, &new);
        differ.or_else(|| memory.recall()?.comes_back((&text, &old), &new))
    }

    /// Makes HAProxy follow the new file, which is in place.
    pub(super) fn follow(&self, memory: &Memory, old: &[u8], new: &[u8]) -> FollowOutcome {
        let request = ApplyRequest {
            socket: &*memory.port().haproxy(&self.socket),
            old: &String::from_utf8_lossy(old),
            new: &String::from_utf8_lossy(new),
            overrides: memory,
            patience: self.patience,
        };
        match haproxy::apply(&request) {
            Ok(outcome) => match outcome.reload_needed {
                Some(reason) => FollowOutcome::Reload(reason),
                None => {
                    let (failed, pending): (Vec<_>, Vec<_>) =
                        outcome.pending.iter().partition(|waiting| waiting.is_failed());
                    let failed = failed.into_iter().map(|waiting| FailedServer {
                        name: waiting.server.to_string(),
                        why: waiting.why.to_string(),
                    });
                    FollowOutcome::Followed(Followed {
                        done: outcome.done.iter().map(ToString::to_string).chain(outcome.left).collect(),
                        pending: pending.into_iter().map(ToString::to_string).collect(),
                        failed: failed.collect(),
                    })
                }
            },
            Err(error) if !error.may_pass() => FollowOutcome::Unknown(error),
            // HAProxy may not be running: the reload command can start it.
            Err(error) => FollowOutcome::Reload(crate::errors::chain(&error)),
        }
    }

    /// Whether this socket shows what runs, and permits changes.
    pub(super) fn can_follow(&self, memory: &Memory) -> Result<(), ApplyError> {
        match haproxy::can_follow(&*memory.port().haproxy(&self.socket)) {
            Err(error) if !error.may_pass() => Err(error),
            _ => Ok(()),
        }
    }

    /// Records a reload of this file: later differences were set after it.
    pub(super) fn reloaded(&self, memory: &Memory, new: &[u8]) -> Result<(), PathError> {
        match (memory.recall(), haproxy::serving(&*memory.port().haproxy(&self.socket))) {
            (Some(overrides), Some(worker)) => {
                Remember::keep(memory, &overrides.reloaded(&String::from_utf8_lossy(new), worker))
            }
            _ => Ok(()),
        }
    }

    /// Empties the state file: HAProxy's states must neither make a check refuse the file nor come back with a
    /// later start.
    pub(super) fn forget(&self, memory: &Memory) -> Result<(), PathError> {
        let Some(path) = &self.state_file else { return Ok(()) };
        memory.port().write_states(path, state_file::EMPTY)
    }

    /// The state file, if there is one that a check would not find empty.
    pub(super) fn remembers(&self) -> Option<&Path> {
        self.state_file.as_deref().filter(|path| !state_file::is_clear(path))
    }

    /// Fills the state file right before a reload. Without it, HAProxy only forgets which servers are ill.
    pub(super) fn remember(&self, memory: &Memory, new: &[u8]) {
        if let Some(path) = &self.state_file {
            let overrides = memory.recall().unwrap_or_default();
            let socket = memory.port().haproxy(&self.socket);
            let states = state_file::before_reload(&*socket, &String::from_utf8_lossy(new), &overrides);
            let saved = states.is_ok_and(|states| memory.port().write_states(path, &states).is_ok());
            if !saved {
                // An empty one is never wrong. If that cannot be written either, the reload itself will
                // report it.
                let _ = memory.port().write_states(path, state_file::EMPTY);
            }
        }
    }
}
