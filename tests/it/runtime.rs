//! Changes of servers without a reload, with a real HAProxy and real HTTP servers.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use presence::haproxy::{ApplyRequest, Outcome, Socket, Waiting, apply};

use super::fixture::haproxy::HaProxy;
use super::fixture::http_server::{CHECK_PATH, HttpServer};

mod killed;
mod load;
mod same;
mod state_file;

/// Much longer than any wait of a test.
const PATIENCE: Duration = Duration::from_secs(20);

/// A HAProxy with one backend `app`, whose file is changed as by a beat.
struct Balancer {
    dir: tempfile::TempDir,
    socket: Socket,
    /// The file before its servers.
    head: String,
    front: SocketAddr,
    haproxy: HaProxy,
    config: String,
}

impl Balancer {
    fn start(servers: &str) -> Balancer {
        Balancer::start_with("", "", servers)
    }

    /// With additional lines in the sections `global` and `backend app`.
    fn start_with(global: &str, backend: &str, servers: &str) -> Balancer {
        let dir = tempfile::tempdir().unwrap();
        let front = HaProxy::free_address();
        let head = format!(
            "{}{global}
defaults
    mode http
    option redispatch
    option idle-close-on-response
    retries 3
    retry-on conn-failure empty-response
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout check 2s
    default-server inter 500ms fastinter 200ms downinter 500ms fall 3 rise 2 init-addr none
frontend app:in
    bind {front}
    default_backend app
backend app
    id 7
    balance leastconn
    hash-type consistent
    option httpchk GET {CHECK_PATH}
    http-check expect status 200
{backend}",
            HaProxy::global(dir.path())
        );
        let config = format!("{head}{servers}");
        let haproxy = HaProxy::start(dir.path(), &config);
        Balancer { socket: Socket::new(&HaProxy::socket_in(dir.path())), dir, head, front, haproxy, config }
    }

    /// As a beat does: replaces the file, then brings the running state up to date.
    #[track_caller]
    fn change(&mut self, servers: &str, patience: Duration) -> Outcome {
        let new = format!("{}{servers}", self.head);
        std::fs::write(HaProxy::config_in(self.dir.path()), &new).unwrap();
        let old = std::mem::replace(&mut self.config, new);
        apply(&self.request(&old, patience)).unwrap()
    }

    fn request<'a>(&'a self, old: &'a str, patience: Duration) -> ApplyRequest<'a> {
        ApplyRequest { socket: &self.socket, old, new: &self.config, overrides: &(), patience }
    }

    /// Another call for the same file.
    #[track_caller]
    fn again(&self, patience: Duration) -> Outcome {
        apply(&self.request(&self.config, patience)).unwrap()
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Sends a request on a new connection, and returns the status.
    fn get(&self) -> Option<u16> {
        let mut stream = TcpStream::connect(self.front).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split(' ').nth(1)?.parse().ok()
    }

    /// Which of the servers receive requests.
    fn serving(&self, servers: &[HttpServer]) -> BTreeSet<usize> {
        let before: Vec<usize> = servers.iter().map(HttpServer::requests).collect();
        for _ in 0..servers.len() * 4 {
            assert_eq!(self.get(), Some(200));
        }
        (0..servers.len()).filter(|index| servers[*index].requests() > before[*index]).collect()
    }
}

/// The `server` lines of these servers, named `s0`, `s1`, …, with these options.
fn lines<'a>(servers: impl IntoIterator<Item = (usize, &'a HttpServer, &'a str)>) -> String {
    servers.into_iter().fold(String::new(), |mut lines, (number, server, options)| {
        let (address, id) = (server.address(), 100 + number);
        writeln!(lines, "    server s{number} {address} id {id} check {options}").unwrap();
        lines
    })
}

fn told(outcome: &Outcome) -> String {
    let done = outcome.done.iter().map(ToString::to_string);
    let pending = outcome.pending.iter().map(Waiting::to_string);
    let reload = outcome.reload_needed.iter().map(|reason| format!("reload: {reason}"));
    done.chain(pending).chain(reload).collect::<Vec<_>>().join("; ")
}

