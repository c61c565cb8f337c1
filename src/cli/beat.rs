use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::error::{CliError, ExitKind};
use super::fleet::{self, Fleet, FleetStores, MaxAge};
use super::{console, node, publish, render};
use crate::beat::absence::Evidence;
use crate::beat::announce::{self, Judged};
use crate::beat::heard;
use crate::beat::machine::Machine;
use crate::beat::own::Firmness;
use crate::beat::pages;
use crate::beat::reloads;
use crate::beat::turn::{self, Turn, TurnError, TurnOptions};
use crate::config::{Config, PageFile, Render};
use crate::errors::chain;
use crate::liveness::Sightings;
use crate::notify::Notifier;
use crate::output::Done;
use crate::record::Facts;
use crate::same_file::is_same_file;
use crate::store::shown_url;

/// How long notifications may delay the end of a beat. The next beat sends the rest.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// Do one beat: publish, read the list, render what changed
///
/// Runs this node's health checks, publishes its record if that has changed, and leaves a heartbeat, which
/// makes no history. Then reads the list, and brings the file of every `[[render]]` table of presence.toml up
/// to date, and then every page of a `[[page]]` table. A failing step does not stop later steps. The exit code is the highest of all failures. With
/// `--max-age`, other commands judge nodes by their heartbeats.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  presence beat\n  presence beat --dry-run\n  * * * * * root presence beat --quiet        # in /etc/cron.d/presence"
)]
pub(super) struct Args {
    /// Print what would be done and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Accept the list for this file, as `presence accept` does; may be given more than once
    #[arg(long, value_name = "FILE")]
    accept: Vec<PathBuf>,
}

/// The worst failure so far. Each error is printed at once, and the beat goes on.
#[derive(Default)]
struct Failures(Option<ExitKind>);

impl Failures {
    /// Returns the value, or prints the error and remembers its kind.
    fn note<T>(&mut self, result: Result<T, CliError>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        console::failure(&error);
        let worst = self.0.filter(|worst| *worst as u8 >= error.kind as u8);
        self.0 = Some(worst.unwrap_or(error.kind));
        None
    }
}

pub(super) fn run(args: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    for file in &args.accept {
        table(config, file)?;
    }
    let mut failures = Failures::default();
    if !args.dry_run {
        failures.note(health(config));
    }
    // A store that refuses this node's heartbeat may refuse those of others too.
    let accepted = failures.note(announce(args, config, stores)).unwrap_or(false);
    if !config.renders.is_empty() || !config.notifies.is_empty() || !config.pages.is_empty() {
        read_and_render(args, config, stores, accepted, &mut failures);
    }
    match failures.0 {
        None => Ok(()),
        Some(kind) => Err(CliError::new(kind, "")),
    }
}

fn health(config: &Config) -> Result<(), CliError> {
    let answers = announce::ask_health(&config.healths);
    for answer in &answers {
        if let Err(reason) = &answer.answer {
            console::warning(&format!("health check `{}`: {reason}", answer.name));
        }
    }
    let judged = announce::judge_health(config, &answers)?;
    if judged != Judged::Nothing {
        console::note(&judged.to_string());
    }
    Ok(())
}

fn announce(args: &Args, config: &Config, stores: &FleetStores) -> Result<bool, CliError> {
    let firmness = if args.dry_run { Firmness::Look } else { Firmness::Say };
    let record = publish::own(config, stores, firmness)?;
    if args.dry_run {
        for store in &config.stores {
            console::note(&format!("would publish {} to {}", record.id(), shown_url(store)));
        }
        return Ok(true);
    }
    fleet::announce(config, stores, &record)
}

fn read_and_render(
    args: &Args,
    config: &Config,
    stores: &FleetStores,
    accepted: bool,
    failures: &mut Failures,
) {
    let beats = config.wants_beats() || !config.pages.is_empty();
    let Some(fleet) = failures.note(fleet::read(config, stores, &MaxAge::default(), beats)) else { return };
    console::warnings(&fleet.problems(), fleet::ALL_PROBLEMS);
    let notifier = match args.dry_run {
        true => None,
        false => failures.note(tell(config, &fleet)).flatten(),
    };
    let facts = failures.note(node::facts(config)).unwrap_or_default();
    let sightings = match accepted {
        true => failures.note(see(args, config, &fleet)).flatten(),
        false => None,
    };
    let evidence = match &sightings {
        Some((sightings, now)) => Evidence::Seen(sightings, *now),
        None => Evidence::Nothing,
    };
    let accepted = |path: &Path| {
        args.accept.iter().any(|file| std::path::absolute(file).is_ok_and(|file| is_same_file(&file, path)))
    };
    let machine = Machine::new(config, stores);
    let shared = reloads::shared(&config.renders);
    let mut waiting = Vec::new();
    for (place, table) in config.renders.iter().enumerate() {
        let accept = accepted(&table.target.path);
        let options = TurnOptions {
            dry_run: args.dry_run,
            hold_reload: shared[place],
            evidence,
            accept,
            compare_firsts: false,
        };
        let turn = turn::take(&machine, config, table, &facts, &fleet, options);
        match shared[place] {
            true => waiting.push((place, turn)),
            false => drop(failures.note(report(&config.state_dir, table, turn, args.dry_run))),
        }
    }
    reloads::run(&machine, &config.renders, &mut waiting, || true);
    for (place, turn) in waiting {
        failures.note(report(&config.state_dir, &config.renders[place], turn, args.dry_run));
    }
    // Last, since a page may take long.
    for table in &config.pages {
        failures.note(page((config, stores), table, (&fleet, &facts), args.dry_run));
    }
    for trouble in notifier.map(|notifier| notifier.finish(LAST_WORDS)).unwrap_or_default() {
        console::warning(&trouble);
    }
}

