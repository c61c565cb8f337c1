//! A list in etcd, with real members, publishers and agents.

mod faults;
mod follow;
mod login;
mod moving;

use std::fs;

use serde_json::Value;

use crate::fixture::Etcd;
use crate::fixture::machine::{Machine, bare_repository};

/// A machine with a list in that cluster.
fn machine(cluster: &Etcd, part: &str) -> Machine {
    Machine::new(part).store(cluster.url())
}

/// The same, with a table for the hosts file.
fn renders_hosts(cluster: &Etcd, part: &str, more: &str) -> Machine {
    let machine = machine(cluster, part);
    let hosts = machine.path("hosts");
    machine.config(&format!("[[render]]\nname = 'hosts'\noutput = '{}'\n{more}", hosts.display()))
}

fn hosts(machine: &Machine) -> String {
    fs::read_to_string(machine.path("hosts")).unwrap_or_default()
}

#[test]
fn a_list_in_etcd_is_used_like_any_other() {
    let cluster = Etcd::one();
    let app = machine(&cluster, "app1");
    assert_eq!(app.good(&["list", "--format", "ids"]), "", "a new list is empty");
    assert!(app.good(&["publish"]).contains("i-app1: joined"));
    assert!(app.good(&["publish"]).contains("i-app1: unchanged"));
    let lb = renders_hosts(&cluster, "lb1", "");
    assert!(lb.good(&["list", "--format", "ids"]).contains("i-app1"));
    lb.run(&["beat"]).code(0);
    assert!(hosts(&lb).contains("10.0.0.2"), "{}", hosts(&lb));
    assert!(app.good(&["state", "draining"]).contains("state draining"));
    assert!(lb.good(&["show", "i-app1"]).contains("draining"));
    let record = cluster.etcdctl(&["get", "--print-value-only", "/presence/it/presence/all/i-app1.json"]);
    assert!(record.starts_with("{\n    \"filetype\": \"nodepresence\","), "{record}");
    lb.run(&["log"]).code(1).says("a store in etcd keeps no history").says("presence mirror --follow");
    app.good(&["withdraw"]);
    assert_eq!(lb.good(&["list", "--format", "ids"]), "i-lb1\n");
    let keys = cluster.keys();
    assert!(keys.contains(&"/presence/.left/it/presence/all/i-app1".to_owned()), "{keys:?}");
    assert!(!keys.contains(&"/presence/it/presence/all/i-app1.json".to_owned()), "{keys:?}");
    // Who has left in order is not kept in the file.
    lb.run(&["beat"]).code(0);
    assert!(!hosts(&lb).contains("10.0.0.2"), "{}", hosts(&lb));
}

#[test]
fn a_heartbeat_is_a_lease_and_the_record_outlives_it() {
    let cluster = Etcd::one();
    let app = machine(&cluster, "app1");
    app.run(&["beat"]).code(0);
    let leases =
        || cluster.etcdctl(&["lease", "list"]).lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    let first = leases();
    assert_eq!(first.len(), 1, "{first:?}");
    let time = || cluster.etcdctl(&["get", "-w", "fields", "/presence/.beats/it/presence/all/i-app1"]);
    let written = time();
    app.run(&["beat"]).code(0);
    assert_eq!(leases(), first, "a beat renews the lease");
    assert_eq!(field(&time(), "ModRevision"), field(&written, "ModRevision"), "and writes nothing");
    let seen = || {
        let list: Value =
            serde_json::from_str(&app.good(&["list", "--max-age", "1h", "--format", "json"])).unwrap();
        list["nodes"][0]["found"]["last_seen"].clone()
    };
    let before = seen();
    assert!(before.is_string(), "{before}");
    cluster.etcdctl(&["lease", "revoke", &first[0]]);
    let keys = cluster.keys();
    assert!(!keys.iter().any(|key| key.contains(".leases")), "{keys:?}");
    assert_eq!(seen(), before, "the record stays, with its last time");
    app.run(&["beat"]).code(0);
    assert_eq!(leases().len(), 1, "a node that is back takes a new lease");
}

