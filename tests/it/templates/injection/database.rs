//! The four files that name a database, each judged by its reader.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::{Model, assert_reported, hostile_nodes, values};
use crate::judges::{pgbouncer, properties, shell, yaml};
use crate::templates::fleet::{Fleet, node};

/// The location of the database in a file.
type Place = (String, String);

/// The condition for a node in a database template.
fn place(model: &Model<'_>) -> Option<(IpAddr, u16)> {
    let database = model.text("nodepart")?.starts_with("db") && model.in_scope();
    (database && model.availability == "active").then_some(())?;
    Some((model.address?, model.port.ok()??))
}

/// The facts that affect a database file. No others can be seen in it.
const DECIDE: [&str; 6] = ["instance-id", "address", "ipv4", "ipv6", "port", "state"];

/// Each text that a template makes for a single hostile node, with the place that must be read from it. The
/// first text is for all unusable nodes together with a usable one.
fn scenarios(template: &str) -> BTreeMap<String, Place> {
    let nodes = hostile_nodes("db1");
    let (good, bad): (Vec<_>, Vec<_>) =
        nodes.iter().partition(|(_, facts)| Model::of(facts).is_some_and(|model| place(&model).is_some()));

    let honest = node("db99", 99_999);
    let mut fleet = Fleet::of(bad.iter().map(|(_, facts)| facts));
    fleet.add(&honest.clone().into());
    let outcome = fleet.render(template, &[]);
    let written = |facts: &Map<String, Value>| {
        let (address, port) = place(&Model::of(facts).unwrap()).unwrap();
        (address.to_string(), port.to_string())
    };
    let mut texts = BTreeMap::from([(outcome.good().to_owned(), written(&honest))]);
    let bad: Vec<Model<'_>> = bad.iter().filter_map(|(_, facts)| Model::of(facts)).collect();
    let part = |model: &Model<'_>| model.text("nodepart").is_some_and(|part| part.starts_with("db"));
    assert_reported(&outcome.reports, bad.iter().filter(|model| model.in_scope() && part(model)));

    for (_, facts) in good.iter().filter(|(fact, _)| DECIDE.contains(fact)) {
        let outcome = Fleet::of([facts]).render(template, &[]);
        let other = texts.insert(outcome.good().to_owned(), written(facts));
        assert!(other.is_none_or(|other| other == written(facts)), "two places in one text");
    }
    assert!(texts.len() > 50, "nearly everything is refused, so this test tests nothing");
    texts
}

/// Compares as addresses, since an address may have two spellings.
#[track_caller]
fn assert_place(host: &str, port: &str, place: &Place) {
    assert_eq!((host.parse::<IpAddr>().unwrap(), port), (place.0.parse().unwrap(), place.1.as_str()));
}

#[test]
fn yaml_names_the_database_and_nothing_else() {
    let (texts, places): (Vec<String>, Vec<Place>) = scenarios("database.yml").into_iter().unzip();
    for (read, place) in yaml::read(&texts).iter().zip(&places) {
        let production = read["production"].as_object().unwrap();
        assert_eq!(read.as_object().unwrap().len(), 1);
        assert_eq!(production.keys().collect::<Vec<_>>(), ["adapter", "host", "port"]);
        assert_eq!(production["adapter"], "postgresql");
        assert_place(production["host"].as_str().unwrap(), &production["port"].to_string(), place);
    }
}

#[test]
fn a_shell_learns_the_database_and_nothing_else() {
    let (texts, places): (Vec<String>, Vec<Place>) = scenarios("database.env").into_iter().unzip();
    for (read, place) in shell::variables(&texts).iter().zip(&places) {
        assert_eq!(read.keys().collect::<Vec<_>>(), ["DATABASE_HOST", "DATABASE_PORT"]);
        assert_place(&read["DATABASE_HOST"], &read["DATABASE_PORT"], place);
    }
}

#[test]
fn properties_name_the_database_and_nothing_else() {
    let (texts, places): (Vec<String>, Vec<Place>) = scenarios("database.properties").into_iter().unzip();
    for (read, place) in properties::read(&texts).iter().zip(&places) {
        assert_eq!(read.keys().collect::<Vec<_>>(), ["db.host", "db.port"]);
        assert_place(&read["db.host"], &read["db.port"], place);
    }
}

/// Many addresses would require many PgBouncers. A few show how it reads them; the others have the same text.
#[test]
fn pgbouncer_knows_the_database_and_no_other() {
    let texts = scenarios("pgbouncer");
    let written = |text: &str| -> String {
        let lines = text.lines().filter(|line| !line.starts_with("* = host='"));
        lines.map(|line| format!("{line}\n")).collect()
    };
    let around = written(texts.keys().next().unwrap());
    for (text, (host, port)) in &texts {
        assert_eq!(written(text), around);
        let spelt = [host.as_str(), &host.parse::<IpAddr>().unwrap().to_string()]
            .map(|host| format!("\n* = host='{host}' port={port}\n"));
        assert!(spelt.iter().any(|line| text.contains(line)), "{text}");
    }
    for (host, port) in [("127.0.0.9", "5432"), ("2001:db8::9", "65535")] {
        let mut facts = node("db1", 1);
        facts.insert("address".into(), host.into());
        facts.insert("port".into(), port.into());
        let rows = pgbouncer::databases(|directory, listen_port| {
            let vars = [
                ("auth_type", "any"),
                ("database", "shop"),
                ("unix_socket_dir", directory),
                ("listen_port", &listen_port.to_string()),
            ];
            Fleet::of([&facts]).render("pgbouncer", &vars).good().to_owned()
        });
        let read = ["name", "host", "port", "database"].map(|column| pgbouncer::column(&rows[0], column));
        assert_eq!((rows.len(), read), (1, ["shop", host, port, "shop"]));
    }
}

/// Variables come from the operator, but may contain anything: a name with a quote must not break the file.
#[test]
fn variables_are_read_back_as_they_were_given() {
    let fleet = Fleet::of([&node("db1", 1)]);
    let given: Vec<String> = values()
        .into_iter()
        .filter_map(|value| Some(value.as_str()?.to_owned()))
        .filter(|value| !value.is_empty())
        .collect();
    let texts = |template: &str| -> Vec<(String, String)> {
        let rendered = given.iter().filter_map(|value| {
            let vars = [("database", value.as_str()), ("username", value), ("adapter", value)];
            Some((value.clone(), fleet.render(template, &vars).text.ok()?))
        });
        rendered.collect()
    };

    let (values, written): (Vec<String>, Vec<String>) = texts("database.yml").into_iter().unzip();
    assert_eq!(values.len(), given.len());
    for (read, value) in yaml::read(&written).iter().zip(&values) {
        let production = &read["production"];
        assert_eq!(production.as_object().unwrap().len(), 5);
        for key in ["database", "username", "adapter"] {
            assert_eq!(production[key], *value);
        }
    }
    let (values, written): (Vec<String>, Vec<String>) = texts("database.properties").into_iter().unzip();
    assert_eq!(values.len(), given.len());
    for (read, value) in properties::read(&written).iter().zip(&values) {
        assert_eq!((read.len(), &read["db.name"], &read["db.username"]), (4, value, value));
    }
    let (values, written): (Vec<String>, Vec<String>) = texts("database.env").into_iter().unzip();
    assert_eq!(values, given.iter().filter(|value| !value.contains('\0')).cloned().collect::<Vec<_>>());
    for (read, value) in shell::variables(&written).iter().zip(&values) {
        assert_eq!((read.len(), &read["DATABASE_NAME"], &read["DATABASE_USER"]), (4, value, value));
    }
}
