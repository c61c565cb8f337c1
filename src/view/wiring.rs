//! Who is wired to whom: which groups the templates of a group take nodes from.

use std::collections::{BTreeMap, BTreeSet};

use super::Group;

/// From one group to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wire {
    /// The group that renders the template.
    pub from: Group,
    /// The group whose nodes the template takes.
    pub to: Group,
}

/// A node that a template takes as the only one of its kind: the first database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chosen {
    /// The group that renders the template.
    pub from: Group,
    /// The template.
    pub by: String,
    /// The instance-id of the node.
    pub id: String,
}

/// Who is wired to whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wiring {
    /// The wires, each with the templates that make it.
    pub wires: BTreeMap<Wire, BTreeSet<String>>,
    /// The nodes that templates take one of.
    pub chosen: BTreeSet<Chosen>,
    /// What could not be found out, one sentence each.
    pub notes: Vec<String>,
}
