//! The history of one node, for `presence show --history`.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::error::CliError;
use super::fleet::{self, FleetStores};
use super::{console, log};
use crate::history::{NodeHistory, Presence, Since, Span};
use crate::name::Name;
use crate::record::Record;
use crate::sanitize::excerpt;

/// The history of the node, from the first store that answers and has one.
pub(super) fn of(stores: &FleetStores, id: &Name) -> Result<NodeHistory, CliError> {
    fleet::history(stores, &NodeHistory::new(id.clone()))
}

/// The history as text: a table of facts and one of states.
pub(super) fn text(history: &NodeHistory, record: &Record, now: Timestamp) -> Result<String, CliError> {
    let mut facts = console::table(["FACT", "VALUE", "SINCE", "COMMIT"]);
    for (fact, value) in record.facts() {
        let text = crate::record::text(&value).map_or_else(|| value.to_string(), |text| text.into_owned());
        let (since, commit) = match history.since(&fact, &value) {
            Some(since) => told(since),
            None => ("not in a commit".to_owned(), String::new()),
        };
        facts.add_row([excerpt(&fact), excerpt(&text), since, commit]);
    }
    let mut states = console::table(["STATE", "FOR", "SINCE", "COMMIT"]);
    for span in &history.spans {
        let duration = span.duration(now).map_or_else(|| "unknown".to_owned(), whole);
        let (since, commit) = told(&span.since);
        states.add_row([state(span), duration, since, commit]);
    }
    let cut = if history.is_cut { "… and earlier states\n" } else { "" };
    Ok(format!("\n{}\n{}{cut}", console::rows(&facts), console::rows(&states)))
}

fn told(since: &Since) -> (String, String) {
    let (commit, time) = (format!("{:.8}", since.moment().commit), log::time(since.moment().time));
    match since {
        Since::At(_) => (time, commit),
        Since::Before(_) => (format!("{time} or before"), commit),
    }
}

fn state(span: &Span) -> String {
    match &span.presence {
        Presence::Listed(Some(state)) => excerpt(state),
        Presence::Listed(None) => "-".to_owned(),
        Presence::Away => "(not on the list)".to_owned(),
    }
}

/// A duration with its two largest units: `3d 4h`, `12m 5s`.
pub(super) fn whole(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().unsigned_abs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// The history as JSON.
pub(super) fn json(history: &NodeHistory, record: &Record, now: Timestamp) -> Value {
    let since = |since: &Since| {
        let (moment, is_exact) = (since.moment(), matches!(since, Since::At(_)));
        json!({ "time": moment.time.to_string(), "commit": moment.commit, "exact": is_exact })
    };
    let facts = record.facts().into_iter();
    let facts: Map<String, Value> = facts
        .map(|(fact, value)| {
            let known = history.since(&fact, &value).map(since);
            (fact, known.unwrap_or_default())
        })
        .collect();
    let states: Vec<Value> = history
        .spans
        .iter()
        .map(|span| {
            let (is_listed, state) = match &span.presence {
                Presence::Listed(state) => (true, state.as_deref()),
                Presence::Away => (false, None),
            };
            json!({
                "listed": is_listed,
                "state": state,
                "since": since(&span.since),
                "until": span.until.map(|until| until.to_string()),
                "seconds": span.duration(now).map(|duration| duration.as_secs()),
            })
        })
        .collect();
    json!({ "facts": facts, "states": states, "earlier_states_left_out": history.is_cut })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_its_two_largest_units() {
        for (seconds, expect) in
            [(0, "0s"), (59, "59s"), (60, "1m 0s"), (7_260, "2h 1m"), (180_000, "2d 2h"), (86_400, "1d 0h")]
        {
            assert_eq!(whole(SignedDuration::from_secs(seconds)), expect);
        }
    }
}
