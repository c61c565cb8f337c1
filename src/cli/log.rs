use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::console;
use super::error::CliError;
use crate::beat::fleet::{self, FleetStores};
use crate::config::Config;
use crate::errors::chain;
use crate::name::Name;
use crate::sanitize::excerpt;
use crate::store::HistoryEvent;

/// Show which nodes joined, changed and left, and when
///
/// Prints the history of the first git store that answers, newest first. Times are in UTC.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  presence log\n  presence log i-c44e9b33 --limit 5\n  presence log --format json"
)]
pub(super) struct Args {
    /// The instance-id of the only node to show
    id: Option<String>,
    /// Show at most this many changes
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Print the changes in this format
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// One line per change
    Text,
    /// One JSON array
    Json,
}

pub(super) fn run(args: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    let id = args.id.as_deref().map(Name::parse).transpose();
    let id = id.map_err(|error| CliError::usage(format!("not an instance-id: {error}")))?;
    match fleet::history(config, stores, id.as_ref(), args.limit) {
        Ok(events) => console::data(&shown(&events, args.format)?),
        Err(mut errors) => {
            let last = errors.pop();
            errors.iter().for_each(|error| console::warning(&chain(error)));
            Err(last.map_or_else(|| CliError::usage("no store is configured"), CliError::from))
        }
    }
}

fn shown(events: &[HistoryEvent], format: Format) -> Result<String, CliError> {
    match format {
        Format::Text => Ok(events.iter().map(line).collect()),
        Format::Json => {
            let events: Vec<Value> = events
                .iter()
                .map(|event| {
                    json!({
                        "time": event.time.to_string(),
                        "instance-id": event.id,
                        "nodepart": event.part,
                        "change": event.change.to_string(),
                        "commit": event.commit,
                    })
                })
                .collect();
            console::json(&events)
        }
    }
}

fn line(event: &HistoryEvent) -> String {
    let part = event.part.as_ref().map(|part| format!(" ({})", excerpt(part))).unwrap_or_default();
    let time = event.time.to_zoned(TimeZone::UTC);
    format!(
        "{} {:.8} {}{part}: {}\n",
        time.strftime("%Y-%m-%d %H:%M:%S"),
        event.commit,
        event.id,
        event.change
    )
}
