//! Nodes that publish, beat, leave and read, on machines that fail, to a server that fails.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use git2::Oid;
use jiff::Timestamp;
use presence::name::Name;
use presence::record::Record;
use presence::store::git::publish::{self, LoadEstimate, Port};
use presence::store::{Edit, StoreErrorKind};
use presence_git::send_pack::Report;

use super::invariants::{Truth, Value, waiting};
use super::machine::{List, Machine, Operation, Process};
use super::objects::{Content, Files, Objects, path_of};
use super::server::{Disk, Request, Rule, Server};
use crate::runner::{self, Kind};
use crate::scheduler::Simulation;

pub(crate) const WORLD: runner::World = runner::World {
    name: "publishing",
    about: "nodes publish to a git server while processes, machines, networks and the server fail",
    kind: Kind::Seeds(20, &[68, 203, 257, 591, 1166, 2246], run),
};

/// How often what fails. Each run draws its own, so that some runs have few kinds of faults, and many of
/// these.
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    /// The longest pause of a node between two operations.
    pub(crate) pace: Duration,
    pub(crate) kill: f64,
    pub(crate) cut: f64,
    pub(crate) answer_lost: f64,
    pub(crate) torn: f64,
    pub(crate) slow: f64,
    pub(crate) slow_push: f64,
    pub(crate) locked: f64,
    pub(crate) crowd: f64,
    /// Of the events outside of presence: each minute, about this many.
    pub(crate) events: f64,
    pub(crate) clocks: f64,
    pub(crate) recheck: Duration,
    /// Whether operations wait. In a search they do not: any time may pass anyway.
    pub(crate) waits: bool,
    /// The calls of an operation after which its time is over, in a search.
    pub(crate) calls: u32,
}

impl Plan {
    /// Nothing fails, and nobody waits.
    pub(crate) fn calm(nodes: usize) -> Plan {
        Plan {
            nodes,
            pace: Duration::ZERO,
            kill: 0.0,
            cut: 0.0,
            answer_lost: 0.0,
            torn: 0.0,
            slow: 0.0,
            slow_push: 0.0,
            locked: 0.0,
            crowd: 0.0,
            events: 0.0,
            clocks: 0.0,
            recheck: Duration::ZERO,
            waits: false,
            calls: MOST_CALLS,
        }
    }

    fn draw(simulation: &Simulation) -> Plan {
        let chance = simulation.chance();
        let rate = |most: f64| if chance.happens(0.5) { 0.0 } else { most * chance.f64() };
        Plan {
            nodes: 2 + chance.below(5),
            pace: Duration::from_secs(*chance.pick(&[1, 5, 20, 60])),
            kill: rate(0.05),
            cut: rate(0.1),
            answer_lost: rate(0.2),
            torn: rate(0.3),
            slow: rate(0.05),
            slow_push: rate(0.2),
            locked: rate(0.05),
            crowd: rate(0.5),
            events: rate(4.0),
            clocks: rate(0.3),
            recheck: Duration::from_secs(*chance.pick(&[0, 60, 600])),
            waits: true,
            calls: MOST_CALLS,
        }
    }
}

/// The most calls of an operation in a search, unless the small world says less.
const MOST_CALLS: u32 = 40;

/// Everything of one run.
pub(crate) struct World {
    pub(crate) simulation: Simulation,
    pub(crate) objects: Objects,
    pub(crate) server: RefCell<Server>,
    pub(crate) truth: RefCell<Truth>,
    pub(crate) plan: Plan,
    pub(crate) is_down: Cell<bool>,
    /// Whether nothing fails any more.
    pub(crate) quiet: Cell<bool>,
    /// The first violation that no step of the server showed.
    pub(crate) violation: RefCell<Option<String>>,
    /// What each node says: the number of its record.
    pub(crate) facts: RefCell<Vec<Value>>,
    numbers: Cell<u64>,
    /// How many more processes may be killed.
    pub(crate) kills: Cell<u32>,
    /// The operations of each machine, and how far the server is with each push: for the search.
    operations: RefCell<BTreeMap<u8, Weak<Operation>>>,
    pushes: RefCell<BTreeMap<u64, (u64, usize)>>,
}

