//! What a file's turn asks of its machine, besides its target.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::fleet::FleetStores;
use super::node::{self, NodeError};
use crate::config::Config;
use crate::errors::PathError;
use crate::name::Name;
use crate::output::Memory;
use crate::roster::Identity;
use crate::template::{Lookup, TemplateError};

/// The machine on which a file has its turn.
pub trait TurnPort {
    /// The memory of that file, and everything else that is done with the file.
    fn memory(&self, path: &Path) -> Result<Memory, PathError>;

    /// The templates in these directories for that identity.
    fn templates(&self, dirs: &[PathBuf], who: &Identity) -> Result<Arc<Lookup>, TemplateError>;

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

    fn templates(&self, dirs: &[PathBuf], who: &Identity) -> Result<Arc<Lookup>, TemplateError> {
        Lookup::new(dirs, who).map(Arc::new)
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
