//! A fleet grows, shrinks and is deployed under load without a failed request; and how fast that is.
//!
//! `cargo test --release --test it -- --ignored --nocapture figures` prints the measurements.

use std::time::{Duration, Instant};

use super::balancer::Balancer;
use super::daemon::{Daemon, wait};
use super::load::Load;
use super::place::Place;
use crate::fixture::fleet;
use crate::fixture::http_server::HttpServer;
use crate::fixture::machine::Machine;

/// Grows the fleet to `most`, shrinks it to three, then deploys those: draining, gone, back.
fn grow_shrink_and_deploy(balancer: &Balancer, agent: &Daemon, servers: &[HttpServer]) {
    let nodes: Vec<_> = servers
        .iter()
        .enumerate()
        .map(|(number, server)| balancer.node(&format!("n{number}"), server).with("state", "done"))
        .collect();
    let up = |id: usize| balancer.running().contains(&(format!("i-n{id}"), true));
    let gone = |id: usize| !balancer.running().iter().any(|(name, _)| *name == format!("i-n{id}"));
    for node in &nodes[3..] {
        node.good(&["publish"]);
    }
    agent.wait_for("all to serve", || (0..servers.len()).all(up));
    let leave = |id: usize| {
        nodes[id].good(&["state", "draining"]);
        agent.wait_for("it to drain", || !up(id));
        nodes[id].good(&["withdraw"]);
        agent.wait_for("it to be gone", || gone(id));
    };
    (3..servers.len()).for_each(leave);
    for (id, node) in nodes.iter().enumerate().take(3) {
        leave(id);
        node.fact("state", "done");
        node.good(&["publish"]);
        agent.wait_for("it to be back", || up(id));
    }
}

fn servers(count: usize) -> Vec<HttpServer> {
    (0..count).map(|_| HttpServer::start(200)).collect()
}

