//! `haproxy.cfg`, read back from a HAProxy that runs with it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::{Model, assert_reported, hostile, is_something, text, values};
use crate::fixture::port::free_port;
use crate::judges::haproxy::{Known, Running};
use crate::templates::fleet::{Fleet, node};

fn expected(model: &Model<'_>) -> Option<Known> {
    let part = model.app_part()?;
    if !model.in_scope() || model.availability == "absent" {
        return None;
    }
    let check_port = model.optional_port("check-port").ok()?;
    let weight = match model.facts.get("weight") {
        _ if model.availability == "draining" => "0".to_owned(),
        Some(value) if is_something(value) || value.as_u64() == Some(0) => {
            text(Some(value)).filter(|text| is_weight(text))?
        }
        _ => "1".to_owned(),
    };
    let backup = match model.facts.get("backup") {
        Some(value) if is_something(value) => match text(Some(value))?.as_str() {
            "true" | "yes" | "1" => true,
            "false" | "no" | "0" => false,
            _ => return None,
        },
        _ => false,
    };
    Some(Known {
        backend: part,
        name: model.id.clone(),
        address: model.address?,
        port: model.port.ok()??.to_string(),
        check_port: check_port.unwrap_or(0).to_string(),
        weight,
        backup,
        disabled: model.availability == "down",
    })
}

/// A whole number from 0 to 256, without a sign or leading zeros.
fn is_weight(text: &str) -> bool {
    (0..=256).any(|weight: u16| weight.to_string() == text)
}

#[test]
fn haproxy_knows_what_the_rules_say_and_nothing_else() {
    let (fleet, nodes) = hostile();
    let first = free_port();
    let mut reports = Vec::new();
    let running = Running::start(|socket| {
        let vars = [
            ("stats_socket", socket),
            ("bind_address", "127.0.0.1"),
            ("frontend_port", &first.to_string()),
            ("secret", "leaked"),
        ];
        let outcome = fleet.render("haproxy", &vars);
        reports = outcome.reports.clone();
        outcome.good().to_owned()
    });

    let models: Vec<Model<'_>> = nodes.iter().filter_map(Model::of).collect();
    // Of the active ones with one address and port, the one with the lowest id.
    let mut all: Vec<(Known, bool)> =
        models.iter().filter_map(|model| Some((expected(model)?, model.availability == "active"))).collect();
    all.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    let mut places = BTreeSet::new();
    let expect: BTreeSet<Known> = all
        .into_iter()
        .filter(|(known, is_active)| {
            !is_active || places.insert((known.backend.clone(), known.address, known.port.clone()))
        })
        .map(|(known, _)| known)
        .collect();
    let weights: BTreeSet<&str> = expect.iter().map(|known| known.weight.as_str()).collect();
    assert!(weights.len() > 3 && expect.iter().any(|known| known.backup), "{weights:?}");
    let seen = running.servers();
    let missing: Vec<_> = expect.difference(&seen).collect();
    let extra: Vec<_> = seen.difference(&expect).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:#?}\nextra {extra:#?}");
    assert!(expect.len() > 1_000, "nearly everything is refused, so this test tests nothing");

    // A part has a backend if one of its nodes has a usable address, even without a usable port.
    let mut proxies: BTreeSet<String> = models
        .iter()
        .filter(|model| model.in_scope() && model.availability != "absent" && model.address.is_some())
        .filter_map(Model::app_part)
        .map(|part| format!("{part} BACKEND"))
        .collect();
    proxies.extend(["app1:in FRONTEND".to_owned(), "app2:in FRONTEND".to_owned()]);
    assert_eq!(running.proxies(), proxies);
    assert_eq!(running.ports(), BTreeSet::from([first, first + 1]));

    let part = |model: &Model<'_>| model.text("nodepart").is_some_and(|part| part.starts_with("app"));
    let asked = models.iter().filter(|model| model.in_scope() && part(model));
    assert_reported(&reports, asked.filter(|model| expected(model).is_none()));
}

