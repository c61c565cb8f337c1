//! A fleet grows, shrinks and is deployed under load: no request fails. And how fast all that is.
//!
//! The figures are printed by `cargo test --release --test it -- --ignored --nocapture figures`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::balancer::Balancer;
use super::daemon::{Daemon, wait};
use crate::fixture::http_server::HttpServer;

/// `wrk`, and clients that keep an idle connection and ask now and then.
struct Load {
    wrk: Child,
    idle: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
}

impl Load {
    fn start(front: SocketAddr) -> Load {
        let wrk = Command::new("wrk")
            .args(["-t1", "-c20", "-d600s", "--timeout", "10s"])
            .arg(format!("http://{front}/"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("wrk, of the Debian package of that name");
        let (stop, asked, failed) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let shared = (stop.clone(), asked.clone(), failed.clone());
        let idle = std::thread::spawn(move || {
            let (stop, asked, failed) = shared;
            let connect = || TcpStream::connect(front).unwrap();
            let mut clients: Vec<TcpStream> = (0..20).map(|_| connect()).collect();
            while !stop.load(Ordering::SeqCst) {
                for client in &mut clients {
                    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    let sent = client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
                    let mut answer = [0; 1024];
                    let read = sent.and_then(|()| client.read(&mut answer));
                    asked.fetch_add(1, Ordering::SeqCst);
                    if !read.is_ok_and(|read| answer[..read].starts_with(b"HTTP/1.1 200")) {
                        failed.fetch_add(1, Ordering::SeqCst);
                        *client = connect();
                    }
                }
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        Load { wrk, idle: Some(idle), stop, asked, failed }
    }

    /// Ends it. Gives the number of requests; none may have failed.
    #[track_caller]
    fn finish(mut self) -> usize {
        let pid = Pid::from_raw(self.wrk.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, Signal::INT).unwrap();
        let mut report = String::new();
        self.wrk.stdout.take().unwrap().read_to_string(&mut report).unwrap();
        assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
        let line = report.lines().find(|line| line.contains(" requests in ")).expect("a count");
        let requests: usize = line.split_whitespace().next().unwrap().parse().unwrap();
        self.stop.store(true, Ordering::SeqCst);
        self.idle.take().unwrap().join().unwrap();
        assert_eq!(self.failed.load(Ordering::SeqCst), 0, "idle clients");
        requests + self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // It has ended already, unless the test has failed.
        let _ = self.wrk.kill();
        let _ = self.wrk.wait();
    }
}

/// Grows the fleet to `most`, shrinks it again to three, then deploys those: draining, gone, back.
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

fn fleet(count: usize) -> Vec<HttpServer> {
    (0..count).map(|_| HttpServer::start(200)).collect()
}

fn first_three(servers: &[HttpServer]) -> [(&'static str, &HttpServer); 3] {
    [("n0", &servers[0]), ("n1", &servers[1]), ("n2", &servers[2])]
}

#[test]
fn no_request_fails_while_a_fleet_grows_shrinks_and_is_deployed() {
    let servers = fleet(5);
    let balancer = Balancer::start(&first_three(&servers));
    let agent = balancer.agent();
    agent.wait_for("the first beat", || agent.log().contains("agent started"));
    let load = Load::start(balancer.front);
    grow_shrink_and_deploy(&balancer, &agent, &servers);
    assert!(load.finish() > 100);
    assert_eq!(balancer.reloads(), 0, "{}", agent.log());
}

/// An agent as a balancer would have it: a look a second, the template's own checks.
const AS_SHIPPED: &str = "interval = '60s'\npoll = '1s'\n";

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "to be read")]
fn figures_of_a_fleet_under_load() {
    let servers = fleet(10);
    let balancer = Balancer::start_with(&first_three(&servers), AS_SHIPPED, "");
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
    let servers = fleet(21);
    let balancer = Balancer::start_with(&[("n0", &servers[0])], AS_SHIPPED, "");
    let agent = balancer.agent();
    agent.wait_for("the first beat", || agent.log().contains("agent started"));
    let mut times: Vec<Duration> = Vec::new();
    for (number, server) in servers.iter().enumerate().skip(1) {
        // At any moment of the agent's second.
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
    let mut servers = fleet(3);
    let balancer = Balancer::start_with(&first_three(&servers), AS_SHIPPED, "");
    let agent = balancer.agent();
    // Before, one bad check is enough: HAProxy starts with all servers on probation.
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
