//! What the stores say.

use std::time::Duration;

use super::Rounds;
use super::waiting::PATIENCE;
use crate::agent::hands::{Job, Role};
use crate::beat::fleet::Fleet;
use crate::beat::node;
use crate::errors::chain;

/// More problems than this are counted, not said.
const MAX_PROBLEMS: usize = 20;

impl Rounds<'_> {
    /// Looks at the stores of the list whose time has come.
    pub(super) fn look(&mut self) {
        let now = self.now();
        let asked = self.ask(|hand, known| match hand.role {
            Role::List if hand.next_look <= now => vec![Job::Look { known }],
            _ => Vec::new(),
        });
        self.attend(&asked);
    }

    /// Looks at all stores that answer, before there is a render. A node that is new has left its heartbeat where
    /// heartbeats are.
    pub(super) fn look_again(&mut self) {
        let wants_beats = self.config.wants_beats();
        let asked = self.ask(|hand, known| match hand.role {
            _ if hand.failures > 0 => Vec::new(),
            Role::List => vec![Job::Look { known }],
            Role::Beats if wants_beats => vec![Job::Read],
            Role::Beats => Vec::new(),
        });
        self.attend(&asked);
    }

    /// Looks for signs of life of those who have been silent for long.
    pub(super) fn listen(&mut self) {
        // Unless the answers say better.
        self.next_silence = Some(self.now() + self.config.agent.poll);
        let asked = self.ask(|hand, _| if hand.failures == 0 { vec![Job::Read] } else { Vec::new() });
        self.attend(&asked);
    }

    /// Names what is known of the list in the store at that place.
    pub(super) fn known(&self, place: usize) -> Option<String> {
        let judged = || self.fleet.as_ref()?.readings.get(place);
        let reading = self.readings.get(&place).or_else(judged)?;
        reading.snapshot.as_ref().filter(|_| reading.error.is_none())?.stamp.clone()
    }

    /// Counts in what came from the stores, and notes whether anything is to be rendered or told.
    pub(super) fn judge(&mut self) {
        if self.readings.is_empty() {
            return;
        }
        let Some(fleet) = self.fleet.take() else { return };
        let Fleet { mut readings, mut beat_readings, .. } = fleet;
        for (place, reading) in std::mem::take(&mut self.readings) {
            if reading.error.is_some() {
                self.tally.store_error(&reading.url);
            }
            match place.checked_sub(readings.len()) {
                None => readings[place] = reading,
                Some(place) => beat_readings[place] = reading,
            }
        }
        let fleet = Fleet::of(self.config, self.config.wants_beats(), readings, beat_readings);
        let mut fleet = Fleet { heard: self.heard, ..fleet };
        if let Some(deaf) = self.deaf {
            fleet.roster.excuse(deaf);
        }
        let errors = fleet.readings.iter().chain(&fleet.beat_readings);
        let errors = errors.filter_map(|reading| reading.error.as_ref());
        self.talk.complain("stores", errors.map(|error| (chain(error), error.hint())).collect());
        let current = fleet.is_current();
        if current {
            let versions = versions(&fleet);
            let news = versions != self.seen;
            // Also what was seen before and could not be rendered, because the store went away in between.
            let missed = self.rendered.as_ref() != Some(&versions) && self.quiet.due().is_none();
            if missed || (news && self.rendered.as_ref() != Some(&versions)) {
                let now = self.now();
                self.quiet.changed(now);
            }
            if news {
                self.complain_of_problems(&fleet);
                self.seen = versions;
            }
            if news && fleet.is_whole() {
                self.tell(&fleet);
            }
            self.judge_silence(&fleet);
        }
        self.fleet = Some(fleet);
        if !current {
            self.write_metrics();
        }
    }

    /// Heartbeats were listened to.
    pub(super) fn hear_beats(&mut self) {
        let Ok(now) = node::now() else { return };
        // Longer than from one beat to the next, which listens.
        let too_long = self.config.agent.interval.saturating_add(PATIENCE);
        if let Some(before) = self.heard.replace(now)
            && now.duration_since(before).unsigned_abs() > too_long
        {
            self.deaf = Some((before, now));
        }
    }

    /// The clock changes the list too: somebody was silent for too long, or is back.
    fn judge_silence(&mut self, fleet: &Fleet) {
        let (Ok(until), true) = (fleet.heard_until(), fleet.hears_beats()) else { return };
        let max_ages = self.config.renders.iter().filter_map(|render| render.max_age);
        let silences: Vec<_> = max_ages.map(|max_age| fleet.roster.silence(until, max_age)).collect();
        let silent = silences.iter().map(|(silent, _)| silent).sum();
        let now = self.now();
        if silent != self.silent {
            self.quiet.changed(now);
        }
        self.silent = silent;
        // A moment after it: only who was silent for longer has expired.
        let next = silences.iter().filter_map(|(_, left)| *left).min();
        self.next_silence = next.map(|left| now + left.unsigned_abs() + Duration::from_millis(10));
    }

    fn complain_of_problems(&mut self, fleet: &Fleet) {
        let mut problems = fleet.problems();
        let more = problems.len().saturating_sub(MAX_PROBLEMS);
        problems.truncate(MAX_PROBLEMS);
        if more > 0 {
            problems.push(format!("… and {more} more: `presence list --format json` lists all"));
        }
        self.talk.complain("the list", problems.into_iter().map(|text| (text, None)).collect());
    }

    fn tell(&mut self, fleet: &Fleet) {
        let Some(notifier) = &mut self.notifier else { return };
        let Ok(now) = node::now() else { return };
        if let Err(error) = notifier.look(&fleet.roster, &self.config.states, now) {
            self.talk.complain("telling", vec![(chain(&error), error.hint())]);
        }
    }
}

/// Names what the stores say: equal names, equal files. A heartbeat is no change.
pub(super) fn versions(fleet: &Fleet) -> Vec<String> {
    fleet
        .readings
        .iter()
        .map(|reading| reading.snapshot.as_ref().map(|snapshot| snapshot.version.clone()).unwrap_or_default())
        .collect()
}
