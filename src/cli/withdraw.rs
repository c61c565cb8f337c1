use super::error::CliError;
use super::fleet::{self, FleetStores};
use super::node;
use crate::config::Config;
use crate::name::Name;
use crate::store::Edit;

/// Remove a node's record from every store
///
/// Without an ID, removes this node's record. A node that still publishes comes back: stop its timer or agent
/// first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  presence withdraw\n  presence withdraw i-c44e9b33")]
pub(super) struct Args {
    /// The instance-id of the node [default: this node]
    id: Option<String>,
}

pub(super) fn run(args: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    let id = match &args.id {
        Some(id) => {
            Name::parse(id).map_err(|error| CliError::usage(format!("not an instance-id: {error}")))?
        }
        None => node::record(config)?.id().clone(),
    };
    let changed = fleet::apply(config, stores, &Edit::Remove(&id), "not on the list").map_err(|error| {
        error
            .after(&format!("no store has confirmed that `{id}` is off the list: run the same command again"))
    })?;
    if !changed && args.id.is_some() {
        return Err(CliError::failed(format!("no store has a record of `{id}`"))
            .hint("`presence list --format ids` lists the nodes".to_owned()));
    }
    Ok(())
}
