//! Stores, nodes and balancers of one run, and what must hold for them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use presence::beat::fleet::{Fleet, Observer};
use presence::config::Config;
use presence::liveness::Silent;
use presence::roster::Availability;
use presence::store::{Heartbeat, Reading};
use presence::template::Lookup;

use super::haproxy::{Haproxy, Health};
use super::list::{List, Mood};
use super::promptness::Promptness;
use crate::scheduler::{Simulation, Task};

/// The second at which every run starts.
const START: i64 = 1_790_000_000;

/// A machine with a service.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The part that it plays. The files have only the parts `app`.
    pub(super) part: &'static str,
    pub(super) address: String,
    /// Its service answers checks.
    pub(super) health: Health,
    /// It reaches the stores.
    pub(super) connected: bool,
    /// The store that it does not reach although it reaches others.
    pub(super) cut_from: Option<usize>,
    /// Since when it lives and reaches the stores without a break; `None` if it does not.
    pub(super) beats_since: Option<Duration>,
    /// Since when it does not; `None` if it does.
    pub(super) quiet_since: Option<Duration>,
    /// How far its clock is off, in seconds.
    pub(super) clock: i64,
    pub(super) state: &'static str,
    /// A fact whose change needs a reload.
    pub(super) slots: u32,
    /// When it stated its state, by its own clock.
    pub(super) stated: i64,
    /// It is to be on the list.
    pub(super) wanted: bool,
}

impl Node {
    /// Its record.
    pub(super) fn record(&self, id: &str) -> String {
        let time = Timestamp::from_second(self.stated).unwrap().strftime("%Y%m%d-%H%M%S");
        format!(
            r#"{{"filetype":"nodepresence","value":{{"instance-id":"{id}","nodepart":"{}","ipv4":"{}","port":"80","slots":"{}","state":"{}","statetss":"{time}"}}}}"#,
            self.part, self.address, self.slots, self.state
        )
    }
}

/// What a reload command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reloading {
    Works,
    IsSlow,
    Fails,
}

/// A file of a balancer, with the memory of its target.
#[derive(Default)]
pub(super) struct File {
    pub(super) has_runtime: bool,
    pub(super) memory: RefCell<BTreeMap<String, Vec<u8>>>,
    pub(super) bytes: RefCell<Option<Vec<u8>>>,
    /// What HAProxy has loaded of it.
    pub(super) loaded: RefCell<String>,
    /// When each node was last held, and in which life of the agent.
    pub(super) held: RefCell<BTreeMap<String, (u64, Duration)>>,
    /// When each server came into the file, by the balancer's clock; `None` for those that were always there.
    pub(super) settled: RefCell<BTreeMap<String, Option<i64>>>,
}

impl File {
    /// Its text; empty if there is no file.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes.borrow().as_deref().unwrap_or_default()).into_owned()
    }
}

/// A balancer: its agent, what its disk has, and its HAProxy.
pub(super) struct Balancer {
    pub(super) name: String,
    pub(super) config: Config,
    /// The tasks of the agent that runs; none while it is down.
    pub(super) tasks: RefCell<Vec<Task>>,
    pub(super) agent: Cell<Option<Task>>,
    pub(super) life: Cell<u64>,
    pub(super) hangup: Cell<bool>,
    pub(super) stop: Cell<bool>,
    /// When the agent was asked to stop.
    pub(super) stopping: Cell<Option<Duration>>,
    pub(super) clock: Cell<i64>,
    pub(super) port: Cell<u32>,
    /// Its own node has announced that it drains.
    pub(super) drains: Cell<bool>,
    /// One for each table of the configuration.
    pub(super) files: Vec<File>,
    pub(super) silent: RefCell<BTreeMap<String, Silent>>,
    pub(super) copies: RefCell<BTreeMap<usize, presence::store::Snapshot>>,
    pub(super) haproxy: RefCell<Haproxy>,
    pub(super) reloading: Cell<Reloading>,
    pub(super) check_fails: Cell<bool>,
    pub(super) promptness: RefCell<Promptness>,
    /// When held nodes last got their full time again.
    pub(super) pardoned: Cell<Duration>,
    /// The life, and the beginning of the turn, of each reload of the last minute.
    pub(super) reloads: RefCell<Vec<(u64, Duration)>>,
    /// When each complaint was last logged in this life, and the number of changes of the world before it.
    pub(super) complaints: RefCell<HashMap<String, (Duration, u64)>>,
}

/// One turn, as the invariants see it.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) began: Duration,
    /// An operator accepts the list.
    pub(super) forced: bool,
    /// The nodes of the part `app` that the roster has as active.
    pub(super) listed: BTreeSet<String>,
    /// All nodes that the roster has as active.
    pub(super) active: BTreeSet<String>,
    /// All nodes of the roster.
    pub(super) all: BTreeSet<String>,
}

impl Seen {
    /// The beginning of a turn with that fleet.
    pub(super) fn of(world: &World, fleet: &Fleet) -> Seen {
        let all = &fleet.roster.nodes;
        let id = |node: &presence::roster::Node| node.record.id().to_string();
        let is_app = |node: &&presence::roster::Node| node.record.part().as_deref() == Some("app");
        let is_listed = |node: &&presence::roster::Node| node.availability == Availability::Active;
        Seen {
            began: world.sim.now(),
            forced: false,
            listed: all.iter().filter(is_app).filter(is_listed).map(id).collect(),
            active: all.iter().filter(is_listed).map(id).collect(),
            all: all.iter().map(id).collect(),
        }
    }
}

