//! A HAProxy: its servers as data, and the commands that change them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use presence::haproxy::{Config, Running, RunningServer, ServerName, State};

/// How long checks take to find a change of a server.
const RISE: Duration = Duration::from_secs(2);
const FALL: Duration = Duration::from_secs(6);

/// What checks find of a machine: whether it answers, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Health {
    pub(super) alive: bool,
    pub(super) since: Duration,
}

impl Health {
    fn is_found_good(self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.since);
        if self.alive { passed >= RISE } else { passed < FALL }
    }
}

/// A server that runs.
#[derive(Debug, Clone)]
struct Server {
    address: SocketAddr,
    weight: u16,
    maint: bool,
    drain: bool,
    /// `srv_check_state`: configured (2), enabled (4), paused (8).
    check: u8,
    id: u32,
    /// Since when it is checked in this state.
    since: Duration,
    /// It came with the file: it is up until its check fails.
    from_file: bool,
    /// Its `maxconn`, which cannot change at run time.
    slots: String,
}

/// A running HAProxy.
pub(super) struct Haproxy {
    pub(super) pid: u32,
    servers: BTreeMap<String, Server>,
    next_id: u32,
    /// Nothing answers at its socket until then.
    pub(super) down_until: Duration,
    /// Sessions of its servers last until then.
    pub(super) busy_until: Duration,
}

impl Haproxy {
    pub(super) fn new() -> Haproxy {
        let (down_until, busy_until) = (Duration::ZERO, Duration::ZERO);
        Haproxy { pid: 100, servers: BTreeMap::new(), next_id: 1, down_until, busy_until }
    }

    /// A new process loads the file.
    pub(super) fn load(&mut self, file: &str, now: Duration) {
        self.pid += 1;
        self.servers.clear();
        for (name, server) in Config::parse(file).backends.remove("app").unwrap_or_default().servers {
            let (weight, maint) = match server.state {
                State::Ready(weight) => (weight, false),
                State::Drain => (0, false),
                State::Down => (1, true),
            };
            let check = if maint { 2 | 4 | 8 } else { 2 | 4 };
            let id = self.next_id;
            self.next_id += 1;
            let address = server.address;
            let line = format!("server {name} ");
            let slots = slots(file.lines().find(|found| found.contains(&line)).unwrap_or_default());
            self.servers.insert(
                name,
                Server {
                    address,
                    weight,
                    maint,
                    drain: false,
                    check,
                    id,
                    since: now,
                    from_file: true,
                    slots,
                },
            );
        }
    }

    /// What runs.
    pub(super) fn running(&self, now: Duration, health: impl Fn(&str) -> Health) -> Running {
        Running::of(self.servers.iter().map(|(name, server)| {
            let health = health(name);
            let judged = now.saturating_sub(server.since) >= Duration::from_secs(1) && server.check == 6;
            let good = health.is_found_good(now);
            let up = if judged { good } else { server.from_file && !server.maint };
            let status = match (judged, good) {
                (false, _) => "INI",
                (true, true) => "L4OK",
                (true, false) => "L4CON",
            };
            let seen = RunningServer {
                address: Some(server.address),
                id: server.id,
                check_port: 0,
                backup: None,
                operational: if up && !server.maint { 2 } else { 0 },
                admin: u8::from(server.maint) | if server.drain { 8 } else { 0 },
                weight: server.weight,
                check_state: server.check,
                last_change_s: now.saturating_sub(server.since).as_secs(),
                sessions: u64::from(now < self.busy_until),
                check_status: status.to_owned(),
                check_health: match (judged, up) {
                    (true, true) => 4,
                    (false, true) => 2,
                    _ => 0,
                },
                check_rise: 2,
                check_fall: 3,
                cookie: String::new(),
            };
            (ServerName { backend: "app".to_owned(), server: name.clone() }, seen)
        }))
    }

    /// Whether each server of the file has the options of the file.
    pub(super) fn has_options_of(&self, file: &str) -> bool {
        self.servers.iter().all(|(name, server)| {
            let line = format!("server {name} ");
            file.lines().find(|found| found.contains(&line)).is_none_or(|line| slots(line) == server.slots)
        })
    }

    /// The answer to a command.
    pub(super) fn obey(&mut self, command: &str, now: Duration) -> String {
        let words: Vec<&str> = command.split(' ').collect();
        let server = |at: usize| words[at].strip_prefix("app/").unwrap().to_owned();
        match words[..] {
            ["add", "server", ..] => {
                let at = words.iter().position(|word| *word == "weight");
                let id = self.next_id;
                self.next_id += 1;
                let new = Server {
                    address: words[3].parse().unwrap(),
                    weight: at.map_or(1, |at| words[at + 1].parse().unwrap()),
                    maint: true,
                    drain: false,
                    check: 2,
                    id,
                    since: now,
                    from_file: false,
                    slots: slots(command),
                };
                match self.servers.insert(server(2), new) {
                    None => "New server registered.".to_owned(),
                    Some(old) => {
                        self.servers.insert(server(2), old);
                        "Already exists a server with the same name in backend.".to_owned()
                    }
                }
            }
            ["del", "server", _] if now < self.busy_until => {
                "Server still has connections attached to it, cannot remove it.".to_owned()
            }
            ["del", "server", _] => match self.servers.get(&server(2)).map(|server| server.maint) {
                Some(true) => {
                    self.servers.remove(&server(2));
                    "Server deleted.".to_owned()
                }
                _ => "Only servers in maintenance mode can be deleted.".to_owned(),
            },
            [verb @ ("enable" | "set"), _, _, ref rest @ ..] => {
                let Some(server) = self.servers.get_mut(&server(2)) else {
                    return "No such server.".to_owned();
                };
                let was = (server.maint, server.drain);
                match (verb, rest) {
                    ("enable", _) => (server.check, server.since) = (server.check | 4, now),
                    (_, ["state", "ready"]) => (server.maint, server.drain) = (false, false),
                    (_, ["state", "drain"]) => (server.maint, server.drain) = (false, true),
                    (_, ["state", "maint"]) => (server.maint, server.check) = (true, server.check | 8),
                    (_, ["weight", weight]) => server.weight = weight.parse().unwrap(),
                    _ => return format!("Unknown command: {command}"),
                }
                if !server.maint {
                    server.check &= !8;
                }
                if was != (server.maint, server.drain) {
                    // A server that was checked in maintenance keeps its verdict.
                    if was.0 && server.check & 8 == 0 && !server.from_file && server.check == 6 {
                        server.from_file = true;
                    } else if was.0 {
                        server.since = now;
                    }
                }
                String::new()
            }
            _ => format!("Unknown command: {command}"),
        }
    }
}

/// The `maxconn` of a server.
fn slots(line: &str) -> String {
    line.split(' ').skip_while(|word| *word != "maxconn").nth(1).unwrap_or_default().to_owned()
}

/// Where its socket is.
pub(super) fn socket() -> &'static Path {
    Path::new("/run/haproxy.sock")
}
