//! The nodes that were silent, over a restart of the agent: those that were left out already do not come back for a while
//! only because a new agent has not listened yet.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::errors::{AtPath, PathError};
use crate::liveness::Silent;

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("silent.json")
}

/// What was saved. A file that cannot be read is as good as none: then all nodes have time to be heard.
pub(super) fn load(state_dir: &Path) -> BTreeMap<String, Silent> {
    fs::read(path(state_dir)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// Saves the nodes that are silent.
pub(super) fn save(state_dir: &Path, silent: &BTreeMap<String, Silent>) -> Result<(), PathError> {
    let path = path(state_dir);
    let text = serde_json::to_vec(silent).map_err(io::Error::from).at("write", &path)?;
    let mut staged = tempfile::NamedTempFile::new_in(state_dir).at("write a file in", state_dir)?;
    staged.write_all(&text).at("write", &path)?;
    staged.persist(&path).map_err(|error| error.error).at("replace", &path)?;
    Ok(())
}
