//! What happens once all faults have ended.

use std::rc::Rc;
use std::time::Duration;

use super::haproxy::Health;
use super::list::Mood;
use super::weather::{operate, set};
use super::world::{Reloading, World};

/// On a calm list: a change, and stores that are away for some time. Returns when all of them are back.
pub(super) fn away_and_back(world: &Rc<World>) -> Duration {
    let (chance, now) = (world.sim.chance(), world.sim.now());
    let agent = &world.balancers[0].config.agent;
    let soon = (agent.poll + agent.quiet_max).mul_f64(chance.f64());
    let long = Duration::from_secs_f64(*chance.pick(&[5.0, 60.0, 600.0]) * chance.f64());
    let some = if chance.happens(0.5) { 0..world.lists.len() } else { 0..1 };
    let (clone, sim) = (world.clone(), world.sim.clone());
    let set = move |world: &World, mood: Mood| {
        world.change();
        world.sim.event(|| format!("stores {some:?} are {mood:?}"));
        some.clone().for_each(|list| world.lists[list].borrow_mut().set_mood(mood, world.sim.now()));
    };
    world.sim.spawn(async move {
        sim.sleep(soon).await;
        set(&clone, Mood::Away);
        sim.sleep(long).await;
        set(&clone, Mood::Up);
    });
    change(world, Change::Slots);
    now + soon + long
}

/// All faults end.
pub(super) fn calm(world: &Rc<World>) {
    world.is_rough.set(false);
    world.change();
    world.sim.event(|| "all faults end".to_owned());
    let now = world.sim.now();
    let stated = world.wall(0, Duration::ZERO).as_second() + 7300;
    for list in &world.lists {
        list.borrow_mut().set_mood(Mood::Up, now);
    }
    for (at, balancer) in world.balancers.iter().enumerate() {
        balancer.reloading.set(Reloading::Works);
        balancer.check_fails.set(false);
        balancer.clock.set(0);
        let mut haproxy = balancer.haproxy.borrow_mut();
        (haproxy.down_until, haproxy.busy_until) = (now, now);
        drop(haproxy);
        world.nodes.borrow().keys().for_each(|id| operate(world, at, id, "ready"));
    }
    let ids: Vec<String> = world.nodes.borrow().keys().cloned().collect();
    set(world, &ids, |node| {
        if !node.health.alive {
            node.health = Health { alive: true, since: now };
        }
        (node.connected, node.clock, node.state, node.wanted) = (true, 0, "running", true);
        (node.stated, node.cut_from) = (stated, None);
    });
    ids.iter().for_each(|id| world.publish(id, true));
}

/// A change of a calm list.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// A server gets another option: a reload.
    Slots,
    /// A node leaves in order.
    Leaves,
}

/// Changes the list.
pub(super) fn change(world: &Rc<World>, change: Change) {
    world.change();
    world.sim.event(|| format!("a change: {change:?}"));
    let stated = world.wall(0, Duration::ZERO).as_second() + 7400;
    let id = "i-1".to_owned();
    set(world, std::slice::from_ref(&id), |node| {
        match change {
            Change::Slots => node.slots += 1,
            Change::Leaves => node.state = "draining",
        }
        node.stated = stated;
    });
    world.publish(&id, false);
}
