//! The agent: repeated beats, looks and renderings. It decides what happens when, and does nothing itself:
//! its [`Port`] does.

mod announcing;
mod changes;
mod jobs;
mod looking;
mod metrics;
mod port;
mod publication;
mod rendering;
mod report;
mod retries;
mod silence;
mod store;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use changes::Changes;
pub use jobs::{Event, Job, JobResult};
use metrics::Metrics;
pub use port::Port;
use publication::Publication;
use report::Reporter;
pub use report::{Complaint, Report};
use retries::Retries;
use silence::Silence;
pub use store::Role;
use store::StoreState;

use crate::beat::fleet::Fleet;
use crate::beat::own::Firmness;
use crate::config::{Config, OnStop};
use crate::errors::chain;
use crate::liveness::{Liveness, Moment};
use crate::name::Name;
use crate::record::Record;
use crate::roster::Availability;
use crate::schedule::{Budget, phase, until_beat};
use crate::store::Reading;

/// The longest time that the last change of the list may delay the agent's exit. A busy store needs it;
/// systemd waits longer.
const LAST_CHANGE: Duration = Duration::from_secs(30);

/// A publish must end this long before the agent stops waiting for it.
const TO_ANSWER: Duration = Duration::from_secs(1);

/// The longest time that notifications may delay the agent's exit.
const LAST_NOTIFICATIONS: Duration = Duration::from_secs(10);

/// The agent of one machine.
pub struct Agent<'a, P> {
    config: &'a Config,
    port: P,
    /// The stores of the list in the order of the configuration, then those for heartbeats.
    stores: Vec<StoreState>,
    reporter: Reporter<'a>,
    metrics: Metrics,
    /// The stores as last read, with the roster made from them.
    fleet: Option<Fleet>,
    /// Readings that arrived since, by the index of their store.
    readings: BTreeMap<usize, Reading>,
    changes: Changes,
    silence: Silence,
    publication: Publication,
    next_beat: Moment,
    /// The signal that asked the agent to stop.
    stopping: Option<&'static str>,
    budget: Budget,
    retries: Retries,
}

