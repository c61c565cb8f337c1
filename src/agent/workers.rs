//! One thread for each store, so that a store that hangs delays neither the other stores nor the signals.
//!
//! A thread does one job at a time, and sends each result as an [`Event`]. The threads are abandoned
//! when the program ends: a store stays consistent whenever a process is killed.

use std::sync::mpsc::{self, Sender};
use std::time::Instant;

use super::core::{Complaint, Event, Job, JobResult};
use super::watching::Seen;
use crate::beat::fleet::{self, Announced, FleetStores};
use crate::beat::rivals;
use crate::config::Config;
use crate::errors::chain;
use crate::store::{Applied, Edit, Reading, StoreError, StoreErrorKind, Version, read_pending};

impl Job {
    /// The result of the job if a defect of this program ended it.
    fn failed(&self, stores: &FleetStores) -> JobResult {
        let url = stores.list.urls().chain(stores.beats.urls()).next().map(str::to_owned);
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
            Job::Look { .. } | Job::Read => JobResult::Looked(Some(Reading {
                url: error().url,
                snapshot: None,
                moment: None,
                error: Some(error()),
            })),
        }
    }
}

/// A job, and when it must end.
pub(super) type Task = (Job, Option<Instant>);

/// Starts a thread for each store: the stores of the list, then those for heartbeats only. Returns the jobs of
/// each.
pub(super) fn of_all(config: &Config, stores: &FleetStores, events: &Sender<Event>) -> Vec<Sender<Task>> {
    let FleetStores { list, beats } = stores;
    // Each thread has only its own store.
    let of_list = (0..list.len()).map(|at| FleetStores { list: list.only(at), beats: beats.none() });
    let of_beats = (0..beats.len()).map(|at| FleetStores { list: list.none(), beats: beats.only(at) });
    let all = of_list.chain(of_beats).enumerate();
    all.map(|(place, stores)| start(config, stores, place, events)).collect()
}

fn start(config: &Config, stores: FleetStores, place: usize, events: &Sender<Event>) -> Sender<Task> {
    let mut own = config.clone();
    let (jobs, todo) = mpsc::channel::<Task>();
    let events = events.clone();
    let seen = Seen::start(&stores.list, place, &events);
    std::thread::spawn(move || {
        let publishing = own.publishing;
        // Either channel closes when the agent has ended.
        for (job, end) in todo {
            let failed = job.failed(&stores);
            let looked_for = known_of(&job);
            // A publish divides the time that it has, so it must know the end.
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            own.publishing = left.map_or(publishing, |left| left.min(publishing));
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&own, &stores, job)));
            // A panic is a defect, and its message has been printed. Only this job of this store is lost.
            let answer = done.unwrap_or(failed);
            let version = version_of(&answer, looked_for);
            if events.send(Event::Answer(place, Box::new(answer))).is_err() {
                return;
            }
            // After the answer: a later change is reported after it too.
            if let (Some(seen), Some(version)) = (&seen, version) {
                seen.is(version);
            }
        }
    });
    jobs
}

/// The version that a look compares with.
fn known_of(job: &Job) -> Option<Version> {
    match job {
        Job::Look { known } => known.clone(),
        Job::Announce { .. } | Job::Withdraw(_) | Job::Read => None,
    }
}

/// The version of the list that this answer found; `None` if it is not about the list.
fn version_of(answer: &JobResult, known: Option<Version>) -> Option<Version> {
    match answer {
        JobResult::Looked(None) => known,
        JobResult::Looked(Some(reading)) if reading.error.is_none() => {
            reading.snapshot.as_ref()?.version.clone()
        }
        JobResult::Looked(Some(_)) | JobResult::Announced { .. } => None,
    }
}

fn work(config: &Config, stores: &FleetStores, job: Job) -> JobResult {
    match job {
        Job::Announce { record, heartbeat } => {
            let announced = match heartbeat {
                true => fleet::announce(config, stores, &record),
                false => {
                    let (changes, _) = fleet::publish(config, stores, &record);
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
            let (applied, complaints) = only(fleet::apply(config, stores, &Edit::Remove(&id)).pop());
            JobResult::Announced { record: None, applied, beat: None, rival: None, complaints }
        }
        Job::Look { known } => {
            let seen = stores.list.look(false);
            if known.is_some() && seen.iter().all(|seen| seen.version() == known.as_ref()) {
                return JobResult::Looked(None);
            }
            match config.wants_beats() {
                // Heartbeats change all the time, so they are fetched only when needed. The first look is
                // dropped before the second one begins.
                true => {
                    drop(seen);
                    read(config, stores)
                }
                false => JobResult::Looked(read_pending(seen).pop()),
            }
        }
        Job::Read => read(config, stores),
    }
}

fn read(config: &Config, stores: &FleetStores) -> JobResult {
    let beats = config.wants_beats();
    let mut readings = stores.list.read(beats);
    if beats {
        readings.extend(stores.beats.read(true));
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
