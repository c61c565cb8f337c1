use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::error::CliError;
use super::fleet::{self, FleetStores};
use super::{at, console};
use crate::change::{Change, FactChange};
use crate::config::Config;
use crate::history::{Event, Filter, Log, What};
use crate::name::Name;
use crate::sanitize::excerpt;

/// Show which nodes joined, changed and left, and when
///
/// Prints the history of the first git store that answers, newest first. Times are in UTC, by the clocks of
/// those who made the commits. A node whose joining is not in the history has "joined by then".
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  presence log
  presence log i-c44e9b33 --limit 5
  presence log --part 'app*' --since '2 days ago'
  presence log --format json")]
pub(super) struct Args {
    /// The instance-id of the only node to show
    id: Option<String>,
    /// Show only nodes of these parts
    #[arg(long, value_name = "GLOB", value_parser = glob::Pattern::new)]
    part: Option<glob::Pattern>,
    /// Show only changes since this time: 2026-01-31T08:00:00Z, "2026-01-31 08:00" (UTC), "2 days ago" or 2d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Show at most this many changes
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Print the changes in this format
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// The format of changes.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Format {
    /// One line per change
    Text,
    /// One JSON array
    Json,
}

pub(super) fn run(args: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    let id = args.id.as_deref().map(Name::parse).transpose();
    let id = id.map_err(|error| CliError::usage(format!("not an instance-id: {error}")))?;
    let since = args.since.as_deref().map(at::time).transpose()?;
    let filter = Filter { id, part: args.part.clone(), since };
    let log = fleet::history(stores, &Log::new(filter, args.limit))?;
    console::data(&shown(&log.events, args.format)?)?;
    if log.is_cut {
        console::warning(&format!(
            "older changes are not shown: reading the history reached the time limit of {} s",
            config.looking_back.as_secs()
        ));
        console::remedy("`history` in `[timeouts]` of presence.toml sets the limit");
    }
    if let (Some(since), Some(begins)) = (since, &log.begins)
        && begins.time > since
    {
        let begins = time(begins.time);
        console::warning(&format!(
            "nothing is known of the time before {begins} UTC: the history begins then"
        ));
    }
    Ok(())
}

fn shown(events: &[Event], format: Format) -> Result<String, CliError> {
    match format {
        Format::Text => Ok(events.iter().map(line).collect()),
        Format::Json => console::json(&Described(events)),
    }
}

/// Events as JSON. Each value is made when it is written: there may be a hundred thousand.
struct Described<'e>(&'e [Event]);

impl Serialize for Described<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(described))
    }
}

fn described(event: &Event) -> Value {
    let mut described = json!({
        "time": event.moment.time.to_string(),
        "instance-id": event.id,
        "nodepart": event.part,
        "kind": event.what.kind(),
        "change": event.what.to_string(),
        "commit": event.moment.commit,
    });
    if let What::Changed(Change::Changed(facts)) = &event.what {
        described["facts"] = changes(facts);
    }
    described
}

/// The facts that differ, as JSON.
pub(super) fn changes(facts: &[FactChange]) -> Value {
    let change =
        |change: &FactChange| json!({ "fact": change.fact, "before": change.before, "after": change.after });
    facts.iter().map(change).collect()
}

fn line(event: &Event) -> String {
    let part = event.part.as_ref().map(|part| format!(" ({})", excerpt(part))).unwrap_or_default();
    let time = time(event.moment.time);
    format!("{time} {:.8} {}{part}: {}\n", event.moment.commit, event.id, event.what)
}

/// A time for people, in UTC.
pub(super) fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
