//! From the missed nodes to the roster from which a file is rendered, with the warnings about them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;

use super::absence::{self, AnswerCounts, Decision, Missed, Remembered};
use super::rendering::{self, Rendering};
use super::warning::Warning;
use crate::haproxy::SocketError;
use crate::output::limits::Limits;
use crate::output::{Memory, Runtime};
use crate::roster::Roster;
use crate::template::TemplateError;

/// The most names in a message. Further ones are only counted.
const MAX_NAMES: usize = 5;

/// The input of a file's rendering.
#[derive(Debug)]
pub struct Attendance<'r> {
    /// The roster without the nodes that the file loses.
    pub roster: Cow<'r, Roster>,
    /// Warnings about missed nodes.
    pub warnings: Vec<Warning>,
    /// What the next run must know.
    pub remembered: Remembered,
    /// Nodes that were held until now, and get their full time again.
    pub pardoned: BTreeSet<String>,
}

/// Decides about the missed nodes. `limits` are those of the file, and `runtime` is the HAProxy that reads
/// it. `max_age` appears only in messages.
pub fn attend<'r>(
    rendering: &Rendering<'_>,
    roster: &'r Roster,
    missed: &Missed,
    (limits, max_age): (Limits, Option<SignedDuration>),
    runtime: Option<(&Runtime, &Memory)>,
    before: &Remembered,
) -> Result<Attendance<'r>, TemplateError> {
    let accepted = before.gone(roster);
    let mut missed = missed.clone();
    missed.gone.retain(|id, _| !accepted.contains(id));
    missed.doubtful.retain(|id| !accepted.contains(id));
    let listed = match accepted.is_empty() {
        true => Cow::Borrowed(roster),
        false => Cow::Owned(absence::without(roster, accepted.iter())),
    };
    let accepted = absence::ids(roster, accepted.iter());
    let mut warnings: Vec<Warning> = missed.ahead.iter().map(|(id, by)| told_of_clock(id, *by)).collect();
    if missed.gone.is_empty() {
        let remembered = Remembered { accepted, ..Remembered::default() };
        return Ok(Attendance { roster: listed, warnings, remembered, pardoned: BTreeSet::new() });
    }
    let heard = absence::without(&listed, missed.gone.keys().chain(&missed.doubtful));
    let given = AnswerCounts {
        listed: rendering::counts(rendering, &listed)?,
        heard: rendering::counts(rendering, &heard)?,
    };
    let mut decision = absence::decide(&missed, &listed, rendering.who, limits, &given);
    let pardoned = decision.pardon(&before.held);
    keep_what_is_up(&mut decision, runtime, &mut warnings);
    let Decision { dropped, held } = decision;
    if !held.is_empty() {
        warnings.push(told_of_held(&held, limits, Some("`presence accept` with this file")));
    }
    for id in &dropped {
        let path = listed.get(id).map(|node| node.path.escape_debug().to_string()).unwrap_or_default();
        let reason = missed.gone.get(id).map(ToString::to_string).unwrap_or_default();
        let limit = max_age.map(|age| format!(", longer than {age:#}")).unwrap_or_default();
        let limit =
            if matches!(missed.gone.get(id), Some(absence::Reason::NoAnswer(_))) { "" } else { &limit };
        let text = format!("{path}: {reason}{limit}: the node is left out");
        warnings.push(Warning { subject: format!("{path}: missed"), text });
    }
    let remembered = Remembered { held: absence::ids(&listed, held.iter()), accepted };
    let roster = match dropped.is_empty() {
        true => listed,
        false => Cow::Owned(absence::without(&listed, dropped.iter())),
    };
    Ok(Attendance { roster, warnings, remembered, pardoned })
}

/// Asks the HAProxy that reads the file which servers are up. If it cannot be asked, all nodes are kept.
fn keep_what_is_up(
    decision: &mut Decision,
    runtime: Option<(&Runtime, &Memory)>,
    warnings: &mut Vec<Warning>,
) {
    let Some((runtime, memory)) = runtime.filter(|_| !decision.dropped.is_empty()) else { return };
    let (kept, subject, why) = match up(runtime, memory) {
        Ok(up) => (decision.keep(&up), "kept as up", "HAProxy's checks find them up".to_owned()),
        Err(error) => {
            let why = format!("cannot ask HAProxy for its view: {}", crate::errors::chain(&error));
            (std::mem::take(&mut decision.dropped), "kept unasked", why)
        }
    };
    if !kept.is_empty() {
        let text = format!("{}: silent, but kept: {why}", names(&kept));
        warnings.push(Warning { subject: subject.to_owned(), text });
    }
}

/// The servers that HAProxy's checks do not find down, in any backend.
fn up(runtime: &Runtime, memory: &Memory) -> Result<BTreeSet<String>, SocketError> {
    Ok(memory.running(runtime)?.up().map(str::to_owned).collect())
}

fn told_of_clock(id: &str, by: Duration) -> Warning {
    let seconds = SignedDuration::from_secs(by.as_secs().try_into().unwrap_or(i64::MAX));
    let text = format!("{id}: was last seen {seconds:#} in the future: a clock is wrong");
    Warning { subject: format!("{id}: clock"), text }
}

/// The subject of the warning about nodes that are silent at once.
const HELD: &str = "held";

impl Attendance<'_> {
    /// The warnings about an output that an operator makes. If it keeps the held nodes, `drops` is how to drop
    /// them; `None` means that it is refused.
    pub fn warnings_by_hand(&self, limits: Limits, drops: Option<&str>) -> Vec<Warning> {
        let held: BTreeSet<String> = self.remembered.held.keys().cloned().collect();
        let others = self.warnings.iter().filter(|warning| warning.subject != HELD).cloned();
        let told = (!held.is_empty()).then(|| told_of_held(&held, limits, drops));
        others.chain(told).collect()
    }
}

/// With `drops`, the nodes are kept, and it drops them.
fn told_of_held(held: &BTreeSet<String>, limits: Limits, drops: Option<&str>) -> Warning {
    let kept = if drops.is_some() { ", but kept" } else { "" };
    let drops = drops.map(|drops| format!("; {drops} drops them")).unwrap_or_default();
    let text = format!(
        "{}: silent{kept}: more nodes are silent at once than the safety limits allow (max-shrink {}%), \
         so the cause is probably the network or the store{drops}",
        names(held),
        limits.max_shrink
    );
    Warning { subject: HELD.to_owned(), text }
}

/// The first few names, and the number of the others.
fn names(ids: &BTreeSet<String>) -> String {
    let mut names: Vec<&str> = ids.iter().take(MAX_NAMES).map(String::as_str).collect();
    let more = format!("{} more", ids.len().saturating_sub(MAX_NAMES));
    if ids.len() > MAX_NAMES {
        names.push(&more);
    }
    names.join(", ")
}
