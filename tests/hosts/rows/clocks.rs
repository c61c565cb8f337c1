//! A node whose clock is wrong.

use crate::fleet::Fleet;
use crate::row::{Row, Trial};

/// The clock of the first node is wrong by this offset, in the notation of faketime.
pub(crate) fn clock(fleet: &mut Fleet, offset: &str) -> Row {
    let all = fleet.ids();
    let mut trial = Trial::begin(fleet, format!("a node's clock is wrong: {offset}"));
    fleet.apps[0].host.set_clock(Some(offset));
    fleet.apps[0].start_agent();
    std::thread::sleep(fleet.plan.max_age * 2);
    let log = fleet.balancers[0].host.log();
    fleet.apps[0].host.set_clock(None);
    fleet.apps[0].start_agent();
    trial.must(log.contains("clock"), "the balancer's log does not mention a clock");
    trial.end(fleet).keeps(&all).keeps_up(&all).serves_all()
}