#[test]
fn servers_come_stop_and_go_without_a_reload() {
    let servers = [200, 200, 200].map(HttpServer::start);
    let [a, b, c] = &servers;
    let mut balancer = Balancer::start(&lines([(0, a, ""), (1, b, "")]));
    let worker = balancer.haproxy.worker();
    let file = |options| lines([(0, a, ""), (1, b, ""), (2, c, options)]);
    assert_eq!(balancer.serving(&servers), BTreeSet::from([0, 1]));

    for (options, expect, serving) in [
        ("", "app/s2 added; app/s2 ready", 3),
        ("weight 0", "app/s2 draining", 2),
        ("", "app/s2 ready", 3),
        ("disabled", "app/s2 down", 2),
        // Out of maintenance through drain, where its check can judge it.
        ("", "app/s2 draining; app/s2 ready", 3),
    ] {
        assert_eq!(told(&balancer.change(&file(options), PATIENCE)), expect, "for `{options}`");
        assert_eq!(balancer.serving(&servers).len(), serving, "for `{options}`");
        assert_eq!(told(&balancer.again(PATIENCE)), "", "for `{options}`");
    }
    // Both the servers in the first file and those that were added.
    let outcome = balancer.change(&lines([(1, b, "")]), PATIENCE);
    assert!(outcome.is_settled(), "{}", told(&outcome));
    assert_eq!(balancer.serving(&servers), BTreeSet::from([1]));
    let outcome = balancer.change(&file(""), PATIENCE);
    assert!(outcome.is_settled(), "{}", told(&outcome));
    assert_eq!(balancer.serving(&servers).len(), 3);
    assert_eq!(balancer.haproxy.worker(), worker, "no reload");
}

#[test]
fn weights_and_backups_change_without_a_reload() {
    let servers = [200, 200, 200].map(HttpServer::start);
    let [a, b, c] = &servers;
    let file = |options| lines([(0, a, "weight 2"), (1, b, "weight 2"), (2, c, options)]);
    let mut balancer = Balancer::start(&file(""));
    let worker = balancer.haproxy.worker();
    let replaced = "app/s2 draining; app/s2 down; app/s2 removed; app/s2 added; app/s2 ready";
    for (options, expect, serving) in [
        ("weight 256", "app/s2 has weight 256", 3),
        ("weight 2", "app/s2 has weight 2", 3),
        ("weight 2 backup", replaced, 2),
        ("weight 9 backup", "app/s2 has weight 9", 2),
        ("weight 9", replaced, 3),
    ] {
        assert_eq!(told(&balancer.change(&file(options), PATIENCE)), expect, "for `{options}`");
        assert_eq!(balancer.serving(&servers).len(), serving, "for `{options}`");
        assert_eq!(told(&balancer.again(PATIENCE)), "", "for `{options}`");
    }
    let joined = lines([(0, a, "weight 2"), (2, c, "weight 9")]);
    assert!(balancer.change(&joined, PATIENCE).is_settled());
    let outcome =
        balancer.change(&lines([(0, a, "weight 2"), (1, b, "backup"), (2, c, "weight 9")]), PATIENCE);
    assert_eq!(told(&outcome), "app/s1 added; app/s1 ready");
    assert_eq!(balancer.serving(&servers), BTreeSet::from([0, 2]));
    assert_eq!(balancer.haproxy.worker(), worker, "no reload");
}

