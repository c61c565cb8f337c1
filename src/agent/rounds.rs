//! The agent's loop: beat, look, render, wait.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::events::Event;
use super::systemd::Systemd;
use super::talk::{Said, Talk};
use super::tally::Tally;
use crate::beat::announce::{self, Answer};
use crate::beat::fleet::{self, Fleet};
use crate::beat::node;
use crate::beat::turn::{self, Manner, Turn, TurnError};
use crate::config::{Config, OnStop};
use crate::errors::chain;
use crate::name::Name;
use crate::notify::Notifier;
use crate::pace::{Budget, Quiet, back_off, phase, until_beat};
use crate::record::Facts;
use crate::store::Edit;
use crate::target::{Done, TargetError};

/// How long what is still to be told may hold up the end.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// More problems than this are counted, not said.
const MAX_PROBLEMS: usize = 20;

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
        back_off(self.failures, agent.poll, agent.interval, fastrand::f64())
    }

    /// Publishes this node's record, and a heartbeat with it. False if no store took it.
    fn announce(&mut self, heartbeat: bool) -> bool {
        let record = match node::record(self.config) {
            Ok(record) => record,
            Err(error) => {
                self.talk.complain("record", vec![(chain(&error), error.hint())]);
                self.tally.announce_error();
                return false;
            }
        };
        self.talk.complain("record", Vec::new());
        let mut complaints = Vec::new();
        let mut taken = false;
        for result in announce::publish(self.config, &record) {
            match result {
                Ok(applied) => {
                    taken = true;
                    if let Some(outcome) = applied.outcome {
                        self.talk.note(format!("{}: {}: {outcome}", applied.url, record.id()));
                    }
                }
                Err(error) => complaints.push((chain(&error), error.hint())),
            }
        }
        if taken && heartbeat {
            match fleet::beat(self.config, record.id()) {
                Ok(results) => {
                    for error in results.into_iter().filter_map(Result::err) {
                        complaints.push((chain(&error), error.hint()));
                    }
                }
                Err(error) => complaints.push((chain(&error), error.hint())),
            }
        }
        self.talk.complain("publishing", complaints);
        match taken {
            true => self.published = Some(record.to_bytes()),
            false => self.tally.announce_error(),
        }
        taken
    }

    /// Publishes at once what somebody wrote into nodeinfo.
    fn announce_if_changed(&mut self) {
        let record = node::record(self.config).map(|record| record.to_bytes()).ok();
        if self.failures == 0 && record.is_some() && record != self.published {
            self.announce(false);
        }
    }

    /// Counts answers of health checks in. True if this node's state is a new one.
    fn hear(&mut self, answers: &[Answer]) -> bool {
        for answer in answers {
            let complaint = answer.answer.clone().err();
            let complaint =
                complaint.map(|reason| (format!("health check `{}`: {reason}", answer.name), None));
            self.talk.complain(&format!("health check `{}`", answer.name), complaint.into_iter().collect());
        }
        match announce::judge_health(self.config, answers) {
            Ok(state) => {
                self.talk.complain("health", Vec::new());
                if let Some(state) = &state {
                    self.talk.note(format!("this node is now `{state}`, by its health checks"));
                }
                state.is_some()
            }
            Err(error) => {
                self.talk.complain("health", vec![(chain(&error), error.hint())]);
                false
            }
        }
    }

    /// Reads the stores, and notes whether anything is to be rendered or told.
    fn look(&mut self) {
        let beats = self.config.renders.iter().any(|render| render.max_age.is_some());
        let fleet = Fleet::read(self.config, beats);
        let mut complaints = Vec::new();
        for reading in &fleet.readings {
            if let Some(error) = &reading.error {
                self.tally.store_error(&reading.url);
                complaints.push((chain(error), error.hint()));
            }
        }
        self.talk.complain("stores", complaints);
        let current = fleet.is_current();
        let whole = fleet.readings.iter().all(|reading| reading.snapshot.is_some());
        self.failures = if current { 0 } else { self.failures.saturating_add(1) };
        if current {
            self.tally.read();
            let versions = versions(&fleet);
            let news = versions != self.seen;
            if news {
                self.complain_of_problems(&fleet);
                if self.rendered.as_ref() != Some(&versions) {
                    let now = self.now();
                    self.quiet.changed(now);
                }
                self.seen = versions;
            }
            // With a store missing altogether, its nodes would seem to have left.
            if news && whole {
                self.tell(&fleet);
            }
        }
        let troubles = self.notifier.as_ref().map(Notifier::troubles).unwrap_or_default();
        self.talk.complain("notifications", troubles.into_iter().map(|text| (text, None)).collect());
        self.fleet = Some(fleet);
        if !current {
            self.write_metrics();
        }
    }

    fn complain_of_problems(&mut self, fleet: &Fleet) {
        let mut problems = fleet.problems();
        let more = problems.len().saturating_sub(MAX_PROBLEMS);
        problems.truncate(MAX_PROBLEMS);
        if more > 0 {
            problems.push(format!("… and {more} more: `presence list --format json` lists all"));
        }
        self.talk.complain("the list", problems.into_iter().map(|text| (text, None)).collect());
    }

    fn tell(&mut self, fleet: &Fleet) {
        let Some(notifier) = &mut self.notifier else { return };
        let Ok(now) = node::now() else { return };
        if let Err(error) = notifier.look(&fleet.roster, &self.config.states, now) {
            self.talk.complain("telling", vec![(chain(&error), error.hint())]);
        }
    }

    /// Gives every file its turn. With `whole`, also those that have not to do with what changed, so that a file which
    /// somebody has spoilt is made right. False if one is not as it should be.
    fn render(&mut self, whole: bool) -> bool {
        let Some(fleet) = self.fleet.take() else { return false };
        let mut good = true;
        if whole || fleet.is_current() {
            self.quiet.done();
            if fleet.is_current() {
                self.rendered = Some(versions(&fleet));
            }
            let facts = node::facts(self.config).unwrap_or_default();
            for index in 0..self.config.renders.len() {
                good &= self.turn(index, &facts, &fleet);
            }
        }
        self.fleet = Some(fleet);
        self.write_metrics();
        good
    }

    /// Gives another turn to the files whose time has come.
    fn render_again(&mut self) {
        let now = self.now();
        let due = |again: &Option<(Duration, u32)>| again.is_some_and(|(time, _)| time <= now);
        if !self.again.iter().any(due) {
            return;
        }
        let Some(fleet) = self.fleet.take() else { return };
        let facts = node::facts(self.config).unwrap_or_default();
        for index in 0..self.again.len() {
            if due(&self.again[index]) {
                self.turn(index, &facts, &fleet);
            }
        }
        self.fleet = Some(fleet);
        self.write_metrics();
    }

    /// One file's turn. False if it is not as it should be.
    fn turn(&mut self, index: usize, facts: &Facts, fleet: &Fleet) -> bool {
        let render = &self.config.renders[index];
        let now = self.now();
        let manner = Manner { dry_run: false, hold_reload: !self.budget.allows(now) };
        let turn = turn::take(self.config, render, facts, fleet, manner);
        let reloaded = has_reloaded(&turn, render.target.reload.is_some());
        if reloaded {
            self.budget.spend(now);
        }
        self.tally.turn(&turn, reloaded);
        let poll = self.config.agent.poll;
        let failed = self.again[index].map_or(0, |(_, failed)| failed);
        let soon = self.now() + poll;
        self.again[index] = match &turn.result {
            // The next look that finds a store says so.
            Err(TurnError::Unreachable { .. } | TurnError::Refused { .. }) => None,
            Err(_) => {
                let wait = back_off(failed + 1, poll, self.config.agent.interval, fastrand::f64());
                Some((self.now() + wait, failed + 1))
            }
            Ok(Done::Held) => Some((self.budget.next().max(soon), 0)),
            Ok(done) if !done.is_settled() => Some((soon, 0)),
            Ok(_) => None,
        };
        self.report(&turn);
        turn.result.is_ok()
    }

    fn report(&mut self, turn: &Turn) {
        let path = turn.path.display();
        let topic = format!("`{path}`");
        match &turn.result {
            Ok(done) => {
                self.talk.complain(&topic, Vec::new());
                match done {
                    Done::Unchanged => {}
                    Done::Followed(followed) if followed.done.is_empty() => {}
                    done => self.talk.note(format!("{path}: {done}")),
                }
            }
            Err(error) => self.talk.complain(&topic, vec![(chain(error), error.hint())]),
        }
        let warnings = turn.warnings.iter().map(|text| (format!("{path}: {text}"), None)).collect();
        self.talk.complain(&format!("{topic}, its nodes"), warnings);
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
}

/// Names what the stores say: equal names, equal files. A heartbeat is no change.
fn versions(fleet: &Fleet) -> Vec<String> {
    fleet
        .readings
        .iter()
        .map(|reading| reading.snapshot.as_ref().map(|snapshot| snapshot.version.clone()).unwrap_or_default())
        .collect()
}

fn has_reloaded(turn: &Turn, has_command: bool) -> bool {
    match &turn.result {
        Ok(Done::Replaced) => has_command,
        Ok(Done::Reloaded | Done::ReloadedFor(_)) => true,
        Err(TurnError::Target(TargetError::Reload { .. })) => true,
        _ => false,
    }
}
