use serde_json::{Value, json};

use super::error::CliError;
use super::fleet::{self, FleetStores};
use super::templates::Who;
use super::{at, console, log};
use crate::beat::fleet::Fleet;
use crate::beat::replay::{self, List};
use crate::config::{Config, Render};
use crate::history::{Bound, Extent, MOST_STEPS, Refused, Replay, Stretch};
use crate::output::limits::Limits;
use crate::sanitize::shown;
use crate::store::{At, Moment};

/// Run a stretch of the history through a template
///
/// Shows what a file of that template would have gone through: how often it would have changed and needed a
/// reload, what the safety limits would have refused, and the fewest servers that it had. So a change of a
/// template can be tried on last week before it ships. Nothing is written.
///
/// If the configuration has a [[render]] table of that template, its part, stacktype, deployment, folders,
/// variables, limits and `apply` are used. As in a beat, a refused question keeps its nodes, until enough of them
/// are back. The past has no heartbeats, so silence and --awake are not replayed.
///
/// Refusals do not change the exit code: it is 0 if the history could be read and rendered.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  presence replay --from '7 days ago' --render haproxy --part lb1
  presence replay --from 2026-01-24 --to 2026-01-31 --render haproxy --template-dir ./templates
  presence replay --from 1a2b3c4d --render haproxy --apply runtime --format json | jq .reloads")]
pub(super) struct Args {
    /// The first moment: a commit, a tag, a time, or an age like "7 days ago"
    #[arg(long, value_name = "MOMENT")]
    from: String,
    /// The last moment
    #[arg(long, value_name = "MOMENT", default_value = "now")]
    to: String,
    /// The template's name, with or without the last extension
    #[arg(long, value_name = "NAME")]
    render: String,
    #[command(flatten)]
    who: Who,
    /// Set a template variable; may be given more than once
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// How a change takes effect: `runtime`, where HAProxy follows most changes without a reload, or `reload`
    /// [default: that of the [[render]] table, else reload]
    #[arg(long, value_name = "HOW")]
    apply: Option<Apply>,
    /// Refuse an output with fewer active nodes in any part that the template asks for [default: 1 where the
    /// last good output had any]
    #[arg(long, value_name = "N")]
    min_nodes: Option<u64>,
    /// Refuse an output that loses more than this share of the last good output's active nodes [default: 50]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    max_shrink: Option<u8>,
    /// Print the result in this format
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
enum Apply {
    /// HAProxy follows most changes at run time
    Runtime,
    /// Every change needs a reload
    Reload,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// A summary for people
    Text,
    /// One JSON object with every change
    Json,
}

pub(super) fn run(args: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    let (from, to) = (bound(&args.from, stores)?, bound(&args.to, stores)?);
    if let (Some(begin), Some(end)) = (time(&from), time(&to))
        && begin > end
    {
        return Err(CliError::usage(format!(
            "--from ({} UTC) is later than --to ({} UTC)",
            log::time(begin),
            log::time(end)
        )));
    }
    let table = table(args, config);
    let mut template = args.who.template(config, &args.render, &args.sets, table)?;
    template.lookup = template.lookup.parsed_once();
    template.know_haproxy(None, true)?;
    let usual = table.map_or(config.limits, |table| table.limits);
    let limits = Limits {
        min_nodes: args.min_nodes.or(usual.min_nodes),
        max_shrink: args.max_shrink.unwrap_or(usual.max_shrink),
    };
    let rendering = template.rendering(config, Some(limits))?;
    let runtime = match args.apply {
        Some(apply) => apply == Apply::Runtime,
        None => table.is_some_and(|table| table.target.runtime.is_some()),
    };

    let stretch = fleet::history(stores, &Stretch::new(from, to))?;
    let (Some(first), Some(last)) = (stretch.first.clone(), stretch.last().cloned()) else {
        let to = shown(&args.to);
        return Err(CliError::failed(match stretch.was_empty {
            true => format!("the list was still empty at `{to}`"),
            false => format!("the list has no version as old as `{to}`"),
        })
        .hint("`presence log` shows its history".to_owned()));
    };
    if stretch.is_too_long {
        return Err(CliError::failed(format!("there are more than {MOST_STEPS} versions in that time"))
            .hint("choose a shorter one with --from and --to".to_owned()));
    }
    let (is_cut, was_empty) = (stretch.is_cut, stretch.was_empty);
    let fleet = version(config, stores, &first)?;
    let store = fleet.readings.iter().find(|reading| reading.error.is_none());
    let store = store.map(|reading| reading.url.clone()).unwrap_or_default();
    let (own, id) = crate::beat::node::identity(&config.nodeinfo);
    let warnings = args.who.nobody(&fleet.roster)?;
    let list = List { roster: fleet.roster, store: &store, config, own, id };
    let progress = console::Progress::start();
    let replay = replay::run(&rendering, list, stretch, runtime);
    drop(progress);
    let replay = replay?;
    warnings.iter().for_each(|warning| console::warning(warning));
    if is_cut {
        console::warning(&format!(
            "nothing is known of the time before {} UTC: the history begins then",
            log::time(first.time)
        ));
    }
    if was_empty {
        console::note(&format!("the list was empty before {} UTC", log::time(first.time)));
    }
    let account = Account { name: &template.name, first: &first, last: &last, runtime, replay: &replay };
    console::data(&match args.format {
        Format::Text => account.text(),
        Format::Json => console::json(&account.json())?,
    })?;
    console::note("silence is not replayed: the past has no heartbeats");
    match replay.failures.first().filter(|_| replay.extents.is_empty()) {
        Some(failed) => {
            Err(CliError::failed(format!("the template could not be rendered: {}", failed.reason)))
        }
        None => Ok(()),
    }
}

/// The end of a stretch that these words mean.
fn bound(words: &str, stores: &FleetStores) -> Result<Bound, CliError> {
    let at = at::moment(words)?;
    match at {
        At::Latest => Ok(Bound::Newest),
        At::Time(time) => Ok(Bound::Time(time)),
        At::Named(_) | At::Version(_) => {
            let seen = stores.list.look_back(&at);
            if let Some(moment) = seen.iter().find_map(|seen| seen.moment().cloned()) {
                return Ok(Bound::Moment(moment));
            }
            let error = seen.into_iter().filter_map(crate::store::PendingRead::into_error).next_back();
            Err(error.map_or_else(
                || CliError::usage(format!("`{}` is no version with a time", shown(words))),
                CliError::from,
            ))
        }
    }
}

fn time(bound: &Bound) -> Option<jiff::Timestamp> {
    match bound {
        Bound::Newest => None,
        Bound::Time(time) => Some(*time),
        Bound::Moment(moment) => Some(moment.time),
    }
}

/// The first table of the configuration for that template.
fn table<'c>(args: &Args, config: &'c Config) -> Option<&'c Render> {
    let stem = |name: &str| name.strip_suffix(".hbs").unwrap_or(name).to_owned();
    let is_same = |name: &str| {
        let (a, b) = (stem(name), stem(&args.render));
        a == b
            || a.rsplit_once('.').is_some_and(|(a, _)| a == b)
            || b.rsplit_once('.').is_some_and(|(b, _)| a == b)
    };
    config.renders.iter().find(|table| is_same(&table.name))
}

