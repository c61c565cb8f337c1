//! Only nodes that answer count: for templates that feed clients without health checks of their own.

use std::net::SocketAddr;
use std::time::Duration;

use glob::Pattern;

use crate::probe::{self, Question};
use crate::roster::{Availability, Identity, Node, Problem, Roster};

/// So many nodes are asked at a time.
pub const PARALLEL: usize = 64;

/// How long a node may take to answer.
pub const LIMIT: Duration = Duration::from_secs(2);

/// Makes absent what is in scope, of these parts and active, and does not accept a connection on its port. A node
/// without a port cannot be asked; it is told, and counts as before.
///
/// Absent, not down: a node that does not answer has not said that it is leaving, so the safety limits count it as lost.
pub fn keep_awake(roster: &mut Roster, who: &Identity, parts: &Pattern) {
    let asked = |node: &Node| {
        node.availability == Availability::Active
            && who.sees(node)
            && parts.matches(&node.record.part().unwrap_or_default())
    };
    let indexes: Vec<usize> = (0..roster.nodes.len()).filter(|index| asked(&roster.nodes[*index])).collect();
    let places: Vec<(usize, SocketAddr)> =
        indexes.iter().filter_map(|index| Some((*index, place(&roster.nodes[*index], None)?))).collect();
    let addresses: Vec<SocketAddr> = places.iter().map(|(_, address)| *address).collect();
    let answers = probe::ask_all(&addresses, &Question::Connect, LIMIT, PARALLEL);
    let mut problems = Vec::new();
    let mut tell = |node: &Node, reason: String| {
        problems.push(Problem { store: node.store.clone(), path: node.path.clone(), reason });
    };
    for ((index, address), answer) in places.iter().zip(answers) {
        if let Err(silence) = answer {
            let node = &mut roster.nodes[*index];
            node.availability = Availability::Absent;
            tell(node, format!("does not answer at {address} ({silence}): it counts as absent"));
        }
    }
    for index in indexes.iter().filter(|index| !places.iter().any(|(asked, _)| asked == *index)) {
        let node = &roster.nodes[*index];
        // One without an address is left out anyway, and told of there.
        if node.address.is_ok() {
            tell(node, "states no port to ask whether it is awake".to_owned());
        }
    }
    roster.problems.extend(problems);
    roster.problems.sort();
}

/// Where a node answers, with that port if it states none.
pub fn place(node: &Node, port: Option<u16>) -> Option<SocketAddr> {
    let address = node.address.as_ref().ok()?;
    let port = node.port.as_ref().ok()?.map(|port| port.get()).or(port)?;
    Some(SocketAddr::new(address.ip(), port))
}
