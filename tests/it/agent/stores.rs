//! Stores behind a network that hang, go away and come back, under an agent.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use super::QUICK;
use super::balancer::Balancer;
use super::daemon::Daemon;
use super::load::Load;
use super::place::Place;
use crate::fixture::GitDaemon;
use crate::fixture::http_server::HttpServer;
use crate::fixture::machine::{Machine, bare_repository};

/// Far longer than any wait of these tests: waiting for the server never succeeds.
const SILENCE: &str = "[timeouts]\nsilence = 3600\npublish = 3600\n";

/// A machine that keeps a hosts file up to date.
fn machine(agent: &str) -> Machine {
    let machine = Machine::new("lb1");
    let hosts = machine.path("hosts");
    let text = format!("[[render]]\nname = 'hosts'\noutput = '{}'\n{QUICK}{agent}{SILENCE}", hosts.display());
    fs::write(machine.path("presence.toml"), text).unwrap();
    machine
}

fn has(machine: &Machine, text: &str) -> bool {
    fs::read_to_string(machine.path("hosts")).unwrap_or_default().contains(text)
}

#[test]
fn a_store_that_hangs_does_not_keep_the_other_one_waiting() {
    let server = GitDaemon::start();
    server.repository("list.git");
    let lb = machine("");
    let near = lb.path("near.git");
    bare_repository(&near);
    let lb = lb.store(server.url("list.git")).store(near.display());
    Machine::new("db1").store(server.url("list.git")).good(&["publish"]);
    let agent = Daemon::start(&lb);
    agent.wait_for("both stores", || has(&lb, "10.0.0.3"));
    server.hang();
    let app = Machine::new("app1").store(near.display());
    app.good(&["publish"]);
    agent.wait_for("the new node", || has(&lb, "10.0.0.2"));
    assert!(has(&lb, "10.0.0.3"), "nodes of the store that hangs have not left");
    // A change of this node reaches the stores that work.
    lb.fact("rack", "r7");
    agent.wait_for("the fact", || app.run(&["list", "--where", "rack=r7"]).stdout.contains("i-lb1"));
    app.good(&["withdraw"]);
    agent.wait_for("the node to leave", || !has(&lb, "10.0.0.2"));
    server.go_on();
    let far = Machine::new("db1").store(server.url("list.git"));
    agent.wait_for("the other store to hear of it", || {
        far.run(&["list", "--where", "rack=r7"]).stdout.contains("i-lb1")
    });
    // If it hangs when the agent starts, its last copy applies.
    server.hang();
    drop(agent);
    fs::remove_file(lb.path("hosts")).unwrap();
    let agent = Daemon::start(&lb);
    agent.wait_for("the last copy", || has(&lb, "10.0.0.3") && has(&lb, "10.0.0.1"));
    assert!(agent.log().contains("has not answered yet"), "{}", agent.log());
    server.go_on();
    agent.wait_for("all to be well", || agent.log().contains("stores: resolved"));
}

#[test]
fn the_only_store_hangs_and_the_agent_lives_and_ends() {
    let server = GitDaemon::start();
    server.repository("list.git");
    let lb = machine("").store(server.url("list.git"));
    let path = lb.path("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let told = |wanted: &str| {
        let mut bytes = [0; 4096];
        loop {
            let read = socket.recv(&mut bytes).unwrap_or_else(|_| panic!("no {wanted}"));
            if bytes[..read].starts_with(wanted.as_bytes()) {
                return;
            }
        }
    };
    let supervised = || {
        Daemon::start_with(&lb, |command| {
            command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000");
        })
    };
    // It hangs from the start and answers later.
    server.hang();
    let agent = supervised();
    told("READY=1");
    server.go_on();
    agent.wait_for("the first file", || has(&lb, "10.0.0.1"));

    server.hang();
    for _ in 0..20 {
        told("WATCHDOG=1");
    }
    let (code, log) = agent.end(Signal::TERM);
    assert_eq!(code, Some(0), "{log}");

    // The agent tries to publish its last state, but not forever.
    let text = fs::read_to_string(lb.path("presence.toml")).unwrap();
    fs::write(lb.path("presence.toml"), text.replace("[agent]", "[agent]\non-stop = 'draining'")).unwrap();
    lb.fact("state", "done");
    let agent = supervised();
    told("READY=1");
    let (code, log) = agent.end(Signal::TERM);
    assert!(
        code == Some(0) && log.contains("no store accepted the last change of this node in time"),
        "{log}"
    );
    assert_eq!(fs::read_to_string(lb.path("nodeinfo/state.txt")).unwrap().trim(), "draining");
}

