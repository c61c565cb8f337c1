use std::net::SocketAddr;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::error::CliError;
use super::fleet::FleetStores;
use super::list::Select;
use super::{console, fleet};
use crate::beat::reachable::{self, PARALLEL};
use crate::config::{self, Config};
use crate::probe::{self, Question};
use crate::roster::{Availability, Node};
use crate::sanitize::excerpt;

/// Check whether nodes answer
///
/// Connects to the address and port that each node states, many at a time; with --http, sends a GET and
/// expects a status from 200 to 399. Without --state, asks active and draining nodes. The exit code is 1 if a
/// node does not answer. A node that states no port is not asked, unless --port is given, and is not reported
/// as silent.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  presence check
  presence check --part 'app*' --http /healthz
  presence check --part db1 --port 5432 --timeout 500ms --format json")]
pub(super) struct Args {
    /// Send a GET for this path instead of only connecting
    #[arg(long, value_name = "PATH", value_parser = Question::http)]
    http: Option<Question>,
    /// Use this port for nodes that state none
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Wait this long for each node
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = config::age)]
    timeout: SignedDuration,
    /// Ask at most this many nodes at a time
    #[arg(long, value_name = "N", default_value_t = PARALLEL as u16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,
    /// Print the answers in this format
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    #[command(flatten)]
    select: Select,
}

#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
enum Format {
    /// A table for people
    Table,
    /// One JSON object: nodes, answering, silent, unasked
    Json,
}

/// The reason why a node was not asked.
const UNASKED: &str = "states no port; set one with --port";

/// The reply of one node.
struct Answer<'a> {
    node: &'a Node,
    place: Option<SocketAddr>,
    said: Reply,
}

enum Reply {
    Answer(Duration),
    /// No answer, or no usable address or port in the record.
    Nothing(String),
    /// The node states no port: it may have no service.
    Unasked,
}

impl Reply {
    fn is_nothing(&self) -> bool {
        matches!(self, Reply::Nothing(_))
    }
}

pub(super) fn run(args: &Args, config: &Config, stores: &FleetStores) -> Result<(), CliError> {
    let selector = args.select.selector()?;
    let fleet = fleet::read(config, stores, &args.select.max_age, false)?;
    args.select.refuse_unknown_states(&fleet, &config.states)?;
    let by_default = |node: &Node| matches!(node.availability, Availability::Active | Availability::Draining);
    let nodes = fleet.roster.nodes.iter().filter(|node| selector.matches(node));
    let nodes: Vec<&Node> = nodes.filter(|node| !selector.states.is_empty() || by_default(node)).collect();
    let answers = ask(args, &nodes);
    console::data(&match args.format {
        Format::Table => table(&answers),
        Format::Json => as_json(&answers)?,
    })?;
    args.select.warn_of_nobody(&fleet.roster)?;
    let silent = answers.iter().filter(|answer| answer.said.is_nothing()).count();
    let asked = answers.iter().filter(|answer| !matches!(answer.said, Reply::Unasked)).count();
    if !fleet.is_current() {
        return Err(fleet::unreachable(
            &fleet,
            "no store could be read; presence asked the nodes of the last copies",
        ));
    }
    match (silent, asked) {
        (0, 0) if !answers.is_empty() => {
            console::warning("no node was asked: none of them states a port; set one with --port");
            Ok(())
        }
        (0, _) => Ok(()),
        (silent, asked) => Err(CliError::failed(format!("{silent} of {asked} nodes do not answer"))),
    }
}

fn ask<'a>(args: &Args, nodes: &[&'a Node]) -> Vec<Answer<'a>> {
    let places: Vec<Option<SocketAddr>> =
        nodes.iter().map(|node| reachable::place(node, args.port)).collect();
    let addresses: Vec<SocketAddr> = places.iter().copied().flatten().collect();
    let question = args.http.clone().unwrap_or(Question::Connect);
    let limit = args.timeout.unsigned_abs();
    let mut answers = probe::ask_all(&addresses, &question, limit, args.parallel.into(), None).into_iter();
    let answer = |(node, place): (&&'a Node, Option<SocketAddr>)| {
        let said = match (&node.address, &node.port, place) {
            (Err(reason), ..) | (_, Err(reason), _) => Reply::Nothing(reason.clone()),
            (_, _, None) => Reply::Unasked,
            (_, _, Some(_)) => match answers.next() {
                Some(Ok(time)) => Reply::Answer(time),
                Some(Err(silence)) => Reply::Nothing(silence.to_string()),
                None => Reply::Nothing("was not asked".to_owned()),
            },
        };
        Answer { node, place, said }
    };
    nodes.iter().zip(places).map(answer).collect()
}

fn table(answers: &[Answer<'_>]) -> String {
    let mut table = console::table(["ID", "PART", "STATE", "ADDRESS", "ANSWER"]);
    for Answer { node, place, said } in answers {
        let fact =
            |name: &str| node.record.text(name).map_or_else(|| "-".to_owned(), |value| excerpt(&value));
        table.add_row([
            node.record.id().to_string(),
            fact("nodepart"),
            fact("state"),
            match (place, said, &node.address) {
                (Some(place), ..) => place.to_string(),
                (None, Reply::Unasked, Ok(address)) => address.to_string(),
                (None, ..) => "?".to_owned(),
            },
            match said {
                Reply::Answer(time) => format!("{:.1} ms", time.as_secs_f64() * 1000.0),
                Reply::Nothing(reason) => format!("NONE: {reason}"),
                Reply::Unasked => format!("not asked: {UNASKED}"),
            },
        ]);
    }
    console::rows(&table)
}

fn as_json(answers: &[Answer<'_>]) -> Result<String, CliError> {
    let nodes: Vec<Value> = answers
        .iter()
        .map(|Answer { node, place, said }| {
            let (answers, time, problem) = match said {
                Reply::Answer(time) => (Some(true), Some(*time), None),
                Reply::Nothing(reason) => (Some(false), None, Some(reason.as_str())),
                Reply::Unasked => (None, None, Some(UNASKED)),
            };
            json!({
                "instance-id": node.record.id().as_str(),
                "nodepart": node.record.part(),
                "state": node.record.state(),
                "place": place.map(|place| place.to_string()),
                "answers": answers,
                "milliseconds": time.map(|time| (time.as_secs_f64() * 10_000.0).round() / 10.0),
                "problem": problem,
            })
        })
        .collect();
    let count = |is_meant: fn(&Reply) -> bool| answers.iter().filter(|answer| is_meant(&answer.said)).count();
    let whole = json!({
        "nodes": nodes,
        "answering": count(|said| matches!(said, Reply::Answer(_))),
        "silent": count(Reply::is_nothing),
        "unasked": count(|said| matches!(said, Reply::Unasked)),
    });
    console::json(&whole)
}