/// The list in that version, from the store that has it.
fn version(config: &Config, stores: &FleetStores, moment: &Moment) -> Result<Fleet, CliError> {
    let progress = console::Progress::start();
    let mut fleet = Fleet::read_back(config, stores, &At::Named(moment.commit.clone()));
    drop(progress);
    match fleet.is_current() {
        true => Ok(fleet),
        false => {
            let error = fleet.readings.iter_mut().find_map(|reading| reading.error.take());
            Err(error.map_or_else(|| CliError::usage("no store is configured"), CliError::from))
        }
    }
}

/// The account of a replay, as it is printed.
struct Account<'a> {
    name: &'a str,
    first: &'a Moment,
    last: &'a Moment,
    runtime: bool,
    replay: &'a Replay,
}

/// The most lines of a table for people.
const MOST_LINES: usize = 20;

impl Account<'_> {
    fn text(&self) -> String {
        let Account { name, first, last, replay, .. } = self;
        let told = |moment: &Moment| format!("{} UTC ({:.8})", log::time(moment.time), moment.commit);
        let how =
            if self.runtime { "the other changes take effect at run time" } else { "each change needs one" };
        let mut text = format!(
            "{name} from {}\n{}to {}\n\nversions  {}\nrenders   {}\nreloads   {} ({how})\nrefusals  {}\n",
            told(first),
            " ".repeat(name.chars().count() + 3),
            told(last),
            replay.versions,
            replay.changes.len(),
            replay.reloads(),
            replay.refusals.len(),
        );
        if !replay.failures.is_empty() {
            text.push_str(&format!("failures  {}\n", replay.failures.len()));
        }
        text.push_str(&self.extents());
        text.push_str(&self.reasons());
        text.push_str(&self.troubles());
        text
    }

    fn extents(&self) -> String {
        let mut extents: Vec<(&String, &Extent)> = self.replay.extents.iter().collect();
        // The worst first.
        extents.sort_by_key(|(_, extent)| extent.fewest);
        let mut table = console::table(["FEWEST", "MOST", "SERVERS OF", "TIME OF THE FEWEST", "COMMIT"]);
        for (question, extent) in extents.iter().take(MOST_LINES) {
            table.add_row([
                extent.fewest.to_string(),
                extent.most.to_string(),
                shown(question),
                log::time(extent.at.time),
                format!("{:.8}", extent.at.commit),
            ]);
        }
        rows(&table, extents.len())
    }

    /// The reasons of reloads, without what differs from server to server.
    fn reasons(&self) -> String {
        if !self.runtime {
            return String::new();
        }
        let mut counts: Vec<(String, usize)> = Vec::new();
        for reason in self.replay.changes.iter().filter_map(|change| change.reload.as_ref()) {
            let of_server = reason.split_once("`: ").filter(|_| reason.starts_with("server `"));
            let reason =
                of_server.map_or_else(|| reason.clone(), |(_, reason)| format!("a server: {reason}"));
            match counts.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, count)) => *count += 1,
                None => counts.push((reason, 1)),
            }
        }
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let mut table = console::table(["RELOADS", "REASON"]);
        for (reason, count) in counts.iter().take(MOST_LINES) {
            table.add_row([count.to_string(), shown(reason)]);
        }
        if counts.is_empty() { String::new() } else { rows(&table, counts.len()) }
    }

    fn troubles(&self) -> String {
        let until = |until: &Option<Moment>| match until {
            Some(moment) => log::time(moment.time),
            None => "(the end)".to_owned(),
        };
        let mut text = String::new();
        let mut table = console::table(["REFUSED", "COMMIT", "UNTIL", "REASON"]);
        for refused in self.replay.refusals.iter().take(MOST_LINES) {
            table.add_row([
                log::time(refused.since.time),
                format!("{:.8}", refused.since.commit),
                until(&refused.until),
                format!("{} ({})", shown(&refused.refusal.to_string()), stays(refused)),
            ]);
        }
        if !self.replay.refusals.is_empty() {
            text.push_str(&rows(&table, self.replay.refusals.len()));
        }
        let mut table = console::table(["FAILED", "COMMIT", "UNTIL", "REASON"]);
        for failed in self.replay.failures.iter().take(MOST_LINES) {
            table.add_row([
                log::time(failed.since.time),
                format!("{:.8}", failed.since.commit),
                until(&failed.until),
                shown(&failed.reason),
            ]);
        }
        if !self.replay.failures.is_empty() {
            text.push_str(&rows(&table, self.replay.failures.len()));
        }
        text
    }

    fn json(&self) -> Value {
        let replay = self.replay;
        let moment = |moment: &Moment| json!({ "time": moment.time.to_string(), "commit": moment.commit });
        let until = |until: &Option<Moment>| until.as_ref().map(moment);
        let servers = replay.extents.iter().map(|(question, extent)| {
            json!({
                "question": question,
                "fewest": extent.fewest,
                "at": moment(&extent.at),
                "most": extent.most,
            })
        });
        let refusals = replay.refusals.iter().map(|refused| {
            json!({
                "question": refused.refusal.question,
                "since": moment(&refused.since),
                "until": until(&refused.until),
                "before": refused.refusal.before,
                "now": refused.refusal.now,
                "reason": refused.refusal.to_string(),
                "held": refused.held,
            })
        });
        let failures = replay.failures.iter().map(|failed| {
            json!({ "since": moment(&failed.since), "until": until(&failed.until), "reason": failed.reason })
        });
        let changes = replay.changes.iter().map(|change| {
            let mut described = moment(&change.moment);
            described["reload"] = change.reload.clone().into();
            described
        });
        json!({
            "template": self.name,
            "from": moment(self.first),
            "to": moment(self.last),
            "apply": if self.runtime { "runtime" } else { "reload" },
            "versions": replay.versions,
            "renders": replay.changes.len(),
            "reloads": replay.reloads(),
            "refusals": refusals.collect::<Vec<_>>(),
            "failures": failures.collect::<Vec<_>>(),
            "servers": servers.collect::<Vec<_>>(),
            "changes": changes.collect::<Vec<_>>(),
            "replays_silence": false,
        })
    }
}

/// What becomes of the file during a refusal.
fn stays(refused: &Refused) -> String {
    match refused.held {
        None => "the file stays as it is".to_owned(),
        Some(1) => "the file keeps 1 node".to_owned(),
        Some(held) => format!("the file keeps {held} nodes"),
    }
}

/// The lines of a table after an empty one, and the number of those that were left out.
fn rows(table: &comfy_table::Table, all: usize) -> String {
    let more = match all.saturating_sub(MOST_LINES) {
        0 => String::new(),
        more => format!("… and {more} more: `--format json` has them all\n"),
    };
    format!("\n{}{more}", console::rows(table))
}
