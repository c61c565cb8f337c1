//! Stores, nodes and balancers of one run, and what must hold for them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use presence::agent::core::Report;
use presence::config::Config;
use presence::haproxy::{self, Overrides, Plan, State};
use presence::liveness::Silent;
use presence::store::Heartbeat;

use super::haproxy::{Haproxy, Health};
use super::list::{List, Mood};
use crate::scheduler::{Simulation, Task};

/// The second at which every run starts.
const START: i64 = 1_790_000_000;

/// A machine with a service.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) address: String,
    /// Its service answers checks.
    pub(super) health: Health,
    /// It reaches the stores.
    pub(super) connected: bool,
    /// Since when it lives and reaches the stores without a break; `None` if it does not.
    pub(super) beats_since: Option<Duration>,
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
            r#"{{"filetype":"nodepresence","value":{{"instance-id":"{id}","nodepart":"app","ipv4":"{}","port":"80","slots":"{}","state":"{}","statetss":"{time}"}}}}"#,
            self.address, self.slots, self.state
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

/// A balancer: its agent, what its disk has, and its HAProxy.
pub(super) struct Balancer {
    pub(super) name: String,
    pub(super) config: Config,
    pub(super) has_runtime: bool,
    /// The tasks of the agent that runs; none while it is down.
    pub(super) tasks: RefCell<Vec<Task>>,
    pub(super) agent: Cell<Option<Task>>,
    pub(super) life: Cell<u64>,
    pub(super) hangup: Cell<bool>,
    pub(super) stop: Cell<bool>,
    pub(super) clock: Cell<i64>,
    pub(super) port: Cell<u32>,
    pub(super) memory: RefCell<BTreeMap<String, Vec<u8>>>,
    pub(super) file: RefCell<Option<Vec<u8>>>,
    pub(super) silent: RefCell<BTreeMap<String, Silent>>,
    pub(super) copies: RefCell<BTreeMap<usize, presence::store::Snapshot>>,
    pub(super) haproxy: RefCell<Haproxy>,
    pub(super) reloading: Cell<Reloading>,
    pub(super) check_fails: Cell<bool>,
    /// When each server came into the file, by the balancer's clock; `None` for those of the first file.
    settled: RefCell<BTreeMap<String, Option<i64>>>,
    /// The life, and the beginning of the turn, of each reload of the last minute.
    reloads: RefCell<Vec<(u64, Duration)>>,
    /// When each complaint was last logged in this life, and the number of changes of the world before it.
    complaints: RefCell<HashMap<String, (Duration, u64)>>,
}

/// One turn, as the invariants see it.
pub(super) struct Seen {
    pub(super) began: Duration,
    /// The nodes that the roster has as active.
    pub(super) listed: BTreeSet<String>,
    /// All nodes of the roster.
    pub(super) all: BTreeSet<String>,
}

