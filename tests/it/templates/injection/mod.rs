//! Hostile values in every fact that a template reads. The target's own program must read back exactly what a
//! second, simple model of the rules predicts, and every node that is left out must be reported.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::fleet::{Fleet, STATES, node};
use crate::judges::payloads;

mod database;
mod haproxy;
mod hosts;
mod nagios;
mod nginx;
mod prometheus;
mod property;

/// The facts that templates read, and some with similar names.
const FACTS: [&str; 23] = [
    "instance-id",
    "address",
    "ipv4",
    "ipv6",
    "port",
    "hostname",
    "nodepart",
    "stacktype",
    "deployment",
    "state",
    "check-port",
    "check-path",
    "weight",
    "backup",
    "metrics-port",
    "availability",
    "part",
    "vars",
    "self",
    "nodes",
    "index",
    "default",
    "host_port",
];

/// Values beyond the tables: almost valid ones, names of other nodes, and template syntax.
const WORSE: [&str; 71] = [
    "i-00001",
    "I-00001",
    "host-00001",
    "app",
    "app1",
    "APP1",
    "lb1",
    "localhost",
    "LOCALHOST.localdomain",
    "deb.debian.org",
    "api.example.org.",
    "0",
    "1",
    "65535",
    "65536",
    "256",
    "257",
    "-0",
    "+8",
    "10 disabled",
    "yes",
    "no",
    "true",
    "no check",
    "00080",
    " 80",
    "80 ",
    "80\n",
    "8e1",
    "80.0",
    "\u{0663}\u{0660}",
    "\u{ff18}\u{ff10}",
    "\u{ff11}27.0.0.1",
    "127.0.0.1",
    "127.1",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0.1.2.3",
    "255.255.255.255",
    "224.0.0.1",
    "ff02::1",
    "::",
    "::1",
    "::ffff:0.0.0.0",
    "::ffff:127.0.0.9",
    "::127.0.0.9",
    "2001:db8::1/64",
    "[2001:db8::1]:80",
    "10.0.0.1:80",
    "10.0.0.1,6.6.6.6",
    "fd@3",
    "ipv4@6.6.6.6",
    "udp@6.6.6.6:53",
    "sockpair@5",
    "${HAPROXY_LOCALPEER}",
    "{{vars.secret}}",
    "{{{instance-id}}}",
    "{{> haproxy.cfg}}",
    "{{#nodes}}",
    "\\{{a}}",
    "/",
    "/health?deep=1",
    "/etc/passwd",
    "../../etc/passwd",
    "-f/etc/passwd",
    "; }\nupstream evil { server 6.6.6.6",
    "}\ndefine command {\n command_name evil",
    "[pgbouncer]\nadmin_users=evil",
    "x host=6.6.6.6",
    "\u{7f}\u{9b}31m",
    "+app1",
];

/// All payloads as values, and values that are not text.
pub(super) fn values() -> Vec<Value> {
    let texts = payloads().into_iter().chain(WORSE.map(str::to_owned));
    let long = [65, 256, 257, 5_000].map(|length| "x".repeat(length));
    let others = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(7),
        json!(-1),
        json!(1.5),
        json!(70_000),
        json!([]),
        json!({}),
        json!(["127.0.0.9"]),
        json!({ "a": "b", "x": 1 }),
        json!([[[{}]]]),
    ];
    texts.chain(long).map(Value::from).chain(others).collect()
}

/// For each fact and each value, a node of `part` that states it and is otherwise valid; with that fact.
pub(super) fn hostile_nodes(part: &str) -> Vec<(&'static str, Map<String, Value>)> {
    let mut nodes: Vec<(&str, Map<String, Value>)> = Vec::new();
    for fact in FACTS {
        for value in values() {
            let mut facts = node(part, 100 + nodes.len());
            if fact == "ipv6" {
                facts.remove("ipv4");
            }
            if let (true, Some(text)) = (fact == "nodepart", value.as_str()) {
                // The bare value would be a part that no template asks for.
                let stem = part.trim_end_matches(char::is_numeric);
                facts.insert(fact.to_owned(), format!("{stem}{text}").into());
                nodes.push((fact, facts.clone()));
                facts.insert("instance-id".to_owned(), format!("i-{:05}", 100 + nodes.len()).into());
            }
            facts.insert(fact.to_owned(), value);
            nodes.push((fact, facts));
        }
    }
    // One record per instance-id: the first.
    let mut known = BTreeSet::new();
    nodes.retain(|(_, facts)| known.insert(facts["instance-id"].to_string()));
    nodes
}

