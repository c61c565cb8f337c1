//! Git servers that are down, do not answer, or cannot be reached by half of the fleet.

use std::time::Duration;

use crate::cut::Loss;
use crate::delay::Delay;
use crate::fleet::Fleet;
use crate::host::Host;
use crate::row::{Row, Trial};

/// A fault that must not change what is served.
fn harmless(
    fleet: &mut Fleet,
    name: &str,
    begin: impl FnOnce(&mut Fleet),
    end: impl FnOnce(&mut Fleet),
) -> Row {
    let all = fleet.ids();
    let trial = Trial::begin(fleet, name);
    begin(fleet);
    std::thread::sleep(fleet.plan.fault);
    end(fleet);
    trial.end(fleet).keeps(&all).keeps_up(&all).serves_all()
}

/// The server accepts connections and sends nothing more.
pub(crate) fn git_stopped(fleet: &mut Fleet) -> Row {
    harmless(fleet, "git server stopped (SIGSTOP)", |fleet| fleet.git[0].stop(), |fleet| fleet.git[0].go_on())
}

/// The server refuses connections.
pub(crate) fn git_killed(fleet: &mut Fleet) -> Row {
    harmless(fleet, "git server killed", |fleet| fleet.git[0].kill(), |fleet| fleet.git[0].restart())
}

/// Every fifth packet to or from it is lost.
pub(crate) fn packets_lost(fleet: &mut Fleet) -> Row {
    harmless(
        fleet,
        "20 % of packets to and from the git server lost",
        |fleet| fleet.lose(Loss::Fifth, everybody(fleet), &[0]),
        |fleet| fleet.heal(),
    )
}

/// All its traffic is delayed by half a second.
pub(crate) fn git_slow(fleet: &mut Fleet) -> Row {
    let delay = Delay::start(&fleet.git[0], Duration::from_millis(500));
    harmless(fleet, "git server 0.5 s away, each way", |_| (), |_| drop(delay))
}

/// No packet reaches it.
pub(crate) fn black_hole(fleet: &mut Fleet) -> Row {
    harmless(fleet, "git server black-holed", |fleet| fleet.cut(everybody(fleet), &[0]), |fleet| fleet.heal())
}

fn everybody(fleet: &Fleet) -> impl Iterator<Item = &Host> {
    let apps = fleet.apps.iter().map(|app| &app.host);
    apps.chain(fleet.balancers.iter().map(|balancer| &balancer.host))
}

/// It answers reads, and refuses pushes because its disk is full.
pub(crate) fn disk_full(fleet: &mut Fleet) -> Row {
    harmless(fleet, "git server's disk full", |fleet| fleet.git[0].fill(), |fleet| fleet.git[0].make_room())
}

/// It answers reads, and cannot write.
pub(crate) fn read_only(fleet: &mut Fleet) -> Row {
    harmless(
        fleet,
        "git server's file system read-only",
        |fleet| fleet.git[0].set_read_only(true),
        |fleet| fleet.git[0].set_read_only(false),
    )
}

/// A hook refuses every push.
pub(crate) fn refused(fleet: &mut Fleet) -> Row {
    harmless(
        fleet,
        "a hook refuses all pushes",
        |fleet| {
            let addresses: Vec<_> = everybody(fleet).map(|host| host.address).collect();
            fleet.git[0].refuse(&addresses);
        },
        |fleet| fleet.git[0].refuse(&[]),
    )
}

/// A hook refuses the pushes of a third of the nodes, as if their keys were revoked. Balancers find them
/// healthy.
pub(crate) fn refused_for_some(fleet: &mut Fleet) -> Row {
    let count = fleet.apps.len() / 3;
    harmless(
        fleet,
        &format!("a hook refuses the pushes of {count} nodes"),
        |fleet| {
            let addresses: Vec<_> = fleet.apps[..count].iter().map(|app| app.host.address).collect();
            fleet.git[0].refuse(&addresses);
        },
        |fleet| fleet.git[0].refuse(&[]),
    )
}

/// With two stores, half of the application servers and the balancers reach only the first, the others only
/// the second.
pub(crate) fn split(fleet: &mut Fleet) -> Row {
    let half = fleet.apps.len() / 2;
    harmless(
        fleet,
        &format!("two stores, a partition: {half} nodes reach the other one only"),
        |fleet| {
            let (far, near) = fleet.apps.split_at(half);
            fleet.cut(far.iter().map(|app| &app.host), &[0]);
            let balancers = fleet.balancers.iter().map(|balancer| &balancer.host);
            fleet.cut(near.iter().map(|app| &app.host).chain(balancers), &[1]);
        },
        |fleet| fleet.heal(),
    )
}