impl World {
    pub(crate) fn new(simulation: &Simulation, plan: Plan, rule: Rule, atomic: bool) -> Rc<World> {
        let objects = Objects::default();
        let mut server = Server::new(&objects);
        (server.rule, server.atomic) = (rule, atomic);
        server.by_hand("README", Some(Content::Foreign(0).oid()), 0);
        server.by_hand(&path_of("other"), Some(Content::Foreign(1).oid()), 0);
        let truth = RefCell::new(Truth::new(plan.nodes, &server));
        Rc::new(World {
            simulation: simulation.clone(),
            objects,
            server: RefCell::new(server),
            truth,
            facts: RefCell::new(vec![None; plan.nodes]),
            plan,
            is_down: Cell::default(),
            quiet: Cell::default(),
            violation: RefCell::default(),
            numbers: Cell::new(1),
            kills: Cell::new(u32::MAX),
            operations: RefCell::default(),
            pushes: RefCell::default(),
        })
    }

    /// Whether a fault happens: none does once all is quiet.
    pub(crate) fn fault(&self, kind: &'static str, probability: f64) -> bool {
        !self.quiet.get() && self.simulation.fault(kind, probability)
    }

    /// A new number: for a record, an operation, or something that differs.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.replace(self.numbers.get() + 1)
    }

    /// How long an exchange with the server takes.
    pub(crate) fn latency(&self) -> Duration {
        if !self.plan.waits {
            return Duration::ZERO;
        }
        let usual = Duration::from_micros(2_000 + self.simulation.chance().below(30_000) as u64);
        match self.fault("slow answer", self.plan.slow) {
            true => usual * 1_000,
            false => usual,
        }
    }

    pub(crate) async fn sleep(&self, time: Duration) {
        match self.plan.waits {
            true => self.simulation.sleep(time).await,
            false => self.simulation.pause().await,
        }
    }

    /// The estimate of the server's load is only a hint, so it may be anything.
    pub(crate) fn load(&self, answer: Duration) -> LoadEstimate {
        let busy = self.fault("load taken for a crowd", self.plan.crowd);
        let chance = self.simulation.chance();
        let size = if busy { *chance.pick(&[3.0, 20.0, 200.0]) } else { 1.0 };
        let queue = if busy && chance.happens(0.3) { Duration::from_secs(3) } else { Duration::ZERO };
        LoadEstimate { size, queue, answer }
    }

    /// A digest of everything that the rest of a run depends on, if each machine has one operation.
    pub(crate) fn state(&self) -> u64 {
        let operations = self.operations.borrow();
        let operations = operations.values().map(|operation| operation.upgrade()?.state());
        let operations: Vec<Option<u64>> = operations.collect();
        let mut pushes: Vec<(u64, usize)> = self.pushes.borrow().values().copied().collect();
        pushes.sort_unstable();
        let (server, truth) = (self.server.borrow(), self.truth.borrow());
        let choices = (self.kills.get(), self.simulation.switches());
        super::digest(&(&server.refs, truth.allowed(), operations, pushes, choices))
    }

    /// Records a violation.
    pub(crate) fn violate(&self, text: String) {
        self.violation.borrow_mut().get_or_insert(text);
    }

    /// The server handles a push, whatever becomes of its sender.
    pub(crate) fn receive(
        self: &Rc<World>,
        sender: u64,
        change: Option<usize>,
        request: Request,
    ) -> Rc<RefCell<Option<Report>>> {
        let answer = Rc::new(RefCell::new(None));
        let (world, result) = (self.clone(), answer.clone());
        if let Some(change) = change {
            self.truth.borrow_mut().push_begins(change);
        }
        let number = self.number();
        let content = super::digest(&format!("{request:?}"));
        self.simulation.spawn(async move {
            if world.fault("slow push", world.plan.slow_push) {
                let time = Duration::from_millis(world.simulation.chance().below(60_000) as u64);
                world.sleep(time).await;
            }
            let mut handling = world.server.borrow().unpack(request);
            // In a search, only the order of changes of refs matters.
            if world.plan.waits {
                world.simulation.pause().await;
            }
            world.server.borrow_mut().check(&mut handling);
            for step in 0..handling.steps() {
                world.pushes.borrow_mut().insert(number, (content, step));
                // Others may push between the refs of a push that is not atomic.
                world.simulation.pause().await;
                if world.fault("ref locked", world.plan.locked) {
                    match handling.request.atomic {
                        true => handling.fail("atomic transaction failed"),
                        false => handling.refuse(step, "failed to update ref"),
                    }
                }
                world.server.borrow_mut().apply(&mut handling, step);
            }
            world.pushes.borrow_mut().remove(&number);
            let report = handling.report();
            world.simulation.event(|| format!("  server: push of op {sender}: {:?}", report.refused));
            *result.borrow_mut() = Some(report);
            if let Some(change) = change {
                world.truth.borrow_mut().push_ends(change);
            }
            world.simulation.wake_waiting();
        });
        answer
    }

    /// What holds after every step.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(violation) = self.violation.take() {
            return Err(violation);
        }
        self.truth.borrow_mut().check(&self.server.borrow())
    }

    /// Runs an operation in a process of its own, which may be killed. `None` if it was.
    pub(crate) async fn operate<T: 'static>(
        self: &Rc<World>,
        machine: &Rc<Machine>,
        change: Option<usize>,
        limit: Duration,
        work: impl AsyncFnOnce(Process) -> T + 'static,
    ) -> Option<T> {
        let process = Process(Rc::new(Operation {
            world: self.clone(),
            machine: machine.clone(),
            number: self.number(),
            publish: change,
            confirmed: Cell::default(),
            started: self.simulation.now(),
            limit,
            killed: Cell::default(),
            calls: Cell::default(),
            torn: Cell::default(),
            holds: Cell::default(),
            history: Cell::default(),
        }));
        if !self.plan.waits {
            self.operations.borrow_mut().insert(machine.number, Rc::downgrade(&process.0));
        }
        let result = Rc::new(RefCell::new(None));
        let (place, worker) = (result.clone(), process.clone());
        self.simulation.spawn(async move {
            let (world, operation) = (worker.world.clone(), worker.0.clone());
            let found = work(worker).await;
            operation.learn(99);
            let took = world.simulation.now() - operation.started;
            if took > operation.limit {
                world.violate(format!("operation {} took {took:?}", operation.number));
            }
            *place.borrow_mut() = Some(found);
            world.simulation.wake_waiting();
        });
        let (place, operation) = (result.clone(), process.0.clone());
        drop(process);
        let is_over = move || place.borrow().is_some() || operation.killed.get();
        self.simulation.wait_for(is_over).await;
        if let Some(change) = change {
            self.truth.borrow_mut().end(change);
        }
        result.take()
    }

    /// The record of a node.
    pub(crate) fn record(node: usize, number: u32) -> Record {
        let id = format!("i-{node}");
        let text =
            format!(r#"{{"filetype":"nodepresence","value":{{"instance-id":"{id}","number":"{number}"}}}}"#);
        Record::parse(text.as_bytes()).unwrap()
    }

    /// Publishes what the node says, with or without a heartbeat.
    pub(crate) async fn publish(self: &Rc<World>, machine: &Rc<Machine>, node: usize, beats: bool) {
        let value = self.facts.borrow()[node];
        let change = self.truth.borrow_mut().begin(node, value);
        let more = if self.plan.waits { self.simulation.chance().below(40) as u64 } else { 0 };
        let limit = Duration::from_secs(20 + more);
        self.simulation.event(|| format!("i-{node} publishes {value:?} (change {change})"));
        self.simulation.count("publishes", 1);
        let world = self.clone();
        let work = async move |process: Process| {
            let beat = beats.then(|| world.time(&process));
            let result = match value {
                Some(number) => {
                    let record = World::record(node, number);
                    publish::apply(&process, &Edit::Put(&record), beat).await
                }
                None => {
                    let id = Name::parse(&format!("i-{node}")).unwrap();
                    publish::apply(&process, &Edit::Remove(&id), beat).await
                }
            };
            match &result {
                // A server that has lost the object of an update still shows its ref: nobody can tell.
                Ok(published) if published.outcome.is_none() && world.server.borrow().damaged => {}
                Ok(published) => {
                    let mut truth = world.truth.borrow_mut();
                    // Where others push while the server lists its refs, the node relies on its memory as well.
                    let by_memory = !published.asked || (published.outcome.is_none() && process.torn.get());
                    match process.confirmed.get().filter(|_| by_memory) {
                        Some(confirmed) => truth.acknowledge_unasked(change, confirmed),
                        None => truth.acknowledge(change),
                    }
                    // What is acknowledged must be there now.
                    world.server.borrow_mut().version += 1;
                    world.simulation.count("acknowledged", 1);
                    world.simulation.count("acknowledged unasked", u64::from(!published.asked));
                }
                Err(_) => {}
            }
            world.simulation.event(|| match &result {
                Ok(published) => format!("i-{node} gets the result {:?}", published.outcome),
                Err(error) => format!("i-{node} fails: {}", chain(error)),
            });
        };
        let result = self.operate(machine, Some(change), limit, work).await;
        if result.is_none() {
            self.simulation.event(|| format!("i-{node} is killed"));
        }
    }

    fn time(&self, process: &Process) -> Timestamp {
        let micros = presence::store::git::publish::Port::clock(process);
        Timestamp::from_microsecond(i64::try_from(micros).unwrap()).unwrap()
    }

    /// Beats without publishing.
    pub(crate) async fn beat(self: &Rc<World>, machine: &Rc<Machine>, node: usize) {
        let world = self.clone();
        let work = async move |process: Process| {
            let id = Name::parse(&format!("i-{node}")).unwrap();
            let time = world.time(&process);
            let result = publish::beat(&process, &id, time).await;
            world.simulation.event(|| format!("i-{node} beats: {:?}", result.as_ref().map_err(chain)));
        };
        self.operate(machine, None, Duration::from_secs(30), work).await;
        self.simulation.count("beats", 1);
    }

    /// Looks and reads, and checks what is seen.
    pub(crate) async fn read(self: &Rc<World>, machine: &Rc<Machine>) {
        let number = usize::from(machine.number);
        let before = self.truth.borrow().before(number);
        let world = self.clone();
        let work = async move |process: Process| {
            let looked = publish::look(&process, false).await?;
            if world.simulation.chance().happens(0.3) {
                world.sleep(Duration::from_secs(1).min(process.left())).await;
            }
            let list = publish::read(&process, &looked).await?;
            Ok::<_, StoreErrorKind>((list, process.torn.get()))
        };
        let found = self.operate(machine, None, Duration::from_secs(60), work).await;
        self.simulation.count("readings", 1);
        let Some(Ok((List(list), torn))) = found else { return };
        self.simulation.event(|| format!("a reader sees {list:?}"));
        // Where updates are hidden, only the branch is seen, and only the branch is used.
        for node in 0..self.plan.nodes {
            let value = list.get(&u8::try_from(node).unwrap()).copied();
            let read = self.truth.borrow_mut().check_read(number, &before, node, value, torn);
            if let Err(violation) = read {
                self.violate(violation);
            }
        }
        self.truth.borrow_mut().has_read(number, &before);
    }
}

