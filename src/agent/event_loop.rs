//! The agent's loop: beat, look, render, wait.

mod announcing;
mod looking;
mod rendering;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::events::AgentEvent;
use super::jobs::Job;
use super::metrics::Metrics;
use super::report::{Report, Reporter};
use super::systemd::Systemd;
use super::workers::{Role, Worker};
use crate::beat::fleet::{Fleet, FleetStores};
use crate::beat::own::Firmness;
use crate::beat::{announce, heard, node};
use crate::config::{Config, OnStop};
use crate::errors::chain;
use crate::liveness::Liveness;
use crate::name::Name;
use crate::notify::Notifier;
use crate::record::Record;
use crate::roster::Availability;
use crate::schedule::{Budget, Quiet, phase, until_beat};
use crate::store::Reading;

/// The longest time that the last change of the list may delay the agent's exit. A busy store needs it;
/// systemd waits longer.
const LAST_CHANGE: Duration = Duration::from_secs(30);

/// A publish must end this long before the event loop stops waiting for it.
const TO_ANSWER: Duration = Duration::from_secs(1);

/// The longest time that notifications may delay the agent's exit.
const LAST_NOTIFICATIONS: Duration = Duration::from_secs(10);

pub(super) struct EventLoop<'a> {
    config: &'a Config,
    stores: &'a FleetStores,
    events: Receiver<AgentEvent>,
    /// One worker for each store: the stores of the list in the order of the configuration, then those for
    /// heartbeats.
    workers: Vec<Worker>,
    reporter: Reporter<'a>,
    metrics: Metrics,
    systemd: Systemd,
    notifier: Option<Notifier>,
    started: Instant,
    /// The stores as last read, with the roster made from them.
    fleet: Option<Fleet>,
    /// Readings that arrived since, by the index of their worker.
    readings: BTreeMap<usize, Reading>,
    /// The stores' digests at the last rendering.
    rendered: Option<Vec<String>>,
    /// The stores' digests when they were last judged.
    seen: Vec<String>,
    /// The heartbeats that this agent has observed.
    liveness: Liveness,
    /// The silent nodes, each with the `max-age` that it exceeded.
    silent: BTreeSet<(String, Duration)>,
    /// The time at which the next node falls silent, unless a heartbeat arrives.
    next_silence: Option<Duration>,
    /// The bytes of the record last given to the workers; `None` if it must be given to them again.
    given_out: Option<Vec<u8>>,
    /// The bytes of the record that the stores should have now; `None` if this node is to leave the list.
    wanted: Option<Vec<u8>>,
    /// Whether a store has accepted it since.
    taken: bool,
    next_beat: Duration,
    /// While this machine has no address: the time of the next check, and the number of checks that found
    /// none.
    no_address: Option<(Duration, u32)>,
    /// The signal that asked the agent to stop.
    stopping: Option<&'static str>,
    quiet: Quiet,
    budget: Budget,
    /// For each file of the configuration that is not in order: the time of its next turn, and the number of
    /// failures.
    again: Vec<Option<(Duration, u32)>>,
}

