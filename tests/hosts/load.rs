//! Steady requests through the balancers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::namespaces;

/// The clients of each balancer. A client that waits for a server delays only its own requests.
const CLIENTS: u32 = 8;
/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// The number of requests per connection.
const REQUESTS: usize = 50;

pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Count>>,
}

/// The results of the requests.
#[derive(Default)]
pub(crate) struct Count {
    pub(crate) requests: usize,
    /// How often each kind of failure occurred: a status, or the name of an error.
    pub(crate) failures: BTreeMap<String, usize>,
}

impl Count {
    pub(crate) fn failed(&self) -> usize {
        self.failures.values().sum()
    }
}

impl Load {
    /// Sends `rate` requests per second to the balancers together, from this namespace.
    pub(crate) fn start(namespace: &str, fronts: Vec<SocketAddr>, rate: u32) -> Load {
        let stop = Arc::<AtomicBool>::default();
        let pause = Duration::from_secs(1) * CLIENTS * fronts.len() as u32 / rate;
        let clients = (0..CLIENTS).flat_map(|number| fronts.iter().map(move |front| (number, *front)));
        let clients = clients
            .map(|(number, front)| {
                let (stop, namespace) = (stop.clone(), namespace.to_owned());
                std::thread::spawn(move || {
                    enter(&namespace);
                    std::thread::sleep(pause * number / CLIENTS);
                    Client { front, stream: None, used: 0 }.ask_until(&stop, pause)
                })
            })
            .collect();
        Load { stop, clients }
    }

    /// Stops the load.
    pub(crate) fn finish(mut self) -> Count {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Count::default();
        for client in self.clients.drain(..) {
            let count = client.join().unwrap();
            all.requests += count.requests;
            for (failure, number) in count.failures {
                *all.failures.entry(failure).or_default() += number;
            }
        }
        all
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Runs a function in a thread in a namespace.
pub(crate) fn in_namespace<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(namespace);
            work()
        });
        thread.join().unwrap()
    })
}

/// Moves this thread into a namespace.
pub(crate) fn enter(namespace: &str) {
    let file = File::open(namespaces::file(namespace)).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

struct Client {
    front: SocketAddr,
    stream: Option<TcpStream>,
    used: usize,
}

impl Client {
    fn ask_until(mut self, stop: &AtomicBool, pause: Duration) -> Count {
        let mut count = Count::default();
        let mut due = Instant::now();
        while !stop.load(Ordering::SeqCst) {
            count.requests += 1;
            if let Err(failure) = self.ask() {
                *count.failures.entry(failure).or_default() += 1;
            }
            // Overdue requests are made up for, up to those of one second.
            due = (due + pause).max(Instant::now() - Duration::from_secs(1));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        count
    }

    fn ask(&mut self) -> Result<(), String> {
        let used = self.stream.is_some();
        match self.ask_once() {
            // The balancer may close an idle connection just as the next request is sent: every client
            // retries then.
            Err(Failure::Closed) if used => self.ask_once(),
            outcome => outcome,
        }
        .map_err(|failure| match failure {
            Failure::Closed => "closed".into(),
            Failure::Other(name) => name,
        })
    }

    fn ask_once(&mut self) -> Result<(), Failure> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                self.used = 0;
                let stream = TcpStream::connect_timeout(&self.front, PATIENCE).map_err(failure)?;
                stream.set_read_timeout(Some(PATIENCE)).map_err(failure)?;
                stream.set_nodelay(true).map_err(failure)?;
                stream
            }
        };
        self.used += 1;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n").map_err(|_| Failure::Closed)?;
        let answer = answer(&mut stream)?;
        let head = answer.to_ascii_lowercase();
        if self.used < REQUESTS && head.starts_with("http/1.1") && !head.contains("\r\nconnection: close") {
            self.stream = Some(stream);
        }
        match answer.split(' ').nth(1) {
            Some("200") => Ok(()),
            status => Err(Failure::Other(status.unwrap_or("garbage").into())),
        }
    }
}

enum Failure {
    /// The connection was closed without an answer.
    Closed,
    Other(String),
}

fn failure(error: std::io::Error) -> Failure {
    Failure::Other(match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "timeout".into(),
        kind => kind.to_string(),
    })
}

/// Reads the answer with its body, and returns its head.
fn answer(stream: &mut TcpStream) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.to_ascii_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length:").and_then(|length| length.trim().parse::<usize>().ok())
            });
            if bytes.len() >= end + 4 + length.unwrap_or(0) {
                return Ok(head);
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) if bytes.is_empty() => return Err(Failure::Closed),
            Ok(0) => return Err(Failure::Other("cut short".into())),
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset && bytes.is_empty() => {
                return Err(Failure::Closed);
            }
            Err(error) => return Err(failure(error)),
        }
    }
}
