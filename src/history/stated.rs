//! What a node states, in short, for a view of many nodes.

use std::collections::BTreeMap;

use crate::change::{self, FactChange};
use crate::record::{Record, text};
use crate::roster;

/// What a view shows of each node, in this order. The address is the one that readers of the list use.
pub const COLUMNS: [&str; 5] = ["part", "stacktype", "deployment", "state", "address"];

/// The most characters of a value.
const MAX_VALUE: usize = 200;

/// The most characters of a fact's name.
const MAX_NAME: usize = 60;

/// The most facts of a node besides the columns.
const MAX_FACTS: usize = 60;

/// The most changes of facts in one event besides the columns.
const MAX_CHANGES: usize = 20;

/// What a node states, with long values cut short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stated {
    /// The values of [`COLUMNS`].
    pub columns: [Option<String>; COLUMNS.len()],
    /// All other facts, as text.
    pub facts: BTreeMap<String, String>,
}

impl Stated {
    /// What the record states.
    pub fn of(record: &Record) -> Stated {
        let facts = record.facts().into_iter().filter(|(name, _)| !is_column(name));
        let facts = facts.take(MAX_FACTS).map(|(name, value)| {
            let value = text(&value).map_or_else(|| value.to_string(), |text| text.into_owned());
            (cut(&name, MAX_NAME), cut(&value, MAX_VALUE))
        });
        Stated { columns: columns(record), facts: facts.collect() }
    }
}

/// Whether the fact is one of the columns, or the node's name.
fn is_column(fact: &str) -> bool {
    matches!(fact, "instance-id" | "nodepart" | "stacktype" | "deployment" | "state" | "address")
}

/// The columns of the record.
pub(super) fn columns(record: &Record) -> [Option<String>; COLUMNS.len()] {
    ["nodepart", "stacktype", "deployment", "state", roster::stated_address(record).unwrap_or("address")]
        .map(|fact| record.text(fact).map(|value| cut(&value, MAX_VALUE)))
}

/// The columns that differ, by their names.
pub fn between(
    before: &[Option<String>; COLUMNS.len()],
    after: &[Option<String>; COLUMNS.len()],
) -> Vec<FactChange> {
    let pairs = COLUMNS.iter().zip(before.iter().zip(after));
    let pairs = pairs.filter(|(_, (before, after))| before != after);
    pairs
        .map(|(column, (before, after))| FactChange {
            fact: (*column).to_owned(),
            before: before.clone(),
            after: after.clone(),
        })
        .collect()
}

/// The other facts that differ, except those that only accompany a change of state.
pub(super) fn other_facts(before: &Record, after: &Record) -> Vec<FactChange> {
    let (before, after) = (before.facts(), after.facts());
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let shown =
        |value: &serde_json::Value| cut(&text(value).unwrap_or_else(|| value.to_string().into()), MAX_VALUE);
    // A fact with the name of a column is not that column.
    let is_other = |name: &&&String| {
        !is_column(name) && !COLUMNS.contains(&name.as_str()) && !change::is_of_the_state(name)
    };
    let differing = names.iter().filter(is_other).filter(|name| before.get(**name) != after.get(**name));
    differing
        .take(MAX_CHANGES)
        .map(|name| FactChange {
            fact: cut(name, MAX_NAME),
            before: before.get(*name).map(shown),
            after: after.get(*name).map(shown),
        })
        .collect()
}

/// The beginning of a text, unchanged.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
