//! The machine of an agent: its node, its clock, its files.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use presence::agent::core::{Agent, Event, Job, Port, Report};
use presence::beat::absence::Evidence;
use presence::beat::announce::{Answer, HealthError, Judged};
use presence::beat::fleet::Fleet;
use presence::beat::node::NodeError;
use presence::beat::own::{Firmness, Own};
use presence::beat::reloads;
use presence::beat::turn::{self, Turn, TurnOptions};
use presence::config::Config;
use presence::errors::PathError;
use presence::liveness::Silent;
use presence::name::Name;
use presence::record::{Facts, Record};
use presence::roster::Roster;
use presence::store::{Reading, StoreErrorKind};

use super::target::{Machine, Turning};
use super::worker::{Inbox, Queue, Worker};
use super::world::{Balancer, Seen, World};
use crate::scheduler::Task;

/// How likely an agent is killed at a step.
const KILL: f64 = 0.0002;

/// Starts the agent of a balancer, with a task for each store.
pub(super) fn start(world: &Rc<World>, at: usize) {
    let balancer = &world.balancers[at];
    world.begins(at);
    world.sim.event(|| format!("{}: the agent starts", balancer.name));
    let inbox = Rc::new(RefCell::new(VecDeque::new()));
    let queues: Vec<Queue> = world.lists.iter().map(|_| Queue::default()).collect();
    let mut tasks = Vec::new();
    let mut workers = Vec::new();
    for (store, queue) in queues.iter().enumerate() {
        let worker = Worker { world: world.clone(), at, store, queue: queue.clone(), inbox: inbox.clone() };
        let task = world.sim.spawn(worker.work());
        tasks.push(task);
        workers.push(task);
    }
    let began = world.sim.now();
    let port = Here { world: world.clone(), at, began, inbox, queues, workers };
    let world = world.clone();
    let clone = world.clone();
    let task = world.sim.spawn(async move {
        let config: &Config = &clone.balancers[at].config;
        let say = |report: Report| clone.said(at, &report);
        Agent::new(config, port, &say).run().await;
        clone.sim.event(|| format!("{}: the agent has ended", clone.balancers[at].name));
        clone.kill(at);
    });
    tasks.push(task);
    balancer.agent.set(Some(task));
    balancer.tasks.replace(tasks);
}

/// The machine of one agent, while that agent runs.
struct Here {
    world: Rc<World>,
    at: usize,
    began: Duration,
    inbox: Inbox,
    queues: Vec<Queue>,
    workers: Vec<Task>,
}

impl Here {
    fn balancer(&self) -> &Balancer {
        &self.world.balancers[self.at]
    }

    /// The agent may be killed here.
    async fn step(&self) {
        if self.world.fault("agent killed", KILL) {
            self.die().await;
        }
    }

    async fn die(&self) {
        self.world.kill(self.at);
        self.world.sim.pause().await;
    }

    /// A turn has ended, and took its time; or the agent was killed in it.
    async fn ends(&self, turning: &Turning) {
        if turning.dead.get() {
            self.die().await;
        }
        self.world.sim.sleep(turning.elapsed.get()).await;
    }

    fn own(&self) -> Facts {
        let balancer = self.balancer();
        let text = |name: &str, value: String| (name.to_owned(), value.into());
        let state = if balancer.drains.get() { "draining" } else { "running" };
        Facts::from([
            text("state", state.to_owned()),
            text("instance-id", balancer.name.clone()),
            text("nodepart", "lb".to_owned()),
            text("ipv4", format!("10.9.0.{}", self.at + 1)),
            text("port", balancer.port.get().to_string()),
        ])
    }
}

impl Port for Here {
    fn now(&self) -> Duration {
        self.world.sim.now() - self.began
    }

    fn clock(&self) -> Duration {
        let now = self.world.wall(self.balancer().clock.get(), Duration::ZERO);
        Duration::from_nanos(u64::try_from(now.as_nanosecond()).unwrap())
    }

    fn wall(&self) -> Result<Timestamp, NodeError> {
        Ok(self.world.wall(self.balancer().clock.get(), Duration::ZERO))
    }

    fn chance(&mut self) -> f64 {
        self.world.sim.chance().f64()
    }

    async fn wait(&mut self, limit: Duration) -> Option<Event> {
        self.step().await;
        let (sim, inbox) = (&self.world.sim, self.inbox.clone());
        let (world, at) = (self.world.clone(), self.at);
        let is_told = move || world.balancers[at].hangup.get() || world.balancers[at].stop.get();
        let something = move || is_told() || !inbox.borrow().is_empty();
        sim.until(sim.now() + limit, sim.wait_for(something)).await;
        self.arrived()
    }

