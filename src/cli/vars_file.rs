//! `--vars-file`: variables that do not stand on the command line.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::error::CliError;
use crate::config::Config;
use crate::errors::AtPath;
use crate::folder;

/// A file of variables. Its content becomes part of the configuration. So its name is no input of an output, and
/// a program may use a new temporary file for each run.
#[derive(Clone)]
pub(super) struct VarsFile(PathBuf);

impl From<std::ffi::OsString> for VarsFile {
    fn from(path: std::ffi::OsString) -> VarsFile {
        VarsFile(path.into())
    }
}

impl std::fmt::Debug for VarsFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VarsFile")
    }
}

/// The largest file of variables, in bytes.
const MAX_VARS_BYTES: u64 = 4 * 1024 * 1024;

impl VarsFile {
    /// The configuration with the variables of the file.
    pub(super) fn merged(&self, config: &Config) -> Result<Config, CliError> {
        let path = &self.0;
        let bytes = std::fs::File::open(path).and_then(|file| folder::read_within(file, MAX_VARS_BYTES));
        let bytes = bytes.at("read", path)?;
        // A message of the parser could show a part of a secret.
        let vars: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            CliError::usage(format!("`{}` is not one JSON object: see {place}", path.display()))
        })?;
        let mut config = config.clone();
        config.vars.extend(vars);
        Ok(config)
    }
}
