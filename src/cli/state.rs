use super::error::CliError;
use super::{node, output, publish};
use crate::config::Config;
use crate::facts;
use crate::name::Name;

/// Set this node's state, then publish
///
/// Writes `state`, `statetss` (now, UTC) and an entry of `statelog` into nodeinfo. Usual states: presetup, setup, initdone,
/// done, running (active); draining; drained, wedged (down); decommissioned (absent).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  presence state done\n  presence state draining")]
pub(super) struct Args {
    /// The new state
    state: String,
}

pub(super) fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    let state = Name::parse(&args.state)
        .map_err(|error| CliError::usage(format!("`{}` is no state: {error}", args.state.escape_debug())))?;
    if !config.states.knows(state.as_str()) {
        let known: Vec<&str> = config.states.names().collect();
        output::warning(&format!(
            "the state `{state}` is in no table and counts as absent; known are {} (more with [states] in presence.toml)",
            known.join(", ")
        ));
    }
    if !config.nodeinfo.is_dir() {
        return Err(CliError::failed(format!("there is no nodeinfo folder `{}`", config.nodeinfo.display()))
            .hint("`presence init` makes it".to_owned()));
    }
    let facts = node::facts(config)?;
    match facts::enter_state(&facts, state.as_str(), node::now_utc()?) {
        None => output::note(&format!("this node is in the state `{state}` already")),
        Some(changes) => {
            for (fact, value) in changes {
                facts::write(&config.nodeinfo, fact, &value)?;
            }
        }
    }
    publish::publish(config, &node::record(config)?)
}
