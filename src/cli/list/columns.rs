//! The columns of the table of nodes, and what each shows of a node. Pure.

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use crate::roster::{Availability, Freshness, Heartbeats, Node};
use crate::sanitize::excerpt;

/// The colour of a freshness, which repeats its word.
fn word_style(freshness: Freshness) -> Style {
    match freshness {
        Freshness::Fresh => AnsiColor::Green.on_default(),
        Freshness::Silent => AnsiColor::Red.on_default(),
        Freshness::Never | Freshness::Ahead => AnsiColor::Yellow.on_default(),
        Freshness::Unknown => Style::new().dimmed(),
    }
}

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Id,
    Part,
    Stacktype,
    Deployment,
    State,
    Availability,
    Address,
    Port,
    Seen,
    Freshness,
}

impl Column {
    pub(super) const ALL: [Column; 10] = [
        Column::Id,
        Column::Part,
        Column::Stacktype,
        Column::Deployment,
        Column::State,
        Column::Availability,
        Column::Address,
        Column::Port,
        Column::Seen,
        Column::Freshness,
    ];

    /// The heading, and a shorter one.
    pub(super) fn heading(self) -> (&'static str, &'static str) {
        match self {
            Column::Id => ("ID", "ID"),
            Column::Part => ("PART", "PART"),
            Column::Stacktype => ("STACKTYPE", "STACK"),
            Column::Deployment => ("DEPLOYMENT", "DEPLOY"),
            Column::State => ("STATE", "STATE"),
            Column::Availability => ("AVAILABILITY", "AVAIL"),
            Column::Address => ("ADDRESS", "ADDRESS"),
            Column::Port => ("PORT", "PORT"),
            Column::Seen => ("SEEN", "SEEN"),
            Column::Freshness => ("FRESHNESS", "FRESH"),
        }
    }

    /// What the column shows of a node.
    pub(super) fn cell(self, node: &Node, heartbeats: Option<&Heartbeats<'_>>) -> (String, Style) {
        let fact =
            |name: &str| node.record.text(name).map_or_else(|| "-".to_owned(), |value| excerpt(&value));
        let text = match self {
            Column::Id => node.record.id().to_string(),
            Column::Part => fact("nodepart"),
            Column::Stacktype => fact("stacktype"),
            Column::Deployment => fact("deployment"),
            Column::State => {
                let ill = node
                    .ill_services()
                    .map(|(name, state)| format!("{name} {}", state.unwrap_or_else(|| "-".to_owned())));
                let all: Vec<String> = std::iter::once(fact("state")).chain(ill).collect();
                return (all.join(", "), style(node.availability));
            }
            Column::Availability => return (node.availability.to_string(), style(node.availability)),
            Column::Address => {
                node.address.as_ref().map_or_else(|_| "?".to_owned(), std::string::ToString::to_string)
            }
            Column::Port => match &node.port {
                Ok(Some(port)) => port.to_string(),
                Ok(None) => "-".to_owned(),
                Err(_) => "?".to_owned(),
            },
            Column::Seen => {
                let seen = heartbeats.zip(node.last_seen);
                seen.map_or_else(|| "-".to_owned(), |(heartbeats, seen)| age(heartbeats.now, seen))
            }
            Column::Freshness => {
                let freshness =
                    heartbeats.map_or(Freshness::Unknown, |heartbeats| Freshness::of(node, heartbeats));
                return (freshness.as_str().to_owned(), word_style(freshness));
            }
        };
        (text, Style::new())
    }
}

fn style(availability: Availability) -> Style {
    match availability {
        Availability::Active => AnsiColor::Green.on_default(),
        Availability::Draining => AnsiColor::Yellow.on_default(),
        Availability::Down => AnsiColor::Red.on_default(),
        Availability::Absent => Style::new().dimmed(),
    }
}

/// An age in its largest unit.
fn age(now: Timestamp, seen: Timestamp) -> String {
    let seconds = now.duration_since(seen).as_secs();
    let sign = if seconds < 0 { "-" } else { "" };
    match seconds.unsigned_abs() {
        seconds @ 0..=119 => format!("{sign}{seconds}s"),
        seconds @ 120..=7199 => format!("{sign}{}m", seconds / 60),
        seconds @ 7200..=172_799 => format!("{sign}{}h", seconds / 3600),
        seconds => format!("{sign}{}d", seconds / 86_400),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::roster::{Roster, Source, States};
    use crate::store::Snapshot;

    const NOW: &str = "2026-01-31T08:00:00Z";

    /// A roster of nodes with these ids and facts.
    pub(in crate::cli::list) fn roster(nodes: &[(&str, &str)]) -> Roster {
        let files: Vec<(String, String)> = nodes
            .iter()
            .map(|(id, facts)| {
                let value = format!(r#"{{"instance-id":"{id}",{facts}}}"#);
                (format!("{id}.json"), format!(r#"{{"filetype":"nodepresence","value":{value}}}"#))
            })
            .collect();
        let snapshot = Snapshot::of(files.iter().map(|(path, text)| (path.as_str(), Ok(text.as_str()))));
        Roster::new(&[Source { store: "s", snapshot: &snapshot, stale: false }], &States::default())
    }

    #[test]
    fn an_age_has_its_largest_unit() {
        let now: Timestamp = NOW.parse().unwrap();
        let check = |ago: i64, expect: &str| {
            assert_eq!(age(now, now.checked_sub(SignedDuration::from_secs(ago)).unwrap()), expect);
        };
        check(0, "0s");
        check(119, "119s");
        check(120, "2m");
        check(7200, "2h");
        check(172_800, "2d");
        check(-600, "-10m");
    }
}
