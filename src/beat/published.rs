//! What this node last published, as this machine remembers it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::errors::PathError;
use crate::state;

/// The facts with this node's address, the best one first: the first that exists is used.
pub(super) const ADDRESSES: [&str; 3] = ["address", "ipv4", "ipv6"];

/// What this node last published: its firm facts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct LastPublished {
    /// Its instance-id.
    pub(super) id: String,
    /// Firm facts, as text.
    pub(super) facts: BTreeMap<String, String>,
    /// Facts that the last publishing missed, each with the unusable value in its place, if there is one.
    pub(super) doubted: Vec<String>,
}

/// The name under which this node last published; `None` if it has not, or if that is unknown.
pub(super) fn id_said(state_dir: &Path) -> Option<String> {
    load(state_dir).map(|said| said.id).filter(|id| !id.is_empty())
}

const SAID: &str = "said.json";

/// `None` if this node has not published, or if that is unknown.
pub(super) fn load(state_dir: &Path) -> Option<LastPublished> {
    state::load(state_dir, SAID)
}

pub(super) fn save(state_dir: &Path, said: &LastPublished) -> Result<(), PathError> {
    state::save(state_dir, SAID, said)
}
