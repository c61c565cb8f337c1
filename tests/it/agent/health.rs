//! Health checks before announcements.

use std::fs;

use super::QUICK;
use super::daemon::Daemon;
use super::place::{Place, over_each_store};
use crate::fixture::http_server::{CHECK_PATH, HttpServer};
use crate::fixture::machine::{Machine, bare_repository};

fn node(server: &HttpServer) -> Machine {
    let machine = Machine::new("app1");
    let repository = machine.path("list.git");
    bare_repository(&repository);
    let machine = machine.store(repository.display());
    asks(&machine, server, "");
    machine
}

/// Configures the machine to check the server's health.
fn asks(machine: &Machine, server: &HttpServer, more: &str) {
    let text = format!(
        "{QUICK}[[health]]\nname = 'web'\nhttp = 'http://{}{CHECK_PATH}'\ninterval = '100ms'\nrise = 2\nfall = 3\n{more}",
        server.address()
    );
    fs::write(machine.path("presence.toml"), text).unwrap();
}

fn state(node: &Machine) -> String {
    fs::read_to_string(node.path("nodeinfo/state.txt")).unwrap().trim().to_owned()
}

over_each_store!(a_broken_application_takes_itself_off_the_list_and_back);

fn a_broken_application_takes_itself_off_the_list_and_back(place: Place) {
    let server = HttpServer::start(200);
    let node = place.machine("app1");
    let hosts = node.path("hosts");
    let table = format!("[[render]]\nname = 'hosts'\noutput = '{}'\n{}", hosts.display(), place.max_age());
    asks(&node, &server, &table);
    node.good(&["state", "done"]);
    let agent = Daemon::start(&node);
    agent.wait_for("some checks", || server.checks() > 3);
    assert_eq!(state(&node), "done");
    server.set_status(500);
    agent.wait_for("the list to say so", || node.good(&["list", "--state", "wedged"]).contains("i-app1"));
    let shown = node.good(&["show", "i-app1"]);
    assert!(shown.contains("wedged by     web: http status 500\n"), "{shown}");
    assert!(shown.contains("\"wedged-reason\": \"web: http status 500\""), "{shown}");
    server.set_status(200);
    agent.wait_for("it to be back", || node.good(&["list", "--state", "done"]).contains("i-app1"));
    assert!(!node.good(&["show", "i-app1"]).contains("wedged-reason"));
    let log = fs::read_to_string(node.path("nodeinfo/statelog.txt")).unwrap();
    assert_eq!(log.matches("wedged:").count(), 1, "{log}");
    let log = agent.log();
    assert!(
        log.contains("health check `web`: http status 500")
            && log.contains("health checks set this node to `wedged`: web: http status 500"),
        "{log}"
    );
}

#[test]
fn who_starts_ill_is_not_announced_as_well() {
    let server = HttpServer::start(500);
    let node = node(&server);
    node.fact("state", "done");
    node.run(&["beat"]).code(0).says("set this node to `wedged`");
    assert!(node.good(&["list", "--state", "wedged"]).contains("i-app1"));
    // It is healthy again after two successes in a row, across beats.
    server.set_status(200);
    node.run(&["beat"]).code(0);
    assert_eq!(state(&node), "wedged");
    node.run(&["beat"]).code(0);
    assert_eq!(state(&node), "done");
    // A reason ends with its state, even if an operator changes that.
    node.fact("wedged-reason", "web: http status 500");
    assert!(!node.good(&["emit"]).contains("wedged-reason"));
    node.good(&["state", "draining"]);
    assert!(!node.path("nodeinfo/wedged-reason.txt").exists());
}

#[test]
fn what_an_operator_says_stands() {
    let server = HttpServer::start(500);
    let node = node(&server);
    for said in ["draining", "setup", "drained"] {
        node.fact("state", said);
        for _ in 0..4 {
            node.run(&["beat"]).code(0);
        }
        assert_eq!(state(&node), said);
    }
    server.set_status(200);
    node.fact("state", "wedged");
    for _ in 0..4 {
        node.run(&["beat"]).code(0);
    }
    assert_eq!(state(&node), "wedged", "it was not the health checks that said so");
}

#[test]
fn a_node_that_fails_repeatedly_is_held_back() {
    let server = HttpServer::start(200);
    let node = node(&server);
    let path = node.path("presence.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("rise = 2\nfall = 3", "rise = 1\nfall = 1")).unwrap();
    node.fact("state", "done");
    let beat = |status: usize, time: &str| {
        server.set_status(status);
        let mut beat = node.command(&["beat"]);
        let output = beat.env("PRESENCE_NOW", format!("2026-01-02T{time}Z")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        (state(&node), String::from_utf8(output.stderr).unwrap())
    };
    for (status, time, expect) in [
        (200, "03:00:00", "done"),
        (500, "03:00:10", "wedged"),
        // The first failure has no hold.
        (200, "03:00:20", "done"),
        (500, "03:00:30", "wedged"),
    ] {
        let (state, said) = beat(status, time);
        assert_eq!(state, expect, "at {time}: {said}");
        assert!(!said.contains("stays"), "at {time}: {said}");
    }
    let held = "this node stays `wedged` at least until 2026-01-02T03:01:40Z";
    let (now, said) = beat(200, "03:00:40");
    assert!(now == "wedged" && said.contains(held), "{said}");
    // It is reported once.
    let (now, said) = beat(200, "03:01:39");
    assert!(now == "wedged" && !said.contains("stays"), "{said}");
    let (now, said) = beat(200, "03:01:40");
    assert!(now == "done" && said.contains("set this node to `done`"), "{said}");
    let log = fs::read_to_string(node.path("nodeinfo/statelog.txt")).unwrap();
    assert_eq!(log.matches("wedged:").count(), 2, "{log}");
}
