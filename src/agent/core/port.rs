//! What the agent does outside its own memory.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::jobs::{Event, Job};
use crate::beat::absence::Evidence;
use crate::beat::announce::{Answer, HealthError, Judged};
use crate::beat::fleet::Fleet;
use crate::beat::node::NodeError;
use crate::beat::own::{Firmness, Own};
use crate::beat::turn::Turn;
use crate::errors::PathError;
use crate::liveness::{Moment, Silent};
use crate::name::Name;
use crate::record::{Facts, Record};
use crate::roster::Roster;
use crate::store::Reading;

/// The machine of an agent: it does what the agent decides. An `async` method may fail, take long, or be the
/// last one before the process is killed.
#[expect(async_fn_in_trait, reason = "an agent stays in one thread")]
pub trait Port {
    /// The time since the start. It never jumps.
    fn now(&self) -> Moment;

    /// The machine's clock, which may jump: the time since 1970.
    fn clock(&self) -> Duration;

    /// The time for records and heartbeats: the machine's clock, or the time that replaces it.
    fn wall(&self) -> Result<Timestamp, NodeError>;

    /// A number from 0 to 1 by chance.
    fn chance(&mut self) -> f64;

    /// The next event. Waits for it, at most for `limit`.
    async fn wait(&mut self, limit: Duration) -> Option<Event>;

    /// The next event that has arrived already.
    fn arrived(&mut self) -> Option<Event>;

    /// Gives a store a job, which must end before that moment. A store does one job after the other, and
    /// answers each with an event. False if it does no more jobs.
    fn give(&mut self, store: usize, job: Job, end: Option<Moment>) -> bool;

    /// Runs all health checks once.
    async fn ask_health(&mut self) -> Vec<Answer>;

    /// Includes the answers in the verdicts, and writes the resulting state of this node.
    async fn judge_health(&mut self, answers: &[Answer]) -> Result<Judged, HealthError>;

    /// This node's record, from its facts.
    async fn record(&mut self) -> Result<Record, NodeError>;

    /// Whether only the list knows what this node has published.
    fn must_ask(&mut self, record: &Record) -> bool;

    /// The record to publish, with the facts that this node published before and lacks only for a moment.
    async fn settle(&mut self, record: Record, firmness: Firmness) -> Own;

    /// Writes that this node is in that state. False if it was already.
    async fn enter_state(&mut self, state: &Name) -> Result<bool, NodeError>;

    /// The facts of this node; none if they cannot be read.
    async fn facts(&mut self) -> Facts;

    /// The fleet as the last copies have it, before any store has answered.
    fn copies(&mut self) -> Fleet;

    /// The fleet that these readings make.
    fn fleet(&mut self, readings: Vec<Reading>, beat_readings: Vec<Reading>) -> Fleet;

    /// The nodes that an earlier agent found silent.
    fn silent_before(&mut self) -> BTreeMap<String, Silent>;

    /// Saves the silent nodes for the next agent.
    async fn save_silent(&mut self, silent: &BTreeMap<String, Silent>) -> Result<(), PathError>;

    /// Gives the file of that table its turn.
    async fn turn(
        &mut self,
        table: usize,
        facts: &Facts,
        fleet: &Fleet,
        evidence: Evidence<'_>,
        hold_reload: bool,
    ) -> Turn;

    /// Runs the reloads that these turns owe and share, each once and if `allow` permits it. See
    /// [`crate::beat::reloads::run`].
    async fn reload(&mut self, turns: &mut [(usize, Turn)], allow: &mut dyn FnMut() -> bool) -> Vec<usize>;

    /// Begins to send notifications.
    async fn begin_to_notify(&mut self) -> Result<(), PathError>;

    /// Queues the notifications of what changed on the list.
    async fn notify(&mut self, roster: &Roster, now: Timestamp) -> Result<(), PathError>;

    /// The receivers that cannot be notified, one sentence for each; `None` if there are no receivers.
    fn troubles(&self) -> Option<Vec<String>>;

    /// Sends the notifications that wait, for at most `limit`. Then there are no receivers any more.
    async fn end_notifying(&mut self, limit: Duration) -> Option<Vec<String>>;

    /// Has the pages of the fleet brought up to date, beside everything else. An event tells the result.
    fn make_pages(&mut self);

    /// Replaces the file of metrics, if there is one. `page` makes its text.
    async fn write_metrics(&mut self, page: &dyn Fn(Duration) -> String) -> Result<(), PathError>;

    /// Sends a message to the service manager, if there is one.
    fn tell_manager(&mut self, message: &str);
}
