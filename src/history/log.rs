//! The last events of a list, of those that match a filter.

use std::ops::ControlFlow;

use jiff::Timestamp;

use super::{Event, SKEW, event};
use crate::name::Name;
use crate::store::{Before, Moment, Step, Visitor};

/// Which events to take.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those of this node.
    pub id: Option<Name>,
    /// Only those of nodes whose part matches, by their record after the event, or the last one.
    pub part: Option<glob::Pattern>,
    /// Only those since then.
    pub since: Option<Timestamp>,
}

impl Filter {
    fn takes(&self, event: &Event) -> bool {
        let part = event.part.as_deref().unwrap_or_default();
        self.id.as_ref().is_none_or(|id| *id == event.id)
            && self.part.as_ref().is_none_or(|glob| glob.matches(part))
            && self.since.is_none_or(|since| event.moment.time >= since)
    }
}

/// Collects the last events that match a filter, and at most a number of them.
#[derive(Debug, Clone)]
pub struct Log {
    filter: Filter,
    most: usize,
    /// The events, newest first.
    pub events: Vec<Event>,
    /// The first step of the known history, if the walk came so far and the time before it is unknown.
    pub begins: Option<Moment>,
    /// Whether the walk ended at its deadline: earlier events were not looked for.
    pub is_cut: bool,
}

impl Log {
    /// An empty log.
    pub fn new(filter: Filter, most: usize) -> Log {
        Log { filter, most, events: Vec::new(), begins: None, is_cut: false }
    }
}

impl Visitor for Log {
    fn visit(&mut self, step: Step) -> ControlFlow<()> {
        let is_over = |since: Timestamp| step.moment.time.duration_since(since) < -SKEW;
        if self.filter.since.is_some_and(is_over) {
            return ControlFlow::Break(());
        }
        if step.before == Before::Unknown {
            self.begins = Some(step.moment.clone());
        }
        let events = step.nodes.iter().filter_map(|node| event(&step, node));
        let left = self.most - self.events.len();
        self.events.extend(events.filter(|event| self.filter.takes(event)).take(left));
        match self.events.len() >= self.most {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn cut(&mut self) -> bool {
        self.is_cut = true;
        true
    }
}
