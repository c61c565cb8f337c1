mod columns;
mod table;
mod watch;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::at::Moment;
use super::error::CliError;
use super::fleet::{self, Fleet, FleetStores, MaxAge};
use super::{console, node};
use crate::config::Config;
use crate::errors::chain;
use crate::metrics::Page;
use crate::record::Envelope;
use crate::roster::{Availability, Heartbeats, Node, Roster, Selector, States};
use crate::sanitize::excerpt;
use crate::store::At;
use crate::template::shape;

/// Show the nodes on the list
///
/// On a terminal, the table is as wide as the terminal, and nodes are grouped by deployment and stacktype. Long
/// names are shortened in the middle, and columns that do not fit are left out. Elsewhere, nothing is shortened, and
/// nodes are in the order of their ids. SEEN is the age of the last sign of life: a heartbeat, or a change of the
/// state. FRESHNESS is its word: fresh, silent (for longer than --max-age, or 5 minutes), never (no heartbeat), ahead
/// (a clock is wrong), or unknown (no store of heartbeats answers).
///
/// If no store answers, shows the last copies and exits with code 3.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  presence list
  presence list --part 'app*' --state active
  presence list --where 'rack=r1*' --format ids
  presence list --format json | jq -r '.nodes[].address'
  presence list --at '10 min ago'
  presence list --watch")]
pub(super) struct Args {
    /// Print the nodes in this format
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    moment: Moment,
    /// Redraw the table on the whole terminal every so many seconds [default: 5]. Ctrl-C ends it. If no store
    /// answers, the last table stays, and the exit code is 3
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "5",
        value_parser = clap::value_parser!(u64).range(1..=86_400),
        conflicts_with_all = ["format", "at"]
    )]
    watch: Option<u64>,
}

/// Which nodes to select: the same options for every command that lists nodes.
#[derive(Debug, clap::Args)]
pub(super) struct Select {
    /// Select only nodes of these parts
    #[arg(long, value_name = "GLOB")]
    part: Option<String>,
    /// Select only nodes of these stacktypes
    #[arg(long, value_name = "GLOB")]
    stacktype: Option<String>,
    /// Select only nodes of these deployments
    #[arg(long, value_name = "GLOB")]
    deployment: Option<String>,
    /// Select only nodes in this state, or of this availability (active, draining, down, absent); may be
    /// given more than once
    #[arg(long = "state", value_name = "STATE")]
    states: Vec<String>,
    /// Select only nodes whose fact matches; may be given more than once
    #[arg(long = "where", value_name = "FACT=GLOB")]
    clauses: Vec<String>,
    #[command(flatten)]
    pub(super) max_age: MaxAge,
}

impl Select {
    pub(super) fn selector(&self) -> Result<Selector, CliError> {
        let mut selector = Selector { states: self.states.clone(), ..Selector::default() };
        for (fact, glob) in
            [("nodepart", &self.part), ("stacktype", &self.stacktype), ("deployment", &self.deployment)]
        {
            if let Some(glob) = glob {
                selector = selector.fact(fact, glob)?;
            }
        }
        for clause in &self.clauses {
            selector = selector.clause(clause)?;
        }
        Ok(selector)
    }

    /// Reads the list as it is, or as it was at that moment, with a warning for each store that fails.
    pub(super) fn read(
        &self,
        config: &Config,
        stores: &FleetStores,
        at: Option<&At>,
        beats: bool,
    ) -> Result<Fleet, CliError> {
        let fleet = match at {
            Some(_) if self.max_age.max_age.is_some() => {
                let text = "the past has no heartbeats, so --max-age cannot be used with --at";
                return Err(CliError::usage(text));
            }
            Some(at) => fleet::read_back(config, stores, at)?,
            None => fleet::read(config, stores, &self.max_age, beats)?,
        };
        self.refuse_unknown_states(&fleet, &config.states)?;
        Ok(fleet)
    }

