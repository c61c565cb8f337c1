//! Looking at the stores, and judging what they contain.

use std::collections::BTreeSet;
use std::time::Duration;

use super::EventLoop;
use crate::agent::jobs::Job;
use crate::agent::report::Complaint;
use crate::agent::workers::Role;
use crate::beat::fleet::Fleet;
use crate::beat::warning::Warning;
use crate::beat::{heard, node};
use crate::errors::chain;
use crate::liveness::{Clocks, Offset};
use crate::roster::Availability;
use crate::store::{Reading, Version};

/// The most problems that are reported one by one. Further ones are only counted.
const MAX_PROBLEMS: usize = 20;

impl EventLoop<'_> {
    /// Looks at the stores of the list that are due.
    pub(super) fn look(&mut self) {
        let now = self.now();
        let asked = self.ask(|worker, known| match worker.role {
            Role::List if worker.next_look <= now => vec![Job::Look { known }],
            _ => Vec::new(),
        });
        self.attend(&asked);
    }

    /// Looks at all stores that answer, before a render. This includes the stores for heartbeats, which have
    /// the heartbeats of new nodes.
    pub(super) fn look_again(&mut self) {
        let wants_beats = self.config.wants_beats();
        let asked = self.ask(|worker, known| match worker.role {
            _ if worker.failures > 0 => Vec::new(),
            Role::List => vec![Job::Look { known }],
            Role::Beats if wants_beats => vec![Job::Read],
            Role::Beats => Vec::new(),
        });
        self.attend(&asked);
    }

    /// Reads the heartbeats again, since a node is about to be silent.
    pub(super) fn listen(&mut self) {
        // The answers may set a better time.
        self.next_silence = Some(self.now() + self.config.agent.poll);
        let asked = self.ask(|worker, _| if worker.failures == 0 { vec![Job::Read] } else { Vec::new() });
        self.attend(&asked);
    }

    /// The version of what is known of the list in the store of this worker.
    pub(super) fn known(&self, place: usize) -> Option<Version> {
        let judged = || self.fleet.as_ref()?.readings.get(place);
        let reading = self.readings.get(&place).or_else(judged)?;
        reading.snapshot.as_ref().filter(|_| reading.error.is_none())?.version.clone()
    }

    /// Adds the new readings to the fleet, and notes whether files must be rendered. Queues notifications.
    pub(super) fn judge(&mut self) {
        if self.readings.is_empty() {
            return;
        }
        let Some(fleet) = self.fleet.take() else { return };
        let Fleet { mut readings, mut beat_readings, .. } = fleet;
        for (place, reading) in std::mem::take(&mut self.readings) {
            if reading.error.is_some() {
                self.metrics.store_error(&reading.url);
            }
            match place.checked_sub(readings.len()) {
                None => readings[place] = reading,
                Some(place) => beat_readings[place] = reading,
            }
        }
        let fleet = Fleet::of(self.config, self.stores, self.config.wants_beats(), readings, beat_readings);
        let errors = fleet.readings.iter().chain(&fleet.beat_readings);
        let errors = errors.filter_map(|reading| reading.error.as_ref());
        self.reporter.report("stores", errors.map(Complaint::of_store));
        let current = fleet.is_current();
        if current {
            let digests = digests(&fleet);
            let news = digests != self.seen;
            // Also true of digests that were seen but not rendered, because the store went away in between.
            let missed = self.rendered.as_ref() != Some(&digests) && self.quiet.due().is_none();
            if missed || (news && self.rendered.as_ref() != Some(&digests)) {
                let now = self.now();
                self.quiet.changed(now);
            }
            if news {
                self.complain_of_problems(&fleet);
                self.seen = digests;
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

    /// The index of the listener for this worker's store; `None` if the store keeps no heartbeats.
    pub(super) fn listener(&self, place: usize) -> Option<usize> {
        match self.config.beat_stores.is_empty() {
            true => Some(place),
            false => place.checked_sub(self.config.stores.len()),
        }
    }

    /// Passes a store's heartbeats to the liveness observer, or the fact that the store failed.
    pub(super) fn hear_beats(&mut self, place: usize, reading: &Reading) {
        let (Some(listener), true) = (self.listener(place), self.config.wants_beats()) else { return };
        match (&reading.snapshot, &reading.error, node::now()) {
            (Some(snapshot), None, Ok(wall)) => {
                let now = self.now();
                self.liveness.heard(listener, &snapshot.beats, now, wall);
            }
            _ => self.liveness.unheard(listener),
        }
        self.metrics.proves(&reading.url, self.liveness.proves(listener));
    }

    /// A node that falls silent or is heard again changes the list too.
    fn judge_silence(&mut self, fleet: &Fleet) {
        if !self.config.wants_beats() {
            return;
        }
        self.liveness.listed(heard::listed(fleet));
        let max_ages: BTreeSet<Duration> =
            self.config.renders.iter().filter_map(|render| Some(render.max_age?.unsigned_abs())).collect();
        let Some(least) = max_ages.first() else { return };
        let (mut silent, mut next) = (BTreeSet::new(), None::<Duration>);
        for node in fleet.roster.nodes.iter().filter(|node| node.availability != Availability::Absent) {
            let silence = self.liveness.silence(node.record.id().as_str());
            for max_age in &max_ages {
                match max_age.checked_sub(silence) {
                    Some(left) => next = Some(next.map_or(left, |next| next.min(left))),
                    None => drop(silent.insert((node.record.id().to_string(), *max_age))),
                }
            }
        }
        let now = self.now();
        if silent != self.silent {
            self.quiet.changed(now);
            self.silent = silent;
            self.remember_silence(fleet, *least);
        }
        // A moment later, since only a silence longer than the limit counts. Never sooner than a look: while
        // nothing proves that heartbeats arrive, the remaining time does not shrink.
        let soon = self.config.agent.poll;
        self.next_silence = next.map(|left| now + (left + Duration::from_millis(10)).max(soon));
        self.complain_of_clocks();
    }

    /// Saves the silent nodes for the next agent on this machine.
    fn remember_silence(&mut self, fleet: &Fleet, longer_than: Duration) {
        let silent = self.liveness.silent(heard::listed(fleet), longer_than);
        let saved = heard::save_silent(&self.config.state_dir, &silent);
        self.reporter.report("silence", saved.err().map(|error| (chain(&error), error.hint())));
    }

    fn complain_of_clocks(&mut self) {
        let complaints: Vec<Warning> = match self.liveness.clocks() {
            Clocks::Others(others) => {
                let of = |(id, offset): (String, Offset)| Warning {
                    text: format!("{id}: its clock is {offset} the clock of this machine"),
                    subject: id,
                };
                others.into_iter().take(MAX_PROBLEMS).map(of).collect()
            }
            Clocks::Ours { others, of, known } => vec![Warning {
                subject: "this machine".to_owned(),
                text: format!(
                    "the clocks of {of} of {known} nodes are {others} the clock of this machine, which is \
                     probably wrong"
                ),
            }],
        };
        self.reporter.report("clocks", complaints);
    }

    fn complain_of_problems(&mut self, fleet: &Fleet) {
        let mut problems = fleet.problems();
        let more = problems.len().saturating_sub(MAX_PROBLEMS);
        problems.truncate(MAX_PROBLEMS);
        if more > 0 {
            problems.push(format!("… and {more} more: `presence list --format json` lists all"));
        }
        self.reporter.report("the list", problems.into_iter().map(Warning::from));
    }

    fn tell(&mut self, fleet: &Fleet) {
        let Some(notifier) = &mut self.notifier else { return };
        let Ok(now) = node::now() else { return };
        if let Err(error) = notifier.look(&fleet.roster, &self.config.states, now) {
            self.reporter.report("telling", [(chain(&error), error.hint())]);
        }
    }
}

/// The digests of what the stores hold: equal digests mean equal files. A heartbeat does not change a digest.
pub(super) fn digests(fleet: &Fleet) -> Vec<String> {
    fleet
        .readings
        .iter()
        .map(|reading| reading.snapshot.as_ref().map(|snapshot| snapshot.digest.clone()).unwrap_or_default())
        .collect()
}