/// An error with its sources, for the trace.
fn chain(error: &StoreErrorKind) -> String {
    presence::errors::chain(error)
}

/// How long the faults last, in pauses of a node.
const STORM: u32 = 40;

/// A node that says again what it said before takes one of this many records.
const RECENT: usize = 3;

/// How long it is quiet afterwards.
const QUIET: Duration = Duration::from_secs(900);

fn run(simulation: &Simulation) -> Result<(), String> {
    let chance = simulation.chance();
    let rule = *chance.pick(&[Rule::None, Rule::None, Rule::None, Rule::None, Rule::Hidden, Rule::Others]);
    let world = World::new(simulation, Plan::draw(simulation), rule, chance.happens(0.8));
    let machines: Vec<Rc<Machine>> = (0..=world.plan.nodes).map(Machine::new).collect();
    for (node, machine) in machines[..world.plan.nodes].iter().enumerate() {
        simulation.spawn(live(world.clone(), machine.clone(), node));
        if chance.happens(0.3) {
            // A second process of that machine, such as an agent beside a timer.
            simulation.spawn(live(world.clone(), machine.clone(), node));
        }
        if chance.happens(0.3) {
            simulation.spawn(watch(world.clone(), machine.clone()));
        }
    }
    simulation.spawn(watch(world.clone(), machines[world.plan.nodes].clone()));
    simulation.spawn(events(world.clone(), rule));
    let storm = world.plan.pace * STORM;
    simulation.run(storm, |_| world.check())?;
    world.quiet.set(true);
    world.is_down.set(false);
    {
        let mut server = world.server.borrow_mut();
        (server.rule, server.disk) = (rule, Disk::Fine);
    }
    simulation.event(|| "all is quiet".to_owned());
    simulation.run(storm + QUIET, |_| world.check())?;
    let server = world.server.borrow();
    let left = waiting(&server);
    if !left.is_empty() && rule == Rule::None {
        return Err(format!("updates still wait after {QUIET:?} without faults: {left:?}"));
    }
    let seen = super::invariants::visible(&server, world.plan.nodes);
    match *world.facts.borrow() == seen {
        true => Ok(()),
        false => {
            Err(format!("in the end the list has {seen:?}, but the nodes say {:?}", world.facts.borrow()))
        }
    }
}

