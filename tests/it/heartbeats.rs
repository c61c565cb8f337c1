//! Heartbeats: they make no history, are pushed together with the record, and show who is silent.

use std::fs;
use std::process::{Child, Stdio};

use crate::fixture::machine::{Machine, Outcome, bare_repository};
use crate::fixture::{GitDaemon, Relay};

fn node(number: usize, url: &str) -> Machine {
    Machine::new("app1")
        .with("instance-id", format!("i-{number:03}"))
        .with("ipv4", format!("10.9.0.{number}"))
        .config("beat-shards = 2\ntimeouts.recheck = 0\n")
        .store(url)
}

fn start(node: &Machine, args: &[&str]) -> Child {
    node.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn heartbeats_leave_no_history_and_tell_who_is_silent() {
    let server = GitDaemon::start();
    let list = server.repository("list.git");
    let url = server.url("list.git");
    let nodes: Vec<Machine> =
        (0..8).map(|number| node(number, &url).config("beat-shards = 2\ntimeouts.recheck = 0\n")).collect();
    for _ in 0..2 {
        let running: Vec<Child> = nodes.iter().map(|node| start(node, &["beat"])).collect();
        for mut child in running {
            assert!(child.wait().unwrap().success());
        }
    }
    for shard in list.git(["for-each-ref", "--format=%(refname)", "refs/presence/beats/"]).lines() {
        assert_eq!(list.git(["rev-list", "--count", shard]), "1\n");
    }
    let later = |args: &[&str]| {
        let output = nodes[0].command(args).env("PRESENCE_NOW", "2026-01-02T03:14:05Z").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        later(&["list", "--max-age", "15m", "--state", "active", "--format", "ids"]).lines().count(),
        8
    );
    assert_eq!(later(&["list", "--max-age", "5m", "--state", "active", "--format", "ids"]), "");
    assert!(later(&["show", "i-003"]).contains("last seen     2026-01-02 03:04:05 UTC (10 minutes ago)"));
}

#[test]
fn record_and_heartbeat_go_in_one_push() {
    let server = GitDaemon::start();
    let list = server.repository("list.git");
    let relay = Relay::start(server.address(), usize::MAX);
    let one = node(1, &format!("git://{}/list.git", relay.address()));
    one.good(&["beat"]);
    for (port, said) in [(8080, "unchanged"), (9001, "port 8080 -> 9001"), (9001, "unchanged")] {
        one.fact("port", port);
        let before = relay.connections();
        assert!(one.good(&["beat"]).contains(said));
        assert_eq!(relay.connections() - before, 1, "{said}");
    }
    assert_eq!(list.commits(), ["i-001 (app1): port 8080 -> 9001", "i-001 (app1): joined"]);
    let waiting = list.git(["for-each-ref", "refs/presence/inbox/"]);
    assert_eq!(waiting, "", "the next beat has taken away what the branch has");
    // Another node has changed the shard meanwhile: this machine's copy of it is too old.
    for number in 2..6 {
        node(number, &server.url("list.git")).good(&["beat"]);
    }
    one.good(&["beat"]);
    assert_eq!(
        one.good(&["list", "--max-age", "5m", "--state", "active", "--format", "ids"]).lines().count(),
        5
    );
}

#[test]
fn who_comes_by_merges_what_a_crowd_has_left_over() {
    let server = GitDaemon::start();
    let list = server.repository("list.git");
    let url = server.url("list.git");
    let (one, two) = (node(1, &url), node(2, &url));
    one.good(&["publish"]);
    two.good(&["publish"]);
    let lock = list.lock_branch();
    one.fact("port", 9001);
    assert!(one.good(&["publish"]).contains("waits to be merged"));
    drop(lock);
    // This node has nothing to publish, and merges in every second beat on average if it estimates
    // contention.
    for _ in 0..10 {
        assert!(two.good(&["beat"]).contains("unchanged"));
    }
    assert!(list.read("it/presence/all/i-001.json").contains("9001"));
    assert_eq!(list.git(["for-each-ref", "refs/presence/inbox/"]), "");
}

#[test]
fn heartbeats_in_a_store_of_their_own() {
    let server = GitDaemon::start();
    let (list, beats) = (server.repository("list.git"), server.repository("beats.git"));
    let config = format!("beat-store = \"{}\"\n", server.url("beats.git"));
    let one = node(1, &server.url("list.git")).config(&config);
    let two = node(2, &server.url("list.git")).config(&config);
    one.good(&["beat"]);
    two.good(&["publish"]);
    assert_eq!(list.git(["for-each-ref", "refs/presence/beats/"]), "");
    assert_eq!(beats.git(["for-each-ref"]).lines().count(), 1);
    let active = ["list", "--max-age", "5m", "--state", "active", "--format", "ids"];
    assert!(one.run(&active).code(0).stdout == "i-001\n");

    // No node is silent if no store has heartbeats.
    let gone = config.replace("beats.git", "gone.git");
    fs::write(one.path("presence.toml"), gone).unwrap();
    let outcome =
        one.run(&active).code(0).says("until a store answers with heartbeats, no node becomes silent");
    assert_eq!(outcome.stdout, "i-001\ni-002\n");
    one.run(&["beat"]).code(1).says("no store accepted the heartbeat");
    one.run(&["doctor"]).code(1).says("checks failed");
}

#[test]
fn heartbeats_in_files() {
    let host = Machine::new("lb1");
    bare_repository(&host.path("list.git"));
    fs::create_dir(host.path("directory")).unwrap();
    for store in ["list.git", "directory"] {
        let (one, two) = (node(1, ""), node(2, ""));
        let store = host.path(store).display().to_string();
        one.good(&["beat", "--store", &store]);
        two.good(&["publish", "--store", &store]);
        let listed: Outcome =
            one.run(&["list", "--store", &store, "--max-age", "5m", "--state", "active", "--format", "ids"]);
        assert_eq!(listed.code(0).stdout, "i-001\n", "{store}");
    }
}
