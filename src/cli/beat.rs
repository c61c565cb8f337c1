use super::error::CliError;
use super::{fleet, node, publish};
use crate::config::Config;

/// Say that this node is still here
///
/// Publishes its record if that has changed, and leaves a heartbeat, which makes no history. `--max-age` of other commands
/// goes by heartbeats.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  presence beat\n  * * * * * root presence beat --quiet        # in /etc/cron.d/presence"
)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, config: &Config) -> Result<(), CliError> {
    let record = node::record(config)?;
    publish::publish(config, &record)?;
    fleet::beat(config, record.id())
}
