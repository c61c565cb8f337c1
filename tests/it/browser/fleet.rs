//! The data of a page about a fleet with a history, made here: the same as `presence page` writes.

use serde_json::{Value, json};

/// The moment of the page.
pub(crate) const AT: i64 = 1_790_000_000;

/// The facts of a node that the table shows; `None` if it is not on the list.
pub(crate) type Listed = Option<[String; 5]>;

pub(crate) const COLUMNS: [&str; 5] = ["part", "stacktype", "deployment", "state", "address"];

const PARTS: [&str; 12] =
    ["lb1", "app1", "app1", "app1", "app1", "app2", "app2", "app2", "db1", "db2", "cache1", "cron1"];

/// A fleet, its page's data, and its lists in the past.
pub(crate) struct Fleet {
    pub(crate) data: Value,
    /// The list at some moments, as it was built: not by going back.
    pub(crate) past: Vec<(i64, Vec<Listed>)>,
}

/// A fleet of so many nodes, with so many events in the last 24 hours. Node 1 is silent, node 3 wedged for 25
/// minutes, and node 7 draining for 3 minutes.
pub(crate) fn fleet(nodes: usize, events: usize) -> Fleet {
    let mut random = fastrand::Rng::with_seed(7);
    let deployments = if nodes > 100 { 3 } else { 1 };
    let start = AT - 86_400;
    let mut list: Vec<Listed> = vec![None; nodes];
    let first: Vec<[String; 5]> = (0..nodes)
        .map(|node| {
            let part = PARTS[node % PARTS.len()];
            let deployment = format!("fed{}", node / PARTS.len() % deployments + 1);
            let address = format!("192.0.2.{}", node % 250 + 1);
            [part, "lad1", &deployment, "done", &address].map(str::to_owned)
        })
        .collect();
    let mut versions = vec!["1.2".to_owned(); nodes];
    let mut log: Vec<Value> = Vec::new();
    let mut past = Vec::new();
    for (node, facts) in first.iter().enumerate() {
        log.push(event(start, node, "joined", &None, &Some(facts.clone())));
        list[node] = Some(facts.clone());
    }
    let rest = if nodes > 1 { events.saturating_sub(nodes + 3) } else { 0 };
    let mut times: Vec<i64> = (0..rest).map(|_| random.i64(start + 60..AT - 2000)).collect();
    times.sort_unstable();
    for (number, time) in times.into_iter().enumerate() {
        // Nodes 3 and 7 do nothing before their one change.
        let node = random.usize(..nodes);
        let node = if matches!(node, 3 | 7) { node + 1 } else { node };
        let old = list[node].clone();
        let state = old.as_ref().map(|facts| facts[3].as_str());
        let (kind, new) = match (state, random.u8(..10)) {
            (None, _) => ("joined", Some(first[node].clone())),
            // A node that drains leaves or comes back. A node that works mostly stays.
            (Some("draining"), 0..2) => ("left", None),
            (Some("done"), 0..6) => ("facts", old.clone()),
            (Some("done"), 6..9) => ("state", stated(&old, "draining")),
            (Some("done"), _) => ("state", stated(&old, "wedged")),
            _ => ("state", stated(&old, "done")),
        };
        let mut happened = event(time, node, kind, &old, &new);
        if kind == "facts" {
            let version = format!("1.{number}");
            happened[4] = json!([["version", versions[node], version]]);
            versions[node] = version;
        }
        log.push(happened);
        list[node] = new;
        if number % (rest / 24 + 1) == 0 {
            past.push((time, list.clone()));
        }
    }
    // The present: all is well, but for three nodes.
    for (node, facts) in first.iter().enumerate() {
        let wanted = match node {
            3 => ("wedged", AT - 1500),
            7 => ("draining", AT - 180),
            _ => ("done", AT - 1900),
        };
        let new = stated(&Some(facts.clone()), wanted.0);
        if list[node] != new {
            let kind = if list[node].is_none() { "joined" } else { "state" };
            log.push(event(wanted.1, node, kind, &list[node], &new));
            list[node] = new;
        }
    }
    log.sort_by_key(|event| event[0].as_i64());
    // Moments with several events would not be unambiguous.
    past.retain(|(time, _)| log.iter().filter(|event| event[0] == *time).count() == 1);
    let listed: Vec<Value> = list
        .iter()
        .enumerate()
        .map(|(node, facts)| described(node, facts.as_ref().unwrap(), &versions[node]))
        .collect();
    let edges: Vec<Value> = (1..=deployments)
        .flat_map(|deployment| {
            let group = move |part: &str| json!(["lad1", format!("fed{deployment}"), part]);
            [
                ("lb1", "app1", "haproxy"),
                ("lb1", "app2", "haproxy"),
                ("app1", "db1", "database.yml"),
                ("app2", "db1", "database.yml"),
                ("app1", "cache1", "cache.properties"),
                ("db2", "db1", "replica.conf"),
            ]
            .map(|(from, to, by)| json!({ "from": group(from), "to": group(to), "by": [by] }))
        })
        .collect();
    let edges = if nodes > 1 { edges } else { Vec::new() };
    let data = json!({
        "format": 1, "presence": "0.2.0", "at": AT, "past": false, "commit": "1a2b3c4d5e6f7a8b9c0d",
        "stores": [{
            "store": "git://list.example.net/fleet.git", "problem": null, "history": "whole", "begins": null,
            "note": null,
        }],
        "problems": [], "columns": COLUMNS, "nodes": listed,
        "history": {
            "begins": null, "cut": false, "from": log.first().map(|event| event[0].clone()), "events": log,
        },
        "wiring": { "edges": edges, "chosen": [], "notes": [] },
        "reload": null,
    });
    Fleet { data, past }
}

fn stated(facts: &Listed, state: &str) -> Listed {
    let mut facts = facts.clone()?;
    facts[3] = state.to_owned();
    Some(facts)
}

fn event(time: i64, node: usize, kind: &str, old: &Listed, new: &Listed) -> Value {
    let side = |facts: &Listed, column: usize| facts.as_ref().map(|facts| facts[column].clone());
    let changes: Vec<Value> = (0..COLUMNS.len())
        .filter(|column| side(old, *column) != side(new, *column))
        .map(|column| json!([COLUMNS[column], side(old, column), side(new, column)]))
        .collect();
    let commit = format!("{:08x}", time.wrapping_mul(2_654_435_761).cast_unsigned() as u32);
    json!([time, node, kind, commit, changes])
}

fn described(node: usize, facts: &[String; 5], version: &str) -> Value {
    let is: serde_json::Map<String, Value> = COLUMNS
        .iter()
        .zip(facts)
        .map(|(column, fact)| ((*column).to_owned(), fact.as_str().into()))
        .collect();
    let silent = node == 1;
    json!({
        // In the order of the nodes, whatever their number.
        "id": format!("i-{node:04}"), "listed": true, "is": is,
        "facts": [["hostname", format!("{}-{node}", facts[0])], ["port", "8080"], ["version", version]],
        "heard": if silent { AT - 1_020 } else { AT - 1 - node as i64 % 50 },
        "freshness": if silent { "silent" } else { "fresh" },
        "reason": (facts[3] == "wedged").then_some("http status 500"),
        "counted": facts[3] == "done" && !silent,
    })
}

/// The page with that data.
pub(crate) fn page(data: &Value) -> String {
    presence::view::page::html(&data.to_string())
}
