//! The machine of an agent: its stores' threads, its node, its clock, its files.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use presence::agent::core::{Agent, Complaint, Event, Job, JobResult, Port, Report};
use presence::beat::absence::Evidence;
use presence::beat::announce::{Answer, HealthError, Judged};
use presence::beat::fleet::{Fleet, Observer};
use presence::beat::node::NodeError;
use presence::beat::own::{Firmness, Own};
use presence::beat::turn::{self, Turn, TurnOptions};
use presence::change::Change;
use presence::config::Config;
use presence::errors::PathError;
use presence::liveness::Silent;
use presence::name::Name;
use presence::record::{Facts, Record};
use presence::roster::{Availability, Roster};
use presence::store::{Applied, Heartbeat, Outcome, Reading, StoreError, StoreErrorKind};

use super::list::Mood;
use super::target::{Machine, Turning};
use super::world::{Balancer, Seen, World, whole};
use crate::scheduler::Task;

/// How likely an agent is killed at a step.
const KILL: f64 = 0.0002;

/// How long a store may take, and for how long a thread waits for one that hangs.
const LATE: Duration = Duration::from_secs(20);

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

type Queue = Rc<RefCell<VecDeque<Job>>>;
type Inbox = Rc<RefCell<VecDeque<Event>>>;

/// The thread of one store.
struct Worker {
    world: Rc<World>,
    at: usize,
    store: usize,
    queue: Queue,
    inbox: Inbox,
}

impl Worker {
    async fn work(self) {
        loop {
            self.world.sim.wait_for(|| !self.queue.borrow().is_empty()).await;
            let Some(job) = self.queue.borrow_mut().pop_front() else { continue };
            let result = self.run(job).await;
            self.inbox.borrow_mut().push_back(Event::Answer(self.store, Box::new(result)));
            if let Some(agent) = self.balancer().agent.get() {
                self.world.sim.wake(agent);
            }
        }
    }

    fn balancer(&self) -> &Balancer {
        &self.world.balancers[self.at]
    }

    /// Waits as long as the store takes. An error if it does not do its work.
    async fn ask(&self, writes: bool) -> Result<(), StoreErrorKind> {
        let (sim, list) = (&self.world.sim, &self.world.lists[self.store]);
        let chance = sim.chance().f64();
        let mood = list.borrow().mood;
        match mood {
            Mood::Away => {
                sim.sleep(Duration::from_millis(20)).await;
                return Err(StoreErrorKind::NotYet);
            }
            Mood::Slow => sim.sleep(Duration::from_secs_f64(0.5 + 14.0 * chance)).await,
            Mood::Hangs => {
                sim.sleep(LATE).await;
                if list.borrow().mood == Mood::Hangs {
                    return Err(late());
                }
            }
            Mood::Up | Mood::Refuses => sim.sleep(Duration::from_secs_f64(0.01 + 0.1 * chance)).await,
        }
        if self.world.fault("operation failed", 0.002) {
            return Err(late());
        }
        match list.borrow().mood {
            Mood::Away => Err(StoreErrorKind::NotYet),
            Mood::Refuses if writes => Err(StoreErrorKind::NoHistory),
            _ => Ok(()),
        }
    }

    async fn run(&self, job: Job) -> JobResult {
        match job {
            Job::Announce { record, heartbeat } => {
                let asked = self.ask(true).await;
                let result = asked.map(|()| self.apply(&record, heartbeat));
                let lost = result.is_ok() && self.world.fault("answer lost", 0.002);
                match result {
                    Ok(applied) if !lost => JobResult::Announced {
                        record: Some(record),
                        applied: Some(applied),
                        beat: heartbeat.then_some(true),
                        rival: heartbeat.then_some(false),
                        complaints: Vec::new(),
                    },
                    result => {
                        let error = self.error(result.err().unwrap_or_else(late));
                        JobResult::Announced {
                            record: Some(record),
                            applied: None,
                            beat: heartbeat.then_some(false),
                            rival: None,
                            complaints: vec![Complaint::of_store(&error)],
                        }
                    }
                }
            }
            Job::Withdraw(_) => JobResult::Announced {
                record: None,
                applied: None,
                beat: None,
                rival: None,
                complaints: Vec::new(),
            },
            Job::Look { known } => match self.ask(false).await {
                Ok(()) if self.world.lists[self.store].borrow().is_version(known.as_ref()) => {
                    JobResult::Looked(None)
                }
                asked => self.read(asked),
            },
            Job::Read => {
                let asked = self.ask(false).await;
                self.read(asked)
            }
        }
    }

