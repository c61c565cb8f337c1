//! What a store's thread is given to do, and its results.

use std::sync::Arc;

use super::report::Complaint;
use crate::name::Name;
use crate::record::Record;
use crate::store::{Applied, Reading, Version};

/// A task at a store.
#[derive(Debug, Clone)]
pub(super) enum Job {
    /// Publish this node's record, and send a heartbeat.
    Announce { record: Arc<Record>, heartbeat: bool },
    /// Withdraw this node.
    Withdraw(Name),
    /// Look at the list, and read it if its version is not the known one. Heartbeats do not matter.
    Look { known: Option<Version> },
    /// Read the list, with heartbeats if a file depends on them.
    Read,
}

/// The result of a job.
#[derive(Debug)]
pub(super) enum JobResult {
    /// This node was announced or withdrawn.
    Announced {
        /// `None` for a withdrawal.
        record: Option<Arc<Record>>,
        /// The change, if the store accepted it.
        applied: Option<Applied>,
        /// Whether the store accepted the heartbeat; `None` if none was sent.
        beat: Option<bool>,
        /// Whether another machine was met under this instance-id; `None` if no heartbeat was accepted.
        rival: Option<bool>,
        complaints: Vec<Complaint>,
    },
    /// `None` if the list has the known version.
    Looked(Option<Reading>),
}
