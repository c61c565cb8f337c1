//! What the last good output has in use, where an output can give a thing only to one of those that ask for it. A newcomer
//! must not take it away: whoever may write one record could choose its name so that it comes first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What an output has in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InUse {
    /// The node that `{{first}}` gave, by question.
    pub first: BTreeMap<String, String>,
    /// The part that a balancer listens for, by port.
    pub ports: BTreeMap<u16, String>,
    /// The server ids of nodes that have another one than their name gives them.
    pub servers: BTreeMap<String, u32>,
    /// The same for the backends of parts.
    pub backends: BTreeMap<String, u32>,
    /// The nodes that are listed under a host name which others claim too.
    pub names: BTreeMap<String, String>,
}

/// What is known of the last good output.
#[derive(Debug, Clone, Default)]
pub struct Previous {
    /// What it has in use.
    pub in_use: InUse,
    /// Whether each node of the roster was in it, by its place; empty if nothing is known.
    pub nodes: Vec<bool>,
}

impl Previous {
    /// Whether the node at that place of the roster was in the output.
    pub fn had(&self, at: u32) -> bool {
        self.nodes.get(at as usize).copied().unwrap_or_default()
    }
}
