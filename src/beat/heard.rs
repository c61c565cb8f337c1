//! What was heard of heartbeats, kept in the state directory from run to run.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::fleet::Fleet;
use crate::errors::PathError;
use crate::liveness::{Listed, Sightings, Silent};
use crate::state;

/// The nodes that an agent found silent. Those that were left out already do not come back for a while only because a new
/// agent has not listened yet.
const SILENT: &str = "silent.json";

/// What single runs have seen.
const SIGHTINGS: &str = "sightings.json";

/// The nodes on the list, as far as their liveness goes.
pub fn listed(fleet: &Fleet) -> impl Iterator<Item = Listed<'_>> {
    fleet.roster.nodes.iter().map(|node| Listed {
        id: node.record.id().as_str(),
        changed: node.record.changed(),
        last_seen: node.last_seen,
    })
}

/// The nodes that an agent found silent before.
pub fn silent(state_dir: &Path) -> BTreeMap<String, Silent> {
    load(state_dir, SILENT)
}

/// Keeps the nodes that are silent, for the next agent.
pub fn save_silent(state_dir: &Path, silent: &BTreeMap<String, Silent>) -> Result<(), PathError> {
    state::save(state_dir, SILENT, silent)
}

/// What runs before have seen.
pub fn sightings(state_dir: &Path) -> Sightings {
    load(state_dir, SIGHTINGS)
}

/// Keeps what was seen, for the next run.
pub fn save_sightings(state_dir: &Path, sightings: &Sightings) -> Result<(), PathError> {
    state::save(state_dir, SIGHTINGS, sightings)
}

/// What was kept. A file that cannot be read is as good as none: then all nodes have time to be heard.
fn load<T: DeserializeOwned + Default>(state_dir: &Path, name: &str) -> T {
    state::load(state_dir, name).unwrap_or_default()
}
