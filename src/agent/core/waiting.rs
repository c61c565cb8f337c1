//! Waiting: for stores, for the next beat, for any event.

use std::time::Duration;

use super::store::{Pace, StoreState};
use super::{Agent, Event, Job, JobResult, Port, Role};
use crate::liveness::Moment;
use crate::store::Version;

/// The longest time between two looks at a store that is away.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How long the agent waits for the stores that it asked. A later answer is an event like any other.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How long the agent still waits for the other stores after the first has answered.
const GRACE: Duration = Duration::from_secs(2);

impl<P: Port> Agent<'_, P> {
    /// Gives jobs to every idle store; they may depend on what is known of it. Returns the indexes of the
    /// stores that got jobs.
    pub(super) fn ask(&mut self, jobs: impl Fn(&StoreState, Option<Version>) -> Vec<Job>) -> Vec<usize> {
        let mut asked = Vec::new();
        for place in 0..self.stores.len() {
            if self.stores[place].is_busy() {
                continue;
            }
            let jobs = jobs(&self.stores[place], self.known(place));
            if !jobs.is_empty() {
                self.stores[place].is_asked(self.port.now());
                jobs.into_iter().for_each(|job| self.give(place, job, None));
                asked.push(place);
            }
        }
        asked
    }

    /// Gives that store a job, which must end before that moment.
    pub(super) fn give(&mut self, place: usize, job: Job, end: Option<Moment>) {
        if self.port.give(place, job, end) {
            self.stores[place].has_job();
        }
    }

    /// Waits for the answers of these stores, and handles all other events meanwhile. A stop signal ends the
    /// wait.
    pub(super) async fn attend(&mut self, asked: &[usize]) {
        // An unreachable store fails within `connect`, and that must be known before files are reported as
        // failing.
        let longest = ANSWER_WAIT.max(self.config.network.connect.saturating_add(Duration::from_secs(1)));
        self.attend_for(asked, longest).await;
    }

    /// Like `attend`, for at most this long.
    pub(super) async fn attend_for(&mut self, asked: &[usize], longest: Duration) {
        let mut end = self.port.now() + longest;
        let mut heard = false;
        while self.stopping.is_none() {
            let answered =
                |store: &StoreState| store.role == Role::List && !store.is_busy() && store.failures == 0;
            if !heard && asked.iter().any(|place| answered(&self.stores[*place])) {
                heard = true;
                end = end.min(self.port.now() + GRACE);
            }
            // A store that failed the last time must not delay the answers of the others.
            let awaited = |store: &StoreState| store.is_busy() && !(heard && store.failures > 0);
            if !asked.iter().any(|place| awaited(&self.stores[*place])) {
                break;
            }
            let left = end.saturating_sub(self.port.now());
            if left.is_zero() {
                break;
            }
            self.wait(left).await;
        }
        self.judge().await;
    }

    /// Waits for the next event, at most for `limit`.
    pub(super) async fn wait(&mut self, limit: Duration) {
        if let Some(event) = self.port.wait(limit).await {
            self.take(event).await;
        }
    }

    /// Called between two long operations: handles the events that arrived, and returns whether to continue.
    pub(super) async fn goes_on(&mut self) -> bool {
        while let Some(event) = self.port.arrived() {
            self.take(event).await;
        }
        self.stopping.is_none()
    }

    async fn take(&mut self, event: Event) {
        match event {
            Event::Stop(signal) => self.stopping = Some(signal),
            Event::Now => self.next_beat = Moment::ZERO,
            Event::Health(answer) => self.hear(&[answer]).await,
            Event::Pages(complaints) => self.reporter.report("pages", complaints),
            Event::Changed(place) => self.stores[place].has_changed(self.port.now()),
            Event::Answer(place, answer) => self.take_answer(place, *answer),
        }
    }

    fn take_answer(&mut self, place: usize, answer: JobResult) {
        self.stores[place].has_answered();
        match answer {
            JobResult::Announced { record, applied, beat, rival, complaints } => {
                self.stores[place].complaints = complaints;
                if let Some(met) = rival {
                    self.metrics.rival(place, met);
                }
                if let (Some(accepted), Some(listener)) = (beat, self.listener(place)) {
                    self.silence.liveness.own_heartbeat(listener, accepted, self.port.now());
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

    /// Records the result of a look.
    fn looked(&mut self, place: usize, failed: bool) {
        let agent = &self.config.agent;
        let pace = Pace { poll: agent.poll, longest: agent.interval.min(LONGEST_WAIT) };
        let (now, chance) = (self.port.now(), self.port.chance());
        let store = &mut self.stores[place];
        if store.looked(failed, now, pace, chance) {
            // It may have missed records while it was away.
            self.publication.repeat();
        }
        if store.role == Role::List && !failed {
            self.metrics.read(self.port.clock());
        }
    }
}
