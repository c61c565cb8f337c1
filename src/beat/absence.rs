//! Nodes that a file may lose although their records call them active: the silent ones, and those that do not
//! answer.
//!
//! Silence is judged against the list, not against the last output: groups that expire one after another
//! would each be small. If a file would lose more nodes than its safety limits allow, the cause is more
//! likely the network or the store than the nodes. Then the nodes are held: the file keeps them, whatever it
//! had before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use glob::Pattern;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::liveness::{Liveness, Sightings};
use crate::output::limits::{self, Counts, Limits};
use crate::roster::{Availability, Identity, Node, Roster};

/// Missed nodes by instance-id, with the time that their last sign of life states.
pub type Ids = BTreeMap<String, Option<Timestamp>>;

/// How it is known which nodes are silent.
#[derive(Debug, Clone, Copy)]
pub enum Evidence<'a> {
    /// An agent has listened. Heartbeats are this far apart.
    Listened(&'a Liveness, Duration),
    /// Single runs have seen heartbeats, up to this time.
    Seen(&'a Sightings, Timestamp),
    /// The times in the last heartbeats, compared with this time: a first single run has nothing better.
    Stated(Timestamp),
    /// None: no node is silent.
    Nothing,
}

/// Why a node is missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// No heartbeat arrived for this long.
    Silent(Duration),
    /// It has never sent a heartbeat, and its record does not say when its state changed.
    NeverSeen,
    /// It does not accept a connection, for this reason.
    NoAnswer(String),
}

impl std::fmt::Display for Reason {
    /// The rest of a sentence that begins with the node.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Silent(age) => {
                let seconds = age.as_secs().try_into().unwrap_or(i64::MAX);
                let whole = if seconds < 3600 { seconds } else { seconds / 60 * 60 };
                write!(f, "was last seen {:#} ago", SignedDuration::from_secs(whole))
            }
            Reason::NeverSeen => f.write_str("was never seen: it has no heartbeat and no `statetss`"),
            Reason::NoAnswer(reason) => write!(f, "does not answer {reason}"),
        }
    }
}

/// The missed nodes.
#[derive(Debug, Clone, Default)]
pub struct Missed {
    /// Nodes that have been silent for too long, or do not answer.
    pub gone: BTreeMap<String, Reason>,
    /// Nodes that missed a heartbeat, but are not silent for long enough. When the first node of a group
    /// falls silent, the others are already here.
    pub doubtful: BTreeSet<String>,
    /// Nodes whose last sign of life is this far in the future: a clock is wrong.
    pub ahead: BTreeMap<String, Duration>,
}

impl Missed {
    fn note_if_ahead(&mut self, node: &Node, now: Timestamp) {
        let ahead = node.last_seen.map(|seen| seen.duration_since(now)).filter(|ahead| *ahead > SKEW);
        if let Some(ahead) = ahead {
            self.ahead.insert(node.record.id().to_string(), ahead.unsigned_abs());
        }
    }
}

/// A time that is at most this far ahead of ours does not mean a wrong clock.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// The nodes that have been silent for longer than `max_age`. Absent nodes are skipped.
pub fn silent(roster: &Roster, evidence: Evidence<'_>, max_age: SignedDuration) -> Missed {
    let limit = max_age.unsigned_abs();
    let mut missed = Missed::default();
    for node in roster.nodes.iter().filter(|node| node.availability != Availability::Absent) {
        let id = node.record.id().to_string();
        let (silence, doubt) = match evidence {
            Evidence::Nothing => continue,
            Evidence::Listened(liveness, interval) => {
                // Of nodes that die together, one may have sent its last heartbeat an interval before
                // another. Heartbeats are also read only once an interval.
                let doubt = limit.saturating_sub(interval * 2).max(limit / 2);
                (liveness.silence(&id), doubt)
            }
            Evidence::Seen(sightings, now) => {
                missed.note_if_ahead(node, now);
                (sightings.silence(&id), limit)
            }
            Evidence::Stated(now) => match node.last_seen {
                None => {
                    missed.gone.insert(id, Reason::NeverSeen);
                    continue;
                }
                Some(seen) => {
                    missed.note_if_ahead(node, now);
                    // A time in the future means no silence.
                    (now.duration_since(seen).try_into().unwrap_or_default(), limit)
                }
            },
        };
        if silence > limit {
            missed.gone.insert(id, Reason::Silent(silence));
        } else if silence > doubt {
            missed.doubtful.insert(id);
        }
    }
    missed
}

/// What to do about the missed nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Nodes that the file loses.
    pub dropped: BTreeSet<String>,
    /// Nodes that the file keeps, because too many are missed at once.
    pub held: BTreeSet<String>,
}

