//! Small worlds, exhaustively: all orders in which nodes and server change and read refs, and a kill at any moment.

use super::invariants::visible;
use super::machine::Machine;
use super::server::Rule;
use super::world::{Plan, World};
use crate::runner::{self, Kind};
use crate::scheduler::Simulation;

pub(crate) const TWO: runner::World = runner::World {
    name: "two-nodes",
    about: "two nodes publish, in all orders, and both may be killed",
    kind: Kind::Search(200_000, |simulation| run(simulation, 2, 2, Bounds::default())),
};

pub(crate) const THREE: runner::World = runner::World {
    name: "three-nodes",
    about: "three nodes publish, with short deadlines, in all orders in which a process goes on while it can, and one of \
            them may be killed",
    kind: Kind::Search(200_000, |simulation| run(simulation, 3, 1, FEW)),
};

pub(crate) const THREE_ALIVE: runner::World = runner::World {
    name: "three-nodes-alive",
    about: "three nodes publish, in all orders",
    kind: Kind::LongSearch(|simulation| run(simulation, 3, 0, Bounds::default())),
};

pub(crate) const THREE_KILLED: runner::World = runner::World {
    name: "three-nodes-killed",
    about: "three nodes publish, in all orders, and one of them may be killed",
    kind: Kind::LongSearch(|simulation| run(simulation, 3, 1, Bounds::default())),
};

/// What a search leaves out.
#[derive(Default)]
struct Bounds {
    /// The calls after which an operation's time is over; `None` for the usual number.
    calls: Option<u32>,
    /// How often another process goes on although the last one could; `None` for any number.
    switches: Option<u32>,
}

const FEW: Bounds = Bounds { calls: Some(16), switches: Some(0) };

/// Each node publishes once. At most so many of them are killed.
fn run(simulation: &Simulation, nodes: usize, kills: u32, bounds: Bounds) -> Result<(), String> {
    let mut plan = Plan { kill: if kills > 0 { 0.5 } else { 0.0 }, ..Plan::calm(nodes) };
    plan.calls = bounds.calls.unwrap_or(plan.calls);
    let world = World::new(simulation, plan, Rule::None, true);
    world.kills.set(kills);
    simulation.leave_only_pauses_to_chance(bounds.switches);
    for node in 0..nodes {
        let (world, machine) = (world.clone(), Machine::new(node));
        simulation.spawn(async move {
            world.facts.borrow_mut()[node] = Some(1);
            world.publish(&machine, node, false).await;
        });
    }
    while simulation.step().is_some() {
        world.check()?;
        if simulation.is_at_choice() && simulation.is_known(world.state()) {
            return Ok(());
        }
    }
    let seen = visible(&world.server.borrow(), nodes);
    let was_killed = world.kills.get() < kills;
    simulation.count("ends", 1);
    match was_killed || seen == *world.facts.borrow() {
        true => Ok(()),
        false => {
            Err(format!("in the end the list has {seen:?}, but the nodes say {:?}", world.facts.borrow()))
        }
    }
}
