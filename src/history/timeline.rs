//! The last changes of a whole list, with their values: enough to go back in time from what nodes state now.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::stated::{self, Stated};
use crate::change::FactChange;
use crate::name::Name;
use crate::record::Record;
use crate::roster::{Selector, States};
use crate::store::{Before, Moment, NodeStep, Step, Visitor};

/// A change of one node.
#[derive(Debug, Clone, PartialEq)]
pub struct Happening {
    /// When, and in which version of the list.
    pub moment: Moment,
    /// The node.
    pub id: Name,
    /// `joined`, `there`, `state`, `facts` or `left`, as for [`super::What::kind`].
    pub kind: &'static str,
    /// The columns that differ, and then other facts.
    pub changes: Vec<FactChange>,
}

/// The newest that the history has of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Last {
    /// Whether it is on the list then.
    pub is_listed: bool,
    /// What it states then, or stated before it left.
    pub stated: Stated,
}

/// The moment at which a timeline ends.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// The newest step.
    Newest,
    /// The newest step that is in one of these versions. A version may have changed nothing: then the newest
    /// step that is not younger.
    At(Vec<Moment>),
}

/// Collects the last changes of nodes.
#[derive(Debug, Clone)]
pub struct Timeline {
    most: usize,
    end: End,
    /// Whether each node of the list is shown.
    listed: BTreeMap<Name, bool>,
    /// Whether other nodes are shown, by what they stated last.
    others: (Selector, States),
    is_begun: bool,
    /// The changes, newest first.
    pub happenings: Vec<Happening>,
    /// The newest that the history has of each shown node.
    pub last: BTreeMap<Name, Last>,
    hidden: BTreeSet<Name>,
    /// The newest step.
    pub newest: Option<Moment>,
    /// The first step of the known history, if the walk came so far and the time before it is unknown.
    pub begins: Option<Moment>,
    /// Whether there are earlier changes, which were left out.
    pub is_cut: bool,
    /// Whether they were left out because the walk ended at its deadline.
    pub is_late: bool,
}

impl Timeline {
    /// An empty timeline of at most that many changes.
    pub fn new(most: usize, end: End, listed: BTreeMap<Name, bool>, others: (Selector, States)) -> Timeline {
        Timeline {
            most,
            end,
            listed,
            others,
            is_begun: false,
            happenings: Vec::new(),
            last: BTreeMap::new(),
            hidden: BTreeSet::new(),
            newest: None,
            begins: None,
            is_cut: false,
            is_late: false,
        }
    }

    /// Whether the step is not later than the end.
    fn is_in_time(&mut self, step: &Step) -> bool {
        let End::At(moments) = &self.end else { return true };
        if moments.iter().any(|moment| moment.commit == step.moment.commit) {
            // Those before it were younger only by their clocks.
            self.happenings.clear();
            self.last.clear();
            self.hidden.clear();
            self.newest = None;
            self.is_begun = true;
        }
        self.is_begun |= moments.iter().any(|moment| step.moment.time <= moment.time);
        self.is_begun
    }

    /// Whether the node is shown.
    fn shows(&mut self, node: &NodeStep) -> bool {
        if self.last.contains_key(&node.id) {
            return true;
        }
        if self.hidden.contains(&node.id) {
            return false;
        }
        let Some(record) = node.after.as_ref().or(node.before.as_ref()) else { return false };
        let (selector, states) = &self.others;
        let is_shown = self
            .listed
            .get(&node.id)
            .copied()
            .unwrap_or_else(|| selector.matches_record(record, states.of(record.state().as_deref())));
        match is_shown {
            true => {
                let last = Last { is_listed: node.after.is_some(), stated: Stated::of(record) };
                self.last.insert(node.id.clone(), last);
            }
            false => drop(self.hidden.insert(node.id.clone())),
        }
        is_shown
    }
}

impl Visitor for Timeline {
    fn visit(&mut self, step: Step) -> ControlFlow<()> {
        if !self.is_in_time(&step) {
            return ControlFlow::Continue(());
        }
        self.newest.get_or_insert_with(|| step.moment.clone());
        // Newest first, so that the nodes of a step are in their order in the end.
        for node in step.nodes.iter().rev() {
            if !self.shows(node) {
                continue;
            }
            let Some((kind, changes)) = happened(node, step.before) else { continue };
            if self.happenings.len() >= self.most {
                self.is_cut = true;
                return ControlFlow::Break(());
            }
            let (moment, id) = (step.moment.clone(), node.id.clone());
            self.happenings.push(Happening { moment, id, kind, changes });
        }
        if step.before == Before::Unknown {
            self.begins = Some(step.moment);
        }
        ControlFlow::Continue(())
    }

    fn cut(&mut self) -> bool {
        (self.is_cut, self.is_late) = (true, true);
        true
    }
}

/// What happened to a node in a step; `None` if it is nothing that a view shows.
fn happened(node: &NodeStep, before_step: Before) -> Option<(&'static str, Vec<FactChange>)> {
    let columns = |record: &Option<Record>| record.as_ref().map(stated::columns).unwrap_or_default();
    let mut changes = stated::between(&columns(&node.before), &columns(&node.after));
    let kind = match (&node.before, &node.after) {
        (None, None) => return None,
        (None, Some(_)) if before_step == Before::Unknown => "there",
        (None, Some(_)) => "joined",
        (Some(_), None) => "left",
        (Some(before), Some(after)) => {
            let is_state = changes.iter().any(|change| change.fact == "state");
            changes.extend(stated::other_facts(before, after));
            match (is_state, changes.is_empty()) {
                (_, true) => return None,
                (true, _) => "state",
                (false, _) => "facts",
            }
        }
    };
    Some((kind, changes))
}
