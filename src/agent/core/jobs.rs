//! What a store is asked to do, and its results; and the agent's other events.

use std::sync::Arc;

use super::report::Complaint;
use crate::beat::announce::Answer;
use crate::name::Name;
use crate::record::Record;
use crate::store::{Applied, Reading, Version};

/// A task at a store.
#[derive(Debug, Clone)]
pub enum Job {
    /// Publish this node's record, and send a heartbeat.
    Announce {
        /// The record.
        record: Arc<Record>,
        /// Whether to send a heartbeat.
        heartbeat: bool,
    },
    /// Withdraw this node.
    Withdraw(Name),
    /// Look at the list, and read it if its version is not the known one. Heartbeats do not matter.
    Look {
        /// The version that is known.
        known: Option<Version>,
    },
    /// Read the list, with heartbeats if a file depends on them.
    Read,
}

/// The result of a job.
#[derive(Debug)]
pub enum JobResult {
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
        /// What went wrong.
        complaints: Vec<Complaint>,
    },
    /// `None` if the list has the known version.
    Looked(Option<Reading>),
}

/// An event that does not wait for the next beat.
#[derive(Debug)]
pub enum Event {
    /// Beat now.
    Now,
    /// Stop; with the name of the signal.
    Stop(&'static str),
    /// A health check was answered.
    Health(Answer),
    /// What is wrong with the pages of the fleet.
    Pages(Vec<Complaint>),
    /// The list in the store with that index may have changed: look at it now.
    Changed(usize),
    /// The result of a job, with the index of its store.
    Answer(usize, Box<JobResult>),
}
