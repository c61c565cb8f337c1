//! The configured stores, for commands, and the messages about those that fail.

use jiff::SignedDuration;

use super::console;
use super::error::{CliError, ExitKind};
use crate::beat::fleet;
pub(super) use crate::beat::fleet::{Fleet, FleetStores};
use crate::config::{self, Config};
use crate::errors::chain;
use crate::name::Name;
use crate::record::Record;
use crate::store::{Applied, At, Edit, Moment, PendingRead, Reading, StoreError, Visitor};

/// Where the user can see all problems.
pub(super) const ALL_PROBLEMS: &str = "`presence list --format json` lists all";

/// The error of a command that could read no store.
pub(super) fn unreachable(fleet: &Fleet, message: &str) -> CliError {
    CliError::new(ExitKind::Kept, message).hint(fleet.hint())
}

/// How long a node may be silent: one option for all commands that read the list.
#[derive(Debug, Default, clap::Args)]
pub(super) struct MaxAge {
    /// Treat nodes without a sign of life for longer than this as absent: 90s, 5m, 2h, 1d
    #[arg(long, value_name = "AGE", value_parser = config::age)]
    pub(super) max_age: Option<SignedDuration>,
}

/// Looks at all stores without reading them.
pub(super) fn look(stores: &FleetStores, max_age: &MaxAge) -> Vec<PendingRead> {
    stores.list.look(max_age.max_age.is_some())
}

/// Reads all stores, with a warning for each that fails.
pub(super) fn read(
    config: &Config,
    stores: &FleetStores,
    max_age: &MaxAge,
    beats: bool,
) -> Result<Fleet, CliError> {
    let beats = beats || max_age.max_age.is_some();
    judged(config, stores, max_age, beats, stores.list.look(beats))
}

/// Reads all stores as they were at that moment. A warning for each that does not know it.
pub(super) fn read_back(config: &Config, stores: &FleetStores, at: &At) -> Result<Fleet, CliError> {
    let progress = console::Progress::start();
    let mut fleet = Fleet::read_back(config, stores, at);
    drop(progress);
    let is_known = fleet.is_current();
    let mut errors = fleet.readings.iter_mut().filter_map(|reading| reading.error.take()).collect::<Vec<_>>();
    let last = if is_known { None } else { errors.pop() };
    for error in &errors {
        console::warning(&chain(error));
        error.hint().iter().for_each(|hint| console::remedy(hint));
    }
    if !is_known {
        return Err(last.map_or_else(|| CliError::usage("no store is configured"), CliError::from));
    }
    if matches!(at, At::Time(_)) {
        let is_empty = |reading: &&Reading| {
            reading.moment.is_none() && reading.snapshot.as_ref().is_some_and(|files| files.is_empty())
        };
        for reading in fleet.readings.iter().filter(is_empty) {
            console::note(&format!("{}: the list was empty then: its first commit came later", reading.url));
        }
    }
    Ok(fleet)
}

/// The visitor after its walk along the history of the first store that answers and has one.
pub(super) fn history<V: Visitor>(stores: &FleetStores, visitor: &V) -> Result<V, CliError> {
    let progress = console::Progress::start();
    let walked = fleet::history(stores, visitor);
    drop(progress);
    walked.map_err(|mut errors| {
        let last = errors.pop();
        errors.iter().for_each(|error| console::warning(&chain(error)));
        last.map_or_else(|| CliError::usage("no store is configured"), CliError::from)
    })
}

/// Prints which version of the list the stores had then.
pub(super) fn tell_moments(fleet: &Fleet) {
    for reading in &fleet.readings {
        if let Some(Moment { commit, time }) = &reading.moment {
            let time = time.strftime("%Y-%m-%d %H:%M:%S");
            console::note(&format!("{}: the commit {commit:.8} of {time} UTC", reading.url));
        }
    }
}

/// Completes the pending reads, with a warning for each that fails. Does not yet make silent nodes absent.
pub(super) fn read_pending(
    config: &Config,
    stores: &FleetStores,
    max_age: &MaxAge,
    seen: Vec<PendingRead>,
) -> Result<Fleet, CliError> {
    judged(config, stores, &MaxAge::default(), max_age.max_age.is_some(), seen)
}

