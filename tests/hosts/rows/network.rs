//! Hosts that cannot reach a part of the network.

use std::time::Instant;

use super::LIMIT;
use crate::fleet::Fleet;
use crate::row::{Row, Trial};
use crate::wait;

/// `count` application servers cannot reach the git server. Balancers reach them as before.
pub(crate) fn cut_off(fleet: &mut Fleet, count: usize) -> Row {
    let all = fleet.ids();
    let trial = Trial::begin(fleet, format!("{count} of {} apps cut off from git", all.len()));
    fleet.cut(fleet.apps.iter().take(count).map(|app| &app.host), &[0]);
    std::thread::sleep(fleet.plan.fault);
    fleet.heal();
    trial.end(fleet).keeps(&all).keeps_up(&all).serves_all()
}

/// The same, and a new one joins meanwhile: it must be served, whatever is held.
pub(crate) fn cut_off_while_one_comes(fleet: &mut Fleet, count: usize) -> Row {
    let all = fleet.ids();
    let name = format!("{count} of {} apps cut off from git, one more comes", all.len());
    let mut trial = Trial::begin(fleet, name);
    fleet.cut(fleet.apps.iter().take(count).map(|app| &app.host), &[0]);
    let begun = Instant::now();
    std::thread::sleep(fleet.plan.max_age + fleet.plan.interval);
    let id = fleet.join().host.id();
    let joined = Instant::now();
    let views = fleet.views();
    let served = wait::until(LIMIT, || views.iter().all(|view| view.up().contains(&id)));
    let time = joined.elapsed().as_secs_f64();
    trial.must(
        served && time < fleet.plan.heeded.as_secs_f64() + 12.0,
        format!("the new one got requests after {time:.1} s"),
    );
    std::thread::sleep(fleet.plan.fault.saturating_sub(begun.elapsed()));
    fleet.heal();
    trial.end(fleet).keeps(&all).keeps_up(&all).serves_all().measured(format!("the new one: {time:.1} s"))
}

/// A node's cable is unplugged: nobody reaches it, and nobody is notified.
pub(crate) fn link_down(fleet: &mut Fleet) -> Row {
    let id = fleet.apps[2].host.id();
    let mut rest = fleet.ids();
    rest.remove(&id);
    let mut trial = Trial::begin(fleet, "a node's cable is pulled");
    fleet.plug(&fleet.apps[2].host, false);
    let pulled = Instant::now();
    let views = fleet.views();
    let off = wait::until(LIMIT, || views.iter().all(|view| !view.listed().contains(&id)));
    let time = pulled.elapsed();
    trial.must(off && time < fleet.plan.expired(), format!("its record expired after {time:.1?}"));
    fleet.plug(&fleet.apps[2].host, true);
    trial
        .end(fleet)
        .keeps(&rest)
        .keeps_up(&rest)
        .measured(format!("off the file after {:.1} s", time.as_secs_f64()))
}
