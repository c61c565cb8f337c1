//! The agent on this machine: its threads, signals and files, and systemd.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::core::{Event, Job, Port};
use super::systemd::Systemd;
use super::{pages, workers};
use crate::beat::absence::Evidence;
use crate::beat::announce::{self, Answer, HealthError, Judged};
use crate::beat::fleet::{Fleet, FleetStores};
use crate::beat::machine::Machine;
use crate::beat::node::{self, NodeError};
use crate::beat::own::{self, Firmness, Own};
use crate::beat::turn::{self, Turn, TurnOptions};
use crate::beat::{heard, reloads};
use crate::config::Config;
use crate::errors::PathError;
use crate::folder::{Folder, Lasting, READABLE};
use crate::liveness::{Moment, Silent};
use crate::name::Name;
use crate::notify::Notifier;
use crate::record::{Facts, Record};
use crate::roster::Roster;
use crate::store::Reading;

/// Does what the agent decides. Every method is done when it returns.
pub(super) struct Driver<'a> {
    config: &'a Config,
    stores: &'a FleetStores,
    started: Instant,
    events: Receiver<Event>,
    /// The jobs of the thread of each store.
    jobs: Vec<Sender<workers::Task>>,
    systemd: Systemd,
    notifier: Option<Notifier>,
    pages: Option<SyncSender<()>>,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        config: &'a Config,
        stores: &'a FleetStores,
        sender: &Sender<Event>,
        events: Receiver<Event>,
    ) -> Driver<'a> {
        Driver {
            config,
            stores,
            started: Instant::now(),
            events,
            jobs: workers::of_all(config, stores, sender),
            systemd: Systemd::from_env(),
            notifier: None,
            pages: pages::start(config, stores, sender),
        }
    }
}

impl Port for Driver<'_> {
    fn now(&self) -> Moment {
        self.started.elapsed()
    }

    fn clock(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn wall(&self) -> Result<Timestamp, NodeError> {
        node::now()
    }

    fn chance(&mut self) -> f64 {
        fastrand::f64()
    }

    /// Also pings systemd's watchdog, and so waits no longer than its interval.
    async fn wait(&mut self, limit: Duration) -> Option<Event> {
        self.systemd.tell("WATCHDOG=1");
        self.events.recv_timeout(limit.min(self.systemd.watchdog().unwrap_or(limit))).ok()
    }

    fn arrived(&mut self) -> Option<Event> {
        self.systemd.tell("WATCHDOG=1");
        self.events.try_recv().ok()
    }

    fn give(&mut self, store: usize, job: Job, end: Option<Moment>) -> bool {
        let end = end.map(|end| self.started + end);
        self.jobs[store].send((job, end)).is_ok()
    }

    async fn ask_health(&mut self) -> Vec<Answer> {
        announce::ask_health(&self.config.healths)
    }

    async fn judge_health(&mut self, answers: &[Answer]) -> Result<Judged, HealthError> {
        announce::judge_health(self.config, answers)
    }

    async fn record(&mut self) -> Result<Record, NodeError> {
        node::record(&self.config.nodeinfo, &self.config.state_dir)
    }

    fn must_ask(&mut self, record: &Record) -> bool {
        own::must_ask(self.config, self.stores, record)
    }

    async fn settle(&mut self, record: Record, firmness: Firmness) -> Own {
        own::settle(self.config, self.stores, record, firmness)
    }

    async fn enter_state(&mut self, state: &Name) -> Result<bool, NodeError> {
        node::enter_state(&self.config.nodeinfo, state, None)
    }

    async fn facts(&mut self) -> Facts {
        node::facts(&self.config.nodeinfo).unwrap_or_default()
    }

    fn copies(&mut self) -> Fleet {
        Fleet::of_copies(self.config, self.stores, self.config.wants_beats())
    }

    fn fleet(&mut self, readings: Vec<Reading>, beat_readings: Vec<Reading>) -> Fleet {
        Fleet::of(self.config, self.config.wants_beats(), readings, beat_readings)
    }

    fn silent_before(&mut self) -> BTreeMap<String, Silent> {
        heard::silent(&self.config.state_dir)
    }

    async fn save_silent(&mut self, silent: &BTreeMap<String, Silent>) -> Result<(), PathError> {
        heard::save_silent(&self.config.state_dir, silent)
    }

    async fn turn(
        &mut self,
        table: usize,
        facts: &Facts,
        fleet: &Fleet,
        evidence: Evidence<'_>,
        hold_reload: bool,
    ) -> Turn {
        let options =
            TurnOptions { dry_run: false, hold_reload, evidence, accept: false, compare_firsts: false };
        let machine = Machine::new(self.config, self.stores);
        turn::take(&machine, self.config, &self.config.renders[table], facts, fleet, options)
    }

    async fn reload(&mut self, turns: &mut [(usize, Turn)], allow: &mut dyn FnMut() -> bool) -> Vec<usize> {
        reloads::run(&Machine::new(self.config, self.stores), &self.config.renders, turns, allow)
    }

    async fn begin_to_notify(&mut self) -> Result<(), PathError> {
        self.notifier = Notifier::open(&self.config.notifies, &self.config.state_dir)?;
        Ok(())
    }

    async fn notify(&mut self, roster: &Roster, now: Timestamp) -> Result<(), PathError> {
        match &mut self.notifier {
            Some(notifier) => notifier.look(roster, &self.config.states, now),
            None => Ok(()),
        }
    }

    fn troubles(&self) -> Option<Vec<String>> {
        self.notifier.as_ref().map(Notifier::troubles)
    }

    async fn end_notifying(&mut self, limit: Duration) -> Option<Vec<String>> {
        self.notifier.take().map(|notifier| notifier.finish(limit))
    }

    fn make_pages(&mut self) {
        if let Some(pages) = &self.pages {
            // If it is full, the pages that are made next will have this list.
            let _ = pages.try_send(());
        }
    }

    async fn write_metrics(&mut self, page: &dyn Fn(Duration) -> String) -> Result<(), PathError> {
        let Some(path) = &self.config.agent.metrics else { return Ok(()) };
        // The whole file is replaced: a collector must never read half of it.
        let (folder, name) = Folder::of(path)?;
        // The collector runs as another user.
        folder.replace(name, page(self.clock()).as_bytes(), READABLE, Lasting::Cached)
    }

    fn tell_manager(&mut self, message: &str) {
        self.systemd.tell(message);
    }
}