/// Everything.
pub(super) struct World {
    pub(super) sim: Simulation,
    pub(super) lists: Vec<RefCell<List>>,
    pub(super) nodes: RefCell<BTreeMap<String, Node>>,
    pub(super) balancers: Vec<Balancer>,
    /// Faults may happen.
    pub(super) is_rough: Cell<bool>,
    /// The number of changes of the world.
    pub(super) changes: Cell<u64>,
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
        for list in &self.lists {
            let mut list = list.borrow_mut();
            if !matches!(list.mood, Mood::Up | Mood::Slow) {
                continue;
            }
            if node.wanted {
                if list.put(id, &node.record(id)) {
                    self.change();
                }
            } else if list.get(id).is_some() {
                list.remove(id, true);
                self.change();
            }
            if beat {
                let now = whole(self.wall(node.clock, Duration::ZERO));
                list.beats.insert(id.to_owned(), Heartbeat::Time(now));
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

    /// A message of an agent's log: each standing complaint only once.
    pub(super) fn said(&self, at: usize, report: &Report) {
        let balancer = &self.balancers[at];
        let text = match report {
            Report::Note(text) => return self.sim.event(|| format!("{}: {text}", balancer.name)),
            Report::Warning(text, _) => text,
        };
        self.sim.event(|| format!("{}: warning: {text}", balancer.name));
        let now = (self.sim.now(), self.changes.get());
        // A node that is held gets its full time again, and may be silent again.
        let long = balancer.config.renders[0].max_age.unwrap().unsigned_abs() / 2;
        let mut complaints = balancer.complaints.borrow_mut();
        let before = complaints.insert(text.clone(), now);
        // A file has one complaint at a time, besides those about its nodes: the next one ends it.
        let is_of_file = |text: &str| text.contains("`/nonexistent/lb.cfg`");
        if is_of_file(text) {
            complaints.retain(|other, _| other == text || !is_of_file(other));
        }
        drop(complaints);
        if let Some((then, changes)) = before
            && changes == now.1
            && now.0 - then < long
            // What is known of clocks changes with each heartbeat.
            && !text.contains("clock")
        {
            self.broken(format!("{} logs twice, although nothing changed: {text}", balancer.name));
        }
    }

    /// A new agent of that balancer runs.
    pub(super) fn begins(&self, at: usize) {
        let balancer = &self.balancers[at];
        balancer.life.set(balancer.life.get() + 1);
        balancer.complaints.borrow_mut().clear();
    }

    /// A reload command runs in a turn that began then.
    pub(super) fn reloads(&self, at: usize, began: Duration) {
        let balancer = &self.balancers[at];
        let (life, minute) = (balancer.life.get(), Duration::from_secs(60));
        let mut reloads = balancer.reloads.borrow_mut();
        reloads.retain(|(of, then)| *of == life && *then + minute > began);
        reloads.push((life, began));
        let most = balancer.config.agent.reloads_per_minute as usize;
        if reloads.len() > most {
            self.broken(format!(
                "{} reloads {} times in a minute; the budget is {most}",
                balancer.name,
                reloads.len()
            ));
        }
        self.sim.count("reloads", 1);
    }

    /// The file of that balancer is about to be replaced.
    pub(super) fn replaces(&self, at: usize, new: &[u8], seen: &Seen) {
        let balancer = &self.balancers[at];
        let old = balancer.file.borrow();
        let (old, new) = (active(old.as_deref().unwrap_or_default()), active(new));
        self.sim.event(|| format!("{}: the file has {new:?}", balancer.name));
        self.sim.count("files replaced", 1);
        let mut settled = balancer.settled.borrow_mut();
        let long =
            balancer.config.renders[0].max_age.unwrap().unsigned_abs() + 3 * balancer.config.agent.interval;
        // Nodes that call themselves active, and are not in the file.
        let silent: Vec<&String> = seen.listed.difference(&new).collect();
        for id in old.difference(&new).filter(|id| seen.listed.contains(*id)) {
            self.sim.count("servers dropped for silence", 1);
            let beats_since = self.nodes.borrow().get(id).and_then(|node| node.beats_since);
            if beats_since.is_some_and(|since| seen.began.saturating_sub(since) > long) {
                self.broken(format!(
                    "{}: {id} is removed for silence, and never ceased to beat",
                    balancer.name
                ));
            }
            let health = self.health(id);
            let steady = health.alive && seen.began.saturating_sub(health.since) > Duration::from_secs(30);
            if balancer.has_runtime && steady && balancer.haproxy.borrow().down_until <= seen.began {
                let running = balancer.haproxy.borrow().running(seen.began, |id| self.health(id));
                if running.up().any(|up| up == id) {
                    self.broken(format!(
                        "{}: {id} is removed for silence, and HAProxy finds it up",
                        balancer.name
                    ));
                }
            }
        }
        let too_many = |lost: usize, of: usize| lost * 100 > 50 * of;
        if silent.len() > 1 && too_many(silent.len(), seen.listed.len()) {
            self.broken(format!("{}: {silent:?} are silent, and none of them is held", balancer.name));
        }
        // Nodes whose records are missing without a withdrawal.
        let is_withdrawn = |id: &&String| self.lists.iter().any(|list| list.borrow().withdrawn.contains(*id));
        let lost: Vec<&String> = old
            .difference(&new)
            .filter(|id| !seen.all.contains(*id))
            .filter(|id| !is_withdrawn(id))
            .collect();
        let clock = self.wall(balancer.clock.get(), Duration::ZERO).as_second();
        let is_long = |since: i64| clock - since >= 3600;
        let is_settled = |id: &&&String| settled.get(**id).is_some_and(|since| since.is_none_or(is_long));
        // A young node may leave again. Whether a node is young depends on clocks; these are certainly not.
        let lost_settled = lost.iter().filter(is_settled).count();
        // Others may have taken their place.
        let fewer = lost.len().min(old.len().saturating_sub(new.len()));
        let is_below = fewer > 1 && too_many(fewer.min(lost_settled), old.len());
        if is_below || lost.len() > 1 && new.is_empty() {
            self.broken(format!("{}: the file loses {lost:?} of {old:?}, below its limit", balancer.name));
        }
        settled.retain(|id, _| new.contains(id) || seen.all.contains(id));
        for id in new {
            settled.entry(id).or_insert((!old.is_empty()).then_some(clock));
        }
    }

    /// A turn begins with that roster: a node that is neither on it nor in the file is forgotten.
    pub(super) fn begins_turn(&self, at: usize, seen: &Seen) {
        let balancer = &self.balancers[at];
        let file = active(balancer.file.borrow().as_deref().unwrap_or_default());
        balancer.settled.borrow_mut().retain(|id, _| file.contains(id) || seen.all.contains(id));
    }

    /// What the file of a balancer lacks: it must have exactly the wanted nodes, in their states.
    pub(super) fn file_differs(&self, at: usize) -> Option<String> {
        let balancer = &self.balancers[at];
        let file = balancer.file.borrow();
        let text = String::from_utf8_lossy(file.as_deref().unwrap_or_default()).into_owned();
        let servers = haproxy::Config::parse(&text).backends.remove("app").unwrap_or_default().servers;
        let is: BTreeMap<String, State> =
            servers.iter().map(|(name, server)| (name.clone(), server.state)).collect();
        let nodes = self.nodes.borrow();
        let wanted = nodes.iter().filter(|(_, node)| node.wanted && node.state != "decommissioned");
        let wanted: BTreeMap<String, State> = wanted
            .map(|(id, node)| {
                let state = match node.state {
                    "draining" => State::Drain,
                    "drained" => State::Down,
                    _ => State::Ready(1),
                };
                (id.clone(), state)
            })
            .collect();
        let slots = nodes.iter().filter(|(id, _)| wanted.contains_key(*id));
        let lacks = slots.filter(|(id, node)| {
            !text.lines().any(|line| {
                line.contains(&format!("server {id} ")) && line.contains(&format!("maxconn {}", node.slots))
            })
        });
        let lacks: Vec<&String> = lacks.map(|(id, _)| id).collect();
        (is != wanted || !lacks.is_empty()).then(|| {
            format!("{}: the file has {is:?}, and the list {wanted:?}; outdated: {lacks:?}", balancer.name)
        })
    }

    /// How the running HAProxy differs from the file.
    pub(super) fn haproxy_differs(&self, at: usize) -> Option<String> {
        let balancer = &self.balancers[at];
        let file = balancer.file.borrow();
        let text = String::from_utf8_lossy(file.as_deref().unwrap_or_default()).into_owned();
        let haproxy = balancer.haproxy.borrow();
        if !balancer.has_runtime {
            return (haproxy.loaded != text)
                .then(|| format!("{}: HAProxy has not loaded the file", balancer.name));
        }
        let (loaded, file) = (haproxy::Config::parse(&haproxy.loaded), haproxy::Config::parse(&text));
        let running = haproxy.running(self.sim.now(), |id| self.health(id));
        let patience = Duration::from_secs(1);
        match haproxy::plan(&file, &file, &running, &Overrides::default(), patience) {
            Plan::Nothing if loaded.skeleton == file.skeleton && haproxy.has_options_of(&text) => None,
            plan => Some(format!("{}: HAProxy does not follow its file: {plan:?}", balancer.name)),
        }
    }

    /// A balancer before its first start.
    pub(super) fn balancer(name: String, config: Config) -> Balancer {
        Balancer {
            name,
            has_runtime: config.renders[0].target.runtime.is_some(),
            config,
            tasks: RefCell::default(),
            agent: Cell::new(None),
            life: Cell::new(0),
            hangup: Cell::new(false),
            stop: Cell::new(false),
            clock: Cell::new(0),
            port: Cell::new(1),
            memory: RefCell::default(),
            file: RefCell::default(),
            silent: RefCell::default(),
            copies: RefCell::default(),
            haproxy: RefCell::new(Haproxy::new()),
            reloading: Cell::new(Reloading::Works),
            check_fails: Cell::new(false),
            settled: RefCell::default(),
            reloads: RefCell::default(),
            complaints: RefCell::default(),
        }
    }
}

/// The time of a heartbeat: its fraction is the mark of a machine, and not a time.
pub(super) fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap()
}

/// The servers that get requests, by a file.
fn active(file: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(file);
    let lines = text.lines().filter(|line| !line.contains(" weight 0") && !line.contains(" disabled"));
    lines
        .filter_map(|line| Some(line.trim().strip_prefix("server ")?.split(' ').next()?.to_owned()))
        .collect()
}
