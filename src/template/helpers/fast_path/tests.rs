use std::fs;

use serde_json::{Map, Value, json};

use crate::record::Facts;
use crate::roster::{Identity, Roster, Source, States};
use crate::store::Snapshot;
use crate::template::{Lookup, Previous, RenderRequest, render};

/// Values that nodes state: valid ones, and some that no format accepts.
pub(super) const VALUES: [&str; 17] = [
    r#""x""#,
    r#""""#,
    r#""a b""#,
    r#""it's \"quoted\" $HOME %[x]""#,
    r#""two\nlines""#,
    r#""\u001b[31m""#,
    r#""\u0085""#,
    r#""ü""#,
    r#""8080""#,
    r#""08""#,
    r#""70000""#,
    r#""10.0.0.1""#,
    "80",
    "1.5",
    "true",
    "null",
    r#"["a"]"#,
];

/// The facts that the bodies use.
pub(super) const FACTS: [&str; 9] =
    ["port", "hostname", "check-port", "state", "rack", "nodepart", "metrics-port", "count", "address"];

pub(super) const STATES: [&str; 5] = ["done", "draining", "wedged", "setup", "unheard-of"];

/// Simple bodies, and some that are not.
const BODIES: [&str; 39] = [
    "{{instance-id}} {{address}} {{port}}\n",
    "{{rack}}",
    "{{{rack}}}",
    "{{yaml rack}} {{{shell rack}}} {{json port}} {{nagios state}}",
    "{{host_port address (default port @root.vars.port)}}",
    "{{host_port address port}} {{host_port rack 80}}",
    "{{host_port \"::1\" \"80\"}}",
    "{{haproxy_id instance-id}} {{haproxy_id rack}} {{haproxy_id (default rack instance-id)}}",
    "{{#if rack}}{{rack}}{{else}}none{{/if}}",
    "{{#if rack}}a{{else if hostname}}b{{else}}c{{/if}}",
    "{{#unless rack}}none{{/unless}}",
    "{{#if (eq rack \"x\")}}x{{/if}}{{#if (eq port 8080)}}y{{/if}}{{#if (eq address \"10.0.0.2\")}}z{{/if}}",
    "{{#if (eq rack port)}}same{{else}}other{{/if}}",
    "{{#if (not rack)}}a{{/if}}{{#if (and rack hostname)}}b{{/if}}{{#if (or rack hostname)}}c{{/if}}",
    "{{#if (not backup)}}a{{/if}}{{#if (eq backup \"yes\")}}b{{/if}}{{#if (not (eq rack backup))}}c{{/if}}",
    "{{#if (ne rack \"x\")}}x{{/if}}{{#if (eq @root.vars.missing rack)}}y{{/if}}",
    "{{#if (gt rack 1)}}x{{/if}}",
    "{{#if (not (eq availability \"active\"))}}{{availability}}{{/if}}",
    "{{default rack hostname \"neither\"}}",
    "{{default port 80}} {{default @root.vars.missing rack}}",
    "{{default rack}}",
    "{{default hostname (as_port port)}}",
    "{{@index}}{{#if @first}}first{{/if}}{{#unless @last}}, {{/unless}}",
    "{{@root.vars.text}} {{@root.self.hostname}} {{@root.input.tree}} {{#if @root.vars.missing}}x{{/if}}",
    "{{@root.vars.missing}}",
    "{{@root.vars.text}} {{default @root.vars.more \"none\"}}{{#if (eq @root.vars.text \"own\")}}!{{/if}}",
    "{{@root.vars.null}}{{#if @root.vars.list}}list{{/if}}",
    "{{@root.vars.control}}",
    "{{! a comment }}\n  {{!-- another --}}\n{{rack}}\n",
    "{{count}}",
    "{{len rack}} {{#if (gt port 80)}}high{{/if}}",
    "{{this.rack}} {{./rack}} {{[rack]}}",
    "{{#with self}}{{hostname}}{{/with}}",
    "{{#if rack includeZero=true}}x{{/if}}",
    "{{yaml}} ",
    "{{yaml rack port}}",
    "{{as_port check-port}}{{as_name nodepart}}{{bracketed address}}",
    "  {{~rack~}}  x",
    "{{vars.text}}",
];

/// The blocks around a body.
const AROUND: [&str; 6] = [
    "{{#nodes}}BODY{{else}}nobody{{/nodes}}",
    "{{#nodes state=\"*\"}}BODY{{/nodes}}",
    "{{#first part=\"app*\"}}BODY{{else}}nobody{{/first}}",
    "{{#parts part=\"*\"}}[{{#nodes part=part}}BODY{{/nodes}}]{{/parts}}",
    "{{#nodes deployment=\"*\" as |n|}}{{n.rack}}BODY{{/nodes}}",
    "{{#nodes}}{{#nodes}}BODY{{/nodes}}{{/nodes}}",
];