#[test]
fn a_wedged_server_gets_no_request() {
    let servers = [200, 500].map(HttpServer::start);
    let [good, wedged] = &servers;
    let mut balancer = Balancer::start(&lines([(0, good, "")]));
    let worker = balancer.haproxy.worker();
    let both = lines([(0, good, ""), (1, wedged, "")]);

    let patience = Duration::from_secs(1);
    let outcome = balancer.change(&both, patience);
    assert_eq!(told(&outcome), "app/s1 added; app/s1 waits for its check to pass; the last result was L7STS");
    assert_eq!(balancer.serving(&servers), BTreeSet::from([0]));
    wedged.set_status(200);
    assert_eq!(told(&balancer.again(PATIENCE)), "app/s1 ready");
    assert_eq!(balancer.serving(&servers).len(), 2);

    // It is taken out, breaks, and returns broken.
    balancer.change(&lines([(0, good, ""), (1, wedged, "disabled")]), PATIENCE);
    wedged.set_status(500);
    let before = wedged.requests();
    assert_eq!(told(&balancer.change(&both, PATIENCE)), "app/s1 draining; app/s1 ready");
    assert_eq!(balancer.serving(&servers), BTreeSet::from([0]));
    assert_eq!(wedged.requests(), before, "the check has judged it first");
    wedged.set_status(200);
    balancer.haproxy.wait("its checks find it good", || balancer.serving(&servers).len() == 2);
    assert_eq!(balancer.haproxy.worker(), worker, "no reload");
}

#[test]
fn nobody_waits_again_for_a_server_that_does_not_come() {
    let servers = [200, 500].map(HttpServer::start);
    let [good, wedged] = &servers;
    let mut balancer = Balancer::start(&lines([(0, good, "")]));
    balancer.change(&lines([(0, good, ""), (1, wedged, "")]), Duration::from_secs(1));
    let checks = wedged.checks();
    balancer.haproxy.wait("it was checked for two more seconds", || wedged.checks() >= checks + 4);
    let outcome = balancer.again(Duration::from_secs(2));
    assert!(!outcome.pending[0].fresh);
    assert!(wedged.checks() < checks + 4 + 3, "the second call has waited too");
}

#[test]
fn a_request_that_is_being_answered_is_not_cut() {
    let servers = [200, 200].map(HttpServer::start);
    let [stays, goes] = &servers;
    let mut balancer = Balancer::start(&lines([(1, goes, "")]));
    goes.set_delay(Duration::from_secs(3));
    let worker = balancer.haproxy.worker();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            let mut stream = TcpStream::connect(balancer.front).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        balancer.haproxy.wait("the request is there", || goes.requests() == 1);
        let new = format!("{}{}", balancer.head, lines([(0, stays, "")]));
        let request =
            ApplyRequest { new: &new, ..balancer.request(&balancer.config, Duration::from_secs(1)) };
        let outcome = apply(&request).unwrap();
        assert_eq!(
            told(&outcome),
            "app/s0 added; app/s0 ready; app/s1 draining; app/s1 waits for its last session to end"
        );
        assert_eq!(balancer.get(), Some(200), "from the other server");
        let finished = apply(&ApplyRequest { patience: PATIENCE, ..request }).unwrap();
        assert_eq!(told(&finished), "app/s1 down; app/s1 removed");
        assert!(slow.join().unwrap().ends_with("ok\n"));
    });
    assert_eq!(balancer.haproxy.worker(), worker, "no reload");
    balancer.config.clear();
}

#[test]
fn a_server_that_moved_is_served_where_it_is_now() {
    let servers = [200, 200, 200].map(HttpServer::start);
    let [stays, before, after] = &servers;
    let mut balancer = Balancer::start(&lines([(0, stays, ""), (1, before, "")]));
    let worker = balancer.haproxy.worker();
    let outcome = balancer.change(&lines([(0, stays, ""), (1, after, "")]), PATIENCE);
    let replaced = "app/s1 draining; app/s1 down; app/s1 removed; app/s1 added; app/s1 ready";
    assert_eq!(told(&outcome), replaced);
    assert_eq!(balancer.serving(&servers), BTreeSet::from([0, 2]));
    assert_eq!(balancer.haproxy.worker(), worker, "no reload");
    // All at once would leave no server.
    let outcome = balancer.change(&lines([(0, before, ""), (1, stays, "")]), PATIENCE);
    assert_eq!(told(&outcome), "reload: 2 of 2 servers of `app` have moved");
}