impl Decision {
    /// Keeps the servers that HAProxy's own checks find up: they are alive, even if the list has no heartbeat
    /// of them. Returns those that would have been dropped.
    pub fn keep(&mut self, up: &BTreeSet<String>) -> BTreeSet<String> {
        self.spare(|id| up.contains(id))
    }

    /// Keeps the nodes that were held until now, and returns them: they get their full time again. After an
    /// outage, the heartbeats of some nodes may arrive a little later.
    pub fn pardon(&mut self, held_before: &Ids) -> BTreeSet<String> {
        self.spare(|id| held_before.contains_key(id))
    }

    fn spare(&mut self, is_spared: impl Fn(&String) -> bool) -> BTreeSet<String> {
        let (spared, dropped) = std::mem::take(&mut self.dropped).into_iter().partition(is_spared);
        self.dropped = dropped;
        spared
    }
}

/// The counts of a template's questions; `None` if the template cannot be rendered with these nodes.
#[derive(Debug, Clone, Default)]
pub struct AnswerCounts {
    /// With all nodes that call themselves active.
    pub listed: Option<Counts>,
    /// Without the missed and the doubtful nodes.
    pub heard: Option<Counts>,
}

/// Drops the missed nodes. If a part misses more nodes than the limits allow, its missed nodes are held; if
/// the whole scope does, all of them are.
pub fn decide(
    missed: &Missed,
    roster: &Roster,
    who: &Identity,
    limits: Limits,
    given: &AnswerCounts,
) -> Decision {
    let refusals = match (&given.listed, &given.heard) {
        (Some(listed), Some(heard)) => limits::judge(limits, Some(listed), heard),
        // The template is at fault; rendering it reports the error.
        (None, _) => Vec::new(),
        // The template cannot be rendered without them.
        (Some(_), None) => {
            return Decision { held: missed.gone.keys().cloned().collect(), ..Decision::default() };
        }
    };
    let parts: Vec<Option<Pattern>> = refusals.iter().map(|refusal| parts_of(&refusal.question)).collect();
    let active: Vec<&Node> = roster
        .nodes
        .iter()
        .filter(|node| node.availability == Availability::Active && who.sees(node))
        .collect();
    let is_missed = |id: &str| missed.gone.contains_key(id) || missed.doubtful.contains(id);
    let lost = active.iter().filter(|node| is_missed(node.record.id().as_str())).count() as u64;
    // A single missed node says nothing about the whole scope.
    let all = lost > 1 && lost * 100 > u64::from(limits.max_shrink) * active.len() as u64;
    let mut decision = Decision::default();
    for id in missed.gone.keys() {
        let part = roster.get(id).and_then(|node| node.record.part());
        let part = part.unwrap_or_default();
        let is_meant = |pattern: &Option<Pattern>| pattern.as_ref().is_none_or(|glob| glob.matches(&part));
        match all || parts.iter().any(is_meant) {
            true => decision.held.insert(id.clone()),
            false => decision.dropped.insert(id.clone()),
        };
    }
    decision
}

/// The parts that a question is about (`app*`, `app*/app1`, `app* zone=a`); `None` if it cannot be parsed.
fn parts_of(question: &str) -> Option<Pattern> {
    let innermost = question.rsplit('/').next()?;
    Pattern::new(innermost.split(' ').next()?).ok()
}

/// The roster with these nodes absent.
pub fn without<'a>(roster: &Roster, ids: impl Iterator<Item = &'a String>) -> Roster {
    let mut roster = roster.clone();
    for id in ids {
        if let Some(node) = roster.get_mut(id) {
            node.availability = Availability::Absent;
        }
    }
    roster
}

/// These nodes with their last signs of life on the roster.
pub fn ids<'a>(roster: &Roster, among: impl Iterator<Item = &'a String>) -> Ids {
    among.map(|id| (id.clone(), roster.get(id).and_then(|node| node.last_seen))).collect()
}

/// What is remembered of a file's missed nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Remembered {
    /// Nodes that the file holds although they are missed.
    pub held: Ids,
    /// Nodes that an operator accepted as gone. A node that gives a sign of life is not gone.
    pub accepted: Ids,
}

impl Remembered {
    /// Nodes that were accepted as gone and have given no sign of life since.
    pub fn gone(&self, roster: &Roster) -> BTreeSet<String> {
        let still = |(id, seen): &(&String, &Option<Timestamp>)| {
            roster.get(id).is_some_and(|node| node.last_seen == **seen)
        };
        self.accepted.iter().filter(still).map(|(id, _)| id.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