fn judged(
    config: &Config,
    stores: &FleetStores,
    max_age: &MaxAge,
    beats: bool,
    seen: Vec<PendingRead>,
) -> Result<Fleet, CliError> {
    let mut fleet = Fleet::read_pending(config, stores, beats, seen);
    fleet.expire(max_age.max_age)?;
    for reading in &fleet.readings {
        if let Some(error) = &reading.error {
            let instead = match &reading.snapshot {
                Some(snapshot) => format!("presence uses its last copy ({} files)", snapshot.len()),
                None => "there is no earlier copy of it".to_owned(),
            };
            console::warning(&format!("{}; {instead}", chain(error)));
            // If no store answers, the final error has the hint.
            if let Some(hint) = error.hint().filter(|_| fleet.is_current()) {
                console::remedy(&hint);
            }
        } else if let Some(snapshot) = &reading.snapshot {
            console::detail(&format!(
                "{}: {} files, version {}",
                reading.url,
                snapshot.len(),
                snapshot.digest
            ));
        }
    }
    for error in fleet.beat_readings.iter().filter_map(|reading| reading.error.as_ref()) {
        console::warning(&match fleet.hears_beats() {
            true => chain(error),
            false => {
                format!("{}; until a store answers with heartbeats, no node becomes silent", chain(error))
            }
        });
    }
    Ok(fleet)
}

/// Makes one change in all stores and prints a line for each. One success is enough. True if anything
/// changed.
pub(super) fn apply(
    config: &Config,
    stores: &FleetStores,
    edit: &Edit<'_>,
    unchanged: &str,
) -> Result<bool, CliError> {
    tell(fleet::apply(config, stores, edit), edit.id(), unchanged)
}

/// Publishes the record to all stores and prints a line for each. One success is enough.
pub(super) fn publish(config: &Config, stores: &FleetStores, record: &Record) -> Result<(), CliError> {
    let (changes, rival) = fleet::publish(config, stores, record);
    if let Some(rival) = rival {
        console::warning(&rival.text);
        console::remedy(&rival.hint);
    }
    tell(changes, record.id(), UNCHANGED).map(drop)
}

/// Publishes the record and a heartbeat to all stores. One success is enough. False if a store failed to take
/// either.
pub(super) fn announce(config: &Config, stores: &FleetStores, record: &Record) -> Result<bool, CliError> {
    let announced = fleet::announce(config, stores, record)?;
    // Warn once, when the rival appears. `presence list` continues to show it.
    if let Some(rival) = announced.rival.as_ref().filter(|rival| rival.is_new) {
        console::warning(&rival.text);
        console::remedy(&rival.hint);
    }
    let whole = announced.changes.iter().all(Result::is_ok);
    tell(announced.changes, record.id(), UNCHANGED)?;
    let all = announced.beats.iter().all(Result::is_err);
    let failed: Vec<StoreError> = announced.beats.into_iter().filter_map(Result::err).collect();
    for error in &failed {
        if all { console::error(&chain(error)) } else { console::warning(&chain(error)) }
    }
    match failed.into_iter().next() {
        Some(error) if all => Err(CliError::failed("no store accepted the heartbeat").hint(error.hint())),
        failed => Ok(whole && failed.is_none()),
    }
}

/// The result shown for a record that is already on the list.
pub(super) const UNCHANGED: &str = "unchanged";

fn tell(results: Vec<Result<Applied, StoreError>>, id: &Name, unchanged: &str) -> Result<bool, CliError> {
    let mut errors: Vec<StoreError> = Vec::new();
    let mut changed = false;
    let mut lines = String::new();
    for result in results {
        match result {
            Ok(applied) => {
                changed |= applied.outcome.is_some();
                if let Some(warning) = applied.warning() {
                    console::warning(&warning);
                }
                let said =
                    applied.outcome.map_or_else(|| unchanged.to_owned(), |outcome| outcome.to_string());
                lines.push_str(&format!("{}: {id}: {said}\n", applied.url));
            }
            Err(error) => errors.push(error),
        }
    }
    console::report(&lines)?;
    if lines.is_empty()
        && let Some(error) = errors.pop()
    {
        for other in &errors {
            console::error(&chain(other));
        }
        return Err(error.into());
    }
    for error in &errors {
        console::warning(&chain(error));
        error.hint().iter().for_each(|hint| console::remedy(hint));
    }
    Ok(changed)
}
