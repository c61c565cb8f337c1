//! Small worlds that test the simulation itself.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::runner::{self, Kind, World};
use crate::scheduler::Simulation;

pub(crate) const WORLDS: &[&World] = &[&SCHEDULER, &SEARCH, &ORDERS, &KEPT];

const SCHEDULER: World = World {
    name: "scheduler",
    about: "tasks that sleep, wait for each other, are late and crash",
    kind: Kind::Seeds(20, &[], scheduler),
};

const SEARCH: World = World {
    name: "search",
    about: "an exhaustive search finds the lost update of two tasks that add to a number",
    kind: Kind::Seeds(1, &[], both_results),
};

const ORDERS: World = World {
    name: "orders",
    about: "two tasks that add to a number, in all orders",
    kind: Kind::Search(100, two_add),
};

const KEPT: World = World {
    name: "kept",
    about: "a task leaks a value that keeps the simulation: the report says so",
    kind: Kind::Seeds(1, &[], leak_is_reported),
};

fn scheduler(simulation: &Simulation) -> Result<(), String> {
    let second = Duration::from_secs(1);
    let (awake, done, killed) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    for number in 1..=3 {
        let (clone, awake, done) = (simulation.clone(), awake.clone(), done.clone());
        simulation.spawn(async move {
            clone.sleep(second * number).await;
            assert_eq!(clone.now(), second * number);
            clone.event(|| format!("task {number} is awake"));
            awake.set(awake.get() + 1);
            assert!(clone.until(clone.now() + second, clone.sleep(second * 9)).await.is_none(), "late");
            done.set(true);
            clone.wake_waiting();
        });
    }
    let (clone, seen) = (simulation.clone(), done.clone());
    let waits = simulation.spawn(async move { clone.wait_for(move || seen.get()).await });
    let (clone, killed_here) = (simulation.clone(), killed.clone());
    let victim = simulation.spawn(async move {
        loop {
            clone.sleep(second / 10).await;
            killed_here.set(killed_here.get() + 1);
        }
    });
    let clone = simulation.clone();
    simulation.spawn(async move {
        let delay = *clone.chance().pick(&[0.5, 0.75, 1.0]) + clone.chance().f64() / 4.0;
        clone.event(|| format!("{:x}", clone.chance().u64()));
        clone.sleep(second.mul_f64(delay)).await;
        if clone.fault("crash", 0.5) {
            clone.crash(victim);
        }
    });
    simulation.run(second * 20, |_| Ok(()))?;
    let alive = simulation.is_running(victim);
    match (awake.get(), simulation.is_running(waits), alive, killed.get()) {
        (3, false, true, 150..) | (3, false, false, 4..16) => Ok(()),
        found => Err(format!("{found:?}")),
    }
}

/// The search finds both results: 1 if an update is lost, else 2.
fn both_results(_: &Simulation) -> Result<(), String> {
    let outcome = runner::search(100, two_add);
    let seen = (outcome.states, outcome.tally.counts.keys().copied().collect::<Vec<_>>());
    match (seen, outcome.violation) {
        ((Some(11), counts), None) if counts == ["both updates", "one update"] => Ok(()),
        (seen, violation) => Err(format!("{seen:?}, {:?}", violation.map(|violation| violation.text))),
    }
}

/// Two tasks add to a number. They read it and write it in two steps, so an update may be lost.
fn two_add(simulation: &Simulation) -> Result<(), String> {
    let number = Rc::new(Cell::new(0));
    // What each task has read, and 9 at its end.
    let read = Rc::new([Cell::new(7), Cell::new(7)]);
    for task in 0..2 {
        let (clone, number, read) = (simulation.clone(), number.clone(), read.clone());
        simulation.spawn(async move {
            read[task].set(number.get());
            clone.pause().await;
            number.set(read[task].replace(9) + 1);
        });
    }
    while simulation.step().is_some() {
        if simulation.is_known(number.get() + 10 * read[0].get() + 100 * read[1].get()) {
            return Ok(());
        }
    }
    simulation.count(if number.get() == 2 { "both updates" } else { "one update" }, 1);
    Ok(())
}

/// The report has the trace and the choices.
fn leak_is_reported(_: &Simulation) -> Result<(), String> {
    let outcome = runner::search(1, |simulation| {
        let clone = simulation.clone();
        simulation.spawn(async move {
            clone.event(|| "a leak".to_owned());
            std::mem::forget(clone);
        });
        while simulation.step().is_some() {}
        Ok(())
    });
    let text = outcome.violation.map(|violation| violation.text).unwrap_or_default();
    let expected = ["outlives the run", "The choices: []", "a leak"];
    match expected.iter().all(|part| text.contains(part)) {
        true => Ok(()),
        false => Err(format!("the report is {text:?}")),
    }
}
