//! Servers that hang in every possible way: no command takes longer than its limit, and each reports what
//! happened.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::guest;
use crate::fixture::machine::{Machine, Outcome};
use crate::fixture::{BlackHole, Drip, GitDaemon, Host, silent_server};

/// Far more than the limits below, and far less than the default limits.
const GENEROUS: Duration = Duration::from_secs(25);

const LIMITS: &str =
    "[timeouts]\nconnect = 2\nsilence = 100\npublish = 3\nread = 3\nhistory = 3\nrecheck = 0\n";

#[track_caller]
fn in_time(node: &Machine, args: &[&str]) -> Outcome {
    let started = Instant::now();
    let outcome = node.run(args);
    assert!(started.elapsed() < GENEROUS, "{args:?} took {:?}\n{outcome}", started.elapsed());
    outcome
}

/// A node that has a last copy of the list when the server hangs: what each command does.
#[track_caller]
fn all_commands(node: &Machine, what: &str) {
    let limits = ["`publish` in `[timeouts]`", "`read` in `[timeouts]`", "no firewall blocks it"];
    let told = |outcome: &Outcome| {
        assert!(
            limits.iter().any(|limit| outcome.stderr.contains(limit)),
            "{what}: no limit is named\n{outcome}"
        );
    };
    let listed = in_time(node, &["list", "--format", "ids"]).code(3).says("presence uses its last copy");
    assert_eq!(listed.stdout, "i-001\n", "{what}");
    told(&listed);
    let state = in_time(node, &["state", "draining"]).code(1);
    told(&state);
    state.says("the state `draining` is set on this machine").says("publishes it");
    told(&in_time(node, &["withdraw"]).code(1).says("no store has confirmed"));
    in_time(node, &["log"]).code(1);
}

/// A node that has published to the list, which has now another address.
fn moved(host: &Host, address: SocketAddr) -> Machine {
    let url = host.url("list.git");
    let there = host.url_through("list.git", address);
    let first = guest(1, host, &url);
    first.good(&["publish"]);
    first.good(&["list"]);
    let node = guest(1, host, &there).config(LIMITS);
    let place = |machine: &Machine| {
        let stores = machine.path("state/stores");
        std::fs::read_dir(stores).unwrap().next().unwrap().unwrap().path()
    };
    let copy = place(&first);
    // Its last copy of the list belongs to the other address. A failed attempt shows where it looks for one.
    node.run(&["publish"]);
    let to = place(&node);
    std::fs::remove_dir_all(&to).unwrap();
    std::fs::rename(copy, &to).unwrap();
    node
}

#[test]
fn a_server_that_is_stopped() {
    let server = GitDaemon::start();
    server.repository("list.git");
    let node = super::node(1, &server.url("list.git")).config(LIMITS);
    node.good(&["publish"]);
    node.good(&["list"]);
    server.hang();
    all_commands(&node, "stopped");
    server.go_on();
    node.configure("[timeouts]\nrecheck = 0\n");
    assert!(node.good(&["publish"]).contains("state draining"));
}

/// Runs it with a server of each kind at the same time, since it mostly waits.
fn with_each(act: impl Fn(&Host) + Sync) {
    std::thread::scope(|scope| {
        for host in Host::each() {
            let act = &act;
            scope.spawn(move || {
                host.repository("list.git");
                act(&host);
            });
        }
    });
}

#[test]
fn a_server_that_takes_no_connection() {
    with_each(|host| {
        let hole = BlackHole::start();
        all_commands(&moved(host, hole.address()), "black hole");
    });
}

#[test]
fn a_server_that_says_nothing() {
    with_each(|host| {
        let (_listener, address) = silent_server();
        all_commands(&moved(host, address), "silent");
    });
}

#[test]
fn a_server_that_says_a_byte_a_second() {
    with_each(|host| {
        let drip = Drip::start(host.address(), 0);
        all_commands(&moved(host, drip.address()), "drips");
    });
}

#[test]
fn a_server_that_says_a_byte_a_second_in_the_middle_of_its_refs() {
    with_each(|host| {
        let drip = Drip::start(host.address(), 300);
        all_commands(&moved(host, drip.address()), "drips after 300 bytes");
    });
}

#[test]
fn one_of_two_stores_hangs_and_the_other_has_the_say() {
    let servers = [GitDaemon::start(), GitDaemon::start()];
    for server in &servers {
        server.repository("list.git");
    }
    let limits = "[timeouts]\nconnect = 2\nsilence = 100\npublish = 100\nread = 100\nrecheck = 0\n";
    let node = super::node(1, &servers[0].url("list.git")).store(servers[1].url("list.git")).config(limits);
    node.good(&["publish"]);
    node.good(&["list"]);
    servers[0].hang();
    let late = "has not answered within 2 s of another store's answer";
    let listed =
        in_time(&node, &["list", "--format", "ids"]).code(0).says(late).says("presence uses its last copy");
    assert_eq!(listed.stdout, "i-001\n");
    let state = in_time(&node, &["state", "draining"]).code(0).says(late);
    assert!(state.stdout.contains("state draining"), "{state}");
    in_time(&node, &["log"]);
    servers[0].go_on();
}

#[test]
fn a_first_fetch_has_the_time_of_a_publishing() {
    let servers = [GitDaemon::start(), GitDaemon::start()];
    for server in &servers {
        server.repository("list.git");
        super::node(1, &server.url("list.git")).good(&["publish"]);
    }
    // The list takes some seconds to arrive; the refs alone would be in time.
    let drip = Drip::start(servers[0].address(), 700);
    let url = format!("git://{}/list.git", drip.address());
    let config = "[timeouts]\nconnect = 1\npublish = 2\nread = 1\n";
    let reader = super::node(2, &url).config(config);
    in_time(&reader, &["list"]).code(3).says("within 2 s").says("`publish` in `[timeouts]`");
}
