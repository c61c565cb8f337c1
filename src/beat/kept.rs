//! The nodes of a file's last good output. They decide what a question has lost, and a question that loses
//! too much keeps its nodes.
//!
//! A missing record does not say why it is missing. The store may know that `presence withdraw` removed it.
//! Otherwise, a single missing node has left, and several at once are an outage until an operator says
//! otherwise. A node that is still on the list, but plays another part or is decommissioned, has left in
//! order, no matter how many do so at once. So has a draining node, if its question has another node.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::health::WEDGED;
use crate::name::Name;
use crate::output::digest;
use crate::output::limits::{Counts, Loss};
use crate::record::{Record, SERVICE};
use crate::roster::{Availability, Node, Roster, States};
use crate::template::{AnswerNodes, InUse, Previous};
use crate::text::Text;

/// A node that was in the output for less than this may leave again: it is no loss while enough of the others
/// are there.
pub const SETTLED: SignedDuration = SignedDuration::from_hours(1);

/// A node that was held for longer than this against the list is given up, if its question has another node.
pub const MAX_HELD: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The nodes of an output.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Kept {
    /// The nodes by instance-id. Nodes that were in an earlier output and are still on the list are among
    /// them.
    pub nodes: Vec<KeptNode>,
    /// The active nodes in the answer to each question: indexes into `nodes`, in order.
    pub questions: BTreeMap<String, Vec<u32>>,
    /// What the output has in use.
    pub in_use: InUse,
}

/// A node of an output.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptNode {
    /// Its record.
    pub record: Record,
    /// The store that its record came from.
    pub store: Text,
    /// The path of its record below the store's folder.
    pub path: Text,
    /// When it came into the output; `None` if it was always there.
    pub since: Option<Timestamp>,
    /// Since when the output keeps it against the list.
    pub held: Option<Timestamp>,
}

/// What became of a node that a question had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It plays another part, is decommissioned, was withdrawn, drains beside others, or was held for long
    /// enough.
    InOrder,
    /// Its state forbids its use. Either no active node of the question is left, or its health checks set
    /// the state.
    Leaving,
    /// It is missing, or cannot be used.
    Lost,
}

/// What the questions have lost.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Losses {
    /// In numbers.
    pub losses: BTreeMap<String, Loss>,
    /// The lost nodes: indexes into [`Kept::nodes`].
    pub lost: BTreeMap<String, Vec<u32>>,
}

impl Kept {
    /// The nodes of an output that was made from this roster. `before` are the nodes of the previous output,
    /// `held` are kept against the list. With `settled`, all nodes are recorded as if they had always been
    /// there.
    pub fn of(
        given: &AnswerNodes,
        roster: &Roster,
        before: Option<&Kept>,
        held: &BTreeSet<String>,
        now: Timestamp,
        settled: bool,
    ) -> Kept {
        let mut places: Vec<Option<u32>> = vec![None; roster.nodes.len()];
        for at in given.values().flatten() {
            if let Some(place) = places.get_mut(*at as usize) {
                *place = Some(0);
            }
        }
        let mut kept = Kept::default();
        let mut old = before.map(|kept| kept.nodes.iter().peekable());
        for (node, place) in roster.nodes.iter().zip(&mut places) {
            let id = node.record.id();
            let known = old.as_mut().and_then(|old| {
                while old.next_if(|known| known.record.id() < id).is_some() {}
                old.next_if(|known| known.record.id() == id)
            });
            if place.is_none() && known.is_none() {
                continue;
            }
            if place.is_some() {
                *place = u32::try_from(kept.nodes.len()).ok();
            }
            let is_held = held.contains(id.as_str());
            kept.nodes.push(KeptNode {
                record: node.record.clone(),
                store: node.store.clone(),
                path: node.path.clone(),
                since: match (settled || before.is_none(), known) {
                    (true, _) => None,
                    (false, Some(known)) => known.since,
                    (false, None) => Some(now),
                },
                held: is_held.then(|| known.and_then(|known| known.held).unwrap_or(now)),
            });
        }
        for (question, nodes) in given {
            let mut of: Vec<u32> =
                nodes.iter().filter_map(|at| places.get(*at as usize).copied().flatten()).collect();
            of.sort_unstable();
            kept.questions.insert(question.clone(), of);
        }
        kept
    }