    /// Refuses a state that neither the table nor any node has: it is probably a typo.
    pub(super) fn refuse_unknown_states(&self, fleet: &Fleet, states: &States) -> Result<(), CliError> {
        let is_borne = |wanted: &str| {
            fleet.roster.nodes.iter().any(|node| node.record.state().as_deref() == Some(wanted))
        };
        let unknown = self.states.iter().find(|wanted| {
            let is_known = states.knows(wanted) || wanted.parse::<Availability>().is_ok();
            fleet.is_current() && !is_known && !is_borne(wanted)
        });
        let Some(unknown) = unknown else { return Ok(()) };
        let meant =
            states.nearest(unknown).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        let known: BTreeSet<&str> =
            states.names().chain(Availability::ALL.map(Availability::as_str)).collect();
        let known: Vec<&str> = known.into_iter().collect();
        let text = format!("no node is in the state `{}`, and no table defines it", excerpt(unknown));
        Err(CliError::usage(text).hint(format!("{meant}known states: {}", known.join(", "))))
    }

    /// Warns of conditions that no node on the list meets: they are probably typos.
    pub(super) fn warn_of_nobody(&self, roster: &Roster) -> Result<(), CliError> {
        let names = [&self.part, &self.stacktype, &self.deployment];
        let mut told = nobody(roster, names.map(|name| name.clone()))?;
        for clause in &self.clauses {
            told.extend(nobody_matches(roster, clause)?);
        }
        let selector = self.selector()?;
        let is_one = selector.facts.len() + selector.states.len() < 2;
        if told.is_empty() && !is_one && !roster.nodes.iter().any(|node| selector.matches(node)) {
            told.push("no node on the list meets all these conditions".to_owned());
        }
        told.iter().for_each(|text| console::warning(text));
        Ok(())
    }
}

/// A sentence for each name (a glob for part, stacktype or deployment) that no node on the list has: it is
/// probably a typo.
pub(super) fn nobody(roster: &Roster, names: [Option<String>; 3]) -> Result<Vec<String>, CliError> {
    let mut told = Vec::new();
    for ((option, fact), glob) in
        [("part", "nodepart"), ("stacktype", "stacktype"), ("deployment", "deployment")]
            .into_iter()
            .zip(names)
    {
        let Some(glob) = glob else { continue };
        let selector = Selector::default().fact(fact, &glob)?;
        if roster.nodes.is_empty() || roster.nodes.iter().any(|node| selector.matches(node)) {
            continue;
        }
        let there = there_are(values(roster, fact));
        told.push(format!("no node on the list has the {option} `{}`; {there}", excerpt(&glob)));
    }
    Ok(told)
}

/// The message if no node on the list matches `FACT=GLOB`.
fn nobody_matches(roster: &Roster, clause: &str) -> Result<Option<String>, CliError> {
    let selector = Selector::default().clause(clause)?;
    let nodes = &roster.nodes;
    let Some((fact, glob)) = clause.split_once('=') else { return Ok(None) };
    if nodes.is_empty() || nodes.iter().any(|node| selector.matches(node)) {
        return Ok(None);
    }
    let shown = excerpt(fact);
    if nodes.iter().any(|node| node.record.has(fact)) {
        let there = there_are(values(roster, fact));
        return Ok(Some(format!(
            "no node on the list has a `{shown}` that matches `{}`; {there}",
            excerpt(glob)
        )));
    }
    let facts = nodes.iter().flat_map(|node| node.record.facts().into_keys());
    let there = there_are(facts.map(|fact| excerpt(&fact)).collect());
    Ok(Some(format!("no node on the list has the fact `{shown}`; {there}")))
}

/// The nodes' values of a fact, made safe to show.
fn values(roster: &Roster, fact: &str) -> BTreeSet<String> {
    let values = roster.nodes.iter().filter_map(|node| node.record.text(fact));
    values.map(|text| excerpt(&text)).collect()
}

/// The first values, and the number of the others.
fn there_are(known: BTreeSet<String>) -> String {
    let more = known.len().saturating_sub(MAX_KNOWN);
    let mut shown: Vec<String> = known.into_iter().take(MAX_KNOWN).collect();
    if more > 0 {
        shown.push(format!("… and {more} more"));
    }
    match shown.is_empty() {
        true => "no node states one".to_owned(),
        false => format!("known: {}", shown.join(", ")),
    }
}

/// If there are more names, the others are only counted.
const MAX_KNOWN: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
enum Format {
    /// A table for people
    Table,
    /// One JSON object: nodes, problems, stores
    Json,
    /// One instance-id per line
    Ids,
    /// Metrics in the Prometheus text format
    Prometheus,
}

