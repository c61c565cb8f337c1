//! Servers that die silently, one or several at once: requests go elsewhere, and dead servers get no more of
//! them.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::balancer::Balancer;
use super::load::Steady;
use super::place::Place;
use crate::fixture::haproxy::HaProxy;
use crate::fixture::http_server::HttpServer;

/// Only failed requests can find a dead server: the next check of a healthy one is an hour away.
const UNCHECKED: &str = "server_options = 'inter 1h downinter 200ms fastinter 100ms slowstart 1ms'\n";

const AGENT: &str = "interval = '1h'\npoll = '200ms'\nquiet-min = '100ms'\nreloads-per-minute = 1000\n";

/// Columns of `show stat` for a server of the backend `app`.
fn stat<const N: usize>(balancer: &Balancer, server: &str, columns: [&str; N]) -> [String; N] {
    let stat = balancer.haproxy.ask("show stat -1 4 -1");
    let header: Vec<&str> = stat.lines().next().unwrap().trim_start_matches("# ").split(',').collect();
    let line = stat.lines().find(|line| line.starts_with(&format!("app,{server},"))).unwrap();
    let fields: Vec<&str> = line.split(',').collect();
    columns.map(|column| fields[header.iter().position(|name| *name == column).unwrap()].to_owned())
}

/// Waits until the first checks have found all these servers healthy, so that no further check is due.
fn wait_for_full_health(balancer: &Balancer, servers: &[&str]) {
    let full = |server: &&str| {
        let [status, health] = stat(balancer, server, ["status", "check_health"]);
        // `rise` is 2 and `fall` 3.
        status == "UP" && health == "4"
    };
    balancer.haproxy.wait("all are well", || servers.iter().all(full));
}

#[test]
fn a_dead_server_is_found_by_requests_that_go_elsewhere() {
    let mut servers: Vec<HttpServer> = (0..4).map(|_| HttpServer::start(200)).collect();
    let nodes = [("a", &servers[0]), ("b", &servers[1]), ("c", &servers[2])];
    let balancer = Balancer::start_with(Place::here(), &nodes, AGENT, UNCHECKED);
    let agent = balancer.agent();
    agent.wait_for("the first beat", || agent.log().contains("agent started"));
    // A server added at run time inherits nothing from the file's `default-server`.
    balancer.node("d", &servers[3]).good(&["state", "done"]);
    agent.wait_for("the new server to serve", || balancer.running().contains(&("i-d".into(), true)));
    two_die(&balancer, &mut servers);
    assert_eq!(balancer.reloads(), 0, "{}", agent.log());
    // A process that has read it from the file behaves the same.
    balancer.haproxy.reload();
    two_die(&balancer, &mut servers);
    balancer.machine.run(&["beat"]).code(0);
    assert_eq!(balancer.reloads(), 0, "{}", agent.log());
}

/// The last two servers die, get a few requests that others answer, and return.
fn two_die(balancer: &Balancer, servers: &mut Vec<HttpServer>) {
    wait_for_full_health(balancer, &["i-a", "i-b", "i-c", "i-d"]);
    let addresses: Vec<SocketAddr> = servers.drain(2..).map(|server| server.address()).collect();
    let seen = |server: &str| stat(balancer, server, ["status", "wredis"]);
    balancer.haproxy.wait("both are out", || {
        assert_eq!(balancer.get(), Some(200));
        seen("i-c")[0] == "DOWN" && seen("i-d")[0] == "DOWN"
    });
    for server in ["i-c", "i-d"] {
        // Two errors bring its check forward, and two more have the effect of that check. An idle connection
        // may break in addition.
        let attempts: u32 = seen(server)[1].parse().unwrap();
        assert!((2..=6).contains(&attempts), "{server} has cost {attempts} attempts");
    }
    servers.extend(addresses.into_iter().map(|address| HttpServer::start_at(address, 200)));
}

#[test]
fn clients_that_go_away_take_no_server_out() {
    let server = HttpServer::start(200);
    let balancer = Balancer::start_with(Place::here(), &[("a", &server)], AGENT, UNCHECKED);
    wait_for_full_health(&balancer, &["i-a"]);
    server.set_delay(Duration::from_millis(300));
    let requests = server.requests();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(balancer.front).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        // Some die before the request has reached the server, some afterwards.
        std::thread::sleep(Duration::from_millis(fastrand::u64(..20)));
    }
    balancer.haproxy.wait("some requests are there", || server.requests() > requests + 5);
    assert_eq!(balancer.get(), Some(200));
    let [status, observed] = stat(&balancer, "i-a", ["status", "hanafail"]);
    assert_eq!((status.as_str(), observed.as_str()), ("UP", "0"));
}

