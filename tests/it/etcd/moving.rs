//! Moving a list from one store to another.

use std::fs::File;
use std::process::Child;

use super::machine;
use crate::agent::daemon::wait;
use crate::fixture::machine::Machine;
use crate::fixture::{Etcd, GitDaemon};

/// A running mirror, killed when it is dropped.
struct Follower(Child);

impl Follower {
    fn start(machine: &Machine, from: &str, to: &str) -> Follower {
        let log = File::create(machine.path("mirror.log")).unwrap();
        let mut command = machine.command(&["mirror", "--follow", from, to]);
        command.env_remove("PRESENCE_NOW").stdout(log.try_clone().unwrap()).stderr(log);
        Follower(command.spawn().unwrap())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_fleet_moves_from_a_repository_to_etcd_node_by_node() {
    let (server, cluster) = (GitDaemon::start(), Etcd::one());
    server.repository("list.git");
    let (old, new) = (server.url("list.git"), cluster.url());
    let node = |number: u8| {
        let machine = Machine::new("app1").with("instance-id", format!("i-{number}"));
        machine.with("ipv4", format!("10.0.1.{number}")).config("timeouts.recheck = 0\n").store(&old)
    };
    let nodes: Vec<Machine> = (1..=3).map(node).collect();
    nodes.iter().for_each(|node| drop(node.good(&["publish"])));
    let reader = machine(&cluster, "lb1");
    let log = || std::fs::read_to_string(reader.path("mirror.log")).unwrap();
    let says = |what: &str, id: &str, text: &str| {
        wait(what, log, || reader.run(&["show", id]).stdout.contains(text));
    };
    let copied = reader.run(&["mirror", &old, &new]).code(0);
    assert!(copied.stderr.contains("3 records, 3 changed") || copied.stdout.contains("joined"), "{copied}");
    let again = reader.run(&["mirror", &old, &new]).code(0);
    assert!(!again.stdout.contains("joined"), "{again}");
    let _follower = Follower::start(&reader, &old, &new);
    nodes[0].fact("rack", "r1");
    nodes[0].good(&["publish"]);
    says("a change", "i-1", "r1");
    // The second node moves. Its record in the repository is out of date.
    let later = |word: &str| {
        let mut command = nodes[1].command(&["state", word]);
        command.env("PRESENCE_STORE", &new).env("PRESENCE_NOW", "2026-01-02T03:09:05Z");
        assert!(command.output().unwrap().status.success());
    };
    later("draining");
    nodes[0].fact("rack", "r2");
    nodes[0].good(&["publish"]);
    says("a later change", "i-1", "r2");
    says("the node that has moved", "i-2", "draining");
    nodes[1].good(&["withdraw"]);
    // The third node leaves for good.
    nodes[2].good(&["withdraw"]);
    wait("the node to leave", log, || !reader.good(&["list", "--format", "ids"]).contains("i-3"));
    assert_eq!(reader.good(&["list", "--format", "ids"]), "i-1\ni-2\n");
}

#[test]
fn a_list_in_etcd_gets_a_history_in_git_and_heartbeats_are_copied() {
    let (server, cluster) = (GitDaemon::start(), Etcd::one());
    server.repository("list.git");
    let app = machine(&cluster, "app1");
    app.run(&["beat"]).code(0);
    app.run(&["mirror", &cluster.url(), &server.url("list.git")]).code(0);
    let reader = Machine::new("lb1").store(server.url("list.git"));
    assert!(reader.good(&["log"]).contains("i-app1"));
    let list = reader.good(&["list", "--max-age", "1h", "--format", "json"]);
    assert!(list.contains("\"last_seen\": \"2026-01-02T03:04:05Z\""), "{list}");
    let same = reader.run(&["mirror", "/x", "/x"]);
    assert_eq!(same.code, Some(2), "{same}");
}
