//! What a file's turn asks of its machine, besides its target.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::fleet::FleetStores;
use super::node::{self, NodeError};
use crate::config::Config;
use crate::errors::PathError;
use crate::name::Name;
use crate::output::Memory;

/// The machine on which a file has its turn.
pub trait TurnPort {
    /// The memory of that file, and everything else that is done with the file.
    fn memory(&self, path: &Path) -> Result<Memory, PathError>;

    /// The time.
    fn now(&self) -> Result<Timestamp, NodeError>;

    /// Which of these nodes were withdrawn; their records are missing.
    fn withdrawn(&self, ids: &BTreeSet<Name>) -> BTreeSet<Name>;
}

/// This machine.
pub struct Machine<'a> {
    state_dir: PathBuf,
    stores: &'a FleetStores,
}

impl<'a> Machine<'a> {
    /// The machine of this configuration.
    pub fn new(config: &Config, stores: &'a FleetStores) -> Machine<'a> {
        Machine { state_dir: config.state_dir.clone(), stores }
    }
}

impl TurnPort for Machine<'_> {
    fn memory(&self, path: &Path) -> Result<Memory, PathError> {
        Memory::open(&self.state_dir, &key(path))
    }

    fn now(&self) -> Result<Timestamp, NodeError> {
        node::now()
    }

    fn withdrawn(&self, ids: &BTreeSet<Name>) -> BTreeSet<Name> {
        self.stores.list.withdrawn(ids)
    }
}

/// The key of that file's memory.
pub fn key(path: &Path) -> String {
    format!("file {}", path.display())
}
