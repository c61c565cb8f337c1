//! The history of one node: since when it states each fact, and its states over time.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::name::Name;
use crate::record::{Facts, Record};
use crate::store::{Before, Moment, Step, Visitor};

/// The most spans to keep.
const MOST: usize = 1_000;

/// The beginning of something.
#[derive(Debug, Clone, PartialEq)]
pub enum Since {
    /// That step began it.
    At(Moment),
    /// It was so at the first step of the known history, which does not show for how long.
    Before(Moment),
}

impl Since {
    /// The step.
    pub fn moment(&self) -> &Moment {
        let (Since::At(moment) | Since::Before(moment)) = self;
        moment
    }
}

/// Whether a node was on the list, and in which state.
#[derive(Debug, Clone, PartialEq)]
pub enum Presence {
    /// It was on the list in this state, or stated none.
    Listed(Option<String>),
    /// It was not on the list.
    Away,
}

impl Presence {
    fn of(record: Option<&Record>) -> Presence {
        match record {
            Some(record) => Presence::Listed(record.state().map(std::borrow::Cow::into_owned)),
            None => Presence::Away,
        }
    }
}

/// A time without a change of state.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The state.
    pub presence: Presence,
    /// Its beginning.
    pub since: Since,
    /// The time of the next change; `None` for the present state.
    pub until: Option<Timestamp>,
}

impl Span {
    /// The length, if it is known.
    pub fn duration(&self, now: Timestamp) -> Option<SignedDuration> {
        let Since::At(moment) = &self.since else { return None };
        let duration = self.until.unwrap_or(now).duration_since(moment.time);
        // Two clocks made the two times.
        Some(duration).filter(|duration| !duration.is_negative())
    }
}

/// Collects the history of one node.
#[derive(Debug, Clone)]
pub struct NodeHistory {
    id: Name,
    /// Its facts in the newest step, and their beginnings. `None` before that step.
    facts: Option<(Facts, BTreeMap<String, Since>)>,
    /// The states, newest first.
    pub spans: Vec<Span>,
    /// Whether there are earlier states, which were left out.
    pub is_cut: bool,
}

impl NodeHistory {
    /// An empty history.
    pub fn new(id: Name) -> NodeHistory {
        NodeHistory { id, facts: None, spans: Vec::new(), is_cut: false }
    }

    /// Since when the node states that value of the fact. `None` if the history does not have this value.
    pub fn since(&self, fact: &str, value: &Value) -> Option<&Since> {
        let (facts, since) = self.facts.as_ref()?;
        since.get(fact).filter(|_| facts.get(fact) == Some(value))
    }
}

impl Visitor for NodeHistory {
    fn visit(&mut self, step: Step) -> ControlFlow<()> {
        let Some(node) = step.nodes.into_iter().find(|node| node.id == self.id) else {
            return ControlFlow::Continue(());
        };
        let since = match (&node.before, step.before) {
            (None, Before::Unknown) => Since::Before(step.moment),
            _ => Since::At(step.moment),
        };
        let facts = || (node.after.as_ref().map(Record::facts).unwrap_or_default(), BTreeMap::new());
        let (facts, begun) = self.facts.get_or_insert_with(facts);
        let before = node.before.as_ref().map(Record::facts).unwrap_or_default();
        for (fact, value) in &*facts {
            if !begun.contains_key(fact) && before.get(fact) != Some(value) {
                begun.insert(fact.clone(), since.clone());
            }
        }
        let presence = Presence::of(node.after.as_ref());
        if presence != Presence::of(node.before.as_ref()) {
            if self.spans.len() == MOST {
                self.is_cut = true;
                return ControlFlow::Break(());
            }
            let until = self.spans.last().map(|next| next.since.moment().time);
            self.spans.push(Span { presence, since, until });
        }
        ControlFlow::Continue(())
    }
}
