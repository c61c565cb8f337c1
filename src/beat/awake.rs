//! Asks nodes whether they answer: for templates that feed clients without health checks of their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use glob::Pattern;

use super::absence::Reason;
use super::holding::Warning;
use crate::probe::{self, Question};
use crate::roster::{Availability, Identity, Node, Roster};

/// So many nodes are asked at a time.
pub const PARALLEL: usize = 64;

/// How long a node may take to answer.
pub const LIMIT: Duration = Duration::from_secs(2);

/// What came of asking.
#[derive(Debug, Default)]
pub struct Asked {
    /// Nodes that do not accept a connection.
    pub silent: BTreeMap<String, Reason>,
    /// Nodes that state no port and cannot be asked.
    pub unasked: Vec<Warning>,
}

/// Asks each node that is in scope, of these parts and active whether it accepts a connection on its port.
pub fn ask(roster: &Roster, who: &Identity, parts: &Pattern) -> Asked {
    let is_meant = |node: &&Node| {
        node.availability == Availability::Active
            && who.sees(node)
            && parts.matches(&node.record.part().unwrap_or_default())
    };
    let mut asked = Asked::default();
    let mut places = Vec::new();
    for node in roster.nodes.iter().filter(is_meant) {
        match place(node, None) {
            Some(address) => places.push((node.record.id().to_string(), address)),
            // One without an address is left out anyway, and told of there.
            None if node.address.is_ok() => {
                let path = node.path.escape_debug();
                asked.unasked.push(format!("{path}: states no port to ask whether it is awake").into());
            }
            None => {}
        }
    }
    let addresses: Vec<SocketAddr> = places.iter().map(|(_, address)| *address).collect();
    let answers = probe::ask_all(&addresses, &Question::Connect, LIMIT, PARALLEL);
    for ((id, address), answer) in places.into_iter().zip(answers) {
        if let Err(silence) = answer {
            asked.silent.insert(id, Reason::NoAnswer(format!("at {address} ({silence})")));
        }
    }
    asked
}

/// Where a node answers, with that port if it states none.
pub fn place(node: &Node, port: Option<u16>) -> Option<SocketAddr> {
    let address = node.address.as_ref().ok()?;
    let port = node.port.as_ref().ok()?.map(|port| port.get()).or(port)?;
    Some(SocketAddr::new(address.ip(), port))
}