/// How servers die.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Independently: down for 2 to 5 s, then up for 6 to 12 s.
    Flapping,
    /// All at the same moment: down for 4 s in every 20 s.
    Together,
    /// All at the same moment: down for 1 s in every 15 s.
    Restart,
}

/// The duration of each load.
const LOAD: Duration = Duration::from_secs(60);

/// One server dies and returns until the end, and is up afterwards.
fn live_and_die(mut server: HttpServer, seed: u64, manner: Manner, started: Instant) -> HttpServer {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut seconds = |from: f64, to: f64| Duration::from_secs_f64(from + random.f64() * (to - from));
    let mut time = match manner {
        Manner::Flapping => seconds(0.0, 5.0),
        Manner::Together | Manner::Restart => Duration::from_secs(2),
    };
    let sleep_until = |time: Duration| {
        std::thread::sleep((started + time).saturating_duration_since(Instant::now()));
    };
    while time < LOAD {
        let (away, back) = match manner {
            Manner::Flapping => (seconds(2.0, 5.0), seconds(6.0, 12.0)),
            Manner::Together => (Duration::from_secs(4), Duration::from_secs(16)),
            Manner::Restart => (Duration::from_secs(1), Duration::from_secs(14)),
        };
        let address = server.address();
        sleep_until(time);
        drop(server);
        sleep_until(time + away);
        server = serve(address);
        time += away + back;
    }
    server
}

fn serve(address: SocketAddr) -> HttpServer {
    let server = HttpServer::start_at(address, 200);
    server.set_delay(Duration::from_millis(10));
    server
}

/// The file as if only health checks could find a dead server, with rare checks of a dead one.
fn by_checks_alone(config: &str) -> String {
    let observed = " observe layer4 error-limit 2 on-error sudden-death";
    assert!(config.contains(observed), "{config}");
    let config = config.replace(observed, "").replace("downinter 1s", "downinter 5s");
    config.replace("option redispatch 1\n", "option redispatch\n")
}

/// Runs the load and prints the results. The first servers die.
#[expect(clippy::print_stdout, reason = "to be read")]
fn figure(
    per_second: u32,
    count: usize,
    dying: usize,
    manner: Manner,
    name: &str,
    change: impl Fn(&str) -> String,
) {
    let servers: Vec<HttpServer> = (0..count).map(|_| serve("127.0.0.1:0".parse().unwrap())).collect();
    let names: Vec<String> = (0..count).map(|number| format!("n{number}")).collect();
    let nodes: Vec<(&str, &HttpServer)> = names.iter().map(String::as_str).zip(&servers).collect();
    let mut balancer = Balancer::start_with(Place::here(), &nodes, AGENT, "");
    balancer.kill_haproxy();
    let path = HaProxy::config_in(&balancer.machine.path(""));
    fs::write(path, change(&balancer.config())).unwrap();
    balancer.start_haproxy();
    let names: Vec<String> = names.iter().map(|name| format!("i-{name}")).collect();
    wait_for_full_health(&balancer, &names.iter().map(String::as_str).collect::<Vec<_>>());

    let (load, started) = (Steady::start(balancer.front, per_second), Instant::now());
    // Up until the last request is answered.
    let _alive = std::thread::scope(|scope| {
        let lives: Vec<_> = (0..)
            .zip(servers)
            .map(|(number, server)| {
                scope.spawn(move || match number < dying {
                    true => live_and_die(server, number as u64, manner, started),
                    false => server,
                })
            })
            .collect();
        lives.into_iter().map(|life| life.join().unwrap()).collect::<Vec<HttpServer>>()
    });
    let answers = load.finish();
    let failed = answers.iter().filter(|(_, status)| *status != Some(200)).count();
    let slow = answers.iter().filter(|(time, _)| *time > Duration::from_millis(500)).count();
    let worst = answers.iter().map(|(time, _)| *time).max().unwrap_or_default();
    println!(
        "{manner:?}, {dying} of {count} servers die, {per_second} requests a second, {name}: {failed} of {} requests failed, {slow} took longer than \
         0.5 s, the longest {worst:.1?}",
        answers.len()
    );
}

#[test]
#[ignore = "a measurement"]
fn figures_of_servers_that_die() {
    for (per_second, count, dying, manner) in [
        (400, 15, 5, Manner::Flapping),
        (400, 15, 5, Manner::Together),
        (400, 15, 14, Manner::Together),
        (10, 1, 1, Manner::Restart),
        (100, 1, 1, Manner::Restart),
    ] {
        figure(per_second, count, dying, manner, "as shipped", str::to_owned);
        figure(per_second, count, dying, manner, "by health checks alone", by_checks_alone);
    }
}
