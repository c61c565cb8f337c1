//! The parts of a `{{#parts}}` block, as its helpers see them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::name::Name;

/// What a block is rendered for: a part, or a service of a part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) part: Name,
    pub(super) service: Option<Name>,
}

impl Item {
    /// Its name among all parts and services: no part has a slash.
    pub(super) fn key(&self) -> String {
        key(self.part.as_str(), self.service.as_ref().map(Name::as_str))
    }
}

/// The name of a part, or of a service of it, among all.
pub(super) fn key(part: &str, service: Option<&str>) -> String {
    match service {
        Some(service) => format!("{part}/{service}"),
        None => part.to_owned(),
    }
}

/// A part or service that at least one node has.
#[derive(Debug, Clone)]
pub(super) struct Played {
    /// Its key.
    pub(super) part: String,
    /// The number of its active nodes.
    pub(super) active: usize,
    /// Whether it was in the last good output.
    pub(super) old: bool,
}

/// Where a balancer listens for a part, or why it does not.
#[derive(Debug, PartialEq)]
pub(super) enum Listener {
    At(u16),
    Taken { port: u16, holder: String },
    Reserved { port: u16, variable: String },
    Beyond { most: u16 },
}

/// Where a balancer listens for each part of a block.
pub(super) type Listeners = BTreeMap<String, Listener>;

/// All parts of a block, and the values that depend on all of them, computed once.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// By key.
    pub(super) parts: Vec<Played>,
    pub(super) backend_ids: OnceLock<Vec<u32>>,
    pub(super) listeners: OnceLock<Listeners>,
}

impl Block {
    /// The index of a part.
    pub(super) fn place(&self, part: &str) -> Option<usize> {
        self.parts.binary_search_by(|played| played.part.as_str().cmp(part)).ok()
    }
}