    fn arrived(&mut self) -> Option<Event> {
        if self.balancer().stop.take() {
            self.balancer().stopping.set(Some(self.world.sim.now()));
            return Some(Event::Stop("SIGTERM"));
        }
        if self.balancer().hangup.take() {
            return Some(Event::Now);
        }
        self.inbox.borrow_mut().pop_front()
    }

    fn give(&mut self, store: usize, job: Job, _: Option<Duration>) -> bool {
        self.queues[store].borrow_mut().push_back(job);
        self.world.sim.wake(self.workers[store]);
        true
    }

    async fn ask_health(&mut self) -> Vec<Answer> {
        Vec::new()
    }

    async fn judge_health(&mut self, _: &[Answer]) -> Result<Judged, HealthError> {
        Ok(Judged::Nothing)
    }

    async fn record(&mut self) -> Result<Record, NodeError> {
        self.step().await;
        Ok(Record::new(self.own()).unwrap())
    }

    fn must_ask(&mut self, _: &Record) -> bool {
        false
    }

    async fn settle(&mut self, record: Record, _: Firmness) -> Own {
        Own { record, warnings: Vec::new() }
    }

    async fn enter_state(&mut self, _: &Name) -> Result<bool, NodeError> {
        Ok(!self.balancer().drains.replace(true))
    }

    async fn facts(&mut self) -> Facts {
        self.own()
    }

    fn copies(&mut self) -> Fleet {
        let copies = self.balancer().copies.borrow();
        let lists = self.world.lists.iter().enumerate();
        let readings = lists
            .map(|(store, list)| list.borrow().fail(StoreErrorKind::NotYet, copies.get(&store).cloned()));
        let readings = readings.collect();
        drop(copies);
        self.fleet(readings, Vec::new())
    }

    fn fleet(&mut self, readings: Vec<Reading>, beat_readings: Vec<Reading>) -> Fleet {
        self.world.fleet(self.at, readings, beat_readings)
    }

    fn silent_before(&mut self) -> BTreeMap<String, Silent> {
        self.balancer().silent.borrow().clone()
    }

    async fn save_silent(&mut self, silent: &BTreeMap<String, Silent>) -> Result<(), PathError> {
        self.step().await;
        self.balancer().silent.replace(silent.clone());
        Ok(())
    }

    async fn turn(
        &mut self,
        table: usize,
        facts: &Facts,
        fleet: &Fleet,
        evidence: Evidence<'_>,
        hold_reload: bool,
    ) -> Turn {
        self.step().await;
        let turning = Rc::new(Turning::new(&self.world, self.at, Seen::of(&self.world, fleet)));
        self.world.begins_turn(self.at, table, &turning.seen);
        let options =
            TurnOptions { dry_run: false, hold_reload, evidence, accept: false, compare_firsts: false };
        let config = &self.balancer().config;
        let machine = Machine { turning: turning.clone(), table };
        let turn = turn::take(&machine, config, &config.renders[table], facts, fleet, options);
        self.world.sim.count("turns", 1);
        if !turn.pardoned.is_empty() {
            self.balancer().pardoned.set(self.world.sim.now());
        }
        self.world.holds(self.at, table, &turning.seen);
        self.ends(&turning).await;
        let mut promptness = self.balancer().promptness.borrow_mut();
        promptness.rendered(table, &fleet.readings);
        if !reloads::shared(&config.renders)[table] {
            promptness.ended(table, &turn, self.world.sim.now());
        }
        drop(promptness);
        turn
    }

    async fn reload(&mut self, turns: &mut [(usize, Turn)], allow: &mut dyn FnMut() -> bool) -> Vec<usize> {
        self.step().await;
        let seen = Seen { began: self.world.sim.now(), ..Seen::default() };
        let turning = Rc::new(Turning::new(&self.world, self.at, seen));
        let machine = Machine { turning: turning.clone(), table: 0 };
        let ran = reloads::run(&machine, &self.balancer().config.renders, turns, allow);
        self.ends(&turning).await;
        for (table, turn) in turns {
            self.balancer().promptness.borrow_mut().ended(*table, turn, self.world.sim.now());
        }
        ran
    }

    async fn begin_to_notify(&mut self) -> Result<(), PathError> {
        Ok(())
    }

    async fn notify(&mut self, _: &Roster, _: Timestamp) -> Result<(), PathError> {
        self.step().await;
        Ok(())
    }

    fn troubles(&self) -> Option<Vec<String>> {
        None
    }

    async fn end_notifying(&mut self, _: Duration) -> Option<Vec<String>> {
        None
    }

    async fn write_metrics(&mut self, _: &dyn Fn(Duration) -> String) -> Result<(), PathError> {
        Ok(())
    }

    fn make_pages(&mut self) {}

    fn tell_manager(&mut self, _: &str) {}
}
