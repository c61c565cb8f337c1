//! Random fleets from a seed, and renderings of a template for them.

use std::path::PathBuf;

use presence::record::Facts;
use presence::roster::{Identity, Roster, Source, States};
use presence::store::Snapshot;
use presence::template::{Lookup, RenderRequest, TemplateError, render};
use serde_json::{Map, Value, json};

/// The meaning of all states of the table, and some states that are not in it.
pub(crate) const STATES: [(Option<&str>, &str); 12] = [
    (None, "active"),
    (Some(""), "active"),
    (Some("initdone"), "active"),
    (Some("done"), "active"),
    (Some("running"), "active"),
    (Some("draining"), "draining"),
    (Some("drained"), "down"),
    (Some("wedged"), "down"),
    (Some("presetup"), "absent"),
    (Some("setup"), "absent"),
    (Some("decommissioned"), "absent"),
    (Some("Done"), "absent"),
];

/// The files of a store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fleet {
    pub(crate) files: Vec<File>,
}

/// A file of a store.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The result of a rendering.
pub(crate) struct Outcome {
    pub(crate) text: Result<String, TemplateError>,
    /// The reports to the user, about files and nodes.
    pub(crate) reports: Vec<String>,
}

impl Outcome {
    /// The text, which must exist.
    #[track_caller]
    pub(crate) fn good(&self) -> &str {
        self.text.as_ref().unwrap()
    }

    /// Whether any report is about the node.
    pub(crate) fn reports(&self, id: &str) -> bool {
        let file = format!(" {id}.json: ");
        self.reports.iter().any(|report| format!(" {report}").contains(&file))
    }
}

impl Fleet {
    /// A fleet with these nodes.
    pub(crate) fn of<'n>(nodes: impl IntoIterator<Item = &'n Map<String, Value>>) -> Fleet {
        let mut fleet = Fleet::default();
        for facts in nodes {
            fleet.add(&facts.clone().into());
        }
        fleet
    }

    /// Adds a node with these facts, an object with an `instance-id`.
    pub(crate) fn add(&mut self, facts: &Value) {
        let id = facts["instance-id"].as_str().unwrap_or("none");
        let text = json!({ "filetype": "nodepresence", "value": facts }).to_string();
        self.files.push(File { path: format!("{id}.json"), text });
    }

    /// Renders a built-in template for `lb1` of the stacktype `lad1` and the deployment `fed1`.
    pub(crate) fn render(&self, name: &str, vars: &[(&str, &str)]) -> Outcome {
        self.render_as(&balancer(), &[], name, vars)
    }

    /// Renders a template.
    pub(crate) fn render_as(
        &self,
        who: &Identity,
        dirs: &[PathBuf],
        name: &str,
        vars: &[(&str, &str)],
    ) -> Outcome {
        let files = self.files.iter().map(|file| (file.path.as_str(), Ok(file.text.as_str())));
        let snapshot = Snapshot::of(files);
        let source = Source { store: "list:", snapshot: &snapshot, stale: false };
        let roster = Roster::new(&[source], &States::default());
        let vars: Map<String, Value> =
            vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        let rendered = render(&RenderRequest {
            previous: &presence::template::Previous::default(),
            fast_path: true,
            name,
            lookup: &Lookup::new(dirs, who).unwrap(),
            who,
            facts: &Facts::from([("hostname".to_owned(), "own".into())]),
            roster: &roster,
            vars: &vars,
            tree: "0".to_owned(),
        });
        let (text, warnings) = match rendered {
            Ok(rendered) => (rendered.text, rendered.warnings),
            Err(error) => (Err(error), Vec::new()),
        };
        let mut reports: Vec<String> = roster
            .problems
            .iter()
            .map(|problem| format!("{} {}: {}", problem.store, problem.path, problem.reason))
            .collect();
        reports.extend(warnings);
        Outcome { text, reports }
    }
}

