//! What the page shows, as the JSON that its script reads. `docs/page.md` describes it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::escape;
use crate::history::{COLUMNS, Happening, Stated, Timeline, between};
use crate::name::Name;
use crate::record::REASON;
use crate::roster::{Availability, Freshness, Heartbeats, Node, States};
use crate::sanitize::said;
use crate::view::{Group, Wiring};

/// The number of this format.
const FORMAT: u32 = 1;

/// If there are more problems, the others are counted.
const MAX_PROBLEMS: usize = 100;

/// The most characters of a problem or note.
const MAX_TEXT: usize = 300;

/// The most wires, and the most chosen nodes.
const MAX_WIRES: usize = 1_000;

/// The most bytes of all nodes with their facts. If there are more, each value gets fewer characters.
const NODES: usize = 800_000;

/// The most bytes of nodes and changes together. If there are more, the oldest changes are left out.
const ALL: usize = 1_600_000;

/// Changes get this many bytes, however large the nodes are.
const LEAST_CHANGES: usize = 400_000;

/// A store, as the page names it.
#[derive(Debug, Clone, Serialize)]
pub struct StoreSeen {
    /// The store, without secrets.
    pub store: String,
    /// Why it could not be read.
    pub problem: Option<String>,
    /// What is known of its past.
    pub history: Known,
    /// When its known history begins.
    #[serde(serialize_with = "seconds")]
    pub begins: Option<Timestamp>,
    /// What else the reader should know.
    pub note: Option<String>,
}

fn seconds<S: serde::Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(Timestamp::as_second).serialize(serializer)
}

/// What is known of a past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Known {
    /// All of it.
    Whole,
    /// It begins later than the list.
    Begins,
    /// Nothing.
    None,
}

/// What the page shows.
#[derive(Debug)]
pub struct Content<'a> {
    /// The moment.
    pub at: Timestamp,
    /// Whether the moment is in the past, so that there are no heartbeats.
    pub is_past: bool,
    /// The version of the list.
    pub commit: Option<String>,
    /// The stores.
    pub stores: Vec<StoreSeen>,
    /// The problems of the list.
    pub problems: Vec<String>,
    /// The selected nodes, by instance-id.
    pub nodes: Vec<&'a Node>,
    /// The heartbeats; `None` for a moment in the past.
    pub heartbeats: Option<Heartbeats<'a>>,
    /// The last changes; `None` if no store has a history.
    pub timeline: Option<&'a Timeline>,
    /// What states mean.
    pub states: &'a States,
    /// Who is wired to whom.
    pub wiring: &'a Wiring,
    /// The seconds after which an open page looks for a newer one.
    pub reload: Option<u64>,
}

/// The content as JSON.
pub(super) fn of(content: &Content<'_>) -> Value {
    let all = Shown::of(content);
    let (nodes, room) = nodes(content, &all);
    let changes = changes(content, &all, room);
    let groups: BTreeSet<Group> = content.nodes.iter().map(|node| Group::of(&node.record)).collect();
    json!({
        "format": FORMAT,
        "presence": env!("CARGO_PKG_VERSION"),
        "at": content.at.as_second(),
        "past": content.is_past,
        "commit": content.commit,
        "stores": content.stores,
        "problems": texts(&content.problems, MAX_PROBLEMS, "problems"),
        "columns": COLUMNS,
        "states": content.states.names().map(|state| (state, content.states.of(Some(state)))).collect::<BTreeMap<_, _>>(),
        "nodes": nodes,
        "history": changes,
        "wiring": wiring(content.wiring, &groups),
        "reload": content.reload,
    })
}

/// The data without the times that pass by themselves: that of the page, and those of heartbeats. If it is the
/// same, a newer page shows nothing new.
pub(super) fn essence(mut data: Value) -> Value {
    let at = data["at"].take();
    for node in data["nodes"].as_array_mut().into_iter().flatten() {
        node["heard"] = Value::Null;
    }
    let history = &mut data["history"];
    for time in ["begins", "from"] {
        if history[time] == at {
            history[time] = Value::Null;
        }
    }
    for event in history["events"].as_array_mut().into_iter().flatten() {
        if event[0] == at {
            event[0] = Value::Null;
        }
    }
    data
}