pub(super) fn run(args: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    if let Some(seconds) = args.watch {
        return watch::run(args, config, stores, seconds);
    }
    let selector = args.select.selector()?;
    let fleet = args.select.read(config, stores, args.moment.at()?.as_ref(), true)?;
    let nodes: Vec<&Node> = fleet.roster.nodes.iter().filter(|node| selector.matches(node)).collect();
    if args.format == Format::Table {
        console::styled(&as_table(&fleet, &nodes, args, node::now()?, console::terminal_width()))?;
    } else {
        console::data(&match args.format {
            Format::Json => as_json(&fleet, &nodes)?,
            Format::Prometheus => metrics(&fleet, &nodes),
            Format::Ids | Format::Table => {
                nodes.iter().map(|node| format!("{}\n", node.record.id())).collect()
            }
        })?;
    }
    if args.format == Format::Table {
        fleet::tell_moments(&fleet);
    }
    args.select.warn_of_nobody(&fleet.roster)?;
    if args.format != Format::Json {
        console::warnings(&fleet.problems(), fleet::ALL_PROBLEMS);
    }
    match fleet.is_current() {
        true => Ok(()),
        false => Err(fleet::unreachable(&fleet, "no store could be read; these are the last copies")),
    }
}

/// The table for so many columns of a terminal, or for something else.
fn as_table(fleet: &Fleet, nodes: &[&Node], args: &Args, now: Timestamp, width: Option<usize>) -> String {
    let heartbeats = Heartbeats {
        now,
        max_age: args.select.max_age.max_age,
        are_heard: fleet.hears_beats(),
        has: &|node| fleet.has_heartbeat(node.record.id()),
    };
    let is_past = args.moment.is_past();
    table::table(nodes, (!is_past).then_some(&heartbeats), width)
}

fn as_json(fleet: &Fleet, nodes: &[&Node]) -> Result<String, CliError> {
    let nodes: Vec<Value> = nodes.iter().map(|node| described(node)).collect();
    let stores: Vec<Value> = fleet
        .readings
        .iter()
        .map(|reading| {
            let mut store = json!({
                "url": reading.url,
                "answers": reading.error.is_none(),
                "error": reading.error.as_ref().map(|error| chain(error)),
                "files": reading.snapshot.as_ref().map(|snapshot| snapshot.len()),
                "version": reading.snapshot.as_ref().map(|snapshot| &snapshot.digest),
            });
            if let Some(moment) = &reading.moment {
                store["commit"] = moment.commit.clone().into();
                store["time"] = moment.time.to_string().into();
            }
            store
        })
        .collect();
    let whole = json!({ "nodes": nodes, "problems": fleet.roster.problems, "stores": stores });
    console::json(&whole)
}

/// A node as templates see it, with the store it was found in and what stands there beside its facts.
pub(super) fn described(node: &Node) -> Value {
    let mut described = shape(node);
    described["found"] = json!({ "store": node.store, "path": node.path, "stale": node.stale });
    if let Some(seen) = node.last_seen {
        described["found"]["last_seen"] = seen.to_string().into();
    }
    let Envelope { serial, signature } = node.record.envelope();
    if let Some(serial) = serial {
        described["found"]["serial"] = serial.into();
    }
    if let Some(signature) = signature {
        described["found"]["signature"] = signature.into();
    }
    if let Err(reason) = &node.address {
        described["found"]["address_problem"] = reason.clone().into();
    }
    if let Err(reason) = &node.port {
        described["found"]["port_problem"] = reason.clone().into();
    }
    described
}

fn metrics(fleet: &Fleet, nodes: &[&Node]) -> String {
    let mut page = Page::default();
    page.nodes(nodes.iter().copied());
    page.family("presence_problems", "gauge", "Files and nodes of the list that have a problem.");
    page.series("presence_problems", &[], fleet.roster.problems.len());
    page.family("presence_store_up", "gauge", "Whether the store answers.");
    for reading in &fleet.readings {
        page.series("presence_store_up", &[("store", &reading.url)], u8::from(reading.error.is_none()));
    }
    page.into_text()
}
