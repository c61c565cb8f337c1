//! An agent and a HAProxy: the list determines what is served, whatever happens on the way.

use std::fs;

use super::balancer::Balancer;
use super::daemon::Daemon;
use super::place::{Place, over_each_store};
use crate::fixture::http_server::HttpServer;
use crate::fixture::machine::{Machine, git};

over_each_store!(nodes_come_change_and_go_without_a_reload);
over_each_store!(but ssh:
    bad_lists_leave_haproxy_as_it_is,
    who_falls_silent_expires_by_the_clock_and_who_is_heard_stays,
);

fn nodes_come_change_and_go_without_a_reload(place: Place) {
    let servers: Vec<HttpServer> = (0..3).map(|_| HttpServer::start(200)).collect();
    let balancer = Balancer::start_at(place, &[("a", &servers[0])]);
    let agent = balancer.agent();
    agent.wait_for("a request to be served", || balancer.get() == Some(200));
    let b = balancer.node("b", &servers[1]);
    b.good(&["state", "done"]);
    agent.wait_for("the new server to serve", || balancer.serves(&servers[1]));
    b.good(&["state", "draining"]);
    agent.wait_for("it to drain", || balancer.running().contains(&("i-b".into(), false)));
    b.good(&["withdraw"]);
    agent.wait_for("it to be gone", || balancer.running() == [("i-a".into(), true)]);
    // A node that joins unhealthy gets no requests, and neither does one that states so itself.
    servers[2].set_status(500);
    balancer.node("c", &servers[2]).good(&["state", "done"]);
    balancer.node("d", &servers[1]).good(&["state", "wedged"]);
    agent.wait_for("both to be known", || balancer.running().len() == 3);
    let before = servers[1].requests() + servers[2].requests();
    for _ in 0..20 {
        assert_eq!(balancer.get(), Some(200));
    }
    assert_eq!(servers[1].requests() + servers[2].requests(), before);
    assert_eq!(balancer.reloads(), 0, "{}", agent.log());
    // A server with failing checks is a failure in the message, the exit code and a metric.
    let bad = "app/i-c gets no requests: it waits for its check to pass; the last result was L7STS";
    agent.wait_for("it to be told of", || agent.log().contains(bad));
    balancer.machine.run(&["beat"]).code(5).says(bad);
    let count = |number| {
        balancer
            .metrics()
            .lines()
            .any(|line| line.starts_with("presence_file_servers_not_up{") && line.ends_with(number))
    };
    agent.wait_for("it to be counted", || count(" 1"));
    servers[2].set_status(200);
    agent.wait_for("it to serve", || balancer.serves(&servers[2]) && count(" 0"));
    balancer.machine.run(&["beat"]).code(0);
    let doctor = balancer.machine.run(&["doctor"]).stdout;
    assert!(doctor.contains("HAProxy answers at") && doctor.contains("is rendered from"), "{doctor}");
    // A restart gives the same.
    let config = balancer.config();
    assert!(config.contains("i-a ") && config.contains("i-d ") && !config.contains("i-b "), "{config}");
}