/// The texts, each on one line, and how many there are too many.
fn texts(all: &[String], most: usize, what: &str) -> Vec<String> {
    let mut shown: Vec<String> = all.iter().take(most).map(|text| said(text, MAX_TEXT)).collect();
    if all.len() > most {
        shown.push(format!("… and {} more {what}", all.len() - most));
    }
    shown
}

/// The nodes of the page: those of the list, and those that the history has and the list has not.
struct Shown<'a> {
    /// All nodes by instance-id, with the node of the list.
    nodes: BTreeMap<&'a Name, Option<&'a Node>>,
    /// The place of each node on the page.
    places: BTreeMap<&'a Name, usize>,
}

impl<'a> Shown<'a> {
    fn of(content: &Content<'a>) -> Shown<'a> {
        let mut nodes: BTreeMap<&Name, Option<&Node>> = BTreeMap::new();
        if let Some(timeline) = content.timeline {
            nodes.extend(timeline.last.keys().map(|id| (id, None)));
        }
        nodes.extend(content.nodes.iter().map(|node| (node.record.id(), Some(*node))));
        let places = nodes.keys().enumerate().map(|(place, id)| (*id, place)).collect();
        Shown { nodes, places }
    }
}

/// The nodes as JSON, and how many bytes the changes may have.
fn nodes(content: &Content<'_>, all: &Shown<'_>) -> (Value, usize) {
    let stated: Vec<Stated> = all
        .nodes
        .iter()
        .map(|(id, node)| match (node, content.timeline.and_then(|timeline| timeline.last.get(*id))) {
            (Some(node), _) => Stated::of(&node.record),
            (None, Some(last)) => last.stated.clone(),
            (None, None) => Stated::default(),
        })
        .collect();
    let with = |most: usize| -> Value {
        let nodes = all.nodes.iter().zip(&stated);
        nodes.map(|((id, node), stated)| self::node(content, id, *node, stated, most)).collect()
    };
    for most in [usize::MAX, 80, 40, 20] {
        let nodes = with(most);
        let size = size_of(&nodes);
        if size <= NODES {
            return (nodes, ALL - size);
        }
    }
    let nodes = with(0);
    let size = size_of(&nodes);
    (nodes, ALL.saturating_sub(size).max(LEAST_CHANGES))
}

/// How many bytes that takes on the page.
fn size_of(value: &Value) -> usize {
    escape::json_in_html(&value.to_string()).len()
}

/// A node, with at most that many characters of each fact besides the columns. With none, it has no such facts.
fn node(content: &Content<'_>, id: &Name, node: Option<&Node>, stated: &Stated, most: usize) -> Value {
    let short = |text: &String| match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.clone(),
    };
    let columns: serde_json::Map<String, Value> = COLUMNS
        .iter()
        .zip(&stated.columns)
        .map(|(column, value)| ((*column).to_owned(), json!(value)))
        .collect();
    let facts = stated.facts.iter().filter(|_| most > 0).map(|(name, value)| json!([name, short(value)]));
    let heard = node.and_then(|node| node.last_seen).filter(|_| !content.is_past);
    let freshness = match (&content.heartbeats, node) {
        (Some(heartbeats), Some(node)) => Freshness::of(node, heartbeats),
        _ => Freshness::Unknown,
    };
    let is_active = node.is_some_and(|node| node.availability == Availability::Active);
    let reason = node.and_then(|node| node.record.text(REASON)).map(|reason| said(&reason, MAX_TEXT));
    json!({
        "id": id,
        "listed": node.is_some(),
        "is": columns,
        "facts": facts.collect::<Vec<_>>(),
        "heard": heard.map(Timestamp::as_second),
        "freshness": freshness.as_str(),
        "reason": reason,
        "counted": is_active && freshness != Freshness::Silent,
    })
}