fn roster(random: &mut fastrand::Rng, nodes: usize) -> Roster {
    let nodes = (0..nodes).map(|_| {
        let mut facts = Vec::new();
        let mut fact = |name: &str, value: &str| facts.push((name.to_owned(), value.to_owned()));
        for name in FACTS {
            match (name, random.u8(..4)) {
                ("address", 1..) | (_, 0) => {}
                ("state", _) => fact("state", &format!("{:?}", random.choice(STATES).unwrap())),
                ("nodepart", 1..3) => fact("nodepart", r#""app1""#),
                ("port", 1..3) => fact("port", r#""8080""#),
                _ => fact(name, random.choice(VALUES).unwrap()),
            }
        }
        facts
    });
    roster_of(nodes)
}

/// A roster of nodes with these facts, each a name and a value in JSON.
pub(super) fn roster_of(nodes: impl IntoIterator<Item = Vec<(String, String)>>) -> Roster {
    let mut files = Vec::new();
    for (node, facts) in nodes.into_iter().enumerate() {
        let own = [("instance-id", format!("i-{node}")), ("ipv4", format!("10.0.0.{}", node + 1))];
        let own = own.map(|(name, value)| (name.to_owned(), format!("{value:?}")));
        let facts: Vec<_> =
            own.into_iter().chain(facts).map(|(name, value)| format!("{name:?}:{value}")).collect();
        let text = format!(r#"{{"filetype":"nodepresence","value":{{{}}}}}"#, facts.join(","));
        files.push((format!("i-{node}.json"), text));
    }
    let snapshot = Snapshot::of(files.iter().map(|(path, text)| (path.as_str(), Ok(text.as_str()))));
    Roster::new(&[Source { store: "s", snapshot: &snapshot, stale: false }], &States::default())
}

/// The fast path and the engine must give the same text or error, the same counts, nodes and warnings, and use
/// the same. Returns whether there is a text.
#[track_caller]
pub(super) fn check(name: &str, lookup: &Lookup, roster: &Roster) -> bool {
    let vars: Map<String, Value> = json!({
        "text": "a \"b\"", "port": 99, "null": null, "list": [1], "control": "a\nb", "db_host": "db", "app_port": 7,
        "app1": {"text": "own", "port": 98, "control": "c", "more": "more"},
    })
    .as_object()
    .cloned()
    .unwrap();
    let (who, previous) = (Identity::default(), Previous::default());
    let facts = Facts::from([("hostname".to_owned(), "own".into())]);
    let request = |fast_path| RenderRequest {
        name,
        lookup,
        who: &who,
        facts: &facts,
        roster,
        vars: &vars,
        tree: "t".to_owned(),
        previous: &previous,
        fast_path,
    };
    let [fast, engine] = [true, false].map(|fast_path| {
        let rendered = render(&request(fast_path)).map_err(|error| error.to_string())?;
        let text = rendered.text.map_err(|error| error.to_string());
        Ok::<_, String>((text, rendered.counts, rendered.given, rendered.warnings, rendered.in_use))
    });
    assert_eq!(fast, engine, "{name}");
    fast.is_ok_and(|rendered| rendered.0.is_ok())
}

#[test]
fn plain_bodies_are_rendered_as_the_engine_renders_them() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("common")).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut good = 0;
    for body in BODIES {
        for around in AROUND {
            fs::write(dir.path().join("common/t.hbs"), around.replace("BODY", body)).unwrap();
            let lookup = Lookup::new(&[dir.path().to_owned()], &Identity::default()).unwrap();
            for nodes in [0, 1, 6, 6, 12] {
                good += usize::from(check("t", &lookup, &roster(&mut random, nodes)));
            }
        }
    }
    assert!(good > BODIES.len() * AROUND.len(), "{good} texts were rendered");
}

#[test]
fn in_a_partial_a_body_is_as_plain_as_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("common")).unwrap();
    let mut random = fastrand::Rng::with_seed(8);
    fs::write(dir.path().join("common/p.hbs"), "{{#nodes}}\n{{rack}} {{yaml rack}}\n{{/nodes}}\n").unwrap();
    for text in [
        "{{> p}}",
        "  {{> p}}\n",
        "x\n    {{> p}}\ny\n",
        "{{> p rack=\"of the call\"}}",
        "{{#each @root.vars.list as |rack|}}{{> p}}{{/each}}",
        "{{#with self as |rack|}}{{#nodes}}{{rack}}{{rack.hostname}}{{/nodes}}{{/with}}",
    ] {
        fs::write(dir.path().join("common/t.hbs"), text).unwrap();
        let lookup = Lookup::new(&[dir.path().to_owned()], &Identity::default()).unwrap();
        for _ in 0..5 {
            check("t", &lookup, &roster(&mut random, 5));
        }
    }
}

#[test]
fn the_built_in_templates_come_out_the_same() {
    let lookup = Lookup::new(&[], &Identity::default()).unwrap();
    let mut random = fastrand::Rng::with_seed(9);
    for found in lookup.all() {
        for nodes in [0, 1, 3, 30] {
            check(&found.name, &lookup, &roster(&mut random, nodes));
        }
    }
}
