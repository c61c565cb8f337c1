//! A drawing of the groups of a fleet, and of who is wired to whom, in three formats.

mod dot;
mod layers;
mod mermaid;
mod svg;

pub use dot::dot;
pub use mermaid::mermaid;
pub use svg::svg;

use super::{Group, Groups, Wiring, short};

/// The most characters of a name in a drawing.
const NAME: usize = 28;

/// The most characters of a note in a drawing.
const NOTE: usize = 160;

/// If there are more notes, the others are counted.
const MAX_NOTES: usize = 20;

/// At most this many states are shown with their counts.
const MAX_STATES: usize = 3;

/// What to draw.
#[derive(Debug)]
pub struct Graph {
    /// The groups, in their order.
    groups: Vec<Drawn>,
    /// The wires, by the places of their groups, with their templates.
    wires: Vec<(usize, usize, String)>,
    /// What could not be found out.
    notes: Vec<String>,
    /// What is drawn, in a few words.
    title: String,
}

/// A group as it is drawn.
#[derive(Debug)]
struct Drawn {
    /// Its part.
    part: String,
    /// Its stacktype and deployment; empty if it has neither.
    place: String,
    /// How many nodes are in each state.
    states: String,
    /// The whole name.
    name: String,
}

impl Graph {
    /// The drawing of these groups.
    pub fn new(groups: &Groups<'_>, wiring: &Wiring) -> Graph {
        let names: Vec<&Group> = groups.all.keys().collect();
        let drawn = groups.all.iter().map(|(group, members)| Drawn {
            part: short(group.part.as_deref().unwrap_or("no part"), NAME),
            place: short(&place(group), 2 * NAME),
            states: states(&members.states()),
            name: group.to_string(),
        });
        let wires = wiring.wires.iter().filter_map(|(wire, by)| {
            let place = |group: &Group| names.binary_search(&group).ok();
            let by: Vec<String> = by.iter().map(|template| short(template, NAME)).collect();
            Some((place(&wire.from)?, place(&wire.to)?, short(&by.join(", "), 2 * NAME)))
        });
        let mut notes = wiring.notes.clone();
        if groups.left_out > 0 {
            notes.insert(0, format!("{} groups with fewer nodes are left out", groups.left_out));
        }
        let more = notes.len().saturating_sub(MAX_NOTES);
        notes.truncate(MAX_NOTES);
        notes.iter_mut().for_each(|note| *note = crate::sanitize::said(note, NOTE));
        if more > 0 {
            notes.push(format!("… and {more} more notes"));
        }
        let title = match groups.count() {
            0 => "There are no nodes to draw".to_owned(),
            1 => "1 node in 1 group".to_owned(),
            count if names.len() == 1 => format!("{count} nodes in 1 group"),
            count => format!("{count} nodes in {} groups", names.len()),
        };
        Graph { groups: drawn.collect(), wires: wires.collect(), notes, title }
    }
}

fn place(group: &Group) -> String {
    let names = [&group.stacktype, &group.deployment].into_iter().flatten();
    names.map(|name| short(name, NAME)).collect::<Vec<_>>().join(", ")
}

/// `3 done, 1 draining`.
fn states(counts: &[(String, usize)]) -> String {
    let shown =
        counts.iter().take(MAX_STATES).map(|(state, count)| format!("{count} {}", short(state, NAME)));
    let mut shown: Vec<String> = shown.collect();
    let others: usize = counts.iter().skip(MAX_STATES).map(|(_, count)| count).sum();
    if others > 0 {
        shown.push(format!("{others} in other states"));
    }
    shown.join(", ")
}

/// A text that a format cannot write would be a fault of this program: it was made harmless before.
fn or_mark(text: Result<String, crate::escape::Refused>) -> String {
    text.unwrap_or_else(|_| "?".to_owned())
}

#[cfg(test)]
mod tests;
