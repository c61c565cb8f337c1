//! The faults. Each function is one row: it damages a whole fleet, repairs it, and lists what must hold.

mod balancers;
mod clocks;
mod network;
mod nodes;
mod stores;

use std::time::Duration;

pub(crate) use balancers::{agents_restarted, balancers_cut_off, power_outage};
pub(crate) use clocks::clock;
pub(crate) use network::{cut_off, cut_off_while_one_comes, link_down};
pub(crate) use nodes::{drain, flapping, node_dead, several_dead, several_hung};
pub(crate) use stores::{
    black_hole, disk_full, git_killed, git_slow, git_stopped, packets_lost, read_only, refused,
    refused_for_some, split,
};

/// A condition that does not hold by then never will.
const LIMIT: Duration = Duration::from_secs(90);
