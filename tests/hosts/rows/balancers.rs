//! Balancers that are cut off, and restarts.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::LIMIT;
use crate::fleet::Fleet;
use crate::row::{Row, Trial};
use crate::wait;

/// The balancers cannot reach the git server. A node is drained meanwhile, which they apply when they can
/// reach it again.
pub(crate) fn balancers_cut_off(fleet: &mut Fleet) -> Row {
    let all = fleet.ids();
    let mut trial = Trial::begin(fleet, "balancers cut off from git, a drain meanwhile");
    fleet.cut(fleet.balancers.iter().map(|balancer| &balancer.host), &[0]);
    let begun = Instant::now();
    let output = fleet.apps[0].host.run(&["state", "draining"]);
    let error = String::from_utf8_lossy(&output.stderr);
    trial.must(output.status.success(), format!("`presence state draining`: {error}"));
    std::thread::sleep(fleet.plan.fault.saturating_sub(begun.elapsed()));
    fleet.heal();
    let healed = Instant::now();
    let (views, id) = (fleet.views(), fleet.apps[0].host.id());
    let drains = |view: &crate::balancer::View| view.line(&id).is_some_and(|line| line.contains("weight 0"));
    let heeded = wait::until(LIMIT, || views.iter().all(drains));
    let time = healed.elapsed().as_secs_f64();
    trial.must(heeded, "the drain never showed");
    fleet.apps[0].host.run(&["state", "done"]);
    trial.end(fleet).keeps(&all).serves_all().measured(format!("the drain showed {time:.1} s after the cut"))
}

/// The balancers' agents are restarted, first cleanly, then killed.
pub(crate) fn agents_restarted(fleet: &mut Fleet) -> Row {
    let all = fleet.ids();
    let mut trial = Trial::begin(fleet, "balancers' agents restarted");
    for signal in [Signal::TERM, Signal::KILL] {
        for balancer in &mut fleet.balancers {
            let ended = signal == Signal::KILL || balancer.end_agent();
            trial.must(ended, "the agent did not end within 10 s of SIGTERM");
            balancer.start_agent();
        }
        std::thread::sleep(fleet.plan.interval * 2);
    }
    trial.end(fleet).keeps(&all).keeps_up(&all).serves_all()
}

/// All agents and HAProxys are killed for longer than `max-age`. Then HAProxy and the balancers' agents start, and the
/// nodes' agents some seconds later.
pub(crate) fn power_outage(fleet: &mut Fleet) -> Row {
    let all = fleet.ids();
    let whole = fleet.wait_whole(LIMIT);
    std::thread::sleep(fleet.plan.interval);
    for balancer in &mut fleet.balancers {
        balancer.kill_agent();
        balancer.kill_haproxy();
    }
    fleet.apps.iter_mut().for_each(|app| app.kill_agent());
    std::thread::sleep(fleet.plan.max_age + fleet.plan.interval * 2);
    fleet.balancers.iter_mut().for_each(|balancer| balancer.start_haproxy());
    let mut trial = Trial::begin(fleet, "everything restarted after a power outage");
    trial.must(whole, "the fleet was not whole before");
    fleet.balancers.iter_mut().for_each(|balancer| balancer.start_agent());
    std::thread::sleep(Duration::from_secs(5));
    fleet.apps.iter_mut().for_each(|app| app.start_agent());
    trial.end(fleet).keeps(&all).keeps_up(&all).serves_all()
}
