//! The groups of a fleet: the nodes of one stacktype, deployment and part.

use std::collections::BTreeMap;
use std::fmt;

use crate::record::Record;
use crate::roster::{Availability, Identity, Node};
use crate::sanitize::excerpt;

/// If there are more groups, those with the most nodes are shown. A fleet of thousands of nodes has dozens.
const MAX_GROUPS: usize = 200;

/// The name of a group. `None` is for nodes that state none.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// The stacktype.
    pub stacktype: Option<String>,
    /// The deployment.
    pub deployment: Option<String>,
    /// The part.
    pub part: Option<String>,
}

impl Group {
    /// The group of the node with that record. A fact that is empty is like one that is missing.
    pub fn of(record: &Record) -> Group {
        let fact = |name| {
            let text = record.text(name).filter(|text| !text.is_empty());
            text.map(std::borrow::Cow::into_owned)
        };
        Group { stacktype: fact("stacktype"), deployment: fact("deployment"), part: fact("nodepart") }
    }

    /// The identity that its nodes render templates for.
    pub fn identity(&self) -> Identity {
        Identity {
            part: self.part.clone(),
            stacktype: self.stacktype.clone(),
            deployment: self.deployment.clone(),
        }
    }

    /// The group of that identity.
    pub fn of_identity(who: &Identity) -> Group {
        Group { stacktype: who.stacktype.clone(), deployment: who.deployment.clone(), part: who.part.clone() }
    }
}

/// As messages name it: `lb1 (lad1, fed1)`.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = self.part.as_deref().map_or_else(|| "no part".to_owned(), excerpt);
        let place: Vec<String> =
            [&self.stacktype, &self.deployment].into_iter().flatten().map(|name| excerpt(name)).collect();
        match place.is_empty() {
            true => f.write_str(&part),
            false => write!(f, "{part} ({})", place.join(", ")),
        }
    }
}

/// The nodes of a group.
#[derive(Debug)]
pub struct Members<'a> {
    /// The nodes, by instance-id. Never empty.
    pub nodes: Vec<&'a Node>,
}

impl<'a> Members<'a> {
    /// The node that stands for the group: the first active one, or the first.
    pub fn example(&self) -> Option<&'a Node> {
        let active = self.nodes.iter().find(|node| node.availability == Availability::Active);
        active.or(self.nodes.first()).copied()
    }

    /// How many nodes are in each state, the most frequent first.
    pub fn states(&self) -> Vec<(String, usize)> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for node in &self.nodes {
            let state = node.record.state().map_or_else(|| "no state".to_owned(), |state| state.into_owned());
            *counts.entry(state).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by(|(a, few), (b, many)| many.cmp(few).then_with(|| a.cmp(b)));
        counts
    }
}

/// The groups of these nodes.
#[derive(Debug, Default)]
pub struct Groups<'a> {
    /// The groups with their nodes.
    pub all: BTreeMap<Group, Members<'a>>,
    /// How many groups there are too many.
    pub left_out: usize,
}

impl<'a> Groups<'a> {
    /// Sorts the nodes into groups.
    pub fn of(nodes: impl IntoIterator<Item = &'a Node>) -> Groups<'a> {
        let mut all: BTreeMap<Group, Members<'a>> = BTreeMap::new();
        for node in nodes {
            all.entry(Group::of(&node.record))
                .or_insert_with(|| Members { nodes: Vec::new() })
                .nodes
                .push(node);
        }
        let left_out = all.len().saturating_sub(MAX_GROUPS);
        if left_out > 0 {
            let mut sizes: Vec<(usize, Group)> =
                all.iter().map(|(group, members)| (members.nodes.len(), group.clone())).collect();
            sizes.sort_by(|(few, a), (many, b)| many.cmp(few).then_with(|| a.cmp(b)));
            for (_, group) in sizes.drain(MAX_GROUPS..) {
                all.remove(&group);
            }
        }
        Groups { all, left_out }
    }

    /// The number of nodes.
    pub fn count(&self) -> usize {
        self.all.values().map(|members| members.nodes.len()).sum()
    }
}
