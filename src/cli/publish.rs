use super::error::CliError;
use super::{fleet, node, output};
use crate::config::Config;
use crate::record::Record;
use crate::store::Edit;

/// Put this node's record on the list, in every store
///
/// A record that is there already is not written again, and makes no commit. Prints a line for each store. One store that
/// fails is a warning as long as another one has taken the record.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  presence publish
  presence publish --store ssh://git@git.example.net/srv/list.git
  presence publish --dry-run")]
pub(super) struct Args {
    /// Print the record and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Begin the branch that `branch` in presence.toml names, in a repository that has others and not this one
    #[arg(long)]
    create_branch: bool,
}

pub(super) fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    let record = node::record(config)?;
    warn_of_gaps(config, &record);
    if args.dry_run {
        for store in &config.stores {
            output::note(&format!("would publish {} to {}", record.id(), crate::store::shown_url(store)));
        }
        return output::data(&String::from_utf8_lossy(&record.to_bytes()));
    }
    publish(&Config { create_branch: args.create_branch, ..config.clone() }, &record)
}

/// Writes the record into every store and says what that did.
pub(super) fn publish(config: &Config, record: &Record) -> Result<(), CliError> {
    fleet::apply(config, &Edit::Put(record), fleet::UNCHANGED).map(drop)
}

/// A record that no template will ever choose is most likely a mistake.
fn warn_of_gaps(config: &Config, record: &Record) {
    for fact in ["nodepart", "stacktype"] {
        if record.text(fact).is_none_or(|value| value.is_empty()) {
            let file = config.nodeinfo.join(format!("{fact}.txt"));
            output::warning(&format!("this node states no `{fact}`; write it into `{}`", file.display()));
        }
    }
}
