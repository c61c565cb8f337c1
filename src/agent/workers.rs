//! One thread for each store: one that hangs keeps neither the others waiting nor the signals.
//!
//! A thread does one job after the other, and what came of it is an [`AgentEvent`]. At the end of the program they are left
//! behind as they are: a store is whole whenever a process is killed.

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use super::events::AgentEvent;
use super::report::Complaint;
use crate::beat::fleet::{self, Announced, Fleet};
use crate::beat::rivals;
use crate::config::Config;
use crate::errors::chain;
use crate::name::Name;
use crate::record::Record;
use crate::store::{self, Applied, Edit, Reading, StoreError, StoreErrorKind, read_pending};

/// Something to be done at a store.
#[derive(Debug, Clone)]
pub(super) enum Job {
    /// Put this node's record there, and leave a heartbeat.
    Announce { record: Arc<Record>, heartbeat: bool },
    /// Take this node off the list.
    Withdraw(Name),
    /// See what the list says. What is known by that stamp is not read again, whatever the heartbeats.
    Look { known: Option<String> },
    /// Read what the list says, with heartbeats if a file depends on them.
    Read,
}

impl Job {
    /// What came of it if this program failed at it.
    fn failed(&self, config: &Config) -> JobResult {
        let url = config.stores.iter().chain(&config.beat_stores).next().map(|url| store::shown_url(url));
        let error = || StoreError { url: url.clone().unwrap_or_default(), kind: StoreErrorKind::Panicked };
        let announced = |record, beat| {
            let complaints = vec![complaint(error())];
            JobResult::Announced { record, applied: None, beat, rival: None, complaints }
        };
        match self {
            Job::Announce { record, heartbeat } => {
                announced(Some(record.clone()), heartbeat.then_some(false))
            }
            Job::Withdraw(_) => announced(None, None),
            Job::Look { .. } | Job::Read => {
                JobResult::Looked(Some(Reading { url: error().url, snapshot: None, error: Some(error()) }))
            }
        }
    }
}

/// What came of a job.
#[derive(Debug)]
pub(super) enum JobResult {
    /// This node was announced, or taken off the list.
    Announced {
        /// None if it was to be taken off.
        record: Option<Arc<Record>>,
        /// What is different now, if the store took it.
        applied: Option<Applied>,
        /// Whether the store took the heartbeat; none if it was not asked to.
        beat: Option<bool>,
        /// Whether another machine was met under this instance-id; none if no heartbeat was asked for.
        rival: Option<bool>,
        complaints: Vec<Complaint>,
    },
    /// None if the list is as it is known.
    Looked(Option<Reading>),
}

/// What a store is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Records, and heartbeats if no other store is for these.
    List,
    /// Heartbeats alone.
    Beats,
}

/// The thread of one store, and what is known of it.
pub(super) struct Worker {
    pub(super) role: Role,
    jobs: Sender<(Job, Option<Instant>)>,
    /// So many jobs have no answer yet.
    waiting: u32,
    /// When it was given jobs last.
    pub(super) asked: Duration,
    /// When it is to be looked at next.
    pub(super) next_look: Duration,
    /// So many looks in a row were in vain.
    pub(super) failures: u32,
    /// Whether the last look was not in vain.
    pub(super) answers: bool,
    /// What went wrong when this node was announced last.
    pub(super) complaints: Vec<Complaint>,
}

impl Worker {
    /// Starts a thread for each store: those of the list, then those for heartbeats alone.
    pub(super) fn of_all(config: &Config, events: &Sender<AgentEvent>) -> Vec<Worker> {
        let list = config.stores.iter().map(|url| (Role::List, url));
        let beats = config.beat_stores.iter().map(|url| (Role::Beats, url));
        let all = list.chain(beats).enumerate();
        all.map(|(place, (role, url))| Worker::new(config, role, url, place, events)).collect()
    }