    fn read(&self, asked: Result<(), StoreErrorKind>) -> JobResult {
        let list = self.world.lists[self.store].borrow();
        let mut copies = self.balancer().copies.borrow_mut();
        JobResult::Looked(Some(match asked {
            Ok(()) => {
                let reading = list.read();
                copies.insert(self.store, reading.snapshot.clone().unwrap_or_default());
                reading
            }
            Err(kind) => list.fail(kind, copies.get(&self.store).cloned()),
        }))
    }

    fn apply(&self, record: &Record, heartbeat: bool) -> Applied {
        let mut list = self.world.lists[self.store].borrow_mut();
        let (id, text) = (record.id().to_string(), String::from_utf8(record.to_bytes()).unwrap());
        let is_new = list.get(&id).is_none();
        let changed = list.put(&id, &text);
        let mut beat = Ok(None);
        if heartbeat {
            let now = whole(self.world.wall(self.balancer().clock.get(), Duration::ZERO));
            beat = Ok(list.beats.insert(id, Heartbeat::Time(now)).map(Heartbeat::last));
        }
        let change = if is_new { Change::Joined } else { Change::Moved };
        let outcome = changed.then_some(Outcome::Merged(change));
        Applied { url: list.url.clone(), outcome, gone: None, stays: None, beat, asked: true }
    }

    fn error(&self, kind: StoreErrorKind) -> StoreError {
        self.world.lists[self.store].borrow().error(kind)
    }
}

fn late() -> StoreErrorKind {
    StoreErrorKind::Behind { seconds: LATE.as_secs() }
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

    fn own(&self) -> Facts {
        let balancer = self.balancer();
        let text = |name: &str, value: String| (name.to_owned(), value.into());
        Facts::from([
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
        let (sim, inbox) = (&self.world.sim, &self.inbox);
        let balancer = self.balancer();
        let something = || !inbox.borrow().is_empty() || balancer.hangup.get() || balancer.stop.get();
        sim.until(sim.now() + limit, sim.wait_for(something)).await;
        self.arrived()
    }

    fn arrived(&mut self) -> Option<Event> {
        if self.balancer().stop.take() {
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
        Ok(false)
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
        let observer =
            Observer { now: self.wall().ok(), addresses: Vec::new(), id: Some(self.balancer().name.clone()) };
        Fleet::judge(&self.balancer().config, &observer, true, readings, beat_readings)
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
        let all = &fleet.roster.nodes;
        let id = |node: &presence::roster::Node| node.record.id().to_string();
        let is_app = |node: &&presence::roster::Node| node.record.part().as_deref() == Some("app");
        let is_listed = |node: &&presence::roster::Node| node.availability == Availability::Active;
        let seen = Seen {
            began: self.world.sim.now(),
            listed: all.iter().filter(is_app).filter(is_listed).map(id).collect(),
            all: all.iter().map(id).collect(),
        };
        self.world.begins_turn(self.at, &seen);
        let turning = Rc::new(Turning {
            world: self.world.clone(),
            at: self.at,
            seen,
            elapsed: Cell::default(),
            dead: Cell::default(),
        });
        let options =
            TurnOptions { dry_run: false, hold_reload, evidence, accept: false, compare_firsts: false };
        let config = &self.balancer().config;
        let machine = Machine(turning.clone());
        let turn = turn::take(&machine, config, &config.renders[table], facts, fleet, options);
        self.world.sim.count("turns", 1);
        if turning.dead.get() {
            self.die().await;
        }
        self.world.sim.sleep(turning.elapsed.get()).await;
        turn
    }

    async fn reload(&mut self, _: &mut [(usize, Turn)], _: &mut dyn FnMut() -> bool) -> Vec<usize> {
        Vec::new()
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
