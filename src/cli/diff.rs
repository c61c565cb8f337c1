use serde_json::{Value, json};
use similar::TextDiff;

use super::error::CliError;
use super::fleet::{self, Fleet, FleetStores};
use super::log::{self, Format};
use super::render::Past;
use super::templates::Who;
use super::{at, console};
use crate::change::Change;
use crate::config::Config;
use crate::record::Record;
use crate::roster::{NodeChange, diff};
use crate::sanitize::excerpt;

/// Show how the list differs between two moments
///
/// Prints a line for each node that joined, left or changed, or with --render the difference that this makes in
/// a file. Needs a git store. `now` is the branch: updates that wait to be merged are not in it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  presence diff '1 hour ago' now
  presence diff 2026-01-31 1a2b3c4d --format json
  presence diff '1 day ago' now --render haproxy --part lb1")]
pub(super) struct Args {
    /// The earlier moment: a commit, a tag, a time, an age like "10 min ago", or now
    #[arg(value_name = "A")]
    before: String,
    /// The later moment
    #[arg(value_name = "B", default_value = "now")]
    after: String,
    /// Print the difference in the output of this template
    #[arg(long, value_name = "NAME")]
    render: Option<String>,
    #[command(flatten)]
    who: Who,
    /// Set a template variable; may be given more than once
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "render")]
    sets: Vec<String>,
    /// Print the difference of the lists in this format
    #[arg(long, value_name = "FORMAT", default_value = "text", conflicts_with = "render")]
    format: Format,
}

pub(super) fn run(args: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    let (before, after) = (at::moment(&args.before)?, at::moment(&args.after)?);
    let before = fleet::read_back(config, stores, &before)?;
    let after = fleet::read_back(config, stores, &after)?;
    if let Some(name) = &args.render {
        let past = Past { name, who: &args.who, sets: &args.sets };
        let (old, new) = (past.render(config, &before)?, past.render(config, &after)?);
        let titles = [&args.before, &args.after].map(|moment| format!("{name} ({moment})"));
        let diff = TextDiff::from_lines(old.as_str(), &new);
        return console::data(&diff.unified_diff().header(&titles[0], &titles[1]).to_string());
    }
    let changes = diff(records(&before), records(&after));
    console::data(&match args.format {
        Format::Text => changes.iter().map(line).collect(),
        Format::Json => console::json(&changes.iter().map(described).collect::<Vec<_>>())?,
    })
}

fn records(fleet: &Fleet) -> impl Iterator<Item = &Record> {
    fleet.roster.nodes.iter().map(|node| &node.record)
}

fn line(node: &NodeChange<'_>) -> String {
    let Some(record) = node.last() else { return String::new() };
    let part = record.part().map(|part| format!(" ({})", excerpt(&part))).unwrap_or_default();
    format!("{}{part}: {}\n", record.id(), node.change)
}

fn described(node: &NodeChange<'_>) -> Value {
    let record = node.last();
    let mut described = json!({
        "instance-id": record.map(|record| record.id()),
        "nodepart": record.and_then(|record| record.part()),
        "change": node.change.to_string(),
    });
    if let Change::Changed(facts) = &node.change {
        described["facts"] = log::changes(facts);
    }
    described
}
