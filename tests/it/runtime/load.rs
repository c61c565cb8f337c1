//! Servers come and go under load without a failed request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use presence::haproxy::{ApplyRequest, Why, apply};

use super::{Balancer, lines, told};
use crate::fixture::http_server::HttpServer;

/// `wrk` for some seconds, stopped when it is dropped.
struct Load(Child);

impl Load {
    fn start(balancer: &Balancer, seconds: u64) -> Load {
        let child = Command::new("wrk")
            .args(["-t1", "-c20", &format!("-d{seconds}s"), "--timeout", "10s"])
            .arg(format!("http://{}/", balancer.front))
            .stdout(Stdio::piped())
            .spawn()
            .expect("wrk, of the Debian package of that name");
        Load(child)
    }

    /// Waits for its end, and returns the number of answered requests. None may have failed.
    #[track_caller]
    fn finish(mut self) -> u64 {
        let mut report = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut report).unwrap();
        assert!(self.0.wait().unwrap().success(), "{report}");
        assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
        let line = report.lines().find(|line| line.contains(" requests in ")).expect("a count");
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It has exited already, unless the test has failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Clients that keep a connection open, send a request now and then, and return their failures.
fn idle_clients(balancer: &Balancer, count: usize, stop: &AtomicBool) -> (usize, Vec<String>) {
    let connect = || {
        let stream = TcpStream::connect(balancer.front).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let mut clients: Vec<TcpStream> = (0..count).map(|_| connect()).collect();
    let (mut asked, mut failures) = (0, Vec::new());
    while !stop.load(Ordering::SeqCst) {
        for client in &mut clients {
            let mut answer = [0; 1024];
            let sent = client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            let read = sent.and_then(|()| client.read(&mut answer));
            asked += 1;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            if !matches!(read, Ok(1..)) || !answer.starts_with("HTTP/1.1 200 ") {
                failures.push(format!("{read:?}: {answer}"));
                *client = connect();
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    (asked, failures)
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs the changes under load, with idle clients.
#[track_caller]
fn under_load(balancer: &mut Balancer, seconds: u64, files: &[String]) {
    let worker = balancer.haproxy.worker();
    let stop = AtomicBool::new(false);
    let load = Load::start(balancer, seconds);
    let configs: Vec<String> = files.iter().map(|servers| format!("{}{servers}", balancer.head)).collect();
    let balancer = &*balancer;
    let (asked, failures) = std::thread::scope(|scope| {
        let idle = scope.spawn(|| idle_clients(balancer, 20, &stop));
        // Even if this fails: the scope waits for its threads.
        let stopper = StopOnDrop(&stop);
        let mut old = &balancer.config;
        for new in &configs {
            let outcome =
                apply(&ApplyRequest { new, ..balancer.request(old, Duration::from_secs(3)) }).unwrap();
            // HAProxy may delay closing an idle connection to a server that gets no more requests.
            let late = outcome.pending.iter().find(|waiting| waiting.why != Why::Connections);
            assert!(late.is_none() && outcome.reload_needed.is_none(), "{}", told(&outcome));
            old = new;
        }
        let answered = load.finish();
        assert!(answered > 1000, "only {answered} requests: this is no load");
        drop(stopper);
        idle.join().unwrap()
    });
    assert!(
        asked > 100 && failures.is_empty(),
        "{} of {asked} failed: {:?}",
        failures.len(),
        failures.first()
    );
    assert_eq!(balancer.haproxy.worker(), worker, "no reload");
}

#[test]
fn from_three_to_ten_to_three_servers_no_request_fails() {
    let servers: Vec<HttpServer> = (0..10).map(|_| HttpServer::start(200)).collect();
    let file = |count: usize| lines((0..count).map(|number| (number, &servers[number], "")));
    let mut balancer = Balancer::start(&file(3));
    let steps: Vec<String> = [4, 6, 7, 10, 9, 5, 4, 3].map(file).to_vec();
    under_load(&mut balancer, 8, &steps);
}

#[test]
fn in_a_rolling_deploy_no_request_fails() {
    let servers: Vec<HttpServer> = (0..4).map(|_| HttpServer::start(200)).collect();
    let all = |options: &'static str, of: usize| {
        lines((0..4).map(|number| (number, &servers[number], if number == of { options } else { "" })))
    };
    let without =
        |of: usize| lines((0..4).filter(|number| *number != of).map(|number| (number, &servers[number], "")));
    let mut balancer = Balancer::start(&all("", 0));
    let steps: Vec<String> =
        (0..4).flat_map(|of| [all("weight 0", of), all("disabled", of), without(of), all("", of)]).collect();
    under_load(&mut balancer, 8, &steps);
}

/// All at once: the new servers are in before the old ones leave.
#[test]
fn when_every_server_is_another_no_request_fails() {
    let servers: Vec<HttpServer> = (0..8).map(|_| HttpServer::start(200)).collect();
    let file = |half: usize| lines((half * 4..half * 4 + 4).map(|number| (number, &servers[number], "")));
    let mut balancer = Balancer::start(&file(0));
    under_load(&mut balancer, 5, &[file(1), file(0)]);
}

#[test]
fn a_wedged_server_gets_no_request_under_load() {
    let good: Vec<HttpServer> = (0..2).map(|_| HttpServer::start(200)).collect();
    let wedged = HttpServer::start(500);
    let old = lines([(0, &good[0], ""), (1, &good[1], "")]);
    let mut balancer = Balancer::start(&old);
    let worker = balancer.haproxy.worker();
    let load = Load::start(&balancer, 4);
    // It joins, is stopped, and returns, still broken.
    for options in ["", "disabled", "", "weight 0", ""] {
        let new = lines([(0, &good[0], ""), (1, &good[1], ""), (2, &wedged, options)]);
        let outcome = balancer.change(&new, Duration::from_secs(1));
        assert_eq!(outcome.reload_needed, None);
    }
    load.finish();
    assert!(wedged.checks() > 0);
    assert_eq!((wedged.requests(), balancer.haproxy.worker()), (0, worker));
}
