//! What the stores say.

use super::Rounds;
use crate::beat::fleet::Fleet;
use crate::beat::node;
use crate::errors::chain;
use crate::notify::Notifier;

/// More problems than this are counted, not said.
const MAX_PROBLEMS: usize = 20;

impl Rounds<'_> {
    /// Reads the stores, and notes whether anything is to be rendered or told.
    pub(super) fn look(&mut self) {
        let beats = self.config.renders.iter().any(|render| render.max_age.is_some());
        let fleet = Fleet::read(self.config, beats);
        let mut complaints = Vec::new();
        for reading in fleet.readings.iter().chain(&fleet.beat_readings) {
            if let Some(error) = &reading.error {
                self.tally.store_error(&reading.url);
                complaints.push((chain(error), error.hint()));
            }
        }
        self.talk.complain("stores", complaints);
        let current = fleet.is_current();
        self.failures = if current { 0 } else { self.failures.saturating_add(1) };
        if current {
            self.tally.read();
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
        }
        let troubles = self.notifier.as_ref().map(Notifier::troubles).unwrap_or_default();
        self.talk.complain("notifications", troubles.into_iter().map(|text| (text, None)).collect());
        self.fleet = Some(fleet);
        if !current {
            self.write_metrics();
        }
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
