//! Cuts: the bridge drops all or some packets between two hosts. No host is notified, and all others are
//! reached as before.

use std::net::Ipv4Addr;

use crate::namespaces::{Namespaces, inside};
use crate::process::run;

/// The sets contain pairs of addresses whose packets are all dropped, or every fifth of them.
const RULES: &str = "table bridge cuts {
    set pairs { type ipv4_addr . ipv4_addr; }
    set lossy { type ipv4_addr . ipv4_addr; }
    chain forward {
        type filter hook forward priority 0;
        ip saddr . ip daddr @pairs drop
        ip daddr . ip saddr @pairs drop
        ip saddr . ip daddr @lossy numgen random mod 5 == 0 drop
        ip daddr . ip saddr @lossy numgen random mod 5 == 0 drop
    }
}";

/// Installs the rules without any cut.
pub(crate) fn prepare(network: &Namespaces) {
    nft(network, RULES);
}

/// How many packets between two hosts are lost.
#[derive(Clone, Copy)]
pub(crate) enum Loss {
    /// Every packet.
    All,
    /// Each packet with a probability of one in five, in both directions.
    Fifth,
}

/// Cuts each pair.
pub(crate) fn cut(network: &Namespaces, loss: Loss, pairs: &[(Ipv4Addr, Ipv4Addr)]) {
    let set = match loss {
        Loss::All => "pairs",
        Loss::Fifth => "lossy",
    };
    let pairs: Vec<String> = pairs.iter().map(|(one, other)| format!("{one} . {other}")).collect();
    nft(network, &format!("add element bridge cuts {set} {{ {} }}", pairs.join(", ")));
}

/// Ends all cuts.
pub(crate) fn heal(network: &Namespaces) {
    nft(network, "flush set bridge cuts pairs; flush set bridge cuts lossy");
}

#[track_caller]
fn nft(network: &Namespaces, rules: &str) {
    run(inside(&network.hub(), "nft").arg(rules));
}
