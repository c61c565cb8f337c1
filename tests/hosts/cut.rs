//! Cuts: packets between two hosts that the bridge drops. Nobody is told; everybody else is reached as before.

use std::net::Ipv4Addr;

use crate::namespaces::{Namespaces, inside};
use crate::process::run;

/// The set holds pairs of addresses, which hear nothing of each other.
const RULES: &str = "table bridge cuts {
    set pairs { type ipv4_addr . ipv4_addr; }
    chain forward {
        type filter hook forward priority 0;
        ip saddr . ip daddr @pairs drop
        ip daddr . ip saddr @pairs drop
    }
}";

/// Installs the rules, with no cut.
pub(crate) fn prepare(network: &Namespaces) {
    nft(network, RULES);
}

/// Cuts each pair.
pub(crate) fn cut(network: &Namespaces, pairs: &[(Ipv4Addr, Ipv4Addr)]) {
    let pairs: Vec<String> = pairs.iter().map(|(one, other)| format!("{one} . {other}")).collect();
    nft(network, &format!("add element bridge cuts pairs {{ {} }}", pairs.join(", ")));
}

/// Ends all cuts.
pub(crate) fn heal(network: &Namespaces) {
    nft(network, "flush set bridge cuts pairs");
}

#[track_caller]
fn nft(network: &Namespaces, rules: &str) {
    run(inside(&network.hub(), "nft").arg(rules));
}
