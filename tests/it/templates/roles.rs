//! Databases that state their role: a replica is never the primary, whatever is late or gone.

use std::fs;

use serde_json::{Map, Value};

use super::fleet::{Fleet, node};
use crate::fixture::machine::Machine;
use crate::judges::{properties, shell, yaml};

/// A database at 127.1.0.NUMBER, with this role and state.
fn database(part: &str, number: usize, role: &str, state: &str) -> Map<String, Value> {
    let mut facts = node(part, number);
    facts.insert("ipv4".into(), format!("127.1.0.{number}").into());
    facts.insert("port".into(), "5432".into());
    for (fact, value) in [("role", role), ("state", state)] {
        if !value.is_empty() {
            facts.insert(fact.into(), value.into());
        }
    }
    facts
}

/// The last numbers of the addresses of the database and of its replica in all four files, which must agree.
#[track_caller]
fn seen(
    nodes: &[(&str, usize, &str, &str)],
    vars: &[(&str, &str)],
) -> Result<(String, Option<String>), String> {
    let nodes: Vec<_> =
        nodes.iter().map(|(part, number, role, state)| database(part, *number, role, state)).collect();
    let fleet = Fleet::of(&nodes);
    let vars = [vars, &[("database", "shop")]].concat();
    let render = |template: &str| fleet.render(template, &vars).text.map_err(|error| error.to_string());
    let short = |host: &str| host.rsplit('.').next().unwrap_or_default().to_owned();
    let env = render("database.env")?;
    let env = &shell::variables(&[env])[0];
    let expect = (short(&env["DATABASE_HOST"]), env.get("DATABASE_REPLICA_HOST").map(|host| short(host)));

    let read = &properties::read(&[render("database.properties")?])[0];
    assert_eq!((short(&read["db.host"]), read.get("db.replica.host").map(|host| short(host))), expect);
    let read = &yaml::read(&[render("database.yml")?])[0];
    let replica = read.get("production_replica");
    assert!(replica.is_none_or(|replica| replica["replica"] == true && replica["database"] == "shop"));
    let host = |of: &Value| short(of["host"].as_str().unwrap());
    assert_eq!((host(&read["production"]), replica.map(host)), expect);
    let text = render("pgbouncer")?;
    let line = |start: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(start))?;
        Some(short(line.split('\'').nth(1).unwrap()))
    };
    assert_eq!((line("shop = ").unwrap(), line("shop_replica = ")), expect);
    Ok(expect)
}

#[track_caller]
fn check(nodes: &[(&str, usize, &str, &str)], primary: &str, replica: Option<&str>) {
    assert_eq!(seen(nodes, &[]), Ok((primary.to_owned(), replica.map(str::to_owned))), "{nodes:?}");
}

#[test]
fn only_a_primary_is_the_database() {
    check(&[("db1", 1, "", ""), ("db2", 2, "", "")], "1", None);
    check(&[("db1", 1, "replica", ""), ("db2", 2, "primary", "")], "2", Some("1"));
    check(&[("db1", 1, "", ""), ("db2", 2, "primary", "")], "2", None);
    check(
        &[("db1", 1, "replica", "draining"), ("db2", 2, "primary", ""), ("db3", 3, "replica", "")],
        "2",
        Some("3"),
    );
    // The old primary is down, and another one was promoted.
    check(&[("db1", 1, "primary", "wedged"), ("db2", 2, "primary", "")], "2", None);
    // Two records of one server.
    let twins: Vec<_> = [1, 2].map(|number| database("db1", number, "primary", "")).into_iter().collect();
    let same = |facts: &Map<String, Value>| {
        let mut facts = facts.clone();
        facts.insert("ipv4".into(), "127.1.0.9".into());
        facts
    };
    let fleet = Fleet::of(&twins.iter().map(same).collect::<Vec<_>>());
    assert!(fleet.render("database.env", &[]).good().contains("DATABASE_HOST='127.1.0.9'"));
}

#[test]
fn a_replica_never_takes_the_place_of_a_primary() {
    for state in ["draining", "wedged", "setup", "decommissioned", "unheard-of"] {
        let nodes = [("db1", 1, "primary", state), ("db2", 2, "replica", "")];
        let error = seen(&nodes, &[]).unwrap_err();
        assert!(error.contains("no active node of the part `db*`"), "{state}: {error}");
        let with_host = seen(&nodes, &[("db_host", "127.1.0.8")]);
        assert_eq!(with_host, Ok(("8".to_owned(), Some("2".to_owned()))), "{state}");
    }
    let fleet = Fleet::of(&[database("db1", 1, "master", ""), database("db2", 2, "replica", "")]);
    let outcome = fleet.render("database.env", &[]);
    assert!(outcome.text.is_err());
    for told in
        ["`role` is `master`, and neither", "states the role `primary`, and no other one takes its place"]
    {
        assert!(outcome.reports.iter().any(|report| report.contains(told)), "{:?}", outcome.reports);
    }
}

#[test]
fn two_primaries_are_refused_and_the_last_file_stays() {
    let machine = Machine::new("app1");
    let list = machine.path("list");
    fs::create_dir(&list).unwrap();
    let put = |number: usize, role: &str| {
        let facts = database(&format!("db{number}"), number, role, "");
        let text = serde_json::json!({ "filetype": "nodepresence", "value": facts }).to_string();
        fs::write(list.join(format!("i-{number:05}.json")), text).unwrap();
    };
    let machine = machine.store(list.display());
    let render = || {
        machine.run(&[
            "render",
            "database.env",
            "-o",
            "database.env",
            "--min-nodes",
            "1",
            "--addresses",
            "127.0.0.0/8",
        ])
    };
    let file = || fs::read_to_string(machine.path("database.env")).unwrap();
    // A limit on the nodes of each question does not ask for replicas that no node claims to be.
    put(1, "");
    render().code(0);
    put(1, "primary");
    put(2, "replica");
    render().code(0);
    let good = file();
    assert!(good.contains("127.1.0.1") && good.contains("REPLICA_HOST='127.1.0.2'"), "{good}");
    put(2, "primary");
    render().code(1).says("2 nodes of `db*` state the role `primary`: i-00001 and i-00002");
    assert_eq!(file(), good);
    put(1, "replica");
    render().code(0);
    assert!(file().contains("DATABASE_HOST='127.1.0.2'"), "{}", file());
}
