//! What a node's state means for readers of the list.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whether others may use a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    /// Others may use it.
    Active,
    /// It finishes its present work and must get no new work.
    Draining,
    /// It is listed, but must not be used.
    Down,
    /// It is treated as if it were not on the list.
    Absent,
}

impl Availability {
    /// All availabilities, in the order for display.
    pub const ALL: [Availability; 4] = [Self::Active, Self::Draining, Self::Down, Self::Absent];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Down => "down",
            Self::Absent => "absent",
        }
    }
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The word is not an availability.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an availability: use active, draining, down or absent")]
pub struct UnknownAvailability(String);

impl FromStr for Availability {
    type Err = UnknownAvailability;

    fn from_str(text: &str) -> Result<Availability, UnknownAvailability> {
        Self::ALL
            .into_iter()
            .find(|availability| availability.as_str() == text)
            .ok_or_else(|| UnknownAvailability(text.to_owned()))
    }
}

/// Maps states to availabilities.
#[derive(Debug, Clone)]
pub struct States(BTreeMap<String, Availability>);

impl Default for States {
    fn default() -> States {
        use Availability::{Absent, Active, Down, Draining};
        let table = [
            ("presetup", Absent),
            ("setup", Absent),
            ("initdone", Active),
            ("done", Active),
            ("running", Active),
            ("wedged", Down),
            ("draining", Draining),
            ("drained", Down),
            ("decommissioned", Absent),
        ];
        States(table.into_iter().map(|(state, availability)| (state.to_owned(), availability)).collect())
    }
}

impl States {
    /// Adds states to the table, or changes the meaning of existing ones.
    pub fn extended(mut self, more: impl IntoIterator<Item = (String, Availability)>) -> States {
        self.0.extend(more);
        self
    }

    /// The meaning of a state. A node without a state is active, as in the fleets of 2015. An unknown state
    /// is absent.
    pub fn of(&self, state: Option<&str>) -> Availability {
        match state {
            None => Availability::Active,
            Some(state) => self.0.get(state).copied().unwrap_or(Availability::Absent),
        }
    }

    /// Whether the table has that state.
    pub fn knows(&self, state: &str) -> bool {
        self.0.contains_key(state)
    }

    /// The state of the table with the most similar spelling, if any is similar enough.
    pub fn nearest(&self, word: &str) -> Option<&str> {
        let word: String = word.trim().chars().take(40).collect::<String>().to_ascii_lowercase();
        let near = |state: &&str| distance(&word, state);
        let nearest = self.names().min_by_key(near)?;
        (near(&nearest) <= 2).then_some(nearest)
    }

    /// The states of the table.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The Levenshtein distance: how many characters to insert, delete or replace to turn one word into the
/// other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, a) in one.chars().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_extended() {
        let states = States::default().extended([("parked".to_owned(), Availability::Down)]);
        for (state, expect) in [
            (None, "active"),
            (Some("done"), "active"),
            (Some("draining"), "draining"),
            (Some("wedged"), "down"),
            (Some("parked"), "down"),
            (Some("Done"), "absent"),
        ] {
            assert_eq!(states.of(state).as_str(), expect, "{state:?}");
        }
        for (word, expect) in
            [("drainig", Some("draining")), ("Done", Some("done")), ("bogus", None), ("", None)]
        {
            assert_eq!(states.nearest(word), expect, "{word}");
        }
        assert!("gone".parse::<Availability>().unwrap_err().to_string().contains("`gone`"));
    }
}
