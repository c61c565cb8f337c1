//! Runs a stretch of history through a template, as a target of that template would have met it.
//!
//! Heartbeats leave no history. So silence, which makes nodes absent in a real beat, is not replayed.

use std::net::IpAddr;

use super::rendering::{self, ComposeError, Excess, LastOutput, Rendering};
use crate::config::Config;
use crate::endpoint::Allowed;
use crate::errors::chain;
use crate::haproxy;
use crate::history::{Outcome, Replay, Stretch};
use crate::output::limits::Counts;
use crate::progress::{self, Operation};
use crate::roster::{Roster, States};
use crate::store::{Layout, Moment, Step};
use crate::template::TemplateError;
use crate::text::Text;

/// The list as it goes through its history.
pub struct List<'a> {
    /// The nodes at the first version.
    pub roster: Roster,
    /// The store.
    pub store: &'a str,
    /// The configuration.
    pub config: &'a Config,
    /// The addresses of this machine, which records of other nodes may not state.
    pub own: Vec<IpAddr>,
    /// The instance-id of this machine's node.
    pub id: Option<String>,
}

impl List<'_> {
    /// Makes the changes of a step. Reads nothing but the nodes that the step names.
    fn follow(&mut self, step: Step) {
        let (states, layout): (&States, &Layout) = (&self.config.states, &self.config.layout);
        let allowed: &Allowed = &self.config.addresses;
        for node in step.nodes {
            // A problem with the node's file was one of an earlier version.
            let path = self.roster.get(node.id.as_str()).map(|known| known.path.clone());
            if let Some(path) = &path
                && !self.roster.problems.is_empty()
            {
                self.roster.problems.retain(|problem| problem.path != *path);
            }
            let Some(record) = node.after else {
                self.roster.remove(&node.id);
                continue;
            };
            let usual = || layout.paths(&record).ok()?.first().map(|path| Text::from(path.as_str()));
            let path = path.or_else(usual).unwrap_or_default();
            let node = self.roster.put(record, self.store.into(), path, states);
            node.restrict(allowed, &self.own, self.id.as_deref());
        }
    }
}

/// A file in the course of the history.
#[derive(Default)]
struct File {
    text: Option<String>,
    counts: Counts,
    before: LastOutput,
}

/// Runs the stretch through the template. With `runtime`, HAProxy follows the file at run time where it can;
/// otherwise each change needs a reload.
///
/// As in a beat, a question that loses too much keeps its nodes.
pub fn run(
    rendering: &Rendering<'_>,
    mut list: List<'_>,
    stretch: Stretch,
    runtime: bool,
) -> Result<Replay, TemplateError> {
    let Some(first) = stretch.first else { return Ok(Replay::default()) };
    let mut file = File::default();
    let outcome = file.follow(rendering, &list.roster, &first, runtime)?;
    let mut replay = Replay::begin(&first, &outcome, &file.counts);
    let all = stretch.steps.len();
    for (number, step) in stretch.steps.into_iter().rev().enumerate() {
        progress::note(Operation::Replay, number, all);
        file.note_withdrawals(&step);
        let moment = step.moment.clone();
        list.follow(step);
        let outcome = file.follow(rendering, &list.roster, &moment, runtime)?;
        replay.add(&moment, outcome, &file.counts);
    }
    Ok(replay)
}

impl File {
    /// Notes which nodes have left, and which of those have returned.
    fn note_withdrawals(&mut self, step: &Step) {
        for node in &step.nodes {
            match node.withdrawn {
                true => self.before.withdrawn.insert(node.id.clone()),
                false => self.before.withdrawn.remove(&node.id),
            };
        }
    }

    /// Renders the file with that version of the list.
    fn follow(
        &mut self,
        rendering: &Rendering<'_>,
        roster: &Roster,
        moment: &Moment,
        runtime: bool,
    ) -> Result<Outcome, TemplateError> {
        let rendering = Rendering { now: moment.time, ..*rendering };
        let composition = rendering::compose(&rendering, roster, &self.before, Excess::Hold)?;
        let composed = match composition.result {
            Ok(composed) => composed,
            Err(ComposeError::Refused(refused)) => return Ok(Outcome { refused, ..Outcome::default() }),
            Err(error @ ComposeError::Template(_)) => {
                return Ok(Outcome { failed: Some(chain(&error)), ..Outcome::default() });
            }
        };
        let mut outcome = Outcome { refused: composed.refused, ..Outcome::default() };
        outcome.held = (!outcome.refused.is_empty()).then_some(composed.held.len());
        if self.text.as_ref() != Some(&composed.text) {
            outcome.changed = self.text.is_some();
            outcome.reload = match &self.text {
                Some(old) if runtime => {
                    let (old, new) = haproxy::Config::parse_both(old, &composed.text);
                    haproxy::needs_reload(&old, &new)
                }
                Some(_) => Some("every change needs one".to_owned()),
                None => None,
            };
            self.text = Some(composed.text);
        }
        self.counts.clone_from(&composed.counts);
        (self.before.counts, self.before.kept) = (Some(composed.counts), Some(composed.kept));
        Ok(outcome)
    }
}
