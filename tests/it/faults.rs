//! Faults of a list behind a real git server: after each fault no update is lost or duplicated, and nobody
//! has to repair anything.

mod dangling;
mod deadlines;
mod disk;
mod earlier;
mod history;

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::fixture::machine::{Machine, git};
use crate::fixture::{GitDaemon, Host, Relay, Repository};

/// The node with a number. It asks the store every time and trusts no recent confirmation.
fn node(number: usize, url: &str) -> Machine {
    Machine::new("app1")
        .with("instance-id", format!("i-{number:03}"))
        .with("address", format!("10.1.{}.{}", number / 250, number % 250 + 1))
        .config("[timeouts]\nrecheck = 0\n")
        .store(url)
}

/// The same, with access to the host.
fn guest(number: usize, host: &Host, url: &str) -> Machine {
    let node = node(number, url);
    host.admit(&node);
    node
}

fn start(node: &Machine, args: &[&str]) -> Child {
    node.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The ids that a reader sees.
fn ids(reader: &Machine) -> Vec<String> {
    reader.good(&["list", "--format", "ids"]).lines().map(str::to_owned).collect()
}

/// Merges all waiting updates.
fn settle(list: &Repository, host: &Host) {
    for round in 0..20 {
        if list.git(["for-each-ref", "refs/presence/inbox/"]).lines().all(|line| line.contains('-')) {
            let merged = guest(999, host, &host.url("list.git")).with("round", round);
            merged.good(&["publish"]);
        }
        if list.git(["for-each-ref", "refs/presence/inbox/"]).lines().count() <= 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// `count` nodes publish at the same moment, twice; all updates arrive.
fn all_arrive(host: &Host, count: usize) {
    let (list, url) = (host.repository("list.git"), host.url("list.git"));
    let nodes: Vec<Machine> = (0..count).map(|number| guest(number, host, &url)).collect();
    for port in [8081, 8082] {
        nodes.iter().for_each(|node| node.fact("port", port));
        let running: Vec<Child> = nodes.iter().map(|node| start(node, &["publish"])).collect();
        for mut child in running {
            assert!(child.wait().unwrap().success());
        }
        let seen = nodes[0].good(&["list", "--where", &format!("port={port}"), "--format", "ids"]);
        assert_eq!(seen.lines().count(), count, "readers count in what waits");
    }
    settle(&list, host);
    let newest = list.git(["grep", "-l", "8082", "HEAD", "--", "it/presence/all"]);
    assert_eq!(newest.lines().filter(|line| !line.contains("i-999")).count(), count, "all are on the branch");
    list.git(["fsck", "--strict"]);
}

#[test]
fn a_crowd_at_one_instant() {
    for host in Host::each() {
        all_arrive(&host, if let Host::Git(_) = host { 60 } else { 10 });
    }
}

#[test]
fn the_same_node_twice_at_once() {
    let server = GitDaemon::start();
    let list = server.repository("list.git");
    let one = node(1, &server.url("list.git"));
    let running: Vec<Child> = (0..6).map(|_| start(&one, &["beat"])).collect();
    for mut child in running {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(list.commits().len(), 1);
}

#[test]
fn publishers_killed_at_random_moments_lose_and_double_nothing() {
    let server = Host::Git(GitDaemon::start());
    let list = server.repository("list.git");
    let url = server.url("list.git");
    let nodes: Vec<Machine> = (0..4).map(|number| node(number, &url)).collect();
    for round in 0..15_u64 {
        let running: Vec<(u64, Child)> = nodes
            .iter()
            .enumerate()
            .map(|(number, node)| {
                node.fact("port", 1000 + round);
                (round * 4 + number as u64 * 3, start(node, &["publish"]))
            })
            .collect();
        for (millis, mut child) in running {
            std::thread::sleep(Duration::from_millis(millis / 4));
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    for node in &nodes {
        node.good(&["publish"]);
    }
    let seen = nodes[0].good(&["list", "--where", "port=1014", "--format", "ids"]);
    assert_eq!(seen.lines().count(), nodes.len());
    settle(&list, &server);
    assert_eq!(list.files().iter().filter(|file| !file.contains("i-999")).count(), nodes.len());
    list.git(["fsck", "--strict"]);
}

#[test]
fn a_connection_cut_in_the_middle() {
    for host in Host::each() {
        let list = host.repository("list.git");
        guest(1, &host, &host.url("list.git")).good(&["publish"]);
        let cuts = match host {
            // The keys alone take 1,900 bytes, the rest some 1,000 more.
            Host::Ssh(_) => [1, 1_000, 2_200, 2_800, 3_400],
            _ => [1, 60, 200, 400, 700],
        };
        for bytes in cuts {
            let relay = Relay::start(host.address(), bytes);
            let url = host.url_through("list.git", relay.address());
            let cut = guest(2, &host, &url).with("cut", bytes);
            let cut = cut.config("[timeouts]\npublish = 1\nrecheck = 0\n");
            cut.run(&["publish"]);
            relay.heal();
            cut.configure("[timeouts]\nrecheck = 0\n");
            cut.good(&["publish"]);
            let record = cut.good(&["emit"]);
            settle(&list, &host);
            let kept = list.read("it/presence/all/i-002.json");
            assert_eq!(kept.trim(), record.trim(), "{url}: cut after {bytes} bytes");
        }
        list.git(["fsck", "--strict"]);
    }
}

#[test]
fn the_branch_deleted_set_back_or_squashed() {
    Host::each().iter().for_each(branch_deleted_set_back_or_squashed);
}

fn branch_deleted_set_back_or_squashed(host: &Host) {
    let list = host.repository("list.git");
    let url = host.url("list.git");
    let (one, two) = (guest(1, host, &url), guest(2, host, &url));
    one.good(&["publish"]);
    let first = list.git(["rev-parse", "HEAD"]);
    two.good(&["publish"]);
    one.fact("port", 9000);
    one.good(&["publish"]);

    let squashed = list.git(["commit-tree", "-m", "squashed", "HEAD^{tree}"]);
    list.git(["update-ref", "HEAD", squashed.trim()]);
    assert_eq!(ids(&two), ["i-001", "i-002"]);
    assert!(two.good(&["publish"]).contains("unchanged"));

    list.git(["update-ref", "HEAD", first.trim()]);
    for node in [&one, &two] {
        node.good(&["publish"]);
    }
    assert_eq!(ids(&one), ["i-001", "i-002"]);

    list.git(["update-ref", "-d", "HEAD"]);
    one.run(&["publish"]).code(0).says("the list that was here is gone");
    two.good(&["publish"]);
    assert_eq!(ids(&one), ["i-001", "i-002"]);
    settle(&list, host);
    assert_eq!(list.files().iter().filter(|file| !file.contains("i-999")).count(), 2);
}

#[test]
fn a_broken_mirror_repairs_itself() {
    let server = GitDaemon::start();
    server.repository("list.git");
    let url = server.url("list.git");
    let one = node(1, &url);
    one.good(&["publish"]);
    let stores = one.path("state/stores");
    let place = fs::read_dir(&stores).unwrap().next().unwrap().unwrap().path();
    let breaks: [&dyn Fn(); 5] = [
        &|| fs::write(place.join("mirror.git/HEAD"), "nonsense").unwrap(),
        &|| fs::remove_dir_all(place.join("mirror.git/objects")).unwrap(),
        &|| fs::write(place.join("heads"), "half a li").unwrap(),
        &|| fs::write(place.join("mirror.git/refs/presence/fetched"), "").unwrap(),
        &|| fs::remove_dir_all(&place).unwrap(),
    ];
    for (number, break_it) in breaks.iter().enumerate() {
        break_it();
        one.fact("port", 9000 + number);
        one.good(&["publish"]);
        break_it();
        assert_eq!(ids(&one), ["i-001"], "break {number}");
    }
}

#[test]
fn a_server_that_is_gone_and_comes_back() {
    for host in Host::each() {
        let list = host.repository("list.git");
        let relay = Relay::start(host.address(), 0);
        let url = host.url_through("list.git", relay.address());
        let one = guest(1, &host, &url).config("[timeouts]\npublish = 1\nrecheck = 0\n");
        one.run(&["publish"]).code(1).says("list.git");
        one.run(&["list"]).code(3);
        relay.heal();
        one.configure("[timeouts]\nrecheck = 0\n");
        one.good(&["publish"]);
        assert_eq!(list.files(), ["it/presence/all/i-001.json"]);
    }
}

#[test]
fn what_the_server_refuses_is_said_and_never_comes_in_by_the_inbox() {
    for host in Host::each() {
        let list = host.repository("list.git");
        list.hook("update", "case $1 in refs/heads/*) echo 'ask the admins'; exit 1;; esac");
        let one = guest(1, &host, &host.url("list.git"));
        one.run(&["publish"]).code(1).says("hook declined").says("| ask the admins");
        assert_eq!(list.git(["for-each-ref"]), "");
    }
}

#[test]
fn a_server_that_takes_branches_only() {
    for host in Host::each() {
        let list = host.repository("list.git");
        list.hook("update", "case $1 in refs/heads/*) exit 0;; esac; echo 'branches only'; exit 1");
        let url = host.url("list.git");
        let nodes: Vec<Machine> = (0..4).map(|number| guest(number, &host, &url)).collect();
        let running: Vec<Child> = nodes.iter().map(|node| start(node, &["publish"])).collect();
        for mut child in running {
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(list.files().len(), nodes.len());
    }
}

#[test]
fn what_waits_is_an_update_for_readers_and_publishers_alike() {
    let server = Host::Git(GitDaemon::start());
    let list = server.repository("list.git");
    let url = server.url("list.git");
    let (one, two) = (node(1, &url), node(2, &url));
    one.good(&["publish"]);
    // While another process holds the lock of the branch, only the inbox can be written.
    let lock = list.lock_branch();
    one.fact("port", 9001);
    assert!(one.good(&["publish"]).contains("port 8080 -> 9001 (stored, waits to be merged)"));
    assert!(one.good(&["publish"]).contains("unchanged"), "its own update waits there already");
    one.good(&["withdraw"]);
    two.good(&["publish"]);
    assert_eq!(ids(&two), ["i-002"], "what one said last counts");
    drop(lock);
    two.fact("port", 9002);
    two.good(&["publish"]);
    settle(&list, &server);
    assert_eq!(list.files().iter().filter(|file| !file.contains("i-999")).count(), 1);
    let clone = two.path("clone");
    git(&two.path(""), &["clone", "--quiet", &url, "clone"]);
    assert!(fs::read_to_string(clone.join("it/presence/all/i-002.json")).unwrap().contains("9002"));
}
