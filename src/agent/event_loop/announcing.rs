//! Announcing this node.

use std::sync::Arc;
use std::time::Duration;

use super::EventLoop;
use crate::agent::jobs::Job;
use crate::agent::workers::{Role, Worker};
use crate::beat::announce::{self, Answer, Judged};
use crate::beat::node;
use crate::beat::own::{self, Firmness, Own};
use crate::errors::chain;
use crate::record::Record;
use crate::schedule::back_off;
use crate::store::{Applied, Version};

/// After this time since its start, the agent announces this node even without an address.
const ADDRESS_WAIT: Duration = Duration::from_secs(120);

/// The first and the longest wait between two checks for an address.
const FIRST_LOOK: Duration = Duration::from_millis(250);
const LAST_LOOK: Duration = Duration::from_secs(10);

impl EventLoop<'_> {
    /// Gives this node's record with a heartbeat to the stores, and reads them. False if no store accepted
    /// the record.
    pub(super) fn beat_at_stores(&mut self) -> bool {
        // Until this node is ready, nothing is published, so the next beat has nothing to compare with.
        let record = if self.is_ready() { self.record(Firmness::Say) } else { None };
        let (elsewhere, wants_beats) = (!self.config.beat_stores.is_empty(), self.config.wants_beats());
        self.give_out(record.as_ref(), |worker, _| {
            let heartbeat = worker.role == Role::Beats || !elsewhere;
            let announce = record.clone().map(|record| Job::Announce { record, heartbeat });
            let read = (worker.role == Role::List || wants_beats).then_some(Job::Read);
            // A publish waits longer for a server that does not answer. A read first reports the reason
            // sooner.
            let first = read.clone().filter(|_| !worker.answers && announce.is_some());
            first.into_iter().chain(announce).chain(read).collect()
        });
        if !self.taken {
            self.metrics.announce_error();
        }
        self.taken
    }

    /// Gives this node's record to the stores.
    fn announce(&mut self) {
        if let Some(record) = self.record(Firmness::Look) {
            self.give_out(Some(&record), |worker, _| match worker.role {
                Role::List => vec![Job::Announce { record: record.clone(), heartbeat: false }],
                Role::Beats => Vec::new(),
            });
        }
    }

    /// Publishes a change in nodeinfo at once, and repeats the record to stores that are back.
    pub(super) fn announce_if_changed(&mut self) {
        if self.no_address.is_some() {
            return;
        }
        let record = node::record(&self.config.nodeinfo, &self.config.state_dir).ok();
        let record = record.map(|record| own::settle(self.config, self.stores, record, Firmness::Look));
        let record = record.map(|own| own.record.to_bytes());
        let mut list = self.workers.iter().filter(|worker| worker.role == Role::List);
        if record.is_some() && record != self.given_out && list.any(|worker| worker.failures == 0) {
            self.announce();
        }
    }

    fn give_out(
        &mut self,
        record: Option<&Arc<Record>>,
        jobs: impl Fn(&Worker, Option<Version>) -> Vec<Job>,
    ) {
        self.want(record.map(Arc::as_ref));
        let asked = self.ask(jobs);
        if !asked.is_empty() {
            self.given_out = record.map(|record| record.to_bytes());
        }
        self.attend(&asked);
    }

    /// From now on, `taken` means that a store has accepted this record, or with `None`, the withdrawal.
    pub(super) fn want(&mut self, record: Option<&Record>) {
        self.wanted = record.map(Record::to_bytes);
        self.taken = false;
    }

    /// The record to publish for this node.
    pub(super) fn record(&mut self, firmness: Firmness) -> Option<Arc<Record>> {
        let record = node::record(&self.config.nodeinfo, &self.config.state_dir);
        let complaint = record.as_ref().err().map(|error| (chain(error), error.hint()));
        self.reporter.report("record", complaint);
        let Own { record, warnings } = own::settle(self.config, self.stores, record.ok()?, firmness);
        if firmness == Firmness::Say {
            self.reporter.report("this node's record", warnings);
        }
        Some(Arc::new(record))
    }

    /// Whether this node may be announced. At boot the network may come up after the agent, or a fact may be
    /// missing that only the list has. Until then, the list is better than this machine's knowledge of
    /// itself.
    fn is_ready(&mut self) -> bool {
        let now = self.now();
        let is_first = self.given_out.is_none() && now < ADDRESS_WAIT;
        let record = node::record(&self.config.nodeinfo, &self.config.state_dir).ok().filter(|_| is_first);
        let must_ask = record.as_ref().is_some_and(|record| own::must_ask(self.config, self.stores, record));
        if !must_ask && record.as_ref().is_none_or(own::has_address) {
            self.no_address = None;
            self.reporter.well("address");
            return true;
        }
        let failed = self.no_address.map_or(0, |(_, failed)| failed + 1);
        self.no_address = Some((now + back_off(failed, FIRST_LOOK, LAST_LOOK, 1.0), failed));
        if must_ask {
            return false; // Stores that do not answer are reported elsewhere.
        }
        let text = format!(
            "this machine has no address yet, so presence does not publish; after {} s it publishes without \
             one",
            ADDRESS_WAIT.as_secs()
        );
        let hint = format!(
            "write one into `{}` if the machine never gets one",
            crate::facts::file(&self.config.nodeinfo.dir, "address").display()
        );
        self.reporter.report("address", [(text, Some(hint))]);
        false
    }

    /// Checks again whether this machine has an address. If so, this node beats at once.
    pub(super) fn look_for_address(&mut self) {
        let now = self.now();
        if self.no_address.is_some_and(|(due, _)| due <= now) && self.is_ready() {
            self.next_beat = now;
        }
    }

    /// A store has accepted the record, or has removed it.
    pub(super) fn announced(&mut self, record: Option<&Record>, applied: Applied) {
        if let Some(warning) = applied.warning() {
            self.reporter.note(warning);
        }
        self.taken |= record.map(Record::to_bytes) == self.wanted;
        if let (Some(outcome), Some(record)) = (applied.outcome, record) {
            self.reporter.note(format!("{}: {}: {outcome}", applied.url, record.id()));
        }
    }

    /// Includes these answers of health checks in the verdicts.
    pub(super) fn hear(&mut self, answers: &[Answer]) {
        for answer in answers {
            let complaint = answer.answer.clone().err();
            let complaint =
                complaint.map(|reason| (format!("health check `{}`: {reason}", answer.name), None));
            self.reporter.report(&format!("health check `{}`", answer.name), complaint);
        }
        match announce::judge_health(self.config, answers) {
            Ok(judged) => {
                self.reporter.well("health");
                if judged != Judged::Nothing {
                    self.reporter.note(judged.to_string());
                }
            }
            Err(error) => self.reporter.report("health", vec![(chain(&error), error.hint())]),
        }
    }
}