#[test]
fn what_is_more_than_servers_asks_for_a_reload_and_changes_nothing() {
    let servers = [200, 200].map(HttpServer::start);
    let [a, b] = &servers;
    let mut balancer = Balancer::start(&lines([(0, a, "")]));
    let file = format!("    option http-server-close\n{}", lines([(0, a, ""), (1, b, "")]));
    let outcome = balancer.change(&file, PATIENCE);
    assert_eq!(told(&outcome), "reload: `backend app`: a line `option` is new");
    assert!(!balancer.haproxy.ask("show servers state").contains(" s1 "));
    balancer.haproxy.reload();
    assert_eq!(told(&balancer.again(PATIENCE)), "");
    // An option that HAProxy accepts in a file but refuses at run time, and one that HAProxy knows but this
    // program does not.
    let outcome = balancer.change(&format!("{file}    server x 127.0.0.1:1 track app/s0\n"), PATIENCE);
    assert_eq!(told(&outcome), "reload: `backend app`: a line `server` is new");
}

#[test]
fn what_the_socket_refuses_asks_for_a_reload() {
    let server = HttpServer::start(200);
    let referred = "    use-server s1 if { path /x }\n";
    let mut balancer = Balancer::start_with("", referred, &lines([(0, &server, ""), (1, &server, "")]));
    let outcome = balancer.change(&lines([(0, &server, "")]), PATIENCE);
    let reason = outcome.reload_needed.unwrap();
    assert!(reason.starts_with("`del server app/s1` was refused: This server cannot be removed"), "{reason}");
}

#[test]
fn a_new_server_gets_its_dynamic_cookie() {
    let servers = [200, 200].map(HttpServer::start);
    let [a, b] = &servers;
    let cookies = "    cookie S insert dynamic\n    dynamic-cookie-key key\n";
    let mut balancer = Balancer::start_with("", cookies, &lines([(0, a, "")]));
    let outcome = balancer.change(&lines([(0, a, ""), (1, b, "")]), PATIENCE);
    assert_eq!(told(&outcome), "app/s1 added; app/s1 ready");
    let answer = balancer.haproxy.ask("show stat -1 4 -1");
    let mut lines = answer.lines();
    let column = lines.next().unwrap().split(',').position(|column| column == "cookie").unwrap();
    let cookies: BTreeSet<_> = lines.filter_map(|line| line.split(',').nth(column)).collect();
    assert!(cookies.len() == 2 && !cookies.contains(""), "{cookies:?}");
}

#[test]
fn thousands_of_servers_come_and_go() {
    let mut balancer = Balancer::start("");
    let worker = balancer.haproxy.worker();
    let file: String = (0..2000)
        .map(|number| format!("    server n{number} 127.0.0.{}:9 id {}\n", number % 250 + 1, number + 1))
        .collect();
    let outcome = balancer.change(&file, PATIENCE);
    assert!(outcome.is_settled() && outcome.done.len() == 4000, "{:?}", outcome.reload_needed);
    assert!(balancer.change("", PATIENCE).is_settled());
    assert_eq!(
        balancer.haproxy.ask("show servers state app").lines().filter(|line| !line.is_empty()).count(),
        2
    );
    assert_eq!(balancer.haproxy.worker(), worker, "no reload");
}

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "to be read")]
fn figures_of_ten_thousand_servers() {
    let mut balancer = Balancer::start_with("    maxconn 1000\n", "", "");
    let file: String = (0..10_000)
        .map(|number| {
            let (high, low) = (number / 250, number % 250 + 1);
            format!("    server n{number} 127.0.{high}.{low}:9 id {}\n", number + 1)
        })
        .collect();
    for (what, file) in [("come", file.as_str()), ("stay", &file), ("go", "")] {
        let started = std::time::Instant::now();
        let outcome = balancer.change(file, Duration::from_secs(60));
        println!(
            "10,000 servers {what}: {:?}, {} steps, {}",
            started.elapsed(),
            outcome.done.len(),
            if outcome.is_settled() { "settled" } else { "not settled" }
        );
    }
}
