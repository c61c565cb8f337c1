//! The stores of the configuration: how they are opened, read and written, and what is said about those that fail.

use jiff::{SignedDuration, Span, SpanRelativeTo};

use super::error::{CliError, Kind};
use super::{node, output};
use crate::config::Config;
use crate::errors::chain;
use crate::name::Name;
use crate::roster::{Roster, Source};
use crate::store::{self, Edit, Options, Reading, Sight, StoreError};

/// Where all problems can be seen.
pub(super) const ALL_PROBLEMS: &str = "`presence list --format json` lists all";

/// What the stores say now.
pub(super) struct Fleet {
    pub(super) roster: Roster,
    pub(super) readings: Vec<Reading>,
}

impl Fleet {
    /// Whether at least one store answered; otherwise all there is are last copies.
    pub(super) fn is_current(&self) -> bool {
        self.readings.iter().any(|reading| reading.error.is_none())
    }

    /// The URL of each store, and what names the records that were read from it, if anything does.
    pub(super) fn stamps(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.readings.iter().map(|reading| {
            let snapshot = reading.snapshot.as_ref().filter(|_| reading.error.is_none());
            (reading.url.as_str(), snapshot.and_then(|snapshot| snapshot.stamp.as_deref()))
        })
    }

    /// The problems, as lines.
    pub(super) fn problems(&self) -> Vec<String> {
        self.roster
            .problems
            .iter()
            .map(|problem| format!("{}: {}: {}", problem.store, problem.path.escape_debug(), problem.reason))
            .collect()
    }

    /// The error of a command that could not ask any store.
    pub(super) fn unreachable(&self, message: &str) -> CliError {
        let hint = self.readings.iter().find_map(|reading| reading.error.as_ref()?.hint());
        CliError::new(Kind::Kept, message).hint(hint)
    }
}

/// How long a node may be silent: the same option for every command that reads the list.
#[derive(Debug, Default, clap::Args)]
pub(super) struct MaxAge {
    /// Count nodes as absent that gave no sign of life for longer: 90s, 5m, 2h, 1d
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(super) max_age: Option<SignedDuration>,
}

fn age(text: &str) -> Result<SignedDuration, String> {
    let say = |error: jiff::Error| format!("{error}; write it like 90s, 5m, 2h or 1d");
    let span: Span = text.parse().map_err(say)?;
    let age = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(say)?;
    if age.is_negative() { Err("an age is not negative".to_owned()) } else { Ok(age) }
}

/// Looks at all stores, and reads none yet.
pub(super) fn look(config: &Config, max_age: &MaxAge) -> Result<Vec<Sight>, CliError> {
    let beats = max_age.max_age.is_some();
    Ok(store::look(&config.stores, &Options { beats, ..options(config)? }))
}

/// Reads all stores. Those that fail are warned about.
pub(super) fn read(config: &Config, max_age: &MaxAge, beats: bool) -> Result<Fleet, CliError> {
    let beats = beats || max_age.max_age.is_some();
    let seen = store::look(&config.stores, &Options { beats, ..options(config)? });
    read_seen(config, max_age, beats, seen)
}

/// Reads the stores that were looked at. Those that fail are warned about.
pub(super) fn read_seen(
    config: &Config,
    max_age: &MaxAge,
    beats: bool,
    seen: Vec<Sight>,
) -> Result<Fleet, CliError> {
    let mut fleet = judge(config, store::read_seen(seen), beats);
    if let Some(max_age) = max_age.max_age {
        fleet.roster.expire(node::now()?, max_age);
    }
    for reading in &fleet.readings {
        if let Some(error) = &reading.error {
            let instead = match &reading.snapshot {
                Some(snapshot) => format!("its last copy counts ({} files)", snapshot.len()),
                None => "there is no earlier copy of it".to_owned(),
            };
            output::warning(&format!("{}; {instead}", chain(error)));
        } else if let Some(snapshot) = &reading.snapshot {
            output::detail(&format!(
                "{}: {} files, version {}",
                reading.url,
                snapshot.len(),
                snapshot.version
            ));
        }
    }
    Ok(fleet)
}

/// Reads all stores, and leaves it to the caller to say which failed.
pub(super) fn read_quietly(config: &Config, beats: bool) -> Result<Fleet, CliError> {
    Ok(judge(config, store::read(&config.stores, &Options { beats, ..options(config)? }), beats))
}

fn judge(config: &Config, readings: Vec<Reading>, beats: bool) -> Fleet {
    let sources: Vec<Source<'_>> = readings
        .iter()
        .filter_map(|reading| {
            let snapshot = reading.snapshot.as_ref()?;
            Some(Source { store: &reading.url, snapshot, stale: reading.error.is_some() })
        })
        .collect();
    let mut roster = Roster::new(&sources, &config.states);
    if beats {
        roster.see(sources.iter().map(|source| &source.snapshot.beats));
    }
    Fleet { roster, readings }
}

/// Makes one change in all stores and prints a line for each. One success is enough.
pub(super) fn apply(config: &Config, edit: &Edit<'_>, unchanged: &str) -> Result<bool, CliError> {
    let results = store::apply(&config.stores, &options(config)?, edit);
    let mut errors: Vec<StoreError> = Vec::new();
    let mut changed = false;
    let mut lines = String::new();
    for result in results {
        match result {
            Ok(applied) => {
                changed |= applied.outcome.is_some();
                let said =
                    applied.outcome.map_or_else(|| unchanged.to_owned(), |outcome| outcome.to_string());
                lines.push_str(&format!("{}: {}: {said}\n", applied.url, edit.id()));
            }
            Err(error) => errors.push(error),
        }
    }
    output::data(&lines)?;
    if lines.is_empty()
        && let Some(error) = errors.pop()
    {
        for other in &errors {
            output::error(&chain(other));
        }
        return Err(error.into());
    }
    for error in &errors {
        output::warning(&chain(error));
    }
    Ok(changed)
}

/// Says in all stores that this node is still here. One success is enough.
pub(super) fn beat(config: &Config, id: &Name) -> Result<(), CliError> {
    let results = store::beat(&config.stores, &options(config)?, id, node::now()?);
    let failed: Vec<StoreError> = results.into_iter().filter_map(Result::err).collect();
    let all = failed.len() == config.stores.len();
    for error in &failed {
        if all { output::error(&chain(error)) } else { output::warning(&chain(error)) }
    }
    match failed.into_iter().next() {
        Some(error) if all => Err(CliError::failed("no store took the heartbeat").hint(error.hint())),
        _ => Ok(()),
    }
}

fn options(config: &Config) -> Result<Options, CliError> {
    Ok(Options {
        folder: config.folder.clone(),
        layout: config.layout.clone(),
        state_dir: config.state_dir.clone(),
        branch: config.branch.clone(),
        author: author(config),
        patience: config.patience,
        recheck: config.recheck,
        beats: false,
        beat_shards: config.beat_shards,
        limits: config.network,
    })
}

/// Who signs commits: this node, or where there is no node (a laptop), the user.
fn author(config: &Config) -> String {
    let id = node::facts(config).ok().and_then(|facts| Some(facts.get("instance-id")?.as_str()?.to_owned()));
    id.and_then(|id| Name::parse(&id).ok())
        .map(|id| id.to_string())
        .or_else(|| std::env::var("USER").ok().filter(|user| Name::parse(user).is_ok()))
        .unwrap_or_else(|| "presence".to_owned())
}
