//! The history of a list: the events of its nodes, from the steps that a store remembers.
//!
//! Steps come one by one, newest first, and are not kept. Nothing is guessed: a history may begin later than
//! the list, and then the first step does not show who joined when.

mod log;
mod node;
mod replay;
mod stated;
mod timeline;

pub use log::{Filter, Log};
pub use node::{NodeHistory, Presence, Since, Span};
pub use replay::{Bound, Changed, Extent, Failed, MOST_STEPS, Outcome, Refused, Replay, Stretch};
pub use stated::{COLUMNS, Stated, between};
pub use timeline::{End, Happening, Last, Timeline};

use jiff::SignedDuration;

use crate::change::Change;
use crate::name::Name;
use crate::record::Record;
use crate::store::{Before, Moment, NodeStep, Step};

/// The clocks of those who make commits differ, but not by more than this.
const SKEW: SignedDuration = SignedDuration::from_hours(24);

/// Something that happened to a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, and in which version of the list.
    pub moment: Moment,
    /// The node.
    pub id: Name,
    /// Its part, from its record.
    pub part: Option<String>,
    /// What happened.
    pub what: What,
}

/// What happened to a node.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// It joined, its facts changed, or it left.
    Changed(Change),
    /// It was on the list when the known history begins, so it joined then or earlier.
    ThereAlready,
}

impl What {
    /// The kind of event in one word: `joined`, `there`, `state`, `facts` or `left`.
    pub fn kind(&self) -> &'static str {
        match self {
            What::ThereAlready => "there",
            What::Changed(Change::Joined) => "joined",
            What::Changed(Change::Left) => "left",
            What::Changed(Change::Changed(facts)) if facts.iter().any(|fact| fact.fact == "state") => "state",
            What::Changed(Change::Changed(_) | Change::Moved | Change::Rewritten) => "facts",
        }
    }
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            What::Changed(change) => change.fmt(f),
            What::ThereAlready => f.write_str("joined by then: the known history begins here"),
        }
    }
}

/// The event of a node in a step; `None` if it states the same facts in other bytes.
pub fn event(step: &Step, node: &NodeStep) -> Option<Event> {
    let what = match Change::between(node.before.as_ref(), node.after.as_ref())? {
        Change::Joined if step.before == Before::Unknown => What::ThereAlready,
        change => What::Changed(change),
    };
    let part = node.after.as_ref().or(node.before.as_ref()).and_then(Record::part);
    Some(Event {
        moment: step.moment.clone(),
        id: node.id.clone(),
        part: part.map(std::borrow::Cow::into_owned),
        what,
    })
}

#[cfg(test)]
mod tests;