impl<'a, P: Port> Agent<'a, P> {
    /// The agent of this configuration. `say` gets the messages for its log.
    pub fn new(config: &'a Config, mut port: P, say: &'a dyn Fn(Report)) -> Agent<'a, P> {
        let of_list = config.stores.iter().map(|_| StoreState::new(Role::List));
        let of_beats = config.beat_stores.iter().map(|_| StoreState::new(Role::Beats));
        let agent = &config.agent;
        let liveness = Liveness::new(
            if config.beat_stores.is_empty() { config.stores.len() } else { config.beat_stores.len() },
            agent.interval.saturating_add(waiting::ANSWER_WAIT),
            port.silent_before(),
        );
        let max_ages: BTreeSet<Duration> =
            config.renders.iter().filter_map(|render| Some(render.max_age?.unsigned_abs())).collect();
        Agent {
            config,
            stores: of_list.chain(of_beats).collect(),
            reporter: Reporter::new(say),
            metrics: Metrics::default(),
            fleet: Some(port.copies()),
            readings: BTreeMap::new(),
            changes: Changes::new(agent.quiet_min, agent.quiet_max),
            silence: Silence::new(liveness, max_ages),
            publication: Publication::default(),
            next_beat: Moment::ZERO,
            stopping: None,
            budget: Budget::new(agent.reloads_per_minute),
            retries: Retries::new(config.renders.len()),
            port,
        }
    }

    /// Runs until a signal stops the agent.
    pub async fn run(&mut self) {
        if let Err(error) = self.port.begin_to_notify().await {
            self.reporter.report("notifications", [(chain(&error), error.hint())]);
        }
        self.reporter.note(format!(
            "agent started: a beat every {:?}, a look every {:?}",
            self.config.agent.interval, self.config.agent.poll
        ));
        // Health comes before announcement.
        let answers = self.port.ask_health().await;
        self.hear(&answers).await;
        let mut ready = false;
        while self.goes_on().await {
            self.judge().await;
            self.look_for_address().await;
            if self.next_beat <= self.port.now() {
                // Set before the beat, so that a SIGHUP during the beat causes another one.
                self.next_beat = self.port.now() + self.until_beat().await;
                self.beat().await;
            } else {
                let now = self.port.now();
                if self.silence.next.is_some_and(|due| due <= now) {
                    self.listen().await;
                }
                self.look().await;
                self.announce_if_changed().await;
            }
            if self.changes.is_quiet(self.port.now()) {
                // The render then includes every change since the last look; a further change restarts the
                // quiet time.
                self.look_again().await;
                if self.changes.is_quiet(self.port.now()) {
                    self.render(false).await;
                }
            }
            self.render_again().await;
            self.report();
            if !ready {
                ready = true;
                self.port.tell_manager("READY=1");
            }
            let left = self.due().saturating_sub(self.port.now());
            if self.stopping.is_none() && !left.is_zero() {
                self.wait(left).await;
            }
        }
        self.stop().await;
    }

    /// When something is to be done next, unless an event arrives.
    fn due(&self) -> Moment {
        let looks = self.stores.iter().filter(|store| !store.is_busy()).map(|store| store.next_look);
        // An answer that arrived between two turns is not judged yet.
        let arrived = (!self.readings.is_empty()).then_some(Moment::ZERO);
        let due = looks.chain(self.retries.next()).chain(self.changes.due()).chain(self.silence.next);
        let due = due.chain(arrived);
        due.chain(self.publication.next_check()).fold(self.next_beat, Moment::min)
    }

    /// One beat: record, heartbeat, look, every file.
    async fn beat(&mut self) {
        let announced = self.beat_at_stores().await;
        let rendered = self.render(true).await;
        let good = announced && rendered && self.fleet.as_ref().is_some_and(Fleet::is_current);
        self.metrics.beat(good, self.port.clock());
        self.write_metrics().await;
        let nodes = self.fleet.as_ref().map_or(0, |fleet| fleet.roster.nodes.len());
        let word = if good { "all well" } else { "something failed, see the log" };
        let files = self.config.renders.len();
        self.port.tell_manager(&format!("STATUS={nodes} nodes, {files} files, {word}"));
    }

    async fn until_beat(&mut self) -> Duration {
        let agent = &self.config.agent;
        let record = self.port.record().await;
        let id = record.map(|record| record.id().to_string()).unwrap_or_default();
        // Not `PRESENCE_NOW`: a clock that stands still never reaches the phase.
        until_beat(self.port.clock(), agent.interval, phase(&id, agent.splay))
    }

    async fn write_metrics(&mut self) {
        let roster = self.fleet.as_ref().map(|fleet| &fleet.roster);
        let metrics = &self.metrics;
        let written = self.port.write_metrics(&|now| metrics.text(roster, now)).await;
        let complaints = written.err().map(|error| (chain(&error), error.hint()));
        self.reporter.report("metrics", complaints);
    }

    /// Announces what `on-stop` asks for, and sends the notifications that wait.
    async fn stop(&mut self) {
        self.port.tell_manager("STOPPING=1");
        self.reporter.note(format!("{}: the agent stops", self.stopping.take().unwrap_or_default()));
        match (self.config.agent.on_stop, self.port.record().await) {
            (OnStop::Nothing, _) | (_, Err(_)) => {}
            // A node in setup, wedged or drained keeps its state.
            (OnStop::Draining, Ok(record))
                if self.config.states.of(record.state().as_deref()) != Availability::Active => {}
            (OnStop::Draining, Ok(_)) => self.drain_at_last().await,
            (OnStop::Withdraw, Ok(record)) => {
                self.say_at_last(None, &Job::Withdraw(record.id().clone())).await;
            }
        }
        if let Some(troubles) = self.port.end_notifying(LAST_NOTIFICATIONS).await {
            self.reporter.report("notifications", troubles.into_iter().map(|text| (text, None)));
        }
        self.report();
        self.write_metrics().await;
    }

    async fn drain_at_last(&mut self) {
        let Ok(state) = Name::parse("draining") else { return };
        match self.port.enter_state(&state).await {
            Ok(_) => {
                if let Some(record) = self.record(Firmness::Look).await {
                    let job = Job::Announce { record: record.clone(), heartbeat: false };
                    self.say_at_last(Some(&record), &job).await;
                }
            }
            Err(error) => self.reporter.report("record", [(chain(&error), error.hint())]),
        }
    }

    /// Gives every store of the list its last job. A busy store gets to it after its current job. A failure
    /// must be reported.
    async fn say_at_last(&mut self, record: Option<&Record>, job: &Job) {
        self.publication.want(record);
        let end = self.port.now() + LAST_CHANGE - TO_ANSWER;
        let list = 0..self.stores.len();
        let list: Vec<usize> = list.filter(|place| self.stores[*place].role == Role::List).collect();
        for place in &list {
            self.give(*place, job.clone(), Some(end));
        }
        self.attend_for(&list, LAST_CHANGE).await;
        if !self.publication.is_taken() {
            let text = "no store accepted the last change of this node in time".to_owned();
            let hint = "run `presence state` or `presence withdraw` to repeat it".to_owned();
            self.reporter.report("last words", [(text, Some(hint))]);
        }
    }

    /// Reports the current failures of publishing and of notifications.
    fn report(&mut self) {
        let complaints = self.stores.iter().flat_map(|store| &store.complaints);
        let complaints: Vec<_> = complaints.map(|complaint| complaint.clone().about("publishing")).collect();
        self.reporter.report("publishing", complaints);
        if let Some(troubles) = self.port.troubles() {
            self.reporter.report("notifications", troubles.into_iter().map(|text| (text, None)));
        }
    }
}