/// A field of etcdctl's output.
fn field(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(&format!("\"{name}\"")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

#[test]
fn two_machines_under_one_name_are_noticed() {
    let cluster = Etcd::one();
    let (one, other) = (machine(&cluster, "app1"), machine(&cluster, "app1"));
    one.run(&["beat"]).code(0);
    other.run(&["beat"]).code(0);
    one.run(&["beat"]).code(0).says("another machine publishes under the instance-id");
}

#[test]
fn publishers_at_the_same_time_are_all_on_the_list() {
    let cluster = Etcd::one();
    let nodes: Vec<Machine> = (0..20)
        .map(|number| {
            let node = machine(&cluster, "app1").with("instance-id", format!("i-{number:02}"));
            node.with("ipv4", format!("10.0.1.{number}"))
        })
        .collect();
    let running: Vec<_> = nodes.iter().map(|node| node.command(&["publish"]).spawn().unwrap()).collect();
    for mut child in running {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(nodes[0].good(&["list", "--format", "ids"]).lines().count(), 20);
}

#[test]
fn a_record_on_the_list_with_a_later_number_stays() {
    let cluster = Etcd::one();
    let app = machine(&cluster, "app1");
    app.good(&["state", "done"]);
    let record = app.good(&["emit"]);
    let from = app.path("from");
    fs::create_dir(&from).unwrap();
    // Each copy is newer by its time.
    let copy = |number: u64, port: &str| {
        let text = record.replace("\"value\"", &format!("\"serial\": {number},\n    \"value\""));
        let text = text.replace("20260102-030405", &format!("20260102-{port}00")).replace("8080", port);
        fs::write(from.join("i-app1.json"), text).unwrap();
        app.run(&["mirror", from.to_str().unwrap(), &cluster.url()]).code(0);
        cluster.etcdctl(&["get", "--print-value-only", "/presence/it/presence/all/i-app1.json"])
    };
    let first = copy(7, "1007");
    assert!(first.contains("\"serial\": 7") && first.contains("\"port\": \"1007\""), "{first}");
    assert_eq!(copy(6, "1108"), first);
    assert!(copy(8, "1209").contains("\"port\": \"1209\""));
}

#[test]
fn both_a_repository_and_etcd_have_a_node_and_the_newest_record_is_read() {
    let cluster = Etcd::one();
    let lb = Machine::new("lb1");
    let repository = lb.path("list.git");
    bare_repository(&repository);
    let both = |machine: Machine| machine.store(repository.display()).store(cluster.url());
    let lb = both(lb);
    let app = both(Machine::new("app1"));
    let published = app.good(&["state", "done"]);
    assert!(published.matches("i-app1: joined").count() == 2, "{published}");
    let state = || lb.good(&["list", "--format", "json"]);
    // Only one store gets a later record: each in turn.
    for (store, state_word) in [(cluster.url(), "draining"), (repository.display().to_string(), "running")] {
        let minute = if state_word == "running" { "2026-01-02T03:09:05Z" } else { "2026-01-02T03:06:05Z" };
        let mut command = app.command(&["state", state_word]);
        command.env("PRESENCE_STORE", store).env("PRESENCE_NOW", minute);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let list = state();
        assert!(list.contains(&format!("\"state\": \"{state_word}\"")), "{list}");
    }
    // The repository has the history.
    let log = lb.run(&["log"]);
    assert!(log.stdout.contains("running"), "{log}");
}

#[test]
fn the_doctor_knows_the_members() {
    let mut cluster = Etcd::three();
    let app = machine(&cluster, "app1");
    app.good(&["publish"]);
    let outcome = app.run(&["doctor"]);
    for text in ["at revision", "3 of 3 named members have a leader", "accepts records"] {
        assert!(outcome.stdout.contains(text), "no {text:?}\n{outcome}");
    }
    cluster.kill(2);
    let outcome = app.run(&["doctor"]).code(1);
    for text in ["Connection refused", "2 of 3 named members have a leader"] {
        assert!(outcome.stdout.contains(text), "no {text:?}\n{outcome}");
    }
}

#[test]
fn a_list_that_is_gone_is_an_error_and_the_last_copy_applies() {
    let cluster = Etcd::one();
    let (app, lb) = (machine(&cluster, "app1"), renders_hosts(&cluster, "lb1", ""));
    app.good(&["publish"]);
    lb.run(&["beat"]).code(0);
    cluster.etcdctl(&["del", "--prefix", "/presence/"]);
    lb.run(&["list"]).code(3).says("the list held 2 records").says("rm ");
    assert!(hosts(&lb).contains("10.0.0.2"));
    // A node that publishes is back on the list.
    app.good(&["publish"]);
    assert_eq!(lb.good(&["list", "--format", "ids"]), "i-app1\n");
    // A list whose last node has left is empty.
    app.good(&["withdraw"]);
    assert_eq!(lb.good(&["list", "--format", "ids"]), "");
}
