//! Small worlds, exhaustively: all orders of what nodes and server do, and a kill at any moment.

use super::invariants::visible;
use super::machine::Machine;
use super::server::Rule;
use super::world::{Plan, World};
use crate::runner::{self, Kind};
use crate::scheduler::Simulation;

pub(crate) const TWO: runner::World = runner::World {
    name: "two-nodes",
    about: "two nodes publish once each, in all orders, and one of them may be killed",
    kind: Kind::Search(200_000, |simulation| run(simulation, &[1, 1], 1)),
};

/// Each node publishes that many times.
fn run(simulation: &Simulation, times: &[u32], kills: u32) -> Result<(), String> {
    let plan = Plan { kill: if kills > 0 { 0.5 } else { 0.0 }, ..Plan::calm(times.len()) };
    let world = World::new(simulation, plan, Rule::None, true);
    world.kills.set(kills);
    for (node, times) in times.iter().copied().enumerate() {
        let (world, machine) = (world.clone(), Machine::new(node));
        simulation.spawn(async move {
            for number in 0..times {
                world.facts.borrow_mut()[node] = Some(number);
                world.publish(&machine, node, false).await;
            }
        });
    }
    let mut before = simulation.progress();
    while simulation.step().is_some() {
        world.check()?;
        // A task that was woken in vain leaves the state as it was.
        let went_on = std::mem::replace(&mut before, simulation.progress()) != simulation.progress();
        if went_on && simulation.is_known(world.state()) {
            return Ok(());
        }
    }
    let seen = visible(&world.server.borrow(), times.len());
    let was_killed = world.kills.get() < kills;
    simulation.count("ends", 1);
    match was_killed || seen == *world.facts.borrow() {
        true => Ok(()),
        false => {
            Err(format!("in the end the list has {seen:?}, but the nodes say {:?}", world.facts.borrow()))
        }
    }
}
