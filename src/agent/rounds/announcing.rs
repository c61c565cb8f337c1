//! What this node says of itself.

use super::Rounds;
use crate::beat::announce::{self, Answer};
use crate::beat::fleet::{self, Announced};
use crate::beat::node;
use crate::errors::chain;
use crate::store::Edit;

impl Rounds<'_> {
    /// Publishes this node's record, and a heartbeat with it. False if no store took it.
    pub(super) fn announce(&mut self, heartbeat: bool) -> bool {
        let record = match node::record(self.config) {
            Ok(record) => record,
            Err(error) => {
                self.talk.complain("record", vec![(chain(&error), error.hint())]);
                self.tally.announce_error();
                return false;
            }
        };
        self.talk.complain("record", Vec::new());
        let announced = match heartbeat {
            true => fleet::announce(self.config, &record),
            false => {
                let changes = fleet::apply(self.config, &Edit::Put(&record));
                Ok(Announced { changes, beats: Vec::new() })
            }
        };
        let mut complaints = Vec::new();
        let mut taken = false;
        match announced {
            Ok(Announced { changes, beats }) => {
                for result in changes {
                    match result {
                        Ok(applied) => {
                            taken = true;
                            if let Some(outcome) = applied.outcome {
                                self.talk.note(format!("{}: {}: {outcome}", applied.url, record.id()));
                            }
                        }
                        Err(error) => complaints.push((chain(&error), error.hint())),
                    }
                }
                let silences = beats.into_iter().filter_map(Result::err);
                complaints.extend(silences.map(|error| (chain(&error), error.hint())));
            }
            Err(error) => complaints.push((chain(&error), error.hint())),
        }
        self.talk.complain("publishing", complaints);
        match taken {
            true => self.published = Some(record.to_bytes()),
            false => self.tally.announce_error(),
        }
        taken
    }

    /// Publishes at once what somebody wrote into nodeinfo.
    pub(super) fn announce_if_changed(&mut self) {
        let record = node::record(self.config).map(|record| record.to_bytes()).ok();
        if self.failures == 0 && record.is_some() && record != self.published {
            self.announce(false);
        }
    }

    /// Counts answers of health checks in. True if this node's state is a new one.
    pub(super) fn hear(&mut self, answers: &[Answer]) -> bool {
        for answer in answers {
            let complaint = answer.answer.clone().err();
            let complaint =
                complaint.map(|reason| (format!("health check `{}`: {reason}", answer.name), None));
            self.talk.complain(&format!("health check `{}`", answer.name), complaint.into_iter().collect());
        }
        match announce::judge_health(self.config, answers) {
            Ok(state) => {
                self.talk.complain("health", Vec::new());
                if let Some(state) = &state {
                    self.talk.note(format!("this node is now `{state}`, by its health checks"));
                }
                state.is_some()
            }
            Err(error) => {
                self.talk.complain("health", vec![(chain(&error), error.hint())]);
                false
            }
        }
    }
}
