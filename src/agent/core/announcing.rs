//! Announcing this node.

use std::sync::Arc;

use super::publication::ADDRESS_WAIT;
use super::store::StoreState;
use super::{Agent, Job, Port, Role};
use crate::beat::announce::{Answer, Judged};
use crate::beat::own::{self, Firmness, Own};
use crate::errors::chain;
use crate::record::Record;
use crate::store::{Applied, Version};

impl<P: Port> Agent<'_, P> {
    /// Gives this node's record with a heartbeat to the stores, and reads them. False if no store accepted
    /// the record.
    pub(super) async fn beat_at_stores(&mut self) -> bool {
        // Until this node is ready, nothing is published, so the next beat has nothing to compare with.
        let record = if self.is_ready().await { self.record(Firmness::Say).await } else { None };
        let (elsewhere, wants_beats) = (!self.config.beat_stores.is_empty(), self.config.wants_beats());
        self.give_out(record.as_ref(), |store, _| {
            let heartbeat = store.role == Role::Beats || !elsewhere;
            let announce = record.clone().map(|record| Job::Announce { record, heartbeat });
            let read = (store.role == Role::List || wants_beats).then_some(Job::Read);
            // A publish waits longer for a server that does not answer. A read first reports the reason
            // sooner.
            let first = read.clone().filter(|_| !store.answers && announce.is_some());
            first.into_iter().chain(announce).chain(read).collect()
        })
        .await;
        if !self.publication.is_taken() {
            self.metrics.announce_error();
        }
        self.publication.is_taken()
    }

    /// Gives this node's record to the stores.
    async fn announce(&mut self) {
        if let Some(record) = self.record(Firmness::Look).await {
            self.give_out(Some(&record), |store, _| match store.role {
                Role::List => vec![Job::Announce { record: record.clone(), heartbeat: false }],
                Role::Beats => Vec::new(),
            })
            .await;
        }
    }

    /// Publishes a change in nodeinfo at once, and repeats the record to stores that are back.
    pub(super) async fn announce_if_changed(&mut self) {
        if self.publication.next_check().is_some() {
            return;
        }
        let Ok(record) = self.port.record().await else { return };
        let own = self.port.settle(record, Firmness::Look).await;
        let mut list = self.stores.iter().filter(|store| store.role == Role::List);
        if self.publication.differs(&own.record) && list.any(|store| store.failures == 0) {
            self.announce().await;
        }
    }

    async fn give_out(
        &mut self,
        record: Option<&Arc<Record>>,
        jobs: impl Fn(&StoreState, Option<Version>) -> Vec<Job>,
    ) {
        let record = record.map(Arc::as_ref);
        self.publication.want(record);
        let asked = self.ask(jobs);
        if !asked.is_empty() {
            self.publication.give_out(record);
        }
        self.attend(&asked).await;
    }

    /// The record to publish for this node.
    pub(super) async fn record(&mut self, firmness: Firmness) -> Option<Arc<Record>> {
        let record = self.port.record().await;
        let complaint = record.as_ref().err().map(|error| (chain(error), error.hint()));
        self.reporter.report("record", complaint);
        let Own { record, warnings } = self.port.settle(record.ok()?, firmness).await;
        if firmness == Firmness::Say {
            self.reporter.report("this node's record", warnings);
        }
        Some(Arc::new(record))
    }

    /// Whether this node may be announced. At boot the network may come up after the agent, or a fact may be
    /// missing that only the list has. Until then, the list is better than this machine's knowledge of
    /// itself.
    async fn is_ready(&mut self) -> bool {
        let now = self.port.now();
        let may_wait = self.publication.may_wait(now);
        let record = self.port.record().await.ok().filter(|_| may_wait);
        let must_ask = record.as_ref().is_some_and(|record| self.port.must_ask(record));
        if !must_ask && record.as_ref().is_none_or(own::has_address) {
            self.publication.is_ready();
            self.reporter.well("address");
            return true;
        }
        self.publication.is_not_ready(now);
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
    pub(super) async fn look_for_address(&mut self) {
        let now = self.port.now();
        if self.publication.next_check().is_some_and(|due| due <= now) && self.is_ready().await {
            self.next_beat = now;
        }
    }

    /// A store has accepted the record, or has removed it.
    pub(super) fn announced(&mut self, record: Option<&Record>, applied: Applied) {
        if let Some(warning) = applied.warning() {
            self.reporter.note(warning);
        }
        self.publication.accepted(record);
        if let (Some(outcome), Some(record)) = (applied.outcome, record) {
            self.reporter.note(format!("{}: {}: {outcome}", applied.url, record.id()));
        }
    }

    /// Includes these answers of health checks in the verdicts.
    pub(super) async fn hear(&mut self, answers: &[Answer]) {
        for answer in answers {
            let complaint = answer.answer.clone().err();
            let complaint =
                complaint.map(|reason| (format!("health check `{}`: {reason}", answer.name), None));
            self.reporter.report(&format!("health check `{}`", answer.name), complaint);
        }
        match self.port.judge_health(answers).await {
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
