//! The answers of stores in short, for the log.

use std::collections::BTreeSet;
use std::time::Instant;

use jiff::Timestamp;
use tracing::{debug, info};

use super::{Applied, Look, Outcome, Rehearsal, Snapshot, StoreError};
use crate::deadline::Deadline;
use crate::errors::chain;
use crate::name::Name;

/// An answer of a store.
pub(super) trait Answer {
    /// The operation that has this answer.
    const OPERATION: &'static str;

    /// The answer in short.
    fn brief(&self) -> String;
}

impl Answer for Look {
    const OPERATION: &'static str = "look";

    fn brief(&self) -> String {
        match &self.version {
            Some(version) => format!("version {}", version.as_str()),
            None => "version unknown until it is read".to_owned(),
        }
    }
}

impl Answer for Snapshot {
    const OPERATION: &'static str = "read";

    fn brief(&self) -> String {
        format!("{} files, version {}", self.len(), self.digest)
    }
}

impl Answer for Applied {
    const OPERATION: &'static str = "change";

    fn brief(&self) -> String {
        match &self.outcome {
            None if !self.asked => "not asked: it confirmed this record recently".to_owned(),
            None => "unchanged: it has this record".to_owned(),
            Some(Outcome::Merged(change)) => format!("merged: {change}"),
            Some(Outcome::Waiting(change)) => format!("in the inbox: {change}"),
        }
    }
}

/// A heartbeat, with the one that it replaced.
impl Answer for Option<Timestamp> {
    const OPERATION: &'static str = "heartbeat";

    fn brief(&self) -> String {
        match self {
            Some(replaced) => format!("accepted, replaces that of {replaced}"),
            None => "accepted".to_owned(),
        }
    }
}

impl Answer for BTreeSet<Name> {
    const OPERATION: &'static str = "withdrawn";

    fn brief(&self) -> String {
        format!("{} nodes", self.len())
    }
}

impl Answer for Rehearsal {
    const OPERATION: &'static str = "rehearsal";

    fn brief(&self) -> String {
        match &self.branch {
            Some(branch) => format!("branch {}", branch.name),
            None => "no branches".to_owned(),
        }
    }
}

/// Logs that a store is asked.
pub(super) fn log_request(operation: &str, url: &str, deadline: Deadline) {
    debug!(target: "store", operation, url, limit_ms = deadline.left().as_millis(), "asked");
}

/// Logs the answer of a store that was asked at that moment.
pub(super) fn log_answer<T: Answer>(url: &str, asked: Instant, result: &Result<T, StoreError>) {
    let result = result.as_ref().map(|answer| || answer.brief());
    match &result {
        Ok(brief) => log_success(T::OPERATION, url, asked, brief),
        Err(error) => log_failure(T::OPERATION, url, asked, error),
    }
}

fn log_success(operation: &str, url: &str, asked: Instant, brief: &dyn Fn() -> String) {
    let duration = || asked.elapsed().as_millis();
    info!(target: "store", operation, url, duration_ms = duration(), answer = brief(), "answered");
}

fn log_failure(operation: &str, url: &str, asked: Instant, error: &StoreError) {
    let duration = || asked.elapsed().as_millis();
    info!(target: "store", operation, url, duration_ms = duration(), error = chain(error), "failed");
}
