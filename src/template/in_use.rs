//! What the last good output has in use, if an output can give a thing to only one of several claimants. A
//! new node must not take it away: anyone who can write one record could choose its name so that it comes
//! first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What an output has in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InUse {
    /// The node that `{{first}}` returned, by question.
    pub first: BTreeMap<String, String>,
    /// The part for which a balancer listens, by port.
    pub ports: BTreeMap<u16, String>,
    /// The server ids of nodes whose id differs from the one that follows from their name.
    pub servers: BTreeMap<String, u32>,
    /// The same for the backends of parts.
    pub backends: BTreeMap<String, u32>,
    /// The nodes that are listed under a host name that others claim too.
    pub names: BTreeMap<String, String>,
}

/// What is known of the last good output.
#[derive(Debug, Clone, Default)]
pub struct Previous {
    /// What it has in use.
    pub in_use: InUse,
    /// Whether each node of the roster was in it, by roster index. Empty if nothing is known.
    pub nodes: Vec<bool>,
}

impl Previous {
    /// Whether the node at that roster index was in the output.
    pub fn had(&self, at: u32) -> bool {
        self.nodes.get(at as usize).copied().unwrap_or_default()
    }
}
