use std::time::Duration;

use super::error::{CliError, Kind};
use super::fleet::{self, Fleet, MaxAge};
use super::{node, output, render};
use crate::beat::announce;
use crate::beat::turn::{self, Manner};
use crate::config::Config;
use crate::errors::chain;
use crate::notify::Notifier;
use crate::store::shown_url;

/// How long notifications may hold up the end of a beat; what is left is sent by the next.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// Do one heartbeat: publish, fetch, render what changed
///
/// Asks this node's health checks, publishes its record if that has changed, leaves a heartbeat, which makes no history,
/// reads the list, and gives every `[[render]]` target of presence.toml its turn. What fails does not keep the rest from
/// being done. The exit code is the highest of all that failed. `--max-age` of other commands goes by heartbeats.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  presence beat\n  presence beat --dry-run\n  * * * * * root presence beat --quiet        # in /etc/cron.d/presence"
)]
pub(super) struct Args {
    /// Say what would be done, and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// What failed so far: it is printed at once, and the beat goes on.
#[derive(Default)]
struct Failures(Option<Kind>);

impl Failures {
    /// The value, or none and the error is counted.
    fn note<T>(&mut self, result: Result<T, CliError>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        error.print();
        let worst = self.0.filter(|worst| *worst as u8 >= error.kind as u8);
        self.0 = Some(worst.unwrap_or(error.kind));
        None
    }
}

pub(super) fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    let mut failures = Failures::default();
    if !args.dry_run {
        failures.note(health(config));
    }
    failures.note(announce(args, config));
    if !config.renders.is_empty() || !config.notifies.is_empty() {
        read_and_render(args, config, &mut failures);
    }
    match failures.0 {
        None => Ok(()),
        Some(kind) => Err(CliError::new(kind, "")),
    }
}

fn health(config: &Config) -> Result<(), CliError> {
    let answers = announce::ask_health(config);
    for answer in &answers {
        if let Err(reason) = &answer.answer {
            output::warning(&format!("health check `{}`: {reason}", answer.name));
        }
    }
    if let Some(state) = announce::judge_health(config, &answers)? {
        output::note(&format!("this node is now `{state}`, by its health checks"));
    }
    Ok(())
}

fn announce(args: &Args, config: &Config) -> Result<(), CliError> {
    let record = node::record(config)?;
    if args.dry_run {
        for store in &config.stores {
            output::note(&format!("would publish {} to {}", record.id(), shown_url(store)));
        }
        return Ok(());
    }
    fleet::announce(config, &record)
}

fn read_and_render(args: &Args, config: &Config, failures: &mut Failures) {
    let beats = config.wants_beats();
    let Some(fleet) = failures.note(fleet::read(config, &MaxAge::default(), beats)) else { return };
    output::warnings(&fleet.problems(), fleet::ALL_PROBLEMS);
    let notifier = match args.dry_run {
        true => None,
        false => failures.note(tell(config, &fleet)).flatten(),
    };
    let facts = failures.note(node::facts(config)).unwrap_or_default();
    let manner = Manner { dry_run: args.dry_run, hold_reload: false };
    for table in &config.renders {
        let turn = turn::take(config, table, &facts, &fleet, manner);
        let path = turn.path.display();
        let warnings: Vec<String> = turn.warnings.iter().map(|text| format!("{path}: {text}")).collect();
        output::warnings(&warnings, fleet::ALL_PROBLEMS);
        if let Some(done) = failures.note(turn.result.map_err(CliError::from)) {
            output::note(&match args.dry_run {
                true => render::would(&path, &table.target, &done),
                false => render::done(&path, &table.target, &done),
            });
        }
    }
    for trouble in notifier.map(|notifier| notifier.finish(LAST_WORDS)).unwrap_or_default() {
        output::warning(&trouble);
    }
}

/// Begins to tell what changed on the list.
fn tell(config: &Config, fleet: &Fleet) -> Result<Option<Notifier>, CliError> {
    let Some(mut notifier) = Notifier::open(&config.notifies, &config.state_dir)? else { return Ok(None) };
    if fleet.is_whole()
        && let Err(error) = notifier.look(&fleet.roster, &config.states, node::now()?)
    {
        output::warning(&chain(&error));
    }
    Ok(Some(notifier))
}