    fn new(config: &Config, role: Role, url: &str, place: usize, events: &Sender<AgentEvent>) -> Worker {
        // All that it knows is its store.
        let of = |wanted| if role == wanted { vec![url.to_owned()] } else { Vec::new() };
        let own = Config { stores: of(Role::List), beat_stores: of(Role::Beats), ..config.clone() };
        let (jobs, todo) = mpsc::channel::<(Job, Option<Instant>)>();
        let events = events.clone();
        std::thread::spawn(move || {
            // The agent is gone when nobody gives jobs or takes answers any more.
            for (job, end) in todo {
                let failed = job.failed(&own);
                // A publishing shares out the time that it has: it must know of the end.
                let left = end.map(|end| end.saturating_duration_since(Instant::now()));
                let patience = left.map_or(own.patience, |left| left.min(own.patience));
                let config = Config { patience, ..own.clone() };
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&config, job)));
                // A defect, which has been told. It costs this store this job.
                let answer = done.unwrap_or(failed);
                if events.send(AgentEvent::Answer(place, Box::new(answer))).is_err() {
                    return;
                }
            }
        });
        Worker {
            role,
            jobs,
            waiting: 0,
            asked: Duration::ZERO,
            next_look: if role == Role::List { Duration::ZERO } else { Duration::MAX },
            failures: 0,
            answers: false,
            complaints: Vec::new(),
        }
    }

    /// Gives it a job.
    pub(super) fn give(&mut self, job: Job) {
        self.give_until(job, None);
    }

    /// Gives it a job that must be done by then.
    pub(super) fn give_until(&mut self, job: Job, end: Option<Instant>) {
        if self.jobs.send((job, end)).is_ok() {
            self.waiting += 1;
        }
    }

    /// It has done one.
    pub(super) fn has_answered(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// Whether it is at work.
    pub(super) fn is_busy(&self) -> bool {
        self.waiting > 0
    }
}

fn work(config: &Config, job: Job) -> JobResult {
    match job {
        Job::Announce { record, heartbeat } => {
            let announced = match heartbeat {
                true => fleet::announce(config, &record),
                false => {
                    let (changes, _) = fleet::publish(config, &record);
                    // One that was met stays until a heartbeat says otherwise.
                    Ok(Announced { changes, beats: Vec::new(), rival: rivals::met(config) })
                }
            };
            let (applied, beats, rival, complaints) = match announced {
                Ok(Announced { mut changes, beats, rival }) => {
                    let taken = beats.iter().any(Result::is_ok);
                    let (applied, mut complaints) = only(changes.pop());
                    complaints.extend(beats.into_iter().filter_map(Result::err).map(complaint));
                    let met = taken.then_some(rival.is_some());
                    complaints.extend(rival.map(|rival| (rival.text, Some(rival.hint)).into()));
                    (applied, taken, met, complaints)
                }
                Err(error) => (None, false, None, vec![(chain(&error), error.hint()).into()]),
            };
            let beat = heartbeat.then_some(beats);
            JobResult::Announced { record: Some(record), applied, beat, rival, complaints }
        }
        Job::Withdraw(id) => {
            let (applied, complaints) = only(fleet::apply(config, &Edit::Remove(&id)).pop());
            JobResult::Announced { record: None, applied, beat: None, rival: None, complaints }
        }
        Job::Look { known } => {
            let seen = Fleet::look(config, false);
            if known.is_some() && seen.iter().all(|seen| seen.stamp() == known.as_deref()) {
                return JobResult::Looked(None);
            }
            match config.wants_beats() {
                // Heartbeats change all the time, so they are fetched only when they are needed. The first look is dropped
                // before the second one begins.
                true => {
                    drop(seen);
                    read(config)
                }
                false => JobResult::Looked(read_pending(seen).pop()),
            }
        }
        Job::Read => read(config),
    }
}

fn read(config: &Config) -> JobResult {
    let beats = config.wants_beats();
    let mut readings = read_pending(Fleet::look(config, beats));
    if beats {
        readings.extend(Fleet::read_beats(config));
    }
    JobResult::Looked(readings.pop())
}

/// What became of a change in the one store.
fn only(applied: Option<Result<Applied, StoreError>>) -> (Option<Applied>, Vec<Complaint>) {
    match applied {
        Some(Ok(applied)) => (Some(applied), Vec::new()),
        Some(Err(error)) => (None, vec![complaint(error)]),
        None => (None, Vec::new()),
    }
}

fn complaint(error: StoreError) -> Complaint {
    Complaint::of_store(&error)
}
