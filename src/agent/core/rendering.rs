//! Rendering the files.

use super::report::Complaint;
use super::retries::Waits;
use super::{Agent, Port};
use crate::beat::absence::Evidence;
use crate::beat::fleet::Fleet;
use crate::beat::reloads;
use crate::beat::turn::{Turn, TurnError};
use crate::errors::chain;
use crate::output::{Done, TargetError};

impl<P: Port> Agent<'_, P> {
    /// Gives every file its turn, which also repairs a damaged file. With `whole`, also while no store
    /// answers, to finish what is left. False if a file is not in order.
    pub(super) async fn render(&mut self, whole: bool) -> bool {
        let Some(fleet) = self.fleet.take() else { return false };
        let mut good = true;
        self.changes.render(fleet.is_current().then(|| fleet.digests()));
        if whole || fleet.is_current() {
            good = self.turns(0..self.config.renders.len(), &fleet).await;
        }
        if fleet.is_current() {
            self.port.make_pages();
        }
        self.fleet = Some(fleet);
        self.write_metrics().await;
        good
    }

    /// Gives another turn to the files that are due.
    pub(super) async fn render_again(&mut self) {
        let due = self.retries.due(self.port.now());
        if due.is_empty() {
            return;
        }
        let Some(fleet) = self.fleet.take() else { return };
        self.turns(due, &fleet).await;
        self.fleet = Some(fleet);
        self.write_metrics().await;
    }

    /// Takes the turns of these files. A reload that several of them share runs once, after the last of them.
    /// False if a file is not in order.
    async fn turns(&mut self, places: impl IntoIterator<Item = usize>, fleet: &Fleet) -> bool {
        let config = self.config;
        let facts = self.port.facts().await;
        let shared = reloads::shared(&config.renders);
        let mut good = true;
        let mut waiting = Vec::new();
        for place in places {
            // A turn may take long, so a stop signal waits for one turn at most.
            if !self.goes_on().await {
                good = false;
                break;
            }
            let now = self.port.now();
            let hold_reload = shared[place] || !self.budget.allows(now);
            let evidence = Evidence::Listened(&self.silence.liveness, config.agent.interval);
            let turn = self.port.turn(place, &facts, fleet, evidence, hold_reload).await;
            if shared[place] {
                waiting.push((place, turn));
                continue;
            }
            let reloaded = has_reloaded(&turn, config.renders[place].target.reload.is_some());
            if reloaded {
                self.budget.spend(now);
            }
            good &= self.taken(place, &turn, reloaded);
        }
        if waiting.is_empty() {
            return good;
        }
        let (now, budget) = (self.port.now(), &mut self.budget);
        let mut allow = || {
            let allowed = budget.allows(now);
            if allowed {
                budget.spend(now);
            }
            allowed
        };
        let ran = self.port.reload(&mut waiting, &mut allow).await;
        for (place, turn) in waiting {
            good &= self.taken(place, &turn, ran.contains(&place));
        }
        good
    }

    /// Records the result of a file's turn, and when its next one is due. False if the file is not in order.
    fn taken(&mut self, index: usize, turn: &Turn, reloaded: bool) -> bool {
        self.metrics.turn(turn, reloaded, self.port.clock());
        self.silence.liveness.pardon(turn.pardoned.iter().map(String::as_str));
        let agent = &self.config.agent;
        let waits = Waits { poll: agent.poll, longest: agent.interval, next_reload: self.budget.next() };
        let now = self.port.now();
        self.retries.ended(index, work(turn), now, waits, || self.port.chance());
        self.report_turn(turn);
        turn.result.is_ok()
    }

    fn report_turn(&mut self, turn: &Turn) {
        let path = turn.path.display();
        let topic = format!("`{path}`");
        match &turn.result {
            // The reload that is pending may be the one that failed.
            Ok(Done::Held(_)) => {}
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

/// What was done with the file, also if no store answers or a limit holds nodes.
fn work(turn: &Turn) -> Result<&Done, &TurnError> {
    turn.done().or(turn.finished.as_ref()).map_or_else(|| turn.result.as_ref(), Ok)
}

fn has_reloaded(turn: &Turn, has_command: bool) -> bool {
    match work(turn) {
        Ok(Done::Replaced) => has_command,
        Ok(Done::Reloaded | Done::ReloadedFor(_)) => true,
        Err(TurnError::Target(TargetError::Reload { .. } | TargetError::NotLoaded { .. })) => true,
        Err(TurnError::Target(TargetError::NotAsked { reloaded, .. })) => *reloaded,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A turn while no store answers.
    fn turn(finished: Option<Done>) -> Turn {
        Turn {
            path: "x".into(),
            result: Err(TurnError::Unreachable { path: "x".into(), hint: None }),
            finished,
            warnings: Vec::new(),
            held: 0,
            firsts: Vec::new(),
            pardoned: BTreeSet::new(),
        }
    }

    #[test]
    fn what_was_done_while_no_store_answers_decides_about_the_next_turn() {
        assert!(matches!(work(&turn(Some(Done::Unchanged))), Ok(Done::Unchanged)));
        assert!(matches!(work(&turn(None)), Err(TurnError::Unreachable { .. })));
    }

    #[test]
    fn a_reload_counts_also_while_no_store_answers() {
        assert!(has_reloaded(&turn(Some(Done::Reloaded)), true));
        assert!(!has_reloaded(&turn(Some(Done::Unchanged)), true));
        assert!(!has_reloaded(&turn(None), true));
    }
}