    /// What each question has lost in an output that is made from this roster and has these answers. Of the
    /// missing nodes, the `withdrawn` ones are known to have left.
    pub fn losses(
        &self,
        given: &AnswerNodes,
        counts: &Counts,
        roster: &Roster,
        (states, withdrawn): (&States, &BTreeSet<Name>),
        now: Timestamp,
    ) -> Losses {
        let here = self.here(roster);
        let alone = self.away_alone(&here, roster, withdrawn);
        let mut losses = Losses::default();
        for (question, before) in &self.questions {
            let outer = question.split_once('/').map(|(outer, _)| outer);
            let is_asked = counts.contains_key(question);
            if !is_asked && !outer.is_some_and(|outer| counts.contains_key(outer)) {
                continue; // The template has other questions now.
            }
            let mut active = given.get(question).cloned().unwrap_or_default();
            active.sort_unstable();
            // The last nodes of a part may leave together, but not the last nodes of all.
            let is_last = given.get(outer.unwrap_or(question)).is_none_or(Vec::is_empty);
            let mut loss = Loss { before: before.len() as u64, ..Loss::default() };
            let mut lost = Vec::new();
            for place in before {
                let Some(kept) = self.nodes.get(*place as usize) else { continue };
                let at = here.get(*place as usize).copied().flatten();
                let settled =
                    kept.since.is_none_or(|since| since > now || now.duration_since(since) >= SETTLED);
                loss.settled += u64::from(settled);
                loss.base += 1;
                if at.is_some_and(|at| active.binary_search(&at).is_ok()) {
                    continue;
                }
                let node = at.and_then(|at| roster.nodes.get(at as usize));
                // `app1 service=api` is about the service, which may be ill while its node is not.
                let offered = node.and_then(|node| node.offered(asked_service(question)?));
                let node = offered.as_ref().or(node);
                let aged = kept.held.is_some_and(|held| now.duration_since(held) > MAX_HELD);
                let fate = match node {
                    _ if aged && !active.is_empty() => Fate::InOrder,
                    None if alone == Some(*place) => Fate::InOrder,
                    None if withdrawn.contains(kept.record.id()) && !is_last => Fate::InOrder,
                    None => Fate::Lost,
                    Some(node) => match fate(question, kept, node, states) {
                        Fate::Leaving if !active.is_empty() && !is_wedged(node) => Fate::InOrder,
                        fate => fate,
                    },
                };
                if fate == Fate::InOrder {
                    loss.base -= 1;
                    loss.settled -= u64::from(settled);
                    continue;
                }
                loss.lost += 1;
                loss.leaving += u64::from(fate == Fate::Leaving);
                loss.settled_lost += u64::from(settled);
                lost.push(*place);
            }
            losses.losses.insert(question.clone(), loss);
            losses.lost.insert(question.clone(), lost);
        }
        losses
    }

    /// The index of each node on the roster.
    fn here(&self, roster: &Roster) -> Vec<Option<u32>> {
        let mut there = (0u32..).zip(&roster.nodes).peekable();
        let mut find = |kept: &KeptNode| {
            let id = kept.record.id();
            while there.next_if(|(_, node)| node.record.id() < id).is_some() {}
            there.next_if(|(_, node)| node.record.id() == id).map(|(at, _)| at)
        };
        self.nodes.iter().map(&mut find).collect()
    }

    /// What the next output must know of this one. With `anew`, because an operator accepted the list,
    /// everything is chosen anew, but every server keeps its id.
    pub fn previous(&self, roster: &Roster, anew: bool) -> Previous {
        let mut nodes = vec![false; roster.nodes.len()];
        for at in self.here(roster).into_iter().flatten() {
            if let Some(had) = nodes.get_mut(at as usize) {
                *had = true;
            }
        }
        let mut in_use = self.in_use.clone();
        if anew {
            in_use = InUse { servers: in_use.servers, backends: in_use.backends, ..InUse::default() };
        }
        Previous { in_use, nodes }
    }

    /// The nodes of the questions whose records are missing.
    pub fn away(&self, roster: &Roster) -> BTreeSet<Name> {
        let here = self.here(roster);
        let used: BTreeSet<u32> = self.questions.values().flatten().copied().collect();
        let is_away = |place: &u32| here.get(*place as usize).is_some_and(Option::is_none);
        let away = used.into_iter().filter(is_away).filter_map(|place| self.nodes.get(place as usize));
        away.map(|kept| kept.record.id().clone()).collect()
    }

    /// The only node whose record is missing without a known withdrawal, if other nodes are there: it has
    /// left. A node with an unreadable file is not missing.
    fn away_alone(&self, here: &[Option<u32>], roster: &Roster, withdrawn: &BTreeSet<Name>) -> Option<u32> {
        let used: BTreeSet<u32> = self.questions.values().flatten().copied().collect();
        let is_there = |place: &u32| here.get(*place as usize).is_some_and(Option::is_some);
        if !used.iter().any(is_there) {
            return None;
        }
        let is_withdrawn = |place: &u32| {
            self.nodes.get(*place as usize).is_some_and(|kept| withdrawn.contains(kept.record.id()))
        };
        let mut away = used.iter().filter(|place| !is_there(place) && !is_withdrawn(place));
        let (first, None) = (*away.next()?, away.next()) else { return None };
        let node = self.nodes.get(first as usize)?;
        let is_bad = roster.problems.iter().any(|problem| problem.path == node.path);
        (node.held.is_none() && !is_bad).then_some(first)
    }