/// The changes as JSON, oldest first, in at most that many bytes.
fn changes(content: &Content<'_>, all: &Shown<'_>, room: usize) -> Value {
    let at = content.at.as_second();
    let Some(timeline) = content.timeline else {
        return json!({ "begins": at, "cut": false, "from": null, "events": [] });
    };
    let mut events: Vec<Value> = Vec::new();
    let mut size = 0;
    let mut is_cut = timeline.is_cut;
    let known = timeline.happenings.iter().map(|happening| event(all, happening));
    let since = since(content, all, timeline);
    for event in since.into_iter().rev().chain(known.flatten()) {
        size += size_of(&event) + 1;
        if size > room {
            is_cut = true;
            break;
        }
        events.push(event);
    }
    events.reverse();
    json!({
        "begins": timeline.begins.as_ref().filter(|_| !is_cut).map(|begins| begins.time.as_second()),
        "cut": is_cut,
        "from": events.first().map(|event| event[0].clone()),
        "events": events,
    })
}

fn event(all: &Shown<'_>, happening: &Happening) -> Option<Value> {
    let place = all.places.get(&happening.id)?;
    let changes: Vec<Value> =
        happening.changes.iter().map(|change| json!([change.fact, change.before, change.after])).collect();
    let commit: String = happening.moment.commit.chars().take(8).collect();
    Some(json!([happening.moment.time.as_second(), place, happening.kind, commit, changes]))
}

/// How the list differs from the newest version that the history has: by updates that wait to be merged, or by
/// another store. Without this, the present would be taken for the past.
fn since(content: &Content<'_>, all: &Shown<'_>, timeline: &Timeline) -> Vec<Value> {
    let none = Default::default();
    let one = |(id, node): (&&Name, &Option<&Node>)| {
        let now = node.map(|node| Stated::of(&node.record).columns);
        let before = timeline.last.get(*id).filter(|last| last.is_listed).map(|last| &last.stated.columns);
        // A node without a change was there already when the changes begin.
        if timeline.is_cut && !timeline.last.contains_key(*id) {
            return None;
        }
        let changes = between(before.unwrap_or(&none), now.as_ref().unwrap_or(&none));
        let kind = match (before, &now) {
            (None, None) => return None,
            (None, Some(_)) => "there",
            (Some(_), None) => "left",
            (Some(_), Some(_)) if changes.is_empty() => return None,
            (Some(_), Some(_)) if changes.iter().any(|change| change.fact == "state") => "state",
            (Some(_), Some(_)) => "facts",
        };
        let changes: Vec<Value> =
            changes.iter().map(|change| json!([change.fact, change.before, change.after])).collect();
        Some(json!([content.at.as_second(), all.places.get(*id)?, kind, "", changes]))
    };
    all.nodes.iter().filter_map(one).collect()
}

fn wiring(wiring: &Wiring, groups: &BTreeSet<Group>) -> Value {
    let group = |group: &Group| json!([group.stacktype, group.deployment, group.part]);
    let wires =
        wiring.wires.iter().filter(|(wire, _)| groups.contains(&wire.from) && groups.contains(&wire.to));
    let wires = wires.take(MAX_WIRES);
    let wires = wires.map(|(wire, by)| json!({ "from": group(&wire.from), "to": group(&wire.to), "by": by }));
    let chosen = wiring.chosen.iter().take(MAX_WIRES);
    let chosen =
        chosen.map(|chosen| json!({ "from": group(&chosen.from), "by": chosen.by, "id": chosen.id }));
    json!({
        "edges": wires.collect::<Vec<_>>(),
        "chosen": chosen.collect::<Vec<_>>(),
        "notes": texts(&wiring.notes, MAX_PROBLEMS, "notes"),
    })
}