/// Brings a page up to date.
fn page(
    (config, stores): (&Config, &FleetStores),
    table: &PageFile,
    fleet: (&Fleet, &Facts),
    dry_run: bool,
) -> Result<(), CliError> {
    let path = table.target.path.display();
    let mut warnings = Vec::new();
    let done = pages::keep(config, stores, fleet, table, dry_run, &mut warnings);
    warnings.iter().for_each(|warning| console::warning(&format!("{path}: {warning}")));
    let done = done?;
    console::note(&match dry_run {
        true => render::would(&path, &table.target, &done),
        false => render::done(&path, &table.target, &done),
    });
    Ok(())
}

/// Adds the heartbeats that this run sees to those of earlier runs. `None` if a heartbeat store is away.
fn see(args: &Args, config: &Config, fleet: &Fleet) -> Result<Option<(Sightings, Timestamp)>, CliError> {
    let max_ages = config.renders.iter().filter_map(|render| render.max_age);
    let Some(least) = max_ages.min() else { return Ok(None) };
    let Evidence::Stated(now) = fleet.evidence()? else { return Ok(None) };
    // A run that is at most this late has missed no heartbeat.
    let gap = least.unsigned_abs() / 2;
    let before = heard::sightings(&config.state_dir);
    let sightings = before.after(heard::listed(fleet), now, gap.max(config.agent.interval));
    if !args.dry_run {
        heard::save_sightings(&config.state_dir, &sightings)?;
    }
    Ok(Some((sightings, now)))
}

/// Reports the result of a file's turn.
fn report(state_dir: &Path, table: &Render, turn: Turn, dry_run: bool) -> Result<(), CliError> {
    let path = turn.path.display();
    let warnings: Vec<String> =
        turn.warnings.iter().map(|warning| format!("{path}: {}", warning.text)).collect();
    console::warnings(&warnings, fleet::ALL_PROBLEMS);
    // If servers do not come up, the warnings have already said so.
    let is_told = |done: &Done| matches!(done, Done::Followed(followed) if followed.is_silent());
    if let Some(done) = turn.done().filter(|done| !is_told(done)) {
        console::note(&match dry_run {
            true => render::would(&path, &table.target, done),
            false => render::done(&path, &table.target, done),
        });
    }
    let held = match &turn.result {
        Err(error @ (TurnError::Limited { .. } | TurnError::Refused { .. })) => Some(chain(error)),
        _ => None,
    };
    // cron mails the output of a quiet beat: report a held file only once.
    let is_new = dry_run || turn::note_held(state_dir, &turn.path, held.as_deref());
    match turn.result {
        Err(error) if console::is_quiet() && !is_new => Err(CliError::from(error).untold()),
        Err(error) => Err(error.into()),
        // The warnings have named the servers.
        Ok(Done::Followed(followed)) if !followed.failed.is_empty() => {
            Err(CliError::new(ExitKind::ReloadFailed, ""))
        }
        Ok(_) => Ok(()),
    }
}

/// Finds the `[[render]]` table of a file.
pub(super) fn table<'c>(config: &'c Config, file: &PathBuf) -> Result<&'c Render, CliError> {
    let path = std::path::absolute(file)
        .map_err(|error| CliError::usage(format!("cannot find `{}`: {error}", file.display())))?;
    config.renders.iter().find(|render| is_same_file(&render.target.path, &path)).ok_or_else(|| {
        let known: Vec<String> =
            config.renders.iter().map(|render| format!("`{}`", render.target.path.display())).collect();
        let hint = match known.is_empty() {
            true => format!("`{}` has no [[render]] table", config.file.display()),
            false => format!("the tables of `{}` write {}", config.file.display(), known.join(", ")),
        };
        CliError::usage(format!("no [[render]] table writes `{}`", path.display())).hint(hint)
    })
}

/// Accepts the list for one file.
pub(super) fn accept(
    config: &Config,
    stores: &FleetStores,
    table: &Render,
    dry_run: bool,
) -> Result<(), CliError> {
    let fleet = fleet::read(config, stores, &MaxAge::default(), config.wants_beats())?;
    console::warnings(&fleet.problems(), fleet::ALL_PROBLEMS);
    let options = TurnOptions {
        dry_run,
        hold_reload: false,
        evidence: Evidence::Nothing,
        accept: true,
        compare_firsts: false,
    };
    let turn =
        turn::take(&Machine::new(config, stores), config, table, &node::facts(config)?, &fleet, options);
    report(&config.state_dir, table, turn, dry_run)
}

/// Queues notifications of what changed on the list, and starts to send them.
fn tell(config: &Config, fleet: &Fleet) -> Result<Option<Notifier>, CliError> {
    let Some(mut notifier) = Notifier::open(&config.notifies, &config.state_dir)? else { return Ok(None) };
    if fleet.is_whole()
        && let Err(error) = notifier.look(&fleet.roster, &config.states, node::now()?)
    {
        console::warning(&chain(&error));
    }
    Ok(Some(notifier))
}