fn first_three(servers: &[HttpServer]) -> [(&'static str, &HttpServer); 3] {
    [("n0", &servers[0]), ("n1", &servers[1]), ("n2", &servers[2])]
}

#[test]
fn no_request_fails_while_a_fleet_grows_shrinks_and_is_deployed() {
    let servers = servers(5);
    let balancer = Balancer::start(&first_three(&servers));
    let agent = balancer.agent();
    agent.wait_for("the first beat", || agent.log().contains("agent started"));
    let load = Load::start(balancer.front);
    grow_shrink_and_deploy(&balancer, &agent, &servers);
    assert!(load.finish() > 100);
    assert_eq!(balancer.reloads(), 0, "{}", agent.log());
}

/// An agent as on a production balancer: one look per second, and the template's own checks.
const AS_SHIPPED: &str = "interval = '60s'\npoll = '1s'\n";

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "to be read")]
fn figures_of_a_fleet_under_load() {
    let servers = servers(10);
    let balancer = Balancer::start_with(Place::here(), &first_three(&servers), AS_SHIPPED, "");
    let agent = balancer.agent();
    agent.wait_for("the first beat", || agent.log().contains("agent started"));
    let load = Load::start(balancer.front);
    let started = Instant::now();
    grow_shrink_and_deploy(&balancer, &agent, &servers);
    let seconds = started.elapsed().as_secs();
    let requests = load.finish();
    println!(
        "3 -> 10 -> 3, then a rolling deploy of 3: {requests} requests in {seconds} s, 0 failed, {} reloads",
        balancer.reloads()
    );
}

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "to be read")]
fn figures_of_a_new_server() {
    let servers = servers(21);
    let balancer = Balancer::start_with(Place::here(), &[("n0", &servers[0])], AS_SHIPPED, "");
    let agent = balancer.agent();
    agent.wait_for("the first beat", || agent.log().contains("agent started"));
    let mut times: Vec<Duration> = Vec::new();
    for (number, server) in servers.iter().enumerate().skip(1) {
        // At a random moment of the agent's second.
        std::thread::sleep(Duration::from_millis(fastrand::u64(..1_000)));
        let node = balancer.node(&format!("n{number}"), server).with("state", "done");
        node.good(&["publish"]);
        let published = Instant::now();
        wait(
            "a request to reach it",
            || agent.log(),
            || {
                balancer.get();
                server.requests() > 0
            },
        );
        times.push(published.elapsed());
        node.good(&["withdraw"]);
    }
    times.sort();
    println!(
        "from `publish` returning to a request served, {} times: median {:?}, best {:?}, worst {:?}; {} reloads",
        times.len(),
        times[times.len() / 2],
        times[0],
        times[times.len() - 1],
        balancer.reloads()
    );
}

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "to be read")]
fn figures_of_a_silent_death() {
    let mut servers = servers(3);
    let balancer = Balancer::start_with(Place::here(), &first_three(&servers), AS_SHIPPED, "");
    let agent = balancer.agent();
    // Earlier, one failed check is enough: HAProxy starts with all servers on probation.
    agent.wait_for("many checks", || servers.iter().all(|server| server.checks() >= 5));
    let died = Instant::now();
    servers.pop();
    let mut failed = 0;
    let mut asked = 0;
    wait(
        "its check to notice",
        || agent.log(),
        || {
            asked += 1;
            failed += usize::from(balancer.get() != Some(200));
            balancer.running().contains(&("i-n2".into(), false))
        },
    );
    println!(
        "a server that dies: out after {:?}; {failed} of {asked} requests meanwhile failed",
        died.elapsed()
    );
}

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "to be read")]
fn figures_of_an_expiry() {
    let servers = servers(3);
    let balancer = Balancer::start_with(Place::here(), &first_three(&servers), AS_SHIPPED, "");
    let path = balancer.machine.path("presence.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("[[render]]", "[[render]]\nmax-age = '30s'")).unwrap();
    let nodes: Vec<Machine> = servers
        .iter()
        .enumerate()
        .map(|(number, server)| balancer.node(&format!("n{number}"), server).with("state", "done"))
        .collect();
    let mut alive: Vec<Daemon> = nodes
        .iter()
        .map(|node| {
            node.fact("statetss", "20260101-000000");
            std::fs::write(node.path("presence.toml"), "[agent]\ninterval = '10s'\n").unwrap();
            Daemon::start(node)
        })
        .collect();
    let agent = balancer.agent();
    agent.wait_for("all", || balancer.running().len() == 3);
    std::thread::sleep(Duration::from_secs(12));
    // At a random moment of its ten seconds: its last heartbeat is up to that old.
    drop(alive.pop());
    let died = Instant::now();
    agent.wait_for("it to expire", || balancer.running().len() == 2);
    println!(
        "a node whose heartbeats (every 10 s) end: off the balancer after {:?} with max-age = 30s",
        died.elapsed()
    );
}

/// The CPU time and the resident memory of a process.
fn used(pid: u32) -> (Duration, usize) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // utime and stime, in ticks of 10 ms, and pages (proc(5)).
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    (Duration::from_millis(ticks * 10), fields[21].parse::<usize>().unwrap() * 4096)
}

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "to be read")]
fn figures_of_a_big_list() {
    for sharded in [false, true] {
        let lb = Machine::new("lb1");
        let store = lb.path("list.git");
        fleet::repository(&store, "it/presence/all", sharded, &fleet::files(10_000, 1));
        let out = lb.path("hosts");
        let text = format!(
            "[[render]]\nname = 'hosts'\noutput = '{}'\n[agent]\ninterval = '1h'\npoll = '1s'\n",
            out.display()
        );
        std::fs::write(lb.path("presence.toml"), text).unwrap();
        let lb = lb.store(store.display());
        let agent = Daemon::start(&lb);
        agent.wait_for("the first file", || out.exists());
        std::thread::sleep(Duration::from_secs(3));
        let (before, _) = used(agent.pid());
        std::thread::sleep(Duration::from_secs(20));
        let (after, memory) = used(agent.pid());
        println!(
            "an agent that looks every second at a list of 10,000, {}: {:.1}% of a core, {} MB",
            if sharded { "in 256 folders" } else { "in one folder" },
            (after - before).as_secs_f64() * 5.0,
            memory / 1_000_000
        );
    }
}
