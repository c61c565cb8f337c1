//! Waiting: for stores, for the next beat, for any event.

use std::time::Duration;

use super::EventLoop;
use crate::agent::events::AgentEvent;
use crate::agent::jobs::{Job, JobResult};
use crate::agent::workers::{Role, Worker};
use crate::schedule::back_off;
use crate::store::Version;

/// The longest time between two looks at a store that is away.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How long the event loop waits for the stores that it asked. A later answer is an event like any other.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How long the event loop still waits for the other stores after the first has answered.
const GRACE: Duration = Duration::from_secs(2);

impl EventLoop<'_> {
    /// Gives jobs to every idle worker; they may depend on what is known of its store. Returns the indexes of
    /// the workers that got jobs.
    pub(super) fn ask(&mut self, jobs: impl Fn(&Worker, Option<Version>) -> Vec<Job>) -> Vec<usize> {
        let mut asked = Vec::new();
        for place in 0..self.workers.len() {
            let (now, known) = (self.now(), self.known(place));
            let worker = &mut self.workers[place];
            let jobs = if worker.is_busy() { Vec::new() } else { jobs(worker, known) };
            if !jobs.is_empty() {
                worker.asked = now;
                jobs.into_iter().for_each(|job| worker.give(job));
                asked.push(place);
            }
        }
        asked
    }

    /// Waits for the answers of these stores, and handles all other events meanwhile. A stop signal ends the
    /// wait.
    pub(super) fn attend(&mut self, asked: &[usize]) {
        // An unreachable store fails within `connect`, and that must be known before files are reported as
        // failing.
        let longest = ANSWER_WAIT.max(self.config.network.connect.saturating_add(Duration::from_secs(1)));
        self.attend_for(asked, longest);
    }

    /// Like `attend`, for at most this long.
    pub(super) fn attend_for(&mut self, asked: &[usize], longest: Duration) {
        let mut end = self.now() + longest;
        let mut heard = false;
        while self.stopping.is_none() {
            let answered =
                |worker: &Worker| worker.role == Role::List && !worker.is_busy() && worker.failures == 0;
            if !heard && asked.iter().any(|place| answered(&self.workers[*place])) {
                heard = true;
                end = end.min(self.now() + GRACE);
            }
            // A store that failed the last time must not delay the answers of the others.
            let awaited = |worker: &Worker| worker.is_busy() && !(heard && worker.failures > 0);
            if !asked.iter().any(|place| awaited(&self.workers[*place])) {
                break;
            }
            let left = end.saturating_sub(self.now());
            if left.is_zero() {
                break;
            }
            self.wait(left);
        }
        self.judge();
    }

    /// Waits for the next event, at most for `limit`, and pings systemd's watchdog.
    pub(super) fn wait(&mut self, limit: Duration) {
        self.systemd.tell("WATCHDOG=1");
        let limit = limit.min(self.systemd.watchdog().unwrap_or(limit));
        if let Ok(event) = self.events.recv_timeout(limit) {
            self.take(event);
        }
    }

    /// Called between two long operations: handles the events that arrived, and returns whether to continue.
    pub(super) fn goes_on(&mut self) -> bool {
        self.systemd.tell("WATCHDOG=1");
        while let Ok(event) = self.events.try_recv() {
            self.take(event);
        }
        self.stopping.is_none()
    }

    fn take(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Stop(signal) => self.stopping = Some(signal),
            AgentEvent::Now => self.next_beat = Duration::ZERO,
            AgentEvent::Health(answer) => self.hear(&[answer]),
            AgentEvent::Answer(place, answer) => {
                self.workers[place].has_answered();
                match *answer {
                    JobResult::Announced { record, applied, beat, rival, complaints } => {
                        self.workers[place].complaints = complaints;
                        if let Some(met) = rival {
                            self.metrics.rival(place, met);
                        }
                        if let (Some(taken), Some(listener)) = (beat, self.listener(place)) {
                            let now = self.now();
                            self.liveness.own_heartbeat(listener, taken, now);
                        }
                        if let Some(applied) = applied {
                            self.announced(record.as_deref(), applied);
                        }
                    }
                    JobResult::Looked(reading) => {
                        let failed = reading.as_ref().is_some_and(|reading| reading.error.is_some());
                        self.looked(place, failed);
                        if let Some(reading) = reading {
                            self.hear_beats(place, &reading);
                            self.readings.insert(place, reading);
                        }
                    }
                }
            }
        }
    }

    /// Records the result of a look, and when the next one is due.
    fn looked(&mut self, place: usize, failed: bool) {
        let agent = &self.config.agent;
        let worker = &mut self.workers[place];
        if worker.failures > 0 && !failed {
            // The store may have missed records while it was away.
            self.given_out = None;
        }
        worker.answers = !failed;
        worker.failures = if failed { worker.failures.saturating_add(1) } else { 0 };
        let wait = back_off(worker.failures, agent.poll, agent.interval.min(LONGEST_WAIT), fastrand::f64());
        // Looks start at a fixed distance, however long they take; after a failure, the wait begins at its
        // end.
        let from = if failed { self.started.elapsed() } else { worker.asked };
        if worker.role == Role::List {
            worker.next_look = from + wait;
            if !failed {
                self.metrics.read();
            }
        }
    }
}
