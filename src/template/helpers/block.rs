//! The parts of a `{{#parts}}` block, as its helpers see them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::name::Name;

/// A part that at least one node has.
#[derive(Debug, Clone)]
pub(super) struct Played {
    pub(super) part: Name,
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
    /// By name.
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
