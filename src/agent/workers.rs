//! One thread for each store, so that a store that hangs delays neither the other stores nor the signals.
//!
//! A thread does one job at a time, and sends each result as an [`AgentEvent`]. The threads are abandoned
//! when the program ends: a store stays consistent whenever a process is killed.

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

/// A task at a store.
#[derive(Debug, Clone)]
pub(super) enum Job {
    /// Publish this node's record, and send a heartbeat.
    Announce { record: Arc<Record>, heartbeat: bool },
    /// Withdraw this node.
    Withdraw(Name),
    /// Look at the list, and read it if its stamp is not the known one. Heartbeats do not matter.
    Look { known: Option<String> },
    /// Read the list, with heartbeats if a file depends on them.
    Read,
}

impl Job {
    /// The result of the job if a defect of this program ended it.
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

/// The result of a job.
#[derive(Debug)]
pub(super) enum JobResult {
    /// This node was announced or withdrawn.
    Announced {
        /// `None` for a withdrawal.
        record: Option<Arc<Record>>,
        /// The change, if the store accepted it.
        applied: Option<Applied>,
        /// Whether the store accepted the heartbeat; `None` if none was sent.
        beat: Option<bool>,
        /// Whether another machine was met under this instance-id; `None` if no heartbeat was accepted.
        rival: Option<bool>,
        complaints: Vec<Complaint>,
    },
    /// `None` if the list has the known stamp.
    Looked(Option<Reading>),
}

/// The purpose of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Records, and heartbeats unless other stores are for them.
    List,
    /// Heartbeats only.
    Beats,
}

/// The thread of one store, and its state.
pub(super) struct Worker {
    pub(super) role: Role,
    jobs: Sender<(Job, Option<Instant>)>,
    /// The number of jobs without an answer.
    waiting: u32,
    /// When it last got jobs.
    pub(super) asked: Duration,
    /// When the next look is due.
    pub(super) next_look: Duration,
    /// The number of failed looks in a row.
    pub(super) failures: u32,
    /// Whether the last look succeeded.
    pub(super) answers: bool,
    /// What went wrong in the last announcement.
    pub(super) complaints: Vec<Complaint>,
}

impl Worker {
    /// Starts a thread for each store: the stores of the list, then those for heartbeats only.
    pub(super) fn of_all(config: &Config, events: &Sender<AgentEvent>) -> Vec<Worker> {
        let list = config.stores.iter().map(|url| (Role::List, url));
        let beats = config.beat_stores.iter().map(|url| (Role::Beats, url));
        let all = list.chain(beats).enumerate();
        all.map(|(place, (role, url))| Worker::new(config, role, url, place, events)).collect()
    }

    fn new(config: &Config, role: Role, url: &str, place: usize, events: &Sender<AgentEvent>) -> Worker {
        // The thread's configuration has only its own store.
        let of = |wanted| if role == wanted { vec![url.to_owned()] } else { Vec::new() };
        let mut own = Config { stores: of(Role::List), beat_stores: of(Role::Beats), ..config.clone() };
        let (jobs, todo) = mpsc::channel::<(Job, Option<Instant>)>();
        let events = events.clone();
        std::thread::spawn(move || {
            let patience = own.patience;
            // Either channel closes when the agent has ended.
            for (job, end) in todo {
                let failed = job.failed(&own);
                // A publish divides the time that it has, so it must know the end.
                let left = end.map(|end| end.saturating_duration_since(Instant::now()));
                own.patience = left.map_or(patience, |left| left.min(patience));
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&own, job)));
                // A panic is a defect, and its message has been printed. Only this job of this store is
                // lost.
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

    /// Gives the thread a job.
    pub(super) fn give(&mut self, job: Job) {
        self.give_until(job, None);
    }

    /// Gives the thread a job with a deadline.
    pub(super) fn give_until(&mut self, job: Job, end: Option<Instant>) {
        if self.jobs.send((job, end)).is_ok() {
            self.waiting += 1;
        }
    }

    /// The thread has finished a job.
    pub(super) fn has_answered(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// Whether a job runs or waits.
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
                    // A rival that was met stays until a heartbeat shows otherwise.
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
                // Heartbeats change all the time, so they are fetched only when needed. The first look is
                // dropped before the second one begins.
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

/// The result of a change in the only store.
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
