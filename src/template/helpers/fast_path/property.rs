//! Random templates about random nodes: the fast path and the engine agree on every byte and every error.

use std::cell::Cell;
use std::fs;

use proptest::prelude::*;
use proptest::sample::select;

use super::super::{IN_THE_ENGINE, escape};
use super::tests::{FACTS, STATES, VALUES, check, roster_of};
use crate::roster::Identity;
use crate::template::Lookup;

/// Paths that the fast path knows, and two values that it leaves to the engine.
const SIMPLE_PATHS: [&str; 15] = [
    "instance-id",
    "availability",
    "ipv4",
    "backup",
    "this.rack",
    "@index",
    "@first",
    "@last",
    "@root.vars.text",
    "@root.vars.port",
    "@root.vars.control",
    "@root.vars.missing",
    "@root.vars.list",
    "@root.self.hostname",
    "@root.input.tree",
];

/// Other paths, with unusual meanings.
const PATHS: [&str; 7] = ["./rack", "[rack]", "../rack", "this", "rack.more", "@key", "@root.vars.null"];

const LITERALS: [&str; 11] =
    ["\"x\"", "\"\"", "\"8080\"", "\"10.0.0.1\"", "80", "8080", "0", "1.5", "true", "false", "null"];

/// Helpers that the fast path knows, with numbers of arguments. They occur more often than other calls.
const KNOWN: [(&str, usize); 14] = [
    ("default", 1),
    ("default", 2),
    ("default", 3),
    ("eq", 2),
    ("eq", 2),
    ("not", 1),
    ("and", 2),
    ("or", 2),
    ("or", 3),
    ("host_port", 2),
    ("haproxy_id", 1),
    ("yaml", 1),
    ("shell", 1),
    ("as_port", 1),
];

/// The arguments of a block over nodes.
const QUESTIONS: [&str; 12] = [
    "",
    "state=\"*\"",
    "state=\"active\"",
    "part=\"app*\"",
    "part=\"none\"",
    "part=rack",
    "deployment=\"*\" state=\"*\"",
    "twins=true",
    "state=\"*\" twins=true",
    "unknown=1",
    "as |n|",
    "state=\"*\" as |rack|",
];

const TEXTS: [&str; 9] = ["x", " ", "\n", "  indented ", "a\nb\n", "\"", "\\", "ü", ", "];

fn path() -> impl Strategy<Value = String> {
    prop_oneof![8 => select(&FACTS[..]), 1 => select(&PATHS[..]), 4 => select(&SIMPLE_PATHS[..])]
        .prop_map(str::to_owned)
}

/// A call of a helper, without the braces around it.
fn call(argument: impl Strategy<Value = String> + Clone) -> impl Strategy<Value = String> {
    let all: Vec<_> = IN_THE_ENGINE.into_iter().chain(escape::names()).chain(["unheard_of"]).collect();
    let hash = select(vec!["", "", " includeZero=true", " a=rack"]);
    let any = (select(all), prop::collection::vec(argument.clone(), 0..4), hash)
        .prop_map(|(helper, arguments, hash)| format!("{helper} {}{hash}", arguments.join(" ")));
    let known = (select(&KNOWN[..]), prop::collection::vec(argument, 3))
        .prop_map(|((helper, count), arguments)| format!("{helper} {}", arguments[..count].join(" ")));
    prop_oneof![9 => known, 1 => any]
}

fn argument() -> impl Strategy<Value = String> + Clone {
    let leaf = prop_oneof![3 => path(), 1 => select(&LITERALS[..]).prop_map(str::to_owned)];
    leaf.prop_recursive(2, 6, 3, |inner| call(inner).prop_map(|call| format!("({call})")))
}

/// Mustaches of any kind around an expression.
fn mustaches() -> impl Strategy<Value = String> {
    let kinds = select(vec![("{{", "}}"), ("{{", "}}"), ("{{", "}}"), ("{{{", "}}}"), ("{{~", "~}}")]);
    let comment = Just("{{! a comment }}".to_owned());
    let expression = prop_oneof![path(), call(argument())];
    let expression =
        (kinds, expression).prop_map(|((open, close), expression)| format!("{open}{expression}{close}"));
    prop_oneof![9 => expression, 1 => comment]
}

/// The body of a block over nodes.
fn body() -> impl Strategy<Value = String> {
    let text = select(&TEXTS[..]).prop_map(str::to_owned);
    let element = prop_oneof![1 => text, 2 => mustaches()];
    let elements = prop::collection::vec(element, 1..4).prop_map(|elements| elements.concat());
    elements.prop_recursive(2, 12, 3, |inner| {
        let condition = (select(vec!["if", "if", "unless"]), argument(), inner.clone(), inner.clone());
        let choice = condition.prop_map(|(name, condition, then, otherwise)| {
            format!("{{{{#{name} {condition}}}}}{then}{{{{else}}}}{otherwise}{{{{/{name}}}}}")
        });
        let chain = (argument(), argument(), inner.clone(), inner.clone());
        let chain = chain.prop_map(|(one, other, then, otherwise)| {
            format!("{{{{#if {one}}}}}{then}{{{{else if {other}}}}}{otherwise}{{{{/if}}}}")
        });
        let other = (call(argument()), inner.clone()).prop_map(|(call, inner)| {
            let name = call.split(' ').next().unwrap_or_default();
            format!("{{{{#{call}}}}}{inner}{{{{/{name}}}}}")
        });
        prop_oneof![
            12 => choice,
            4 => chain,
            1 => other,
            1 => block(inner.clone()),
            8 => (inner.clone(), inner).prop_map(|(one, other)| one + &other),
        ]
    })
}

/// A block over nodes.
fn block(body: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (select(vec!["nodes", "nodes", "nodes", "first"]), select(&QUESTIONS[..]), body).prop_map(
        |(name, question, body)| format!("{{{{#{name} {question}}}}}{body}{{{{else}}}}nobody{{{{/{name}}}}}"),
    )
}

fn template() -> impl Strategy<Value = String> {
    let parts = block(body()).prop_map(|block| format!("{{{{#parts part=\"*\"}}}}[{block}]{{{{/parts}}}}"));
    let one = prop_oneof![6 => block(body()), 1 => parts];
    prop::collection::vec(one, 1..3).prop_map(|blocks| blocks.concat())
}

/// A value of a fact, in JSON: one that formats take, one that they may refuse, or any text.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(&VALUES[..]).prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
        1 => select(&STATES[..]).prop_map(|state| format!("{state:?}")),
        1 => Just("\"app1\"".to_owned()),
    ]
}

fn nodes() -> impl Strategy<Value = Vec<Vec<(String, String)>>> {
    let facts = prop::collection::btree_map(select(&FACTS[..]).prop_map(str::to_owned), value(), 0..7);
    prop::collection::vec(facts.prop_map(|facts| facts.into_iter().collect()), 0..6)
}

/// `PROPTEST_CASES` sets more cases.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(500)
}

#[test]
fn random_templates_are_rendered_as_the_engine_renders_them() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("common")).unwrap();
    let texts = Cell::new(0);
    let config = ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(template in template(), nodes in nodes())| {
        fs::write(dir.path().join("common/t.hbs"), template).unwrap();
        let lookup = Lookup::new(&[dir.path().to_owned()], &Identity::default()).unwrap();
        texts.set(texts.get() + u32::from(check("t", &lookup, &roster_of(nodes))));
    });
    // Otherwise nearly all templates would be wrong, and nothing compared.
    assert!(texts.get() > cases() / 4, "only {} of {} templates gave a text", texts.get(), cases());
}
