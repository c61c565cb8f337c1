//! The agent's loop: beat, look, render, wait.

mod announcing;
mod looking;
mod rendering;

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::events::Event;
use super::systemd::Systemd;
use super::talk::{Said, Talk};
use super::tally::Tally;
use crate::beat::announce;
use crate::beat::fleet::{self, Fleet};
use crate::beat::node;
use crate::config::{Config, OnStop};
use crate::errors::chain;
use crate::name::Name;
use crate::notify::Notifier;
use crate::pace::{Budget, Quiet, back_off, phase, until_beat};
use crate::roster::Availability;
use crate::store::Edit;

/// A store that is away is looked for at least this often.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How long what is still to be told may hold up the end.
const LAST_WORDS: Duration = Duration::from_secs(10);

pub(super) struct Rounds<'a> {
    config: &'a Config,
    talk: Talk<'a>,
    tally: Tally,
    systemd: Systemd,
    notifier: Option<Notifier>,
    started: Instant,
    /// What the stores said last.
    fleet: Option<Fleet>,
    /// Names what was rendered last: the versions of the stores.
    rendered: Option<Vec<String>>,
    /// Names what was seen last.
    seen: Vec<String>,
    /// The bytes of the record that was published last.
    published: Option<Vec<u8>>,
    failures: u32,
    quiet: Quiet,
    budget: Budget,
    /// When a file that is not as it should be gets another turn, and how often it failed; by its place in the configuration.
    again: Vec<Option<(Duration, u32)>>,
}

impl<'a> Rounds<'a> {
    pub(super) fn new(config: &'a Config, say: &'a dyn Fn(Said)) -> Rounds<'a> {
        let mut talk = Talk::new(say);
        let notifier = match Notifier::open(&config.notifies, &config.state_dir) {
            Ok(notifier) => notifier,
            Err(error) => {
                talk.complain("notifications", vec![(chain(&error), error.hint())]);
                None
            }
        };
        Rounds {
            config,
            talk,
            tally: Tally::default(),
            systemd: Systemd::from_env(),
            notifier,
            started: Instant::now(),
            fleet: None,
            rendered: None,
            seen: Vec::new(),
            published: None,
            failures: 0,
            quiet: Quiet::new(config.agent.quiet_min, config.agent.quiet_max),
            budget: Budget::new(config.agent.reloads_per_minute),
            again: vec![None; config.renders.len()],
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Health comes before announcement.
    pub(super) fn first_health(&mut self) {
        let answers = announce::ask_health(self.config);
        self.hear(&answers);
    }

    /// Until a signal ends it.
    pub(super) fn run(&mut self, events: &Receiver<Event>) {
        self.talk.note(format!(
            "agent started: a beat every {:?}, a look every {:?}",
            self.config.agent.interval, self.config.agent.poll
        ));
        let mut ready = false;
        let mut next_beat = Duration::ZERO;
        let mut next_look = Duration::ZERO;
        let signal = loop {
            if next_beat <= self.now() {
                self.beat();
                next_beat = self.now() + self.until_beat();
                next_look = self.now() + self.until_look();
            } else if next_look <= self.now() {
                self.look();
                self.announce_if_changed();
                next_look = self.now() + self.until_look();
            }
            if self.quiet.due().is_some_and(|due| due <= self.now()) {
                // What changed since the last look is in this render, or begins a new wait.
                self.look();
                if self.quiet.due().is_some_and(|due| due <= self.now()) {
                    self.render(false);
                }
            }
            self.render_again();
            if !ready {
                ready = true;
                self.systemd.tell("READY=1");
            }
            self.systemd.tell("WATCHDOG=1");
            let due = [Some(next_beat), Some(next_look), self.quiet.due()];
            let due = due.into_iter().chain(self.again.iter().map(|again| again.map(|(time, _)| time)));
            let wait = due.flatten().min().unwrap_or_default().saturating_sub(self.now());
            let wait = wait.min(self.systemd.watchdog().unwrap_or(wait));
            match events.recv_timeout(wait) {
                Ok(Event::Stop(signal)) => break signal,
                Ok(Event::Now) => next_beat = Duration::ZERO,
                Ok(Event::Health(answer)) => {
                    if self.hear(&[answer]) {
                        self.announce_if_changed();
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        };
        self.stop(signal);
    }

    /// One beat: record, heartbeat, look, every file.
    fn beat(&mut self) {
        let announced = self.announce(true);
        self.look();
        let rendered = self.render(true);
        let good = announced && rendered && self.fleet.as_ref().is_some_and(Fleet::is_current);
        self.tally.beat(good);
        self.write_metrics();
        let nodes = self.fleet.as_ref().map_or(0, |fleet| fleet.roster.nodes.len());
        let word = if good { "all well" } else { "something failed, see the log" };
        self.systemd.status(&format!("{nodes} nodes, {} files, {word}", self.config.renders.len()));
    }

    fn until_beat(&self) -> Duration {
        let agent = &self.config.agent;
        let id = node::record(self.config).map(|record| record.id().to_string()).unwrap_or_default();
        // Not `PRESENCE_NOW`: a clock that stands still never comes to the phase.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        until_beat(now, agent.interval, phase(&id, agent.splay))
    }

    fn until_look(&self) -> Duration {
        let agent = &self.config.agent;
        back_off(self.failures, agent.poll, agent.interval.min(LONGEST_WAIT), fastrand::f64())
    }

    fn write_metrics(&mut self) {
        let Some(path) = &self.config.agent.metrics else { return };
        let roster = self.fleet.as_ref().map(|fleet| &fleet.roster);
        let written = self.tally.write(path, roster);
        let complaints = written.err().map(|error| (chain(&error), error.hint()));
        self.talk.complain("metrics", complaints.into_iter().collect());
    }

    /// Says what is to be said at the end.
    fn stop(&mut self, signal: &str) {
        self.systemd.tell("STOPPING=1");
        self.talk.note(format!("{signal}: the agent ends"));
        match self.config.agent.on_stop {
            OnStop::Nothing => {}
            // Who is in setup, wedged or drained stays that.
            OnStop::Draining if !self.is_active() => {}
            OnStop::Draining => {
                let state = Name::parse("draining").ok();
                match state.map(|state| node::enter_state(self.config, &state)) {
                    Some(Ok(_)) => drop(self.announce(false)),
                    Some(Err(error)) => self.talk.complain("record", vec![(chain(&error), error.hint())]),
                    None => {}
                }
            }
            OnStop::Withdraw => {
                if let Ok(record) = node::record(self.config) {
                    let results = fleet::apply(self.config, &Edit::Remove(record.id()));
                    let failed = results.into_iter().filter_map(Result::err);
                    let complaints = failed.map(|error| (chain(&error), error.hint())).collect();
                    self.talk.complain("withdrawal", complaints);
                }
            }
        }
        if let Some(notifier) = self.notifier.take() {
            let troubles = notifier.finish(LAST_WORDS);
            self.talk.complain("notifications", troubles.into_iter().map(|text| (text, None)).collect());
        }
        self.write_metrics();
    }

    fn is_active(&self) -> bool {
        let record = node::record(self.config).ok();
        record.is_some_and(|record| self.config.states.of(record.state().as_deref()) == Availability::Active)
    }
}
