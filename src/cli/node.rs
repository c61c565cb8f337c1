//! This node's facts and record, for commands.

use jiff::Timestamp;

use super::error::CliError;
use crate::beat::node;
use crate::config::Config;
use crate::record::{Facts, Record};

pub(super) fn facts(config: &Config) -> Result<Facts, CliError> {
    Ok(node::facts(&config.nodeinfo)?)
}

pub(super) fn record(config: &Config) -> Result<Record, CliError> {
    Ok(node::record(&config.nodeinfo, &config.state_dir)?)
}

pub(super) fn now() -> Result<Timestamp, CliError> {
    Ok(node::now()?)
}