/// The node for which all configs are rendered.
pub(crate) fn balancer() -> Identity {
    let word = |word: &str| Some(word.to_owned());
    Identity { part: word("lb1"), stacktype: word("lad1"), deployment: word("fed1") }
}

/// A valid node of that fleet. `number` determines its id and its address; nothing listens on port 1.
pub(crate) fn node(part: &str, number: usize) -> Map<String, Value> {
    let facts = json!({
        "instance-id": format!("i-{number:05}"),
        "nodepart": part,
        "stacktype": "lad1",
        "deployment": "fed1",
        "hostname": format!("host-{number:05}"),
        "ipv4": format!("127.{}.{}.{}", 1 + number / 62_500, number / 250 % 250, number % 250 + 1),
        "port": "1",
    });
    facts.as_object().unwrap().clone()
}

/// A fleet with that many nodes in scope, and hundreds in other deployments and stacktypes: parts app, app1,
/// app2 and db1, half of them with IPv6, in every state, some without an address or a port.
pub(crate) fn mixed(in_scope: usize, seed: u64) -> Fleet {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut fleet = Fleet::default();
    for number in 0..in_scope {
        let part = if in_scope == 1 { "app" } else { ["app", "app1", "app2", "app2", "db1"][number % 5] };
        let mut facts = node(part, number);
        if rng.bool() {
            facts.remove("ipv4");
            facts.insert("ipv6".into(), format!("2001:db8::{:x}:1", number + 1).into());
        }
        // The first nodes are valid, so that a small fleet has a usable one.
        if number > 5 {
            let (state, _) = STATES[rng.usize(..STATES.len())];
            if let Some(state) = state {
                facts.insert("state".into(), state.into());
            }
            match rng.u8(..40) {
                0 => drop(facts.insert("address".into(), "0.0.0.0".into())),
                1 => drop(facts.remove("port")),
                2 => drop(facts.insert("port".into(), "080".into())),
                3 => drop(facts.insert("port".into(), 8080.into())),
                4 => drop(facts.insert("check-port".into(), "8081".into())),
                5 => drop(facts.insert("check-path".into(), "/health".into())),
                _ => {}
            }
        }
        fleet.add(&facts.into());
    }
    for number in 0..if in_scope == 0 { 0 } else { 300 } {
        let mut facts = node("app1", 1_000_000 + number);
        let other = if rng.bool() { "deployment" } else { "stacktype" };
        facts.insert(other.into(), format!("other{number}").into());
        fleet.add(&facts.into());
    }
    rng.shuffle(&mut fleet.files);
    fleet
}

/// A node that may be listed.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) part: String,
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) port: String,
    pub(crate) availability: &'static str,
}

/// The nodes of a mixed fleet in scope, whose part has this prefix, that are not absent and have an address
/// and a port, by instance-id.
pub(crate) fn listed(fleet: &Fleet, part: &str) -> Vec<Listed> {
    let mut listed: Vec<Listed> = Vec::new();
    for file in &fleet.files {
        let file: Value = serde_json::from_str(&file.text).unwrap();
        let facts = &file["value"];
        let fact = |name: &str| facts[name].as_str().map(str::to_owned);
        let node = Listed {
            part: fact("nodepart").unwrap(),
            id: fact("instance-id").unwrap(),
            address: fact("ipv4").or(fact("ipv6")).unwrap(),
            port: facts["port"].as_str().map_or(facts["port"].to_string(), str::to_owned),
            availability: STATES.iter().find(|(state, _)| *state == fact("state").as_deref()).unwrap().1,
        };
        let in_scope = facts["stacktype"] == "lad1" && facts["deployment"] == "fed1";
        let usable = facts["address"].is_null() && ["1", "8080"].contains(&node.port.as_str());
        if in_scope && usable && node.part.starts_with(part) && node.availability != "absent" {
            listed.push(node);
        }
    }
    listed.sort_by(|a, b| a.id.cmp(&b.id));
    listed
}
