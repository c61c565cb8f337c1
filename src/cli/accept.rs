use std::path::PathBuf;

use super::error::{CliError, ExitKind};
use super::fleet::FleetStores;
use super::{beat, console};
use crate::config::Config;

/// Let a held file follow the list once without safety limits
///
/// FILE is the `output` of a `[[render]]` table of presence.toml. It is rendered once without safety limits,
/// with the table's own variables, check and reload. Silent nodes that the file has kept are dropped, until
/// they give a sign of life again. A running agent continues from the new file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  presence accept /etc/haproxy/haproxy.cfg
  presence accept /etc/haproxy/haproxy.cfg --dry-run")]
pub(super) struct Args {
    /// The `output` of a `[[render]]` table
    file: PathBuf,
    /// Print what would be done and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) fn run(args: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    let table = beat::table(config, &args.file)?;
    let done = beat::accept(config, stores, table, args.dry_run);
    // The file is in place even if its reload is owed.
    let is_accepted = done.as_ref().map_or_else(|error| error.kind == ExitKind::ReloadFailed, |()| true);
    if is_accepted && !args.dry_run {
        console::note(&format!("accepted the present list for `{}`", table.target.path.display()));
    }
    done
}