    /// The roster with these nodes as they were in the last good output.
    pub fn hold(
        &self,
        places: &BTreeSet<u32>,
        roster: &Roster,
        states: &States,
    ) -> (Roster, BTreeSet<String>) {
        let mut roster = roster.clone();
        let mut held = BTreeSet::new();
        for kept in places.iter().filter_map(|place| self.nodes.get(*place as usize)) {
            held.insert(kept.record.id().to_string());
            roster.hold(kept.record.clone(), kept.store.clone(), kept.path.clone(), states);
        }
        (roster, held)
    }
}

/// Whether health checks took the node out: they fail on many nodes at once when something that they share
/// fails.
fn is_wedged(node: &Node) -> bool {
    node.record.state().as_deref() == Some(WEDGED)
}

/// The service that a question is about.
fn asked_service(question: &str) -> Option<&str> {
    let mut words = question.rsplit('/').next()?.split(' ');
    words.find_map(|word| word.strip_prefix(SERVICE)?.strip_prefix('='))
}

/// What became of a node that is on the list, but not in the answer to the question.
fn fate(question: &str, kept: &KeptNode, node: &Node, states: &States) -> Fate {
    let differs = |fact: &str| kept.record.text(fact) != node.record.text(fact);
    // `app* rack=r1`
    let innermost = question.rsplit('/').next().unwrap_or_default();
    let mut named = innermost.split(' ').filter_map(|word| Some(word.split_once('=')?.0));
    if ["nodepart", "stacktype", "deployment"].into_iter().any(differs)
        || named.any(|fact| fact != SERVICE && differs(fact))
    {
        return Fate::InOrder;
    }
    // The node does not offer it any more.
    if asked_service(question).is_some() && node.service.is_none() {
        return Fate::InOrder;
    }
    let state = node.record.state();
    match states.of(state.as_deref()) {
        Availability::Draining | Availability::Down => Fate::Leaving,
        Availability::Absent if state.is_some_and(|state| states.knows(&state)) => Fate::InOrder,
        // It has an unknown state or no usable address, it is silent, or the template cannot use it.
        Availability::Absent | Availability::Active => Fate::Lost,
    }
}

/// The header of the saved form, before the records.
#[derive(Serialize, Deserialize)]
struct KeptHeader {
    /// The digest of the output.
    output: String,
    stores: Vec<String>,
    nodes: Vec<KeptLine>,
    questions: BTreeMap<String, Vec<u32>>,
    #[serde(default)]
    in_use: InUse,
}

/// A node: the index of its store, its path, two times in seconds, and the length of its record.
#[derive(Serialize, Deserialize)]
struct KeptLine(usize, String, Option<i64>, Option<i64>, usize);

impl Kept {
    /// The bytes to save. `output` is the digest of the output.
    pub fn to_bytes(&self, output: &str) -> Vec<u8> {
        let mut stores: Vec<Text> = Vec::new();
        let mut records = Vec::new();
        let line = |node: &KeptNode| {
            let store = stores.iter().position(|store| *store == node.store).unwrap_or_else(|| {
                stores.push(node.store.clone());
                stores.len() - 1
            });
            let packed = node.record.packed();
            records.extend_from_slice(packed);
            let seconds = |time: Option<Timestamp>| time.map(Timestamp::as_second);
            KeptLine(store, node.path.to_string(), seconds(node.since), seconds(node.held), packed.len())
        };
        let nodes = self.nodes.iter().map(line).collect();
        let (questions, in_use) = (self.questions.clone(), self.in_use.clone());
        let stores = stores.iter().map(Text::to_string).collect();
        let head = KeptHeader { output: output.to_owned(), stores, nodes, questions, in_use };
        let mut rest = serde_json::to_vec(&head).unwrap_or_default();
        rest.push(b'\n');
        rest.append(&mut records);
        let mut bytes = digest(&rest).into_bytes();
        bytes.push(b'\n');
        bytes.append(&mut rest);
        bytes
    }

    /// Parses the saved form. `None` if it is damaged, or belongs to another output.
    pub fn from_bytes(bytes: Vec<u8>, output: &str) -> Option<Kept> {
        let bytes = Bytes::from(bytes);
        let checksum = bytes.iter().position(|byte| *byte == b'\n')?;
        let rest = bytes.slice(checksum + 1..);
        if digest(&rest).as_bytes() != &bytes[..checksum] {
            return None;
        }
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let head: KeptHeader = serde_json::from_slice(&rest[..end]).ok()?;
        if head.output != output {
            return None;
        }
        let stores: Vec<Text> = head.stores.iter().map(|store| store.as_str().into()).collect();
        let mut at = end + 1;
        let mut nodes = Vec::with_capacity(head.nodes.len());
        for KeptLine(store, path, since, held, length) in head.nodes {
            let packed = (at + length <= rest.len()).then(|| rest.slice(at..at + length))?;
            at += length;
            let time =
                |seconds: Option<i64>| seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
            nodes.push(KeptNode {
                record: Record::unpack(packed)?,
                store: stores.get(store)?.clone(),
                path: path.as_str().into(),
                since: time(since),
                held: time(held),
            });
        }
        Some(Kept { nodes, questions: head.questions, in_use: head.in_use })
    }
}

#[cfg(test)]
mod tests;
