use super::console;
use super::error::CliError;
use crate::agent::{self, Report};
use crate::config::Config;

/// Beat for ever
///
/// A beat is what `presence beat` does; between beats the stores are looked at every `[agent] poll`, and what changed is
/// rendered after a moment of quiet. SIGHUP beats at once, SIGTERM and SIGINT end cleanly. Under systemd it says when it
/// is ready and that it is alive. Only one agent runs with a state directory.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  presence agent\n  systemctl enable --now presence-agent")]
pub(super) struct Args {}

pub(super) fn run(_: &Args, config: &Config) -> Result<(), CliError> {
    let say = |said: Report| match said {
        Report::Note(text) => console::note(&text),
        Report::Warning(text, hint) => {
            console::warning(&text);
            if let Some(hint) = hint {
                console::hint(&hint);
            }
        }
    };
    Ok(agent::run(config, &say)?)
}
