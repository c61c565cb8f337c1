//! The stores: reads them, and rehearses a publish.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::findings::Findings;
use crate::beat::fleet::{Fleet, FleetStores, rehearse};
use crate::cli::{fleet, node};
use crate::config::Config;
use crate::errors::chain;
use crate::roster::Node;
use crate::store::{Branch, Condition, Rehearsal, Soundness, StoreError};

/// A clock that is only a little wrong is at most this far ahead.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// If there are more nodes, only their number is shown.
const MAX_NAMES: usize = 5;

/// Reads all stores and rehearses a publish to each.
pub(super) fn look(config: &Config, stores: &FleetStores, findings: &mut Findings) -> Fleet {
    // Reading comes first: over a network, it finds out which branch is meant.
    let fleet = Fleet::read(config, stores, true);
    let rehearsed = rehearse(stores);
    let mut failed = false;
    let readings = fleet.readings.iter().map(|reading| (reading, "files"));
    let beat_readings = fleet.beat_readings.iter().map(|reading| (reading, "heartbeats"));
    for (reading, what) in readings.chain(beat_readings) {
        match (&reading.error, &reading.snapshot) {
            (Some(error), _) => {
                failed = true;
                findings.bad("store", chain(error), error.hint());
            }
            // Nothing was read from a missing branch.
            _ if rehearsed.iter().flatten().any(|of| of.url == reading.url && missing(of).is_some()) => {}
            (None, Some(snapshot)) => {
                let count = if what == "files" { snapshot.len() } else { snapshot.beats.len() };
                findings.good("store", format!("store `{}`: {count} {what}", reading.url));
            }
            (None, None) => {}
        }
    }
    failed |= rehearsed.iter().any(|of| of.as_ref().map_or(true, |of| missing(of).is_some()));
    publishing(rehearsed, findings);
    services(stores, findings);
    list(&fleet, failed, findings);
    fleet
}

fn list(fleet: &Fleet, failed: bool, findings: &mut Findings) {
    if !fleet.is_current() {
        return findings.untried("list", "the list: no store could be read");
    }
    if failed && fleet.roster.nodes.is_empty() {
        return findings.untried("list", "the list: no nodes in the stores that could be read");
    }
    let answering = fleet.readings.iter().filter(|reading| reading.error.is_none()).count();
    let of = match answering == fleet.readings.len() {
        true => String::new(),
        false => format!(", from {answering} of {} stores", fleet.readings.len()),
    };
    let nodes = fleet.roster.nodes.len();
    let problems = fleet.problems();
    match problems.first() {
        None => findings.good("list", format!("{nodes} nodes on the list{of}")),
        Some(first) => findings.doubtful(
            "list",
            format!("{nodes} nodes on the list{of}, and {} problems; the first: {first}", problems.len()),
            fleet::ALL_PROBLEMS.to_owned(),
        ),
    }
    match node::now() {
        Ok(now) => ahead(fleet, now, findings),
        Err(error) => findings.bad("clock", error.message(), error.advice().map(str::to_owned)),
    }
}

/// Finds nodes whose times are ahead of this machine's clock. A newer record of such a node is taken for the
/// older one, and its silence is never noticed.
fn ahead(fleet: &Fleet, now: Timestamp, findings: &mut Findings) {
    let latest = |node: &Node| {
        let changed = node.record.changed().and_then(|time| time.to_zoned(TimeZone::UTC).ok());
        changed.map(|time| time.timestamp()).max(node.last_seen)
    };
    let is_ahead = |node: &&Node| latest(node).is_some_and(|time| time.duration_since(now) > AHEAD);
    let nodes: Vec<&Node> = fleet.roster.nodes.iter().filter(is_ahead).collect();
    if nodes.is_empty() {
        return;
    }
    let named = nodes.iter().take(MAX_NAMES).map(|node| {
        let time = latest(node).map_or_else(String::new, |time| format!(" ({time})"));
        format!("{}{time}", node.record.id())
    });
    let named: Vec<String> = named.collect();
    let more = match nodes.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    findings.bad(
        "clock",
        format!(
            "the times of {}{more} are ahead of this machine's clock, which says {now}",
            named.join(", ")
        ),
        "correct the wrong clock; then run `presence state STATE` on such a node to renew the time of its \
         record"
            .to_owned(),
    );
}

/// The services behind the stores.
fn services(stores: &FleetStores, findings: &mut Findings) {
    for (url, Condition { soundness, text, hint }) in stores.list.and(&stores.beats).conditions() {
        let text = format!("store `{url}`: {text}");
        match soundness {
            Soundness::Good => findings.good("store", text),
            Soundness::Doubtful => findings.doubtful("store", text, hint),
            Soundness::Bad => findings.bad("store", text, hint),
        }
    }
}

/// The configured branch, if it is missing from a repository that has others.
fn missing(rehearsal: &Rehearsal) -> Option<&Branch> {
    rehearsal.branch.as_ref().filter(|branch| !branch.exists && !branch.others.is_empty())
}

fn publishing(rehearsed: Vec<Result<Rehearsal, StoreError>>, findings: &mut Findings) {
    for rehearsed in rehearsed {
        if let Some(Branch { name, others, .. }) = rehearsed.as_ref().ok().and_then(missing) {
            let url = rehearsed.as_ref().map_or("", |of| of.url.as_str());
            findings.bad(
                "publish",
                format!(
                    "store `{url}`: the branch `{name}` does not exist; existing branches: {}",
                    quoted(others)
                ),
                "correct `branch` in presence.toml, or HEAD of the repository".to_owned(),
            );
            continue;
        }
        let Rehearsal { url, branch, untried } = match rehearsed {
            Ok(rehearsed) => rehearsed,
            Err(error) => {
                findings.bad("publish", format!("publishing: {}", chain(&error)), error.hint());
                continue;
            }
        };
        match branch {
            Some(Branch { name, exists: true, .. }) => {
                findings.good("publish", format!("store `{url}` accepts records on the branch `{name}`"));
            }
            Some(Branch { name, .. }) => {
                findings.good(
                    "publish",
                    format!("store `{url}` accepts records; the first one creates the branch `{name}`"),
                );
            }
            None => findings.good("publish", format!("store `{url}` accepts records")),
        }
        if let Some(untried) = untried {
            findings.untried("publish", format!("store `{url}`: {untried}"));
        }
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
