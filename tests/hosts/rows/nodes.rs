//! Nodes that leave, cleanly or not.

use std::time::{Duration, Instant};

use super::LIMIT;
use crate::app::App;
use crate::fleet::Fleet;
use crate::row::{Row, Trial};
use crate::wait;

/// A node drains and returns.
pub(crate) fn drain(fleet: &mut Fleet) -> Row {
    let mut trial = Trial::begin(fleet, "a drain, and its end");
    let (views, id) = (fleet.views(), fleet.apps[0].host.id());
    let mut times = Vec::new();
    for (state, shows) in [("draining", true), ("done", false)] {
        let output = fleet.apps[0].host.run(&["state", state]);
        let error = String::from_utf8_lossy(&output.stderr);
        trial.must(output.status.success(), format!("`presence state {state}`: {error}"));
        let said = Instant::now();
        let drains = |line: Option<String>| line.is_some_and(|line| line.contains("weight 0")) == shows;
        let heeded = wait::until(LIMIT, || views.iter().all(|view| drains(view.line(&id))));
        let time = said.elapsed().as_secs_f64();
        trial.must(
            heeded && time <= fleet.plan.heeded.as_secs_f64(),
            format!("{state} was in the files after {time:.1} s"),
        );
        times.push(format!("{state}: {time:.1} s"));
    }
    trial.end(fleet).keeps(&fleet.ids()).serves_all().measured(times.join(", "))
}

/// An application server dies together with its agent: HAProxy's check takes it out, and its record expires.
pub(crate) fn node_dead(fleet: &mut Fleet) -> Row {
    let mut trial = Trial::begin(fleet, "a node dies, and comes back");
    let (views, id) = (fleet.views(), fleet.apps[1].host.id());
    fleet.apps[1].fail();
    fleet.apps[1].kill_agent();
    let died = Instant::now();
    let down = wait::until(LIMIT, || views.iter().all(|view| !view.up().contains(&id)));
    let down = down.then(|| died.elapsed());
    let off = wait::until(LIMIT, || views.iter().all(|view| !view.listed().contains(&id)));
    let off = off.then(|| died.elapsed());
    let limit = fleet.plan.expired();
    trial.must(
        down.is_some_and(|time| time < fleet.plan.heeded + Duration::from_secs(7)),
        format!("its check took {down:?}"),
    );
    trial.must(off.is_some_and(|time| time < limit), format!("its record expired after {off:?}"));
    fleet.apps[1].serve();
    fleet.apps[1].start_agent();
    let mut rest = fleet.ids();
    rest.remove(&id);
    let text = format!("{}, {}", after("down", down), after("off the file", off));
    trial.end(fleet).keeps(&rest).keeps_up(&rest).measured(text)
}

fn after(what: &str, time: Option<Duration>) -> String {
    match time {
        Some(time) => format!("{what} after {:.1} s", time.as_secs_f64()),
        None => format!("never {what}"),
    }
}

/// Every third server dies at the same moment and returns later; the agents go on. The cost is reported.
pub(crate) fn several_dead(fleet: &mut Fleet) -> Row {
    let count = fleet.apps.len() / 3;
    let trial = Trial::begin(fleet, format!("{count} servers die at once"));
    for app in &mut fleet.apps[..count] {
        app.fail();
    }
    std::thread::sleep(fleet.plan.fault / 2);
    for app in &mut fleet.apps[..count] {
        app.serve();
    }
    let all = fleet.ids();
    trial.end(fleet).keeps(&all)
}

/// Every third server accepts connections without answering, and continues later. The cost is reported.
pub(crate) fn several_hung(fleet: &mut Fleet) -> Row {
    let count = fleet.apps.len() / 3;
    let trial = Trial::begin(fleet, format!("{count} servers hang at once (SIGSTOP)"));
    fleet.apps[..count].iter().for_each(App::hang);
    std::thread::sleep(fleet.plan.fault / 2);
    fleet.apps[..count].iter().for_each(App::go_on);
    let all = fleet.ids();
    trial.end(fleet).keeps(&all)
}

/// Every third server repeatedly dies and returns. The cost is reported.
pub(crate) fn flapping(fleet: &mut Fleet) -> Row {
    let count = fleet.apps.len() / 3;
    let trial = Trial::begin(fleet, format!("{count} servers flap, 4 s up and 4 s down"));
    let end = Instant::now() + fleet.plan.fault;
    while Instant::now() < end {
        fleet.apps[..count].iter_mut().for_each(|app| app.fail());
        std::thread::sleep(Duration::from_secs(4));
        fleet.apps[..count].iter_mut().for_each(|app| app.serve());
        std::thread::sleep(Duration::from_secs(4));
    }
    let all = fleet.ids();
    trial.end(fleet).keeps(&all)
}