/// The life of a node's process.
async fn live(world: Rc<World>, machine: Rc<Machine>, node: usize) {
    let chance = world.simulation.chance();
    // What the node said before, which it may say again.
    let mut said: Vec<u32> = Vec::new();
    loop {
        if world.quiet.get() {
            world.sleep(Duration::from_secs(30 + chance.below(60) as u64)).await;
            // A node that left may have been interrupted: it is asked to leave once more.
            let beats = world.facts.borrow()[node].is_some();
            world.publish(&machine, node, beats).await;
            continue;
        }
        world.sleep(world.plan.pace.mul_f64(chance.f64())).await;
        if world.fault("clock jumps", world.plan.clocks) {
            let hours = *chance.pick(&[1, 10, 1_000]) * (chance.below(20) as i64 - 10);
            machine.clock.set(hours * 3_600_000_000 + chance.below(1_000_000_000) as i64);
        }
        match chance.below(10) {
            0 => world.beat(&machine, node).await,
            1 => world.publish(&machine, node, chance.happens(0.3)).await,
            2 => {
                world.facts.borrow_mut()[node] = None;
                world.publish(&machine, node, false).await;
            }
            other => {
                let recent = &said[said.len().saturating_sub(RECENT)..];
                let number = match recent.is_empty() || chance.happens(0.6) {
                    true => u32::try_from(world.number()).unwrap(),
                    false => *chance.pick(recent),
                };
                said.push(number);
                world.facts.borrow_mut()[node] = Some(number);
                world.publish(&machine, node, other < 6).await;
            }
        }
    }
}

