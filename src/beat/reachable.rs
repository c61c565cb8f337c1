//! Asks nodes whether they answer, for templates that feed clients without health checks of their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use glob::Pattern;

use super::absence::Reason;
use super::warning::Warning;
use crate::probe::{self, Question, Silence};
use crate::roster::{Availability, Identity, Node, Roster};

/// The number of nodes asked at a time.
pub const PARALLEL: usize = 64;

/// The same where a single silent node must not delay the others.
const MANY: usize = 256;

/// The time that a node has to answer the first attempt: reachable nodes need a few milliseconds.
const FIRST: Duration = Duration::from_millis(250);

/// The time for all nodes together. Writers of the list may state any number of addresses that swallow
/// connections.
const ALL: Duration = Duration::from_secs(8);

/// The time that a node has to answer.
pub const LIMIT: Duration = Duration::from_secs(2);

/// The result of asking.
#[derive(Debug, Default)]
pub struct Asked {
    /// Nodes that do not accept a connection.
    pub silent: BTreeMap<String, Reason>,
    /// Nodes that could not be asked, for lack of a port or of time.
    pub unasked: Vec<Warning>,
}

/// Asks each active node of these parts in scope whether it accepts a connection on its port.
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
            // A node without an address is left out anyway, with a message of its own.
            None if node.address.is_ok() => {
                let path = node.path.escape_debug();
                asked.unasked.push(
                    format!("{path}: states no port, so presence cannot check whether it is awake").into(),
                );
            }
            None => {}
        }
    }
    let addresses: Vec<SocketAddr> = places.iter().map(|(_, address)| *address).collect();
    let answers = ask_twice(&addresses, Instant::now() + ALL);
    let mut late = 0;
    for ((id, address), answer) in places.into_iter().zip(answers) {
        match answer {
            Ok(_) => {}
            // A node that was not asked is not silent.
            Err(Silence::NotAsked) => late += 1,
            Err(silence) => {
                asked.silent.insert(id, Reason::NoAnswer(format!("at {address} ({silence})")));
            }
        }
    }
    if late > 0 {
        let text = format!(
            "presence could not check {late} nodes within {} s, and treats them as awake",
            ALL.as_secs()
        );
        asked.unasked.push(text.into());
    }
    asked
}

/// Asks all nodes with a short limit, and then the silent ones with the full limit, while there is time.
fn ask_twice(addresses: &[SocketAddr], until: Instant) -> Vec<Result<Duration, Silence>> {
    let ask = |addresses: &[SocketAddr], limit| {
        probe::ask_all(addresses, &Question::Connect, limit, MANY, Some(until))
    };
    let mut answers = ask(addresses, FIRST);
    let slow: Vec<usize> =
        (0..answers.len()).filter(|place| matches!(answers[*place], Err(Silence::TooLate(_)))).collect();
    let again: Vec<SocketAddr> = slow.iter().map(|place| addresses[*place]).collect();
    for (place, answer) in slow.into_iter().zip(ask(&again, LIMIT)) {
        // If there is no time to ask again, the first answer stays.
        if !matches!(answer, Err(Silence::NotAsked)) {
            answers[place] = answer;
        }
    }
    answers
}

/// The address and port of a node, with this port if it states none.
pub fn place(node: &Node, port: Option<u16>) -> Option<SocketAddr> {
    let address = node.address.as_ref().ok()?;
    let port = node.port.as_ref().ok()?.map(|port| port.get()).or(port)?;
    Some(SocketAddr::new(address.ip(), port))
}
