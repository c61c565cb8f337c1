//! Balancers with their agents, over stores and nodes that fail.
//!
//! The agent's core, the turn with its limits and its template, and the runtime plan are the program's. Stores,
//! HAProxy, disks and clocks are models.

mod calm;
mod haproxy;
mod list;
mod machine;
mod promptness;
mod rules;
mod target;
mod weather;
mod worker;
mod world;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use presence::config::{Config, OnStop, RawOptions};

use self::list::List;
use self::world::World as Machines;
use crate::runner::{Kind, World};
use crate::scheduler::Simulation;

pub(crate) const WORLDS: &[&World] = &[&AGENT];

const AGENT: World = World {
    name: "agent",
    about: "balancers keep their files right while stores, nodes, clocks, HAProxy and agents fail",
    kind: Kind::Seeds(16, &[], run),
};

fn run(sim: &Simulation) -> Result<(), String> {
    let world = Rc::new(make(sim));
    for at in 0..world.balancers.len() {
        machine::start(&world, at);
    }
    weather::blow(&world);
    let hours = 2.0 + 6.0 * sim.chance().f64();
    let check = |world: &Machines| match world.violation.borrow_mut().take().or_else(|| world.late()) {
        Some(broken) => Err(broken),
        None => Ok(()),
    };
    let rough = Duration::from_secs_f64(hours * 3600.0);
    sim.run(rough, |_| check(&world))?;
    // Everything is well again.
    calm::calm(&world);
    let agent = world.balancers[0].config.agent.clone();
    let calm = agent.interval * 5 + Duration::from_secs(240);
    sim.run(sim.now() + calm, |_| check(&world))?;
    let is_right = |world: &Machines| {
        for at in 0..world.balancers.len() {
            if let Some(differs) = world.file_differs(at).or_else(|| world.haproxy_differs(at)) {
                return Err(format!("{differs}, {calm:?} after the last fault"));
            }
        }
        Ok(())
    };
    is_right(&world)?;
    let look = agent.poll.max(agent.interval.min(Duration::from_secs(60)));
    for _ in 0..3 {
        let end = calm::away_and_back(&world);
        sim.run(end + look + agent.quiet_max + Duration::from_secs(2), |_| check(&world))?;
        for at in 0..world.balancers.len() {
            if let Some(differs) = world.file_differs(at) {
                return Err(format!("{differs}, and all stores answer since {end:?}"));
            }
        }
    }
    // Reloads may have to wait for their budget.
    sim.run(sim.now() + Duration::from_secs(240) + agent.poll, |_| check(&world))?;
    is_right(&world)?;
    for change in [calm::Change::Slots, calm::Change::Leaves] {
        calm::change(&world, change);
        let soon = agent.poll + agent.quiet_max + Duration::from_secs(2);
        sim.run(sim.now() + soon, |_| check(&world))?;
        for at in 0..world.balancers.len() {
            if let Some(differs) = world.file_differs(at) {
                return Err(format!("{differs}, {soon:?} after a change"));
            }
        }
        // A reload may have to wait for its budget.
        sim.run(sim.now() + Duration::from_secs(90) + agent.poll, |_| check(&world))?;
        is_right(&world)?;
    }
    let hours = sim.now().as_secs() * world.balancers.len() as u64 / 3600;
    sim.count("agent-hours", hours);
    Ok(())
}

/// A world by chance.
fn make(sim: &Simulation) -> Machines {
    let chance = sim.chance();
    let here = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/simulation/agent"));
    let options = RawOptions { config: Some(here.join("presence.toml")), ..RawOptions::default() };
    let mut config = Config::load(&options).unwrap();
    config.template_dirs = vec![here.join("templates")];
    let lists = 1 + chance.below(3);
    config.stores.truncate(lists);
    let seconds = Duration::from_secs;
    let agent = &mut config.agent;
    // With beats that are far apart, no beat repairs what a look or a change has missed.
    (agent.interval, agent.poll) = match chance.happens(0.4) {
        true => (seconds(*chance.pick(&[1200, 3600])), seconds(*chance.pick(&[5, 20, 60]))),
        false => {
            let interval = seconds(*chance.pick(&[30, 60, 120, 300]));
            (interval, interval / *chance.pick(&[1, 2, 4, 10]))
        }
    };
    agent.splay = agent.interval;
    agent.quiet_min = Duration::from_millis(*chance.pick(&[200, 2_000]));
    agent.quiet_max = agent.quiet_min * *chance.pick(&[5, 10]);
    agent.reloads_per_minute = *chance.pick(&[1, 2, 6]);
    let age = i64::try_from(agent.interval.as_secs()).unwrap() * *chance.pick(&[3, 5]);
    if chance.happens(0.6) {
        config.renders.truncate(1);
    }
    for render in &mut config.renders {
        render.max_age = Some(jiff::SignedDuration::from_secs(age));
    }
    let balancers = 1 + chance.below(3);
    let balancers = (0..balancers).map(|number| {
        let mut config = config.clone();
        if chance.happens(0.4) {
            config.renders[0].target.runtime = None;
        }
        config.agent.on_stop = *chance.pick(&[OnStop::Nothing, OnStop::Draining, OnStop::Withdraw]);
        Machines::balancer(format!("lb-{number}"), config, lists)
    });
    let balancers = balancers.collect();
    let nodes = 2 + chance.below(7);
    let others = (*chance.pick(&["app", "db"]), chance.happens(0.5));
    Machines {
        sim: sim.clone(),
        lists: config.stores.iter().map(|url| RefCell::new(List::new(url))).collect(),
        nodes: RefCell::new((1..=nodes).map(|number| weather::node(number, others)).collect()),
        balancers,
        is_rough: Cell::new(true),
        beaten: RefCell::default(),
        blinked: Cell::default(),
        changes: Cell::new(0),
        emptied: Cell::default(),
        templates: RefCell::default(),
        violation: RefCell::default(),
    }
}
