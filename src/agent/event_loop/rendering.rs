//! Rendering the files.

use std::time::Duration;

use super::EventLoop;
use super::looking::digests;
use crate::agent::report::Complaint;
use crate::beat::absence::Evidence;
use crate::beat::fleet::Fleet;
use crate::beat::turn::{self, Turn, TurnError, TurnOptions};
use crate::beat::{node, reloads};
use crate::errors::chain;
use crate::output::{Done, TargetError};
use crate::record::Facts;
use crate::schedule::back_off;

impl EventLoop<'_> {
    /// Gives every file its turn, which also repairs a damaged file. With `whole`, also while no store
    /// answers, to finish what is left. False if a file is not in order.
    pub(super) fn render(&mut self, whole: bool) -> bool {
        let Some(fleet) = self.fleet.take() else { return false };
        let mut good = true;
        // Without an answer from a store, the changes wait for the next look that gets one.
        self.quiet.done();
        if whole || fleet.is_current() {
            if fleet.is_current() {
                self.rendered = Some(digests(&fleet));
            }
            let facts = node::facts(&self.config.nodeinfo).unwrap_or_default();
            good = self.turns(0..self.config.renders.len(), &facts, &fleet);
        }
        self.fleet = Some(fleet);
        self.write_metrics();
        good
    }

    /// Gives another turn to the files that are due.
    pub(super) fn render_again(&mut self) {
        let now = self.now();
        let due = |again: &Option<(Duration, u32)>| again.is_some_and(|(time, _)| time <= now);
        if !self.again.iter().any(due) {
            return;
        }
        let Some(fleet) = self.fleet.take() else { return };
        let facts = node::facts(&self.config.nodeinfo).unwrap_or_default();
        let places: Vec<usize> = (0..self.again.len()).filter(|index| due(&self.again[*index])).collect();
        self.turns(places, &facts, &fleet);
        self.fleet = Some(fleet);
        self.write_metrics();
    }

    /// Takes the turns of these files. A reload that several of them share runs once, after the last of them.
    /// False if a file is not in order.
    fn turns(&mut self, places: impl IntoIterator<Item = usize>, facts: &Facts, fleet: &Fleet) -> bool {
        let config = self.config;
        let shared = reloads::shared(&config.renders);
        let mut good = true;
        let mut waiting = Vec::new();
        for place in places {
            // A turn may take long, so a stop signal waits for one turn at most.
            if !self.goes_on() {
                good = false;
                break;
            }
            let render = &config.renders[place];
            let now = self.now();
            let options = TurnOptions {
                dry_run: false,
                hold_reload: shared[place] || !self.budget.allows(now),
                evidence: Evidence::Listened(&self.liveness, config.agent.interval),
                accept: false,
                compare_firsts: false,
            };
            let turn = turn::take(config, render, facts, fleet, options);
            if shared[place] {
                waiting.push((place, turn));
                continue;
            }
            let reloaded = has_reloaded(&turn, render.target.reload.is_some());
            if reloaded {
                self.budget.spend(now);
            }
            good &= self.taken(place, &turn, reloaded);
        }
        let (now, budget) = (self.now(), &mut self.budget);
        let ran = reloads::run(&config.renders, &config.state_dir, &mut waiting, || {
            let allowed = budget.allows(now);
            if allowed {
                budget.spend(now);
            }
            allowed
        });
        for (place, turn) in waiting {
            good &= self.taken(place, &turn, ran.contains(&place));
        }
        good
    }

    /// Records the result of a file's turn, and when its next one is due. False if the file is not in order.
    fn taken(&mut self, index: usize, turn: &Turn, reloaded: bool) -> bool {
        self.metrics.turn(turn, reloaded);
        self.liveness.pardon(turn.pardoned.iter().map(String::as_str));
        let poll = self.config.agent.poll;
        let failed = self.again[index].map_or(0, |(_, failed)| failed);
        let soon = self.now() + poll;
        self.again[index] = match turn.done().map_or_else(|| turn.result.as_ref(), Ok) {
            // The next look that finds a store makes a new turn.
            Err(TurnError::Unreachable { .. } | TurnError::NotMade { .. } | TurnError::Refused { .. }) => {
                None
            }
            Err(_) => {
                let wait = back_off(failed + 1, poll, self.config.agent.interval, fastrand::f64());
                Some((self.now() + wait, failed + 1))
            }
            Ok(Done::Held(_)) => Some((self.budget.next().max(soon), 0)),
            // If the reload had no effect, it is not repeated at once.
            Ok(Done::Reloaded | Done::ReloadedFor(_)) => {
                let wait = back_off(failed, poll, self.config.agent.interval, 1.0);
                Some((self.now() + wait, failed + 1))
            }
            Ok(done) if !done.is_settled() => Some((soon, 0)),
            Ok(_) => None,
        };
        self.report_turn(turn);
        turn.result.is_ok()
    }

    fn report_turn(&mut self, turn: &Turn) {
        let path = turn.path.display();
        let topic = format!("`{path}`");
        match &turn.result {
            Ok(_) => self.reporter.well(&topic),
            Err(error) => self.reporter.report(&topic, vec![(chain(error), error.hint())]),
        }
        match turn.done() {
            None | Some(Done::Unchanged) => {}
            Some(Done::Followed(followed)) if followed.done.is_empty() => {}
            Some(done) => self.reporter.note(format!("{path}: {done}")),
        }
        let warnings = turn.warnings.iter().cloned();
        let warnings = warnings.map(|warning| Complaint::from(warning).about(&path.to_string()));
        self.reporter.report(&format!("{topic}, its nodes"), warnings);
    }
}

fn has_reloaded(turn: &Turn, has_command: bool) -> bool {
    match turn.done().map_or_else(|| turn.result.as_ref(), Ok) {
        Ok(Done::Replaced) => has_command,
        Ok(Done::Reloaded | Done::ReloadedFor(_)) => true,
        Err(TurnError::Target(TargetError::Reload { .. } | TargetError::NotLoaded { .. })) => true,
        Err(TurnError::Target(TargetError::NotAsked { reloaded, .. })) => *reloaded,
        _ => false,
    }
}