impl<'a> EventLoop<'a> {
    pub(super) fn new(
        config: &'a Config,
        stores: &'a FleetStores,
        say: &'a dyn Fn(Report),
        sender: &Sender<AgentEvent>,
        events: Receiver<AgentEvent>,
    ) -> EventLoop<'a> {
        let mut reporter = Reporter::new(say);
        let notifier = match Notifier::open(&config.notifies, &config.state_dir) {
            Ok(notifier) => notifier,
            Err(error) => {
                reporter.report("notifications", [(chain(&error), error.hint())]);
                None
            }
        };
        EventLoop {
            config,
            stores,
            events,
            workers: Worker::of_all(config, stores, sender),
            reporter,
            metrics: Metrics::default(),
            systemd: Systemd::from_env(),
            notifier,
            started: Instant::now(),
            fleet: Some(Fleet::of_copies(config, stores, config.wants_beats())),
            readings: BTreeMap::new(),
            rendered: None,
            seen: Vec::new(),
            liveness: Liveness::new(
                if config.beat_stores.is_empty() { config.stores.len() } else { config.beat_stores.len() },
                config.agent.interval.saturating_add(waiting::ANSWER_WAIT),
                heard::silent(&config.state_dir),
            ),
            silent: BTreeSet::new(),
            next_silence: None,
            given_out: None,
            wanted: None,
            taken: false,
            next_beat: Duration::ZERO,
            no_address: None,
            stopping: None,
            quiet: Quiet::new(config.agent.quiet_min, config.agent.quiet_max),
            budget: Budget::new(config.agent.reloads_per_minute),
            again: vec![None; config.renders.len()],
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs until a signal stops the agent.
    pub(super) fn run(&mut self) {
        self.reporter.note(format!(
            "agent started: a beat every {:?}, a look every {:?}",
            self.config.agent.interval, self.config.agent.poll
        ));
        // Health comes before announcement.
        self.hear(&announce::ask_health(&self.config.healths));
        let mut ready = false;
        while self.goes_on() {
            self.judge();
            self.look_for_address();
            if self.next_beat <= self.now() {
                // Set before the beat, so that a SIGHUP during the beat causes another one.
                self.next_beat = self.now() + self.until_beat();
                self.beat();
            } else {
                let now = self.now();
                if self.next_silence.is_some_and(|due| due <= now) {
                    self.listen();
                }
                self.look();
                self.announce_if_changed();
            }
            if self.is_quiet() {
                // The render then includes every change since the last look; a further change restarts the
                // quiet time.
                self.look_again();
                if self.is_quiet() {
                    self.render(false);
                }
            }
            self.render_again();
            self.report();
            if !ready {
                ready = true;
                self.systemd.tell("READY=1");
            }
            let looks = self.workers.iter().filter(|worker| !worker.is_busy()).map(|worker| worker.next_look);
            let again = self.again.iter().flatten().map(|(time, _)| *time);
            let due = looks.chain(again).chain(self.quiet.due()).chain(self.next_silence);
            let due = due.chain(self.no_address.map(|(time, _)| time));
            let due = due.fold(self.next_beat, Duration::min);
            let left = due.saturating_sub(self.now());
            if self.stopping.is_none() && !left.is_zero() {
                self.wait(left);
            }
        }
        self.stop();
    }

    /// Whether something changed, and the quiet time after it has passed.
    fn is_quiet(&self) -> bool {
        self.quiet.due().is_some_and(|due| due <= self.now())
    }

    /// One beat: record, heartbeat, look, every file.
    fn beat(&mut self) {
        let announced = self.beat_at_stores();
        let rendered = self.render(true);
        let good = announced && rendered && self.fleet.as_ref().is_some_and(Fleet::is_current);
        self.metrics.beat(good);
        self.write_metrics();
        let nodes = self.fleet.as_ref().map_or(0, |fleet| fleet.roster.nodes.len());
        let word = if good { "all well" } else { "something failed, see the log" };
        self.systemd.status(&format!("{nodes} nodes, {} files, {word}", self.config.renders.len()));
    }

    fn until_beat(&self) -> Duration {
        let agent = &self.config.agent;
        let id = node::record(&self.config.nodeinfo, &self.config.state_dir)
            .map(|record| record.id().to_string())
            .unwrap_or_default();
        // Not `PRESENCE_NOW`: a clock that stands still never reaches the phase.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        until_beat(now, agent.interval, phase(&id, agent.splay))
    }

    fn write_metrics(&mut self) {
        let Some(path) = &self.config.agent.metrics else { return };
        let roster = self.fleet.as_ref().map(|fleet| &fleet.roster);
        let written = self.metrics.write(path, roster);
        let complaints = written.err().map(|error| (chain(&error), error.hint()));
        self.reporter.report("metrics", complaints);
    }

    /// Announces what `on-stop` asks for, and sends the notifications that wait.
    fn stop(&mut self) {
        self.systemd.tell("STOPPING=1");
        self.reporter.note(format!("{}: the agent stops", self.stopping.take().unwrap_or_default()));
        match (self.config.agent.on_stop, node::record(&self.config.nodeinfo, &self.config.state_dir)) {
            (OnStop::Nothing, _) | (_, Err(_)) => {}
            // A node in setup, wedged or drained keeps its state.
            (OnStop::Draining, Ok(record))
                if self.config.states.of(record.state().as_deref()) != Availability::Active => {}
            (OnStop::Draining, Ok(_)) => {
                let state = Name::parse("draining").ok();
                match state.map(|state| node::enter_state(&self.config.nodeinfo, &state, None)) {
                    Some(Ok(_)) => {
                        if let Some(record) = self.record(Firmness::Look) {
                            let job = Job::Announce { record: record.clone(), heartbeat: false };
                            self.say_at_last(Some(&record), &job);
                        }
                    }
                    Some(Err(error)) => self.reporter.report("record", [(chain(&error), error.hint())]),
                    None => {}
                }
            }
            (OnStop::Withdraw, Ok(record)) => self.say_at_last(None, &Job::Withdraw(record.id().clone())),
        }
        if let Some(notifier) = self.notifier.take() {
            let troubles = notifier.finish(LAST_NOTIFICATIONS);
            self.reporter.report("notifications", troubles.into_iter().map(|text| (text, None)));
        }
        self.report();
        self.write_metrics();
    }

    /// Gives every store of the list its last job. A busy worker gets to it after its current job. A failure
    /// must be reported.
    fn say_at_last(&mut self, record: Option<&Record>, job: &Job) {
        self.want(record);
        let end = Instant::now() + LAST_CHANGE - TO_ANSWER;
        let list = self.workers.iter_mut().enumerate().filter(|(_, worker)| worker.role == Role::List);
        let asked: Vec<usize> = list
            .map(|(place, worker)| {
                worker.give_until(job.clone(), Some(end));
                place
            })
            .collect();
        self.attend_for(&asked, LAST_CHANGE);
        if !self.taken {
            let text = "no store accepted the last change of this node in time".to_owned();
            let hint = "run `presence state` or `presence withdraw` to repeat it".to_owned();
            self.reporter.report("last words", [(text, Some(hint))]);
        }
    }

    /// Reports the current failures of publishing and of notifications.
    fn report(&mut self) {
        let complaints = self.workers.iter().flat_map(|worker| &worker.complaints);
        let complaints: Vec<_> = complaints.map(|complaint| complaint.clone().about("publishing")).collect();
        self.reporter.report("publishing", complaints);
        if let Some(notifier) = &self.notifier {
            let troubles = notifier.troubles().into_iter().map(|text| (text, None));
            self.reporter.report("notifications", troubles);
        }
    }
}
