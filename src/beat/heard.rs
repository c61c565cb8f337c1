//! Observations of heartbeats, kept in the state directory from run to run.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::fleet::Fleet;
use crate::errors::PathError;
use crate::liveness::{Listed, Sightings, Silent};
use crate::state;

/// The nodes that an agent found silent. Without them, nodes that were left out would return for a while
/// whenever an agent starts.
const SILENT: &str = "silent.json";

/// The heartbeats that single runs have seen.
const SIGHTINGS: &str = "sightings.json";

/// The nodes of the list, with the fields that liveness needs.
pub fn listed(fleet: &Fleet) -> impl Iterator<Item = Listed<'_>> {
    fleet.roster.nodes.iter().map(|node| Listed {
        id: node.record.id().as_str(),
        changed: node.record.changed(),
        last_seen: node.last_seen,
    })
}

/// The nodes that an earlier agent found silent.
pub fn silent(state_dir: &Path) -> BTreeMap<String, Silent> {
    load(state_dir, SILENT)
}

/// Saves the silent nodes for the next agent.
pub fn save_silent(state_dir: &Path, silent: &BTreeMap<String, Silent>) -> Result<(), PathError> {
    state::save(state_dir, SILENT, silent)
}

/// The heartbeats that earlier runs have seen.
pub fn sightings(state_dir: &Path) -> Sightings {
    load(state_dir, SIGHTINGS)
}

/// Saves what was seen, for the next run.
pub fn save_sightings(state_dir: &Path, sightings: &Sightings) -> Result<(), PathError> {
    state::save(state_dir, SIGHTINGS, sightings)
}

/// Loads a memory. An unreadable file is treated like a missing one: then all nodes get their full time
/// again.
fn load<T: DeserializeOwned + Default>(state_dir: &Path, name: &str) -> T {
    state::load(state_dir, name).unwrap_or_default()
}
