//! A rehearsal of everything that the agent and `render` do, without the effects.

mod commands;
mod credentials;
mod files;
mod findings;
mod haproxy;
mod others;
mod own;
mod stores;

use super::console;
use super::error::{CliError, ExitKind};
use super::fleet::FleetStores;
use super::templates::Who;
use crate::beat::machine::Machine;
use crate::config::Config;
use crate::sanitize::terminal_safe;
use findings::{Findings, Verdict};

/// Rehearse everything that this node does, and say what to do
///
/// Goes through what `beat`, `agent` and `render` would do, without the effects. It covers this node's record,
/// HAProxy's sockets, the programs of all commands, health checks and webhooks. It reads the stores and
/// rehearses a publish, and renders every `[[render]]` table with its safety limits and its check. Changes
/// nothing but the last copies in the state directory. A step that cannot be tried without its effect is
/// reported as untried. The exit code is 1 if something failed. With -q, only failures are shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  presence doctor
  presence doctor --format json
  presence doctor --store ssh://git@git.example.net/srv/list.git")]
pub(super) struct Args {
    /// Print the findings in this format
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
enum Format {
    /// Lines for people
    Text,
    /// One JSON object: findings (verdict, subject, text, advice), ok, warnings, failed, untried
    Json,
}

/// Reports an unreadable configuration in the requested format.
pub(super) fn unconfigured(args: &Args, error: CliError) -> Result<(), CliError> {
    if args.format == Format::Json {
        let mut findings = Findings::default();
        findings.bad("configuration", error.message(), error.advice().map(str::to_owned));
        console::data(&console::json(&findings.json())?)?;
    }
    Err(error)
}

pub(super) fn run(args: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    let mut findings = Findings::default();
    own::configuration(config, &mut findings);
    let facts = own::record(config, &mut findings);
    let who = args.who.identity(facts.as_ref().unwrap_or(&crate::record::Facts::new()));
    own::identity(config, &who, &mut findings);
    own::directories(config, &mut findings);
    credentials::files(config, &mut findings);
    let fleet = stores::look(config, stores, &mut findings);
    files::templates(args, config, &who, &mut findings);
    haproxy::installed(config, &mut findings);
    commands::programs(config, &mut findings);
    files::targets(config, &Machine::new(config, stores), facts.as_ref(), &fleet, &mut findings);
    files::pages(config, &mut findings);
    others::health(&config.healths, &mut findings);
    others::notifications(&config.notifies, &mut findings);
    let only = if console::is_quiet() { Some(Verdict::Bad) } else { None };
    match args.format {
        Format::Text => console::data(&terminal_safe(&findings.text(only)))?,
        Format::Json => console::data(&console::json(&findings.json())?)?,
    }
    match findings.count(Verdict::Bad) {
        0 => Ok(()),
        failed => {
            Err(CliError::new(ExitKind::Failed, format!("{failed} of {} checks failed", findings.len())))
        }
    }
}