/// A fleet of valid `app1` and `app2` nodes, with hostile `app1` nodes among them.
pub(super) fn hostile() -> (Fleet, Vec<Map<String, Value>>) {
    let honest = (0..12).map(|number| node(if number < 8 { "app1" } else { "app2" }, number));
    let mut nodes: Vec<_> = hostile_nodes("app1").into_iter().map(|(_, facts)| facts).collect();
    let ids: BTreeSet<String> = nodes.iter().map(|facts| facts["instance-id"].to_string()).collect();
    nodes.extend(honest.filter(|facts| !ids.contains(&facts["instance-id"].to_string())));
    (Fleet::of(&nodes), nodes)
}

/// Every one of these nodes must be reported.
#[track_caller]
pub(super) fn assert_reported<'m>(reports: &[String], left_out: impl Iterator<Item = &'m Model<'m>>) {
    let mut count = 0;
    for model in left_out {
        let file = format!("{}.json: ", model.id);
        assert!(
            reports.iter().any(|report| report.contains(&file)),
            "nothing is said about {:?}",
            model.facts
        );
        count += 1;
    }
    assert!(count > 100, "nearly everything is taken, so this test tests nothing");
}

/// What the rules predict for a node.
pub(super) struct Model<'a> {
    pub(super) facts: &'a Map<String, Value>,
    pub(super) id: String,
    pub(super) availability: &'static str,
    pub(super) address: Option<IpAddr>,
    /// `None` if it is missing; an error if it is not a port.
    pub(super) port: Result<Option<u16>, ()>,
}

impl<'a> Model<'a> {
    /// `None` if it is not a record.
    pub(super) fn of(facts: &'a Map<String, Value>) -> Option<Model<'a>> {
        let id = facts.get("instance-id")?.as_str().filter(|id| is_name(id))?.to_owned();
        let state = text(facts.get("state")).filter(|state| !state.is_empty());
        let availability = match state {
            None => "active",
            Some(state) => STATES
                .iter()
                .find(|(known, _)| *known == Some(state.as_str()))
                .map_or("absent", |(_, availability)| availability),
        };
        let stated = ["address", "ipv4", "ipv6"].into_iter().find_map(|fact| facts.get(fact));
        let address = text(stated).and_then(|text| text.parse::<IpAddr>().ok()).map(|ip| ip.to_canonical());
        let usable = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets()[0] != 0 && !ip.is_multicast() && !ip.is_broadcast(),
            IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
        };
        let port = facts.get("port").map(|value| port(Some(value)).ok_or(())).transpose();
        Some(Model { facts, id, availability, address: address.filter(usable), port })
    }

    pub(super) fn text(&self, fact: &str) -> Option<String> {
        text(self.facts.get(fact))
    }

    /// Whether the node is in the scope of `lb1`.
    pub(super) fn in_scope(&self) -> bool {
        self.text("stacktype").as_deref() == Some("lad1")
            && self.text("deployment").as_deref() == Some("fed1")
    }

    /// Its part, if it can be an application's.
    pub(super) fn app_part(&self) -> Option<String> {
        self.text("nodepart").filter(|part| part.starts_with("app") && is_name(part))
    }

    /// A fact that is treated as missing if it is empty (`Ok(None)`); an error if it is not a port.
    pub(super) fn optional_port(&self, fact: &str) -> Result<Option<u16>, ()> {
        match self.facts.get(fact) {
            Some(value) if is_something(value) => port(Some(value)).map(Some).ok_or(()),
            _ => Ok(None),
        }
    }
}

/// Whether `{{#if}}` takes the value for true.
pub(super) fn is_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

pub(super) fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        scalar => Some(scalar.to_string()),
    }
}

fn port(value: Option<&Value>) -> Option<u16> {
    let text = text(value)?;
    let port: u16 = text.parse().ok()?;
    (port > 0 && port.to_string() == text).then_some(port)
}

pub(super) fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    text.len() <= 64
        && characters.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && characters.all(|character| character.is_ascii_alphanumeric() || "_.-".contains(character))
}
