use super::error::CliError;
use super::{console, node};
use crate::config::Config;

/// Print this node's record
///
/// The facts are the `*.txt` files of the nodeinfo folder: the name is the fact, the trimmed content its
/// value. Where no file states them, the machine adds hostname, ipv4, ipv6, and the machine id as
/// instance-id. `presence publish` writes the same bytes, unless it keeps a fact that is missing for a moment.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  presence emit\n  presence emit --nodeinfo ./nodeinfo")]
pub(super) struct Args {}

pub(super) fn run(_: &Args, config: &Config) -> Result<(), CliError> {
    console::data(&String::from_utf8_lossy(&node::record(config)?.to_bytes()))
}