#[test]
fn nobody_is_silent_while_the_store_of_heartbeats_hangs() {
    let server = GitDaemon::start();
    server.repository("beats.git");
    let lb = machine("");
    let near = lb.path("near.git");
    bare_repository(&near);
    let lb = lb.store(near.display());
    let text = fs::read_to_string(lb.path("presence.toml")).unwrap();
    let beats = format!("beat-store = '{}'\n", server.url("beats.git"));
    let text = format!(
        "{beats}{}",
        text.replace("[[render]]", "[[render]]\nmax-age = '10s'\nmin-nodes = 0\nmax-shrink = 100")
    );
    fs::write(lb.path("presence.toml"), text).unwrap();
    lb.fact("statetss", "20260101-000000");
    let app = Machine::new("app1").store(near.display()).with("statetss", "20260101-000000");
    fs::write(app.path("presence.toml"), format!("{beats}{QUICK}{SILENCE}")).unwrap();
    let app_agent = Daemon::start(&app);
    let agent = Daemon::start(&lb);
    agent.wait_for("both nodes", || has(&lb, "10.0.0.1") && has(&lb, "10.0.0.2"));
    server.hang();
    // Longer than any node may be silent, with beats and renders all the time.
    for rack in 0..15 {
        std::thread::sleep(Duration::from_secs(1));
        lb.fact("rack", rack);
    }
    assert!(has(&lb, "10.0.0.1") && has(&lb, "10.0.0.2"), "{}", agent.log());
    // When the store answers again, nodes have their full time again. A really silent one expires.
    drop(app_agent);
    server.go_on();
    agent.wait_for("it to expire", || !has(&lb, "10.0.0.2"));
    assert!(has(&lb, "10.0.0.1"), "{}", agent.log());
    assert!(!agent.log().contains("i-lb1.json: was last seen"), "{}", agent.log());
}

fn metric(balancer: &Balancer, name: &str) -> u64 {
    let metrics = balancer.metrics();
    let line = metrics.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// A balancer's store goes away for the duration of `meanwhile`, and comes back.
fn outage(agent: &str, meanwhile: impl FnOnce(&Balancer, &Daemon)) -> (String, usize) {
    let servers: Vec<HttpServer> = (0..4).map(|_| HttpServer::start(200)).collect();
    let nodes = [("n0", &servers[0]), ("n1", &servers[1]), ("n2", &servers[2])];
    let mut balancer = Balancer::start_with(Place::git(), &nodes, agent, "");
    let agent = balancer.agent();
    agent.wait_for("the first beat", || metric(&balancer, "presence_file_good{") == 1);
    let load = Load::light(balancer.front);
    let (before, loaded, said) = (balancer.config(), balancer.haproxy.worker(), agent.log().lines().count());

    balancer.place.go_away();
    agent.wait_for("the store to be missed", || metric(&balancer, "presence_store_errors_total{") > 0);
    let (errors, read) = (
        metric(&balancer, "presence_store_errors_total{"),
        metric(&balancer, "presence_roster_timestamp_seconds"),
    );
    meanwhile(&balancer, &agent);
    // Exit code, log and metrics report it, and nothing else has happened.
    balancer.machine.run(&["beat"]).code(3).says("is left as it is");
    agent.wait_for("more looks in vain", || metric(&balancer, "presence_store_errors_total{") > errors);
    agent.wait_for("a beat in vain", || balancer.metrics().contains("result=\"unreachable\""));
    assert_eq!(metric(&balancer, "presence_file_good{"), 0, "{}", balancer.metrics());
    assert_eq!(metric(&balancer, "presence_roster_timestamp_seconds"), read, "it was read meanwhile");
    assert_eq!((balancer.config(), balancer.haproxy.worker()), (before, loaded));
    assert_eq!(balancer.running().iter().filter(|(_, up)| *up).count(), 3);
    let log: Vec<String> = agent.log().lines().skip(said).map(str::to_owned).collect();
    let warnings = log.iter().filter(|line| line.starts_with("warning")).count();
    // The store, for reads and for writes, and the file: one warning each.
    assert!((2..=4).contains(&warnings), "{log:#?}");

    balancer.place.come_back();
    agent.wait_for("the store to be found", || agent.log().contains("stores: resolved"));
    balancer.node("n3", &servers[3]).good(&["state", "done"]);
    agent.wait_for("the new server", || balancer.running().contains(&("i-n3".into(), true)));
    agent.wait_for("all to be well", || metric(&balancer, "presence_file_good{") == 1);
    assert_eq!(balancer.reloads(), 0);
    (log.join("\n"), load.finish())
}

#[test]
fn the_store_goes_away_and_comes_back_under_load() {
    outage("interval = '2s'\npoll = '200ms'\nquiet-min = '100ms'\n", |_, _| {});
}

/// `cargo test --test it -- --ignored --nocapture away_for_ten_minutes`
#[test]
#[ignore = "takes ten minutes"]
#[expect(clippy::print_stdout, reason = "to be read")]
fn figures_of_a_store_that_is_away_for_ten_minutes() {
    let (log, requests) = outage("interval = '60s'\npoll = '1s'\n", |balancer, agent| {
        for minute in 0..10 {
            std::thread::sleep(Duration::from_secs(60));
            let metrics = balancer.metrics();
            let shown = ["presence_roster_age", "presence_store_errors_total{", "presence_file_good{"];
            let shown = metrics.lines().filter(|line| shown.iter().any(|name| line.starts_with(name)));
            println!(
                "{minute}: {} lines said; {}",
                agent.log().lines().count(),
                shown.collect::<Vec<_>>().join("; ")
            );
        }
    });
    println!("{requests} requests, 0 failed; said meanwhile:\n{log}");
}