/// Everything.
pub(super) struct World {
    pub(super) sim: Simulation,
    pub(super) lists: Vec<RefCell<List>>,
    pub(super) nodes: RefCell<BTreeMap<String, Node>>,
    pub(super) balancers: Vec<Balancer>,
    /// Faults may happen.
    pub(super) is_rough: Cell<bool>,
    /// When a store last took a heartbeat of each node.
    pub(super) beaten: RefCell<BTreeMap<String, Duration>>,
    /// When stores blinked last.
    pub(super) blinked: Cell<Duration>,
    /// The number of changes of the world.
    pub(super) changes: Cell<u64>,
    /// When a store last lost its records.
    pub(super) emptied: Cell<Duration>,
    /// All balancers have the same templates.
    pub(super) templates: RefCell<Option<Arc<Lookup>>>,
    pub(super) violation: RefCell<Option<String>>,
}

impl World {
    /// Records a broken invariant; the first one counts.
    pub(super) fn broken(&self, what: String) {
        self.sim.event(|| format!("BROKEN: {what}"));
        self.violation.borrow_mut().get_or_insert(what);
    }

    /// The world has changed, so the agent may repeat a standing complaint.
    pub(super) fn change(&self) {
        self.changes.set(self.changes.get() + 1);
    }

    /// A fault of that kind, while faults may happen.
    pub(super) fn fault(&self, kind: &'static str, probability: f64) -> bool {
        let happens = self.is_rough.get() && self.sim.fault(kind, probability);
        if happens {
            self.change();
        }
        happens
    }

    /// The time on a clock that is off by so many seconds.
    pub(super) fn wall(&self, off: i64, after: Duration) -> Timestamp {
        let now = self.sim.now() + after;
        let second = START + off + i64::try_from(now.as_secs()).unwrap();
        Timestamp::new(second, i32::try_from(now.subsec_nanos()).unwrap()).unwrap()
    }

    /// The fleet that these readings make on a balancer.
    pub(super) fn fleet(&self, at: usize, readings: Vec<Reading>, beat_readings: Vec<Reading>) -> Fleet {
        let balancer = &self.balancers[at];
        let now = Some(self.wall(balancer.clock.get(), Duration::ZERO));
        let observer = Observer { now, addresses: Vec::new(), id: Some(balancer.name.clone()) };
        Fleet::judge(&balancer.config, &observer, true, readings, beat_readings)
    }

    /// What checks find of a server.
    pub(super) fn health(&self, id: &str) -> Health {
        let dead = Health { alive: false, since: Duration::ZERO };
        self.nodes.borrow().get(id).map_or(dead, |node| node.health)
    }

    /// Publishes what this node is to have on the list, and perhaps a heartbeat, in each store that it reaches.
    pub(super) fn publish(&self, id: &str, beat: bool) {
        let nodes = self.nodes.borrow();
        let node = &nodes[id];
        if !node.connected {
            return;
        }
        let now = self.sim.now();
        for (place, list) in self.lists.iter().enumerate() {
            let mut list = list.borrow_mut();
            if !matches!(list.mood(), Mood::Up | Mood::Slow) || node.cut_from == Some(place) {
                continue;
            }
            if node.wanted {
                if list.put(id, &node.record(id), now) {
                    self.change();
                }
            } else if list.get(id).is_some() {
                list.remove(id, true, now);
                self.change();
            }
            if beat {
                let now = whole(self.wall(node.clock, Duration::ZERO));
                list.beats.insert(id.to_owned(), Heartbeat::Time(now));
                self.beaten.borrow_mut().insert(id.to_owned(), self.sim.now());
            }
        }
    }

    /// Kills the agent of a balancer. It starts again later.
    pub(super) fn kill(self: &Rc<Self>, at: usize) {
        let balancer = &self.balancers[at];
        self.sim.event(|| format!("{}: the agent is killed", balancer.name));
        for task in balancer.tasks.take() {
            self.sim.crash(task);
        }
        self.change();
        let world = self.clone();
        self.sim.spawn(async move {
            let wait = Duration::from_secs_f64(1.0 + 20.0 * world.sim.chance().f64());
            world.sim.sleep(wait).await;
            super::machine::start(&world, at);
        });
    }

    /// A new agent of that balancer runs.
    pub(super) fn begins(&self, at: usize) {
        let balancer = &self.balancers[at];
        balancer.life.set(balancer.life.get() + 1);
        balancer.complaints.borrow_mut().clear();
        balancer.stop.set(false);
        balancer.stopping.set(None);
        balancer.drains.set(false);
        balancer.promptness.borrow_mut().begins(self.sim.now());
    }

    /// A balancer before its first start.
    pub(super) fn balancer(name: String, config: Config, stores: usize) -> Balancer {
        let has_runtime = config.renders.iter().map(|render| render.target.runtime.is_some());
        let files: Vec<File> =
            has_runtime.map(|has_runtime| File { has_runtime, ..File::default() }).collect();
        Balancer {
            name,
            tasks: RefCell::default(),
            agent: Cell::new(None),
            life: Cell::new(0),
            hangup: Cell::new(false),
            stop: Cell::new(false),
            stopping: Cell::new(None),
            clock: Cell::new(0),
            port: Cell::new(1),
            drains: Cell::new(false),
            promptness: RefCell::new(Promptness::new(stores, files.len())),
            files,
            config,
            silent: RefCell::default(),
            copies: RefCell::default(),
            haproxy: RefCell::new(Haproxy::new()),
            reloading: Cell::new(Reloading::Works),
            check_fails: Cell::new(false),
            pardoned: Cell::default(),
            reloads: RefCell::default(),
            complaints: RefCell::default(),
        }
    }
}

/// The time of a heartbeat: its fraction is the mark of a machine, and not a time.
pub(super) fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap()
}
