use super::error::CliError;
use super::fleet::{self, FleetStores};
use super::{console, node};
use crate::beat::own::{self, Firmness};
use crate::config::Config;
use crate::record::Record;

/// Publish this node's record to every store
///
/// A record that is already on the list is not written again, and makes no commit. Prints a line for each
/// store. A store that fails is a warning if another store has taken the record.
///
/// A fact that others cannot use is a warning that names its file. A fact by which others find this node (its
/// address, port or part) stays on the list until two publishes in a row have not seen it: an empty file may
/// be one that is just being written. A missing state stays until another one is set.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  presence publish
  presence publish --store ssh://git@git.example.net/srv/list.git
  presence publish --dry-run")]
pub(super) struct Args {
    /// Print the record and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Create the branch that `branch` in presence.toml names, in a repository that has only other branches
    #[arg(long)]
    create_branch: bool,
    /// Publish the record even without an address, port, part or state that this node has stated before
    #[arg(long)]
    anyway: bool,
}

pub(super) fn run(args: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    let firmness = match (args.dry_run, args.anyway) {
        (_, true) => Firmness::Anyway,
        (true, false) => Firmness::Look,
        (false, false) => Firmness::Say,
    };
    let record = match (args.dry_run, args.anyway) {
        (true, true) => node::record(config)?,
        _ => own(config, stores, firmness)?,
    };
    if args.dry_run {
        for store in &config.stores {
            console::note(&format!("would publish {} to {}", record.id(), crate::store::shown_url(store)));
        }
        return console::data(&String::from_utf8_lossy(&record.to_bytes()));
    }
    match args.create_branch {
        true => {
            let config = Config { create_branch: true, ..config.clone() };
            publish(&config, &FleetStores::open(&config), &record)
        }
        false => publish(config, stores, &record),
    }
}

/// This node's record as it will be published. Prints warnings about it.
pub(super) fn own(config: &Config, stores: &FleetStores, firmness: Firmness) -> Result<Record, CliError> {
    let own = own::settle_alone(config, stores, node::record(config)?, firmness);
    own.warnings.iter().for_each(|warning| console::warning(&warning.text));
    Ok(own.record)
}

/// Publishes the record to every store and prints the results.
pub(super) fn publish(config: &Config, stores: &FleetStores, record: &Record) -> Result<(), CliError> {
    fleet::publish(config, stores, record)
}