/// Reads again and again.
async fn watch(world: Rc<World>, machine: Rc<Machine>) {
    loop {
        world.sleep(world.plan.pace.mul_f64(0.1 + world.simulation.chance().f64())).await;
        world.read(&machine).await;
    }
}

/// What happens outside of presence.
async fn events(world: Rc<World>, rule: Rule) {
    let chance = world.simulation.chance();
    if world.plan.events == 0.0 {
        return;
    }
    while !world.quiet.get() {
        world.sleep(Duration::from_secs_f64(120.0 / world.plan.events * chance.f64())).await;
        // On a server that takes only branches, presence cannot clear away other refs.
        let for_a_while = Duration::from_secs(1 + chance.below(60) as u64);
        let node = chance.below(world.plan.nodes);
        match chance.below(14) {
            0 if world.fault("server down", 1.0) => {
                world.is_down.set(true);
                world.sleep(for_a_while).await;
                world.is_down.set(false);
            }
            1 if world.fault("disk full", 1.0) => disk(&world, Disk::Full, for_a_while).await,
            2 if world.fault("disk read-only", 1.0) => disk(&world, Disk::ReadOnly, for_a_while).await,
            3 if rule == Rule::None && world.fault("hook refuses all", 1.0) => {
                hook(&world, Rule::All, for_a_while).await;
            }
            4 if rule == Rule::None && world.fault("hook refuses branches", 1.0) => {
                hook(&world, Rule::Branches, for_a_while).await;
            }
            5 if world.fault("commit by hand", 1.0) => {
                let content = Content::Foreign(chance.below(1_000) as u32).oid();
                by_hand(&world, &format!("docs/{}", chance.below(5)), Some(content));
            }
            6 if world.fault("record changed by hand", 1.0) => {
                let number = u32::try_from(world.number()).unwrap();
                let content = Content::Record(u8::try_from(node).unwrap(), number).oid();
                by_hand(&world, &path_of(&format!("i-{node}")), Some(content));
            }
            7 if world.fault("record removed by hand", 1.0) => {
                by_hand(&world, &path_of(&format!("i-{node}")), None);
            }
            8 if world.fault("history squashed", 1.0) => squash(&world),
            9 if world.fault("forced push", 1.0) => go_back(&world),
            10 if rule == Rule::None && world.fault("object lost", 1.0) => lose(&world),
            11 if rule == Rule::None && world.fault("junk in the inbox", 1.0) => junk(&world, node),
            12 if rule == Rule::None && world.fault("ref in the way", 1.0) => in_the_way(&world, node),
            13 if world.fault("branch deleted", 0.2) => {
                let mut server = world.server.borrow_mut();
                let head = server.head.clone();
                server.set(&head, None);
                world.truth.borrow_mut().accept(&server);
            }
            _ => {}
        }
    }
}

