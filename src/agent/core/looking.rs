//! Looking at the stores, and judging what they contain.

use super::report::Complaint;
use super::{Agent, Job, Port, Role};
use crate::beat::fleet::Fleet;
use crate::beat::heard;
use crate::beat::warning::Warning;
use crate::errors::chain;
use crate::liveness::{Clocks, Offset};
use crate::store::{Reading, Version};

/// The most problems that are reported one by one. Further ones are only counted.
const MAX_PROBLEMS: usize = 20;

impl<P: Port> Agent<'_, P> {
    /// Looks at the stores of the list that are due.
    pub(super) async fn look(&mut self) {
        let now = self.port.now();
        let asked = self.ask(|store, known| match store.role {
            Role::List if store.next_look <= now => vec![Job::Look { known }],
            _ => Vec::new(),
        });
        self.attend(&asked).await;
    }

    /// Looks at all stores that answer, before a render. This includes the stores for heartbeats, which have
    /// the heartbeats of new nodes.
    pub(super) async fn look_again(&mut self) {
        let wants_beats = self.config.wants_beats();
        let asked = self.ask(|store, known| match store.role {
            _ if store.failures > 0 => Vec::new(),
            Role::List => vec![Job::Look { known }],
            Role::Beats if wants_beats => vec![Job::Read],
            Role::Beats => Vec::new(),
        });
        self.attend(&asked).await;
    }

    /// Reads the heartbeats again, since a node is about to be silent.
    pub(super) async fn listen(&mut self) {
        // The answers may set a better time.
        self.silence.next = Some(self.port.now() + self.config.agent.poll);
        let asked = self.ask(|store, _| if store.failures == 0 { vec![Job::Read] } else { Vec::new() });
        self.attend(&asked).await;
    }

    /// The version of what is known of the list in that store.
    pub(super) fn known(&self, place: usize) -> Option<Version> {
        let judged = || self.fleet.as_ref()?.readings.get(place);
        let reading = self.readings.get(&place).or_else(judged)?;
        reading.snapshot.as_ref().filter(|_| reading.error.is_none())?.version.clone()
    }

    /// Adds the new readings to the fleet, and notes whether files must be rendered. Queues notifications.
    pub(super) async fn judge(&mut self) {
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
        let fleet = self.port.fleet(readings, beat_readings);
        let errors = fleet.readings.iter().chain(&fleet.beat_readings);
        let errors = errors.filter_map(|reading| reading.error.as_ref());
        self.reporter.report("stores", errors.map(Complaint::of_store));
        let current = fleet.is_current();
        if current {
            let news = self.changes.see(fleet.digests(), self.port.now());
            if news {
                self.complain_of_problems(&fleet);
            }
            if news && fleet.is_whole() {
                self.notify(&fleet).await;
            }
            self.judge_silence(&fleet).await;
        }
        self.fleet = Some(fleet);
        if !current {
            self.write_metrics().await;
        }
    }

    /// The index of the listener for this store; `None` if the store keeps no heartbeats.
    pub(super) fn listener(&self, place: usize) -> Option<usize> {
        match self.config.beat_stores.is_empty() {
            true => Some(place),
            false => place.checked_sub(self.config.stores.len()),
        }
    }

    /// Passes a store's heartbeats to the liveness observer, or the fact that the store failed.
    pub(super) fn hear_beats(&mut self, place: usize, reading: &Reading) {
        let (Some(listener), true) = (self.listener(place), self.config.wants_beats()) else { return };
        let liveness = &mut self.silence.liveness;
        match (&reading.snapshot, &reading.error, self.port.wall()) {
            (Some(snapshot), None, Ok(wall)) => {
                liveness.heard(listener, &snapshot.beats, self.port.now(), wall);
            }
            _ => liveness.unheard(listener),
        }
        self.metrics.proves(&reading.url, liveness.proves(listener));
    }

    /// A node that falls silent or is heard again changes the list too.
    async fn judge_silence(&mut self, fleet: &Fleet) {
        let Some(least) = self.silence.least() else { return };
        self.silence.liveness.listed(heard::listed(fleet));
        let now = self.port.now();
        if self.silence.judge(&fleet.roster, now, self.config.agent.poll) {
            self.changes.other(now);
            // For the next agent on this machine.
            let silent = self.silence.liveness.silent(heard::listed(fleet), least);
            let saved = self.port.save_silent(&silent).await;
            self.reporter.report("silence", saved.err().map(|error| (chain(&error), error.hint())));
        }
        self.complain_of_clocks();
    }

    fn complain_of_clocks(&mut self) {
        let complaints: Vec<Warning> = match self.silence.liveness.clocks() {
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

    async fn notify(&mut self, fleet: &Fleet) {
        let Ok(now) = self.port.wall() else { return };
        if let Err(error) = self.port.notify(&fleet.roster, now).await {
            self.reporter.report("telling", [(chain(&error), error.hint())]);
        }
    }
}