/// The test sees HAProxy's requests: each path belongs to its own part, whose checks connect to this test and
/// name the part in the header `Host`.
#[test]
fn haproxy_asks_for_the_path_of_the_node_or_for_the_root() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut fleet = Fleet::default();
    let mut expect = BTreeMap::new();
    let below_the_root =
        values().into_iter().filter_map(|value| Some(format!("/{}", value.as_str()?).into()));
    for (number, value) in values().into_iter().chain(below_the_root).enumerate() {
        let part = format!("app-p{number}");
        let mut facts = node(&part, number);
        facts.insert("ipv4".into(), "127.0.0.1".into());
        facts.insert("port".into(), listener.local_addr().unwrap().port().into());
        facts.insert("check-path".into(), value.clone());
        fleet.add(&facts.into());
        let path = value.as_str().filter(|path| is_path(path)).unwrap_or("/");
        expect.insert(part, path.to_owned());
    }
    assert!(expect.values().filter(|path| *path != "/").count() > 100);
    let _running = Running::start(|socket| {
        let vars = [("stats_socket", socket)];
        fleet.render("haproxy", &vars).good().to_owned()
    });

    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while seen.len() < expect.len() && Instant::now() < deadline {
        // HAProxy checks until it is stopped, so this wait is short.
        let (stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let asked = lines.next().unwrap_or_default();
        let path = asked.strip_prefix("GET ").and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
        let host = lines.find_map(|line| Some(line.strip_prefix("host: ")?.to_owned())).unwrap();
        seen.insert(host, path.unwrap_or(&asked).to_owned());
    }
    assert_eq!(seen, expect);
}

/// RFC 3986, sections 3.3 and 3.4, without quotes, `$` and `%`.
fn is_path(text: &str) -> bool {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "-._~!&()*+,;=:@/?".contains(character);
    text.starts_with('/') && text.len() <= 256 && text.chars().all(plain)
}

/// Hostile names and facts of services: each costs only itself, and no service states where it is.
#[test]
fn haproxy_knows_the_services_that_the_rules_allow() {
    const FACTS: [&str; 12] = [
        "port",
        "weight",
        "backup",
        "check-port",
        "state",
        "address",
        "ipv4",
        "ipv6",
        "nodepart",
        "instance-id",
        "service",
        "services",
    ];
    let mut nodes: Vec<(serde_json::Map<String, serde_json::Value>, Option<Known>)> = Vec::new();
    let mut add = |name: &str, service: serde_json::Map<String, serde_json::Value>| {
        let plain = node("app1", nodes.len());
        let mut facts = plain.clone();
        for fact in ["port", "weight", "backup", "check-port", "state"] {
            facts.extend(service.get(fact).map(|value| (fact.to_owned(), value.clone())));
        }
        let known = Model::of(&facts).filter(|_| super::is_name(name)).and_then(|model| expected(&model));
        let known = known.map(|known| Known { backend: format!("app1::{name}"), ..known });
        let mut facts = plain;
        facts.insert("services".into(), serde_json::json!({ name: service }));
        nodes.push((facts, known));
    };
    for value in values() {
        if let Some(name) = value.as_str() {
            add(name, serde_json::from_str(r#"{"port": "2"}"#).unwrap());
        }
        for fact in FACTS {
            let mut service = serde_json::Map::from_iter([("port".to_owned(), "2".into())]);
            service.insert(fact.to_owned(), value.clone());
            add("api", service);
        }
    }
    let running = Running::start(|socket| {
        let fleet = Fleet::of(nodes.iter().map(|(facts, _)| facts));
        fleet.render("haproxy", &[("stats_socket", socket), ("secret", "leaked")]).good().to_owned()
    });
    let expect: BTreeSet<Known> = nodes.iter().filter_map(|(_, known)| known.clone()).collect();
    let all = running.servers();
    assert_eq!(all.iter().filter(|known| known.backend == "app1").count(), nodes.len());
    let seen: BTreeSet<Known> = all.into_iter().filter(|known| known.backend != "app1").collect();
    let missing: Vec<_> = expect.difference(&seen).collect();
    let extra: Vec<_> = seen.difference(&expect).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:#?}\nextra {extra:#?}");
    assert!(expect.len() > 500, "nearly everything is refused, so this test tests nothing");
}
