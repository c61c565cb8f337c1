//! One thread for each store: one that hangs keeps neither the others waiting nor the signals.
//!
//! A thread does one job after the other, and what came of it is an [`Event`]. At the end of the program they are left
//! behind as they are: a store is whole whenever a process is killed.

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use super::events::Event;
use super::talk::Complaint;
use crate::beat::fleet::{self, Fleet};
use crate::config::Config;
use crate::errors::chain;
use crate::name::Name;
use crate::record::Record;
use crate::store::{Applied, Edit, Reading, read_seen};

/// Something to be done at a store.
#[derive(Debug, Clone)]
pub(super) enum Job {
    /// Put this node's record there, and leave a heartbeat with it.
    Announce { record: Arc<Record>, heartbeat: bool },
    /// Take this node off the list.
    Withdraw(Name),
    /// See what the list says. What is known by that stamp is not read again, whatever the heartbeats.
    Look { known: Option<String> },
}

/// What came of a job.
#[derive(Debug)]
pub(super) enum Answer {
    /// This node was announced, or taken off the list.
    Announced {
        /// None if it was to be taken off.
        record: Option<Arc<Record>>,
        /// What is different now, if the store took it.
        applied: Option<Applied>,
        complaints: Vec<Complaint>,
    },
    /// None if the list is as it is known.
    Looked(Option<Reading>),
}

/// The thread of one store, and what is known of it.
pub(super) struct Hand {
    jobs: Sender<Job>,
    /// So many jobs have no answer yet.
    waiting: u32,
    /// When it was given jobs last.
    pub(super) asked: Duration,
    /// When it is to be looked at next.
    pub(super) next_look: Duration,
    /// So many looks in a row were in vain.
    pub(super) failures: u32,
    /// What went wrong when this node was announced last.
    pub(super) complaints: Vec<Complaint>,
}

impl Hand {
    /// Starts the thread for the store at that place of the configuration.
    pub(super) fn new(config: &Config, place: usize, events: &Sender<Event>) -> Hand {
        // All that it knows is its store.
        let own = Config { stores: vec![config.stores[place].clone()], ..config.clone() };
        let (jobs, todo) = mpsc::channel();
        let events = events.clone();
        std::thread::spawn(move || {
            // The agent is gone when nobody gives jobs or takes answers any more.
            for job in todo {
                if events.send(Event::Answer(place, work(&own, job))).is_err() {
                    return;
                }
            }
        });
        Hand {
            jobs,
            waiting: 0,
            asked: Duration::ZERO,
            next_look: Duration::ZERO,
            failures: 0,
            complaints: Vec::new(),
        }
    }

    /// Gives it a job.
    pub(super) fn give(&mut self, job: Job) {
        if self.jobs.send(job).is_ok() {
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

fn work(config: &Config, job: Job) -> Answer {
    match job {
        Job::Announce { record, heartbeat } => {
            let (applied, mut complaints) = apply(config, &Edit::Put(&record));
            if heartbeat && applied.is_some() {
                match fleet::beat(config, record.id()) {
                    Ok(results) => {
                        let errors = results.into_iter().filter_map(Result::err);
                        complaints.extend(errors.map(|error| (chain(&error), error.hint())));
                    }
                    Err(error) => complaints.push((chain(&error), error.hint())),
                }
            }
            Answer::Announced { record: Some(record), applied, complaints }
        }
        Job::Withdraw(id) => {
            let (applied, complaints) = apply(config, &Edit::Remove(&id));
            Answer::Announced { record: None, applied, complaints }
        }
        Job::Look { known } => {
            let seen = Fleet::look(config, known.is_none() && config.wants_beats());
            if known.is_some() && seen.iter().all(|seen| seen.stamp() == known.as_deref()) {
                return Answer::Looked(None);
            }
            // Heartbeats change all the time, so they are fetched only when they are needed.
            let seen = match known.is_some() && config.wants_beats() {
                true => Fleet::look(config, true),
                false => seen,
            };
            Answer::Looked(read_seen(seen).pop())
        }
    }
}

fn apply(config: &Config, edit: &Edit<'_>) -> (Option<Applied>, Vec<Complaint>) {
    match fleet::apply(config, edit).pop() {
        Some(Ok(applied)) => (Some(applied), Vec::new()),
        Some(Err(error)) => (None, vec![(chain(&error), error.hint())]),
        None => (None, Vec::new()),
    }
}
