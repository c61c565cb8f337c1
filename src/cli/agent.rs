use super::console;
use super::error::CliError;
use super::fleet::FleetStores;
use crate::agent::{self, Report};
use crate::config::Config;

/// Repeat beats until stopped
///
/// Between beats (see `presence beat`), the agent looks at the stores every `[agent] poll`. When something
/// changed, it renders after a moment of quiet. SIGHUP starts a beat at once; SIGTERM and SIGINT end the
/// agent cleanly. Under systemd, the agent reports when it is ready and that it is alive. Only one agent can
/// run with a state directory.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  presence agent\n  systemctl enable --now presence-agent")]
pub(super) struct Args {}

pub(super) fn run(_: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    let say = |said: Report| match said {
        Report::Note(text) => console::note(&text),
        Report::Warning(text, hint) => {
            console::warning(&text);
            if let Some(hint) = hint {
                console::hint(&hint);
            }
        }
    };
    Ok(agent::run(config, stores, &say)?)
}
