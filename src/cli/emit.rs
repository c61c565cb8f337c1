use super::error::CliError;
use super::{console, node};
use crate::config::Config;

/// Print this node's record
///
/// The facts are the files `*.txt` of the nodeinfo folder (the name is the fact, the trimmed content its value), and what
/// the machine itself knows and no file says: hostname, ipv4, ipv6, and the machine id as instance-id. The bytes are those
/// that `presence publish` writes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  presence emit\n  presence emit --nodeinfo ./nodeinfo")]
pub(super) struct Args {}

pub(super) fn run(_: &Args, config: &Config) -> Result<(), CliError> {
    console::data(&String::from_utf8_lossy(&node::record(config)?.to_bytes()))
}
