//! Clients of a balancer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// `wrk`, and clients that send a request now and then on an idle connection. No request may fail.
pub(crate) struct Load {
    wrk: Option<Child>,
    idle: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
}

impl Load {
    pub(crate) fn start(front: SocketAddr) -> Load {
        let wrk = Command::new("wrk")
            .args(["-t1", "-c20", "-d600s", "--timeout", "10s"])
            .arg(format!("http://{front}/"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("wrk, of the Debian package of that name");
        let mut load = Load::light(front);
        load.wrk = Some(wrk);
        load
    }

    /// Only the idle clients.
    pub(crate) fn light(front: SocketAddr) -> Load {
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
        Load { wrk: None, idle: Some(idle), stop, asked, failed }
    }

    /// Stops them. Returns the number of requests; none may have failed.
    #[track_caller]
    pub(crate) fn finish(mut self) -> usize {
        let requests = self.wrk.as_mut().map_or(0, end);
        self.stop.store(true, Ordering::SeqCst);
        self.idle.take().unwrap().join().unwrap();
        assert_eq!(self.failed.load(Ordering::SeqCst), 0, "idle clients");
        requests + self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(wrk) = &mut self.wrk {
            // It has exited already, unless the test has failed.
            let _ = wrk.kill();
            let _ = wrk.wait();
        }
    }
}

/// The duration of an answer, and its status if there was one.
pub(crate) type Answer = (Duration, Option<u16>);

/// Clients that together send a fixed number of requests per second, each on a new connection, however long
/// the answers take.
pub(crate) struct Steady {
    clients: Vec<JoinHandle<Vec<Answer>>>,
    stop: Arc<AtomicBool>,
}

/// More clients than concurrent requests.
const CLIENTS: u32 = 100;

impl Steady {
    pub(crate) fn start(front: SocketAddr, per_second: u32) -> Steady {
        let stop = Arc::<AtomicBool>::default();
        let started = Instant::now();
        let clients = (0..CLIENTS).map(|client| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut answers = Vec::new();
                let mut due = started + Duration::from_secs(1) * client / per_second;
                while !stop.load(Ordering::SeqCst) {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let asked = Instant::now();
                    let status = get(front);
                    answers.push((asked.elapsed(), status));
                    due += Duration::from_secs(1) * CLIENTS / per_second;
                }
                answers
            })
        });
        Steady { clients: clients.collect(), stop }
    }

    /// Stops them, and returns all answers.
    pub(crate) fn finish(self) -> Vec<Answer> {
        self.stop.store(true, Ordering::SeqCst);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

/// The status of the answer to one request.
pub(crate) fn get(front: SocketAddr) -> Option<u16> {
    let mut stream = TcpStream::connect(front).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// Stops `wrk`, and returns its count.
#[track_caller]
fn end(wrk: &mut Child) -> usize {
    let pid = Pid::from_raw(wrk.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    let mut report = String::new();
    wrk.stdout.take().unwrap().read_to_string(&mut report).unwrap();
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
    let line = report.lines().find(|line| line.contains(" requests in ")).expect("a count");
    line.split_whitespace().next().unwrap().parse().unwrap()
}