async fn disk(world: &World, disk: Disk, time: Duration) {
    world.server.borrow_mut().disk = disk;
    world.sleep(time).await;
    world.server.borrow_mut().disk = Disk::Fine;
}

async fn hook(world: &World, rule: Rule, time: Duration) {
    world.server.borrow_mut().rule = rule;
    world.sleep(time).await;
    world.server.borrow_mut().rule = Rule::None;
}

fn by_hand(world: &World, path: &str, content: Option<Oid>) {
    let mut server = world.server.borrow_mut();
    server.by_hand(path, content, world.number());
    world.truth.borrow_mut().accept(&server);
}

/// Replaces the history by one commit.
fn squash(world: &World) {
    let mut server = world.server.borrow_mut();
    let head = server.head.clone();
    let Some(tip) = server.refs.get(&head).copied() else { return };
    let commit = world.objects.commit(None, world.objects.get(tip).files.clone(), world.number());
    server.present.insert(commit);
    server.set(&head, Some(commit));
    world.truth.borrow_mut().accept(&server);
}

/// Sets the branch back.
fn go_back(world: &World) {
    let mut server = world.server.borrow_mut();
    let head = server.head.clone();
    let Some(mut commit) = server.refs.get(&head).copied() else { return };
    for _ in 0..world.simulation.chance().below(5) {
        let parent = world.objects.get(commit).parent;
        commit = parent.filter(|parent| server.present.contains(parent)).unwrap_or(commit);
    }
    server.set(&head, Some(commit));
    world.truth.borrow_mut().accept(&server);
}

/// The server loses the object of one of presence's refs.
fn lose(world: &World) {
    let mut server = world.server.borrow_mut();
    let refs: Vec<Oid> = server
        .refs
        .iter()
        .filter(|(name, _)| name.starts_with("refs/presence/"))
        .map(|(_, oid)| *oid)
        .collect();
    if refs.is_empty() {
        return;
    }
    let lost = *world.simulation.chance().pick(&refs);
    server.present.remove(&lost);
    (server.damaged, server.version) = (true, server.version + 1);
    world.simulation.event(|| format!("  the server loses {lost}"));
    world.truth.borrow_mut().accept(&server);
}

/// Something in the inbox that is no update.
fn junk(world: &World, node: usize) {
    let mut server = world.server.borrow_mut();
    let files = [("x".to_owned(), Content::Foreign(7).oid())].into();
    let commit = world.objects.commit(None, files, world.number());
    server.present.insert(commit);
    for _ in 0..=world.simulation.chance().below(20) {
        let name = match world.simulation.chance().below(2) {
            0 => format!("refs/presence/inbox/i-{node}/{:024x}", world.simulation.chance().u64()),
            _ => format!("refs/presence/inbox/i-{node}/{}", world.number()),
        };
        server.set(&name, Some(commit));
    }
}

/// A ref that git cannot have beside those of presence.
fn in_the_way(world: &World, node: usize) {
    let mut server = world.server.borrow_mut();
    let name = match world.simulation.chance().below(2) {
        0 => format!("refs/presence/inbox/i-{node}"),
        _ => "refs/presence/beats/000/x".to_owned(),
    };
    let commit = world.objects.commit(None, Files::new(), world.number());
    server.present.insert(commit);
    if !server
        .refs
        .keys()
        .any(|other| other.starts_with(&format!("{name}/")) || name.starts_with(&format!("{other}/")))
    {
        server.set(&name, Some(commit));
    }
}
