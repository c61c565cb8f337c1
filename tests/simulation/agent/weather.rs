//! What happens to the machines: beats, faults, and what operators do.

use std::rc::Rc;
use std::time::Duration;

use presence::beat::absence::Evidence;
use presence::beat::turn::{self, TurnOptions};
use presence::record::Facts;
use presence::store::StoreErrorKind;

use super::haproxy::Health;
use super::list::Mood;
use super::target::{Machine, Turning};
use super::world::{Node, Reloading, Seen, World};

/// A node at the start. From the third on, each or every second one plays the part `others`.
pub(super) fn node(number: usize, (others, each): (&'static str, bool)) -> (String, Node) {
    let node = Node {
        part: if number > 2 && (each || number.is_multiple_of(2)) { others } else { "app" },
        address: format!("10.0.0.{number}"),
        health: Health { alive: true, since: Duration::ZERO },
        connected: true,
        cut_from: None,
        beats_since: Some(Duration::ZERO),
        quiet_since: None,
        clock: 0,
        state: "running",
        slots: 10,
        stated: 1_780_000_000,
        wanted: true,
    };
    (format!("i-{number}"), node)
}

/// Starts the nodes' beats, and the faults.
pub(super) fn blow(world: &Rc<World>) {
    let ids: Vec<String> = world.nodes.borrow().keys().cloned().collect();
    let interval = world.balancers[0].config.agent.interval;
    for id in ids {
        world.publish(&id, true);
        let world = world.clone();
        let sim = world.sim.clone();
        sim.clone().spawn(async move {
            sim.sleep(interval.mul_f64(sim.chance().f64())).await;
            loop {
                if world.nodes.borrow()[&id].health.alive {
                    world.publish(&id, true);
                }
                sim.sleep(interval).await;
            }
        });
    }
    let world = world.clone();
    let sim = world.sim.clone();
    sim.clone().spawn(async move {
        // The list settles first.
        sim.sleep(Duration::from_secs(600)).await;
        let pace = *sim.chance().pick(&[60.0, 300.0, 1200.0]);
        loop {
            sim.sleep(Duration::from_secs_f64(pace * 2.0 * sim.chance().f64())).await;
            if !world.is_rough.get() {
                return;
            }
            happen(&world);
        }
    });
}

/// After that time, does something, if faults still happen.
fn later(world: &Rc<World>, after: Duration, act: impl FnOnce(&World) + 'static) {
    let world = world.clone();
    let sim = world.sim.clone();
    sim.clone().spawn(async move {
        sim.sleep(after).await;
        if world.is_rough.get() {
            world.change();
            act(&world);
        }
    });
}

/// One fault.
fn happen(world: &Rc<World>) {
    let chance = world.sim.chance();
    let ids: Vec<String> = world.nodes.borrow().keys().cloned().collect();
    let list = chance.below(world.lists.len());
    let at = chance.below(world.balancers.len());
    let id = chance.pick(&ids).clone();
    let some = {
        let most = chance.below(ids.len()) + 1;
        let first = chance.below(ids.len());
        let some: Vec<String> = ids.iter().cycle().skip(first).take(most).cloned().collect();
        some
    };
    let agent = &world.balancers[at].config.agent;
    let beats = 4.0 * agent.interval.as_secs_f64();
    let long = Duration::from_secs_f64(*chance.pick(&[10.0, 120.0, 1500.0, beats]) * (0.2 + chance.f64()));
    let now = world.sim.now();
    match chance.below(27) {
        kind @ 0..=3 => {
            let (mood, name) = [
                (Mood::Away, "store away"),
                (Mood::Refuses, "store refuses"),
                (Mood::Hangs, "store hangs"),
                (Mood::Slow, "store slow"),
            ][kind];
            if world.fault(name, 1.0) {
                let lists = if chance.happens(0.3) { 0..world.lists.len() } else { list..list + 1 };
                world.sim.event(|| format!("stores {lists:?} are {mood:?} for {long:?}"));
                for list in lists {
                    world.lists[list].borrow_mut().set_mood(mood, now);
                    later(world, long, move |world| is_up(world, list));
                }
            }
        }
        4 | 5 => {
            if world.fault("node dies", 1.0) {
                world.sim.event(|| format!("{id} is dead for {long:?}"));
                set(world, std::slice::from_ref(&id), |node| {
                    node.health = Health { alive: false, since: now }
                });
                later(world, long, move |world| {
                    let now = world.sim.now();
                    set(world, &[id], |node| node.health = Health { alive: true, since: now });
                });
            }
        }
        6 | 7 => {
            if world.fault("node cut off", 1.0) {
                world.sim.event(|| format!("{id} is cut off for {long:?}"));
                set(world, std::slice::from_ref(&id), |node| node.connected = false);
                later(world, long, move |world| set(world, &[id], |node| node.connected = true));
            }
        }
        8 => {
            if world.fault("nodes cut off together", 1.0) {
                world.sim.event(|| format!("{some:?} are cut off for {long:?}"));
                set(world, &some, |node| node.connected = false);
                later(world, long, move |world| set(world, &some, |node| node.connected = true));
            }
        }
        9 => {
            let off = *chance.pick(&[-7200, -60, 3, 90, 7200]);
            if world.fault("clock jumps", 1.0) {
                match chance.happens(0.5) {
                    true => world.balancers[at].clock.set(off),
                    false => set(world, &[id], |node| node.clock = off),
                }
            }
        }
        10 => {
            if !world.balancers[at].tasks.borrow().is_empty() && world.fault("agent killed", 1.0) {
                world.kill(at);
            }
        }
        11 => {
            let (name, reloading) =
                *chance.pick(&[("reload fails", Reloading::Fails), ("reload slow", Reloading::IsSlow)]);
            if world.fault(name, 1.0) {
                world.balancers[at].reloading.set(reloading);
                later(world, long, move |world| world.balancers[at].reloading.set(Reloading::Works));
            }
        }
        12 => {
            if world.fault("check fails", 1.0) {
                world.balancers[at].check_fails.set(true);
                later(world, long, move |world| world.balancers[at].check_fails.set(false));
            }
        }
        13 => {
            if world.fault("HAProxy's socket is down", 1.0) {
                world.balancers[at].haproxy.borrow_mut().down_until = now + long;
                later(world, long, |_| {});
            }
        }
        14 => {
            if world.fault("hangup", 1.0) {
                signal(world, at, false);
            }
        }
        15 => {
            if world.fault("facts changed", 1.0) {
                world.balancers[at].port.set(world.balancers[at].port.get() % 9 + 1);
                restate(world, &[id], |node| node.slots = node.slots % 50 + 1);
            }
        }
        16 => {
            if world.fault("agent stopped", 1.0) {
                signal(world, at, true);
            }
        }
        17 => {
            if world.lists.len() > 1 && world.fault("node cut off from a store", 1.0) {
                world.sim.event(|| format!("{id} is cut off from store {} for {long:?}", list + 1));
                set(world, std::slice::from_ref(&id), |node| node.cut_from = Some(list));
                later(world, long, move |world| set(world, &[id], |node| node.cut_from = None));
            }
        }
        18 => {
            if world.fault("stores away after a change", 1.0) {
                let soon = (agent.poll + agent.quiet_max).mul_f64(1.2 * chance.f64());
                restate(world, &[id], |node| node.slots = node.slots % 50 + 1);
                go_and_come(world, soon, long);
            }
        }
        19 => {
            if world.fault("list accepted", 1.0) {
                accept(world, at);
            }
        }
        20 => {
            if world.fault("operator changes a server", 1.0) {
                let state = *chance.pick(&["maint", "drain"]);
                operate(world, at, &id, state);
                later(world, long, move |world| operate(world, at, &id, "ready"));
            }
        }
        21 => {
            if agent.interval <= Duration::from_secs(300) && world.fault("outage spreads", 1.0) {
                spread(world, at, &id);
            }
        }
        22 => {
            if world.fault("node returns with another option", 1.0) {
                let soon = Duration::from_secs_f64(30.0 * chance.f64());
                set(world, std::slice::from_ref(&id), |node| node.wanted = false);
                world.publish(&id, false);
                later(world, soon, move |world| {
                    set(world, std::slice::from_ref(&id), |node| node.wanted = true);
                    restate(world, &[id], |node| node.slots = node.slots % 50 + 1);
                });
            }
        }
        23 => {
            if agent.interval <= Duration::from_secs(300) && world.fault("stores blink", 1.0) {
                world.sim.event(|| "stores blink".to_owned());
                world.blinked.set(now + agent.interval * 6);
                for beat in 0..6 {
                    go_and_come(world, agent.interval * beat, agent.interval.mul_f64(0.4));
                }
            }
        }
        24 => {
            if world.fault("sessions do not end", 1.0) {
                world.balancers[at].haproxy.borrow_mut().busy_until = now + long;
                later(world, long, |_| {});
            }
        }
        25 => {
            let state = *chance.pick(&["draining", "drained", "running", "running", "decommissioned"]);
            let some = if chance.happens(0.3) { some } else { vec![id] };
            if world.fault("states changed", 1.0) {
                world.sim.event(|| format!("{some:?} are {state}"));
                restate(world, &some, |node| node.state = state);
                later(world, long, move |world| restate(world, &some, |node| node.state = "running"));
            }
        }
        _ => {
            let told = chance.happens(0.5);
            let some = if chance.happens(0.5) { some } else { vec![id] };
            if told && world.fault("withdrawn", 1.0) {
                world.sim.event(|| format!("{some:?} are withdrawn"));
                set(world, &some, |node| node.wanted = false);
                some.iter().for_each(|id| world.publish(id, false));
                later(world, long, move |world| {
                    set(world, &some, |node| node.wanted = true);
                    some.iter().for_each(|id| world.publish(id, false));
                });
            } else if !told && world.fault("list emptied", 1.0) {
                world.sim.event(|| format!("all records of store {} are lost", list + 1));
                world.emptied.set(now);
                let mut list = world.lists[list].borrow_mut();
                for id in list.ids() {
                    list.remove(&id, false, now);
                }
            }
        }
    }
}

pub(super) fn set(world: &World, ids: &[String], change: impl Fn(&mut Node)) {
    let now = world.sim.now();
    let mut nodes = world.nodes.borrow_mut();
    for id in ids {
        let Some(node) = nodes.get_mut(id) else { continue };
        change(node);
        let beats = node.health.alive && node.connected;
        node.beats_since = beats.then(|| node.beats_since.unwrap_or(now));
        node.quiet_since = (!beats).then(|| node.quiet_since.unwrap_or(now));
    }
}

/// These nodes state something else now.
fn restate(world: &World, ids: &[String], change: impl Fn(&mut Node)) {
    let now = world.wall(0, Duration::ZERO).as_second();
    set(world, ids, |node| {
        change(node);
        node.stated = now + node.clock;
    });
    ids.iter().for_each(|id| world.publish(id, false));
}

/// Sends a signal to an agent.
fn signal(world: &World, at: usize, stop: bool) {
    let balancer = &world.balancers[at];
    if stop { &balancer.stop } else { &balancer.hangup }.set(true);
    if let Some(agent) = balancer.agent.get() {
        world.sim.wake(agent);
    }
}

fn is_up(world: &World, list: usize) {
    world.lists[list].borrow_mut().set_mood(Mood::Up, world.sim.now());
}

/// After that time all stores go away, for so long.
fn go_and_come(world: &Rc<World>, soon: Duration, long: Duration) {
    for list in 0..world.lists.len() {
        later(world, soon, move |world| {
            world.lists[list].borrow_mut().set_mood(Mood::Away, world.sim.now());
        });
        later(world, soon + long, move |world| is_up(world, list));
    }
}

/// First the other part falls silent, or all nodes but one, and later this one: for longer than a file keeps
/// silent nodes.
fn spread(world: &Rc<World>, at: usize, id: &str) {
    let config = &world.balancers[at].config;
    let age = config.renders[0].max_age.unwrap().unsigned_abs();
    let nodes = world.nodes.borrow();
    let is_other = |node: &Node| nodes[id].part == "app" && node.part != "app";
    let mut some: Vec<String> =
        nodes.iter().filter(|(_, node)| is_other(node)).map(|(id, _)| id.clone()).collect();
    if some.is_empty() {
        some = nodes.keys().filter(|other| *other != id).cloned().collect();
    }
    drop(nodes);
    let (interval, id) = (config.agent.interval, id.to_owned());
    world.sim.event(|| format!("{some:?} are cut off, and soon {id}"));
    set(world, &some, |node| node.connected = false);
    let then = id.clone();
    later(world, interval.mul_f64(1.1), move |world| set(world, &[then], |node| node.connected = false));
    some.push(id);
    let end = age + interval * 4;
    later(world, end, move |world| set(world, &some, |node| node.connected = true));
}

/// An operator accepts the list for the files of a balancer.
fn accept(world: &Rc<World>, at: usize) {
    let balancer = &world.balancers[at];
    let copies = balancer.copies.borrow();
    let readings = world.lists.iter().enumerate().map(|(place, list)| {
        let list = list.borrow();
        match list.mood() {
            Mood::Up | Mood::Slow | Mood::Refuses => list.read(),
            Mood::Away | Mood::Hangs => list.fail(StoreErrorKind::NotYet, copies.get(&place).cloned()),
        }
    });
    let fleet = world.fleet(at, readings.collect(), Vec::new());
    for (table, render) in balancer.config.renders.iter().enumerate() {
        let seen = Seen { forced: true, ..Seen::of(world, &fleet) };
        let machine = Machine { turning: Rc::new(Turning::new(world, at, seen)), table };
        let evidence = Evidence::Nothing;
        let options =
            TurnOptions { dry_run: false, hold_reload: false, evidence, accept: true, compare_firsts: false };
        turn::take(&machine, &balancer.config, render, &Facts::new(), &fleet, options);
    }
}

/// An operator sets the state of a server at HAProxy's socket.
pub(super) fn operate(world: &World, at: usize, id: &str, state: &str) {
    let balancer = &world.balancers[at];
    world.sim.event(|| format!("{}: an operator sets {id} to {state}", balancer.name));
    balancer.haproxy.borrow_mut().obey(&format!("set server app/{id} state {state}"), world.sim.now());
}
