use super::error::CliError;
use super::fleet::FleetStores;
use super::{console, publish};
use crate::beat::node::enter_state;
use crate::beat::own::Firmness;
use crate::config::Config;
use crate::name::Name;

/// Set this node's state, then publish
///
/// Writes `state`, `statetss` (now, UTC) and an entry of `statelog` into nodeinfo. Usual states: presetup,
/// setup, initdone, done, running (active); draining; drained, wedged (down); decommissioned (absent). An
/// unknown state is refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  presence state done\n  presence state draining")]
pub(super) struct Args {
    /// The new state
    state: String,
    /// Set a state that no table lists, which takes this node out of all files
    #[arg(long)]
    anyway: bool,
}

pub(super) fn run(args: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    let state = Name::parse(&args.state).map_err(|error| {
        CliError::usage(format!("`{}` is not a state: {error}", crate::sanitize::shown(&args.state)))
    })?;
    if !args.anyway && !config.states.knows(state.as_str()) {
        let known: Vec<&str> = config.states.names().collect();
        let meant = config.states.nearest(state.as_str());
        let meant = meant.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        let text = format!(
            "the state `{state}` is in no table, so templates would leave the node out; nothing was changed"
        );
        return Err(CliError::usage(text).hint(format!(
            "{meant}known states: {}; add one to [states] in presence.toml, or set it with --anyway",
            known.join(", ")
        )));
    }
    if !enter_state(&config.nodeinfo, &state, None)? {
        console::note(&format!("this node is already in the state `{state}`"));
    }
    let firmness = if args.anyway { Firmness::Anyway } else { Firmness::Say };
    publish::publish(config, stores, &publish::own(config, stores, firmness)?)
        .map_err(|error| error.after(&unpublished(&state)))
}

/// The message that the state applies although no store has confirmed it.
fn unpublished(state: &Name) -> String {
    format!(
        "the state `{state}` is set on this machine; the next `presence publish`, `presence beat` or beat \
         of the agent publishes it"
    )
}