#[test]
fn another_part_of_the_file_is_one_checked_reload() {
    let server = HttpServer::start(200);
    let balancer = Balancer::start(&[("a", &server)]);
    let path = balancer.machine.path("presence.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("maxconn = 400", "maxconn = 401")).unwrap();
    balancer.machine.run(&["beat"]).code(0).says("reloaded: ");
    assert_eq!(balancer.reloads(), 1);
    balancer
        .haproxy
        .wait("it has reloaded", || balancer.haproxy.ask("show info").contains("\nMaxconn: 401\n"));
    balancer.machine.run(&["beat"]).code(0);
    assert_eq!(balancer.reloads(), 1);
    // A config that its check refuses never reaches HAProxy.
    fs::write(&path, format!("{text}timeout_connect = 'soon'\n")).unwrap();
    balancer.machine.run(&["beat"]).code(4).says("was refused by its check");
    assert!(balancer.config().contains("maxconn 401"));
    assert_eq!(balancer.get(), Some(200));
}

fn bad_lists_leave_haproxy_as_it_is(place: Place) {
    let servers: Vec<HttpServer> = (0..4).map(|_| HttpServer::start(200)).collect();
    let nodes: Vec<(String, &HttpServer)> =
        servers.iter().enumerate().map(|(number, server)| (format!("n{number}"), server)).collect();
    let nodes: Vec<(&str, &HttpServer)> = nodes.iter().map(|(id, server)| (id.as_str(), *server)).collect();
    let balancer = Balancer::start_at(place, &nodes);
    let agent = balancer.agent();
    let all = || balancer.running().iter().filter(|(_, up)| *up).count();
    agent.wait_for("all to serve", || all() == 4);

    let metric = |name: &str| -> Option<u64> {
        let metrics = balancer.metrics();
        metrics.lines().find(|line| line.starts_with(name))?.rsplit(' ').next()?.parse().ok()
    };
    // A record whose address contains a line of configuration costs only that node. Log, metric and exit code
    // report it: as a warning, since the file is correct.
    let before = balancer.config();
    let evil = balancer.node("evil", &servers[0]);
    evil.fact("address", "10.0.0.1:80\n server evil 10.6.6.6:80");
    evil.run(&["publish"]).code(0).says("unusable `address`");
    agent.wait_for("the log to tell of it", || agent.log().contains("unusable `address`"));
    agent.wait_for("the metric", || metric("presence_file_warnings{") == Some(1));
    balancer.machine.run(&["beat"]).code(0).says("unusable `address`");
    assert_eq!((balancer.config(), all(), metric("presence_file_good{")), (before, 4, Some(1)));
    evil.good(&["withdraw"]);
    agent.wait_for("it to be forgotten", || metric("presence_file_warnings{") == Some(0));

    // All records but one vanish in one commit.
    let clone = balancer.machine.path("clone");
    let before = balancer.config();
    let dir = balancer.machine.path("");
    git(&dir, &["clone", "--quiet", balancer.place.repository().to_str().unwrap(), clone.to_str().unwrap()]);
    git(
        &clone,
        &[
            "rm",
            "--quiet",
            "it/presence/all/i-n1.json",
            "it/presence/all/i-n2.json",
            "it/presence/all/i-n3.json",
        ],
    );
    git(&clone, &["commit", "--quiet", "--message", "oops"]);
    git(&clone, &["push", "--quiet"]);
    agent.wait_for("the refusal to be counted", || metric("presence_refusals_total{") > Some(0));
    assert_eq!(metric("presence_file_good{"), Some(0), "{}", balancer.metrics());
    assert!(agent.log().contains("refused by a safety limit: `app` has 1 active node"), "{}", agent.log());
    balancer.machine.run(&["beat"]).code(3).says("refused by a safety limit");
    assert_eq!((balancer.config(), all(), balancer.reloads()), (before, 4, 0));

    // An invalid file is one more problem, and nothing else.
    fs::write(clone.join("it/presence/all/i-x.json"), "{").unwrap();
    git(&clone, &["revert", "--no-edit", "HEAD"]);
    git(&clone, &["add", "it"]);
    git(&clone, &["commit", "--quiet", "--message", "not JSON"]);
    git(&clone, &["push", "--quiet"]);
    agent.wait_for("the log to tell of it", || agent.log().contains("i-x.json: is not JSON"));
    agent.wait_for("all to be well again", || agent.log().contains("haproxy.cfg`: resolved"));
    agent.wait_for("the metrics", || {
        metric("presence_problems") == Some(1) && metric("presence_file_good{") == Some(1)
    });
    balancer.machine.run(&["beat"]).code(0).says("is not JSON");
    assert_eq!((all(), balancer.reloads()), (4, 0));
}

#[test]
fn a_node_that_is_silent_for_too_long_expires() {
    let servers: Vec<HttpServer> = (0..3).map(|_| HttpServer::start(200)).collect();
    let balancer = Balancer::start(&[("a", &servers[0]), ("b", &servers[1]), ("c", &servers[2])]);
    balancer.set_max_age("1h");
    let nodes: Vec<Machine> = [("a", 0), ("b", 1), ("c", 2)]
        .into_iter()
        .map(|(id, server)| balancer.node(id, &servers[server]))
        .collect();
    for (number, node) in nodes.iter().enumerate() {
        let now = if number == 2 { "2026-01-02T01:00:00Z" } else { "2026-01-02T03:00:00Z" };
        // The state is older than the heartbeats.
        node.fact("state", "done");
        node.fact("statetss", "20260102-010000");
        assert!(node.command(&["beat", "-q"]).env("PRESENCE_NOW", now).output().unwrap().status.success());
    }
    // HAProxy's own check finds it up: it is alive, even without heartbeats on the list.
    balancer.machine.run(&["beat"]).code(0).says("i-c: silent, but kept: HAProxy's checks find them up");
    assert!(balancer.config().contains("i-c "), "{}", balancer.config());
    servers[2].set_status(500);
    balancer.haproxy.wait("it to be down", || balancer.running().contains(&("i-c".into(), false)));
    balancer.machine.run(&["beat"]).code(0).says("was last seen 2h 4m ago");
    let config = balancer.config();
    assert!(config.contains("i-b ") && !config.contains("i-c "), "{config}");
    assert_eq!(balancer.running().len(), 2);
}

fn who_falls_silent_expires_by_the_clock_and_who_is_heard_stays(place: Place) {
    let servers: Vec<HttpServer> = (0..3).map(|_| HttpServer::start(200)).collect();
    let agent = "interval = '1h'\npoll = '200ms'\nquiet-min = '100ms'\n";
    let nodes = [("a", &servers[0]), ("b", &servers[1]), ("c", &servers[2])];
    let balancer = Balancer::start_with(place, &nodes, agent, "");
    balancer.set_max_age("12s");
    let nodes: Vec<Machine> = ["a", "b", "c"]
        .into_iter()
        .zip(&servers)
        .map(|(id, server)| {
            balancer.node(id, server).with("state", "done").with("statetss", "20260101-000000")
        })
        .collect();
    let alive: Vec<Daemon> = nodes
        .iter()
        .map(|node| {
            fs::write(node.path("presence.toml"), "[agent]\ninterval = '1s'\n").unwrap();
            Daemon::start(node)
        })
        .collect();
    // A node that is not absent at this age has left a heartbeat.
    let listed = || balancer.machine.run(&["list", "--max-age", "1h"]).stdout;
    alive[0].wait_for("their heartbeats", || listed().contains("i-c") && !listed().contains("absent"));
    let agent = balancer.agent();
    let there = || -> Vec<String> { balancer.running().into_iter().map(|(id, _)| id).collect() };
    agent.wait_for("all", || there() == ["i-a", "i-b", "i-c"] && balancer.metrics().contains("good{"));
    let mut alive = alive.into_iter();
    let still = (alive.next(), alive.next());
    drop(alive);
    // Longer than any node may be silent: it stays while HAProxy's own check finds it up.
    agent.wait_for("it to be kept", || agent.log().contains("i-c: silent, but kept"));
    assert_eq!(there(), ["i-a", "i-b", "i-c"], "{}", agent.log());
    servers[2].set_status(500);
    balancer.haproxy.wait("it to be down", || balancer.running().contains(&("i-c".into(), false)));
    // A beat asks HAProxy again. Beats are an hour apart here, so signals start some. On a busy machine, the
    // heartbeats of the others may be late at the first.
    agent.wait_for("it to expire", || {
        agent.signal(rustix::process::Signal::HUP);
        std::thread::sleep(std::time::Duration::from_secs(1));
        there() == ["i-a", "i-b"]
    });
    agent.wait_for("the log to say why", || agent.log().contains("i-c.json: was last seen"));
    // Longer than any node may be silent.
    std::thread::sleep(std::time::Duration::from_secs(14));
    assert_eq!(there(), ["i-a", "i-b"], "{}", agent.log());
    drop(still);
}
