//! N nodes publish a change at one instant, through a real `git daemon` on loopback: how many arrive, how long it takes
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints, and stops at the first surprise"
)]
//! until all are durable, and what it costs, beside other ways to do it.
//!
//! ```text
//! cargo bench --bench publish                     # N = 10, 50
//! cargo bench --bench publish -- 10 100 200 1000
//! cargo bench --bench publish -- lone 10000       # one change in a fleet of that size, beside the script
//! ```

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the shell script of 2015 did, once.
const SCRIPT_OF_2015: &str = r#"
set -u
cd "$1" || exit 1
git pull -q || true
mkdir -p it/presence/all
cp "../record.json" "it/presence/all/$2.json"
git add "it/presence/all/$2.json"
git commit -q -m "Updated by $2"
git push -q || { git pull -q; git push -q; } || { git pull -q; git push -q; }
"#;

/// Fetch, commit on top, push, and again until it is through.
const RETRY: &str = r#"
set -u
cd "$1" || exit 1
while :; do
    git fetch -q origin
    git reset -q --soft origin/main
    git read-tree HEAD
    blob=$(git hash-object -w ../record.json)
    git update-index --add --cacheinfo "100644,$blob,it/presence/all/$2.json"
    git commit -q -m "Updated by $2"
    git push -q origin HEAD:main && exit 0
    sleep "0.$(od -An -N1 -tu1 /dev/urandom | tr -d ' ')"
done
"#;

/// One push of a commit that is there already, to a ref that nobody else writes: what a server can do at best.
const OWN_REF: &str = r#"
cd "$1" && git push -q origin "HEAD:refs/heads/own/$2"
"#;

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    if std::env::args().any(|arg| arg == "lone") {
        return sizes.iter().for_each(|size| lone(*size));
    }
    let sizes = if sizes.is_empty() { vec![10, 50] } else { sizes };
    println!(
        "| nodes | how | arrived | wall s | CPU s of clients | CPU s of the server | pushes and fetches |"
    );
    println!("|---|---|---|---|---|---|---|");
    for size in sizes {
        run(size, "presence", &presence);
        run(size, "presence, from nothing", &presence_cold);
        run(size, "own refs (the floor)", &|bench| bench.scripts(OWN_REF));
        if size <= 200 {
            run(size, "the script of 2015, once", &|bench| bench.scripts(SCRIPT_OF_2015));
        }
        if size <= 50 {
            run(size, "retry on one branch", &|bench| bench.scripts(RETRY));
        }
    }
}

fn run(size: usize, name: &str, publishers: &dyn Fn(&Bench) -> Vec<Command>) {
    let bench = Bench::new(size);
    let mut commands = publishers(&bench);
    let (client, server, asked) = (children_cpu(), bench.server.cpu(), bench.server.asked());
    let started = Instant::now();
    let running: Vec<Child> = commands
        .iter_mut()
        .map(|command| {
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a publisher starts")
        })
        .collect();
    let failed = running
        .into_iter()
        .filter_map(|mut child| child.wait().ok())
        .filter(|status| !status.success())
        .count();
    let wall = started.elapsed();
    let (client, server) = (children_cpu() - client, bench.server.cpu() - server);
    let asked = bench.server.asked() - asked;
    let arrived = bench.arrived();
    let note = if failed > 0 { format!(" ({failed} said they failed)") } else { String::new() };
    println!(
        "| {size} | {name} | {arrived}{note} | {:.2} | {client:.1} | {server:.1} | {asked} |",
        wall.as_secs_f64()
    );
}

/// One node's change in a fleet of that size: the best of ten, and what went over the wire.
fn lone(fleet: usize) {
    println!("| fleet | how | wall ms | CPU ms of the client | bytes sent | bytes received | connections |");
    println!("|---|---|---|---|---|---|---|");
    for hashed in [false, true] {
        let bench = Bench::new(1);
        bench.fill(fleet, hashed);
        let relay = Relay::start(bench.server.port);
        let layout = if hashed { "layout = \"{hash}/{instance-id}.json\"\n" } else { "" };
        fs::write(bench.dir.path().join("presence.toml"), layout).expect("a configuration");
        let presence = |args: &[&str], port: usize| {
            fs::write(bench.node(0).join("nodeinfo/port.txt"), port.to_string()).expect("a fact");
            let mut command = bench.presence(0);
            command.args(args).env("PRESENCE_STORE", relay.url());
            command.env("PRESENCE_CONFIG", bench.dir.path().join("presence.toml"));
            command
        };
        presence(&["publish"], 1).output().expect("presence runs");
        let tree = if hashed { "256 folders" } else { "flat" };
        best(&format!("{fleet}, {tree} | publish a change"), &relay, |round| {
            presence(&["publish"], 1000 + round)
        });
        best(&format!("{fleet}, {tree} | publish, unchanged"), &relay, |_| presence(&["publish"], 1009));
        best(&format!("{fleet}, {tree} | list, nothing new"), &relay, |_| {
            presence(&["list", "--format", "ids"], 1009)
        });
        if !hashed {
            let clone = bench.node(0).join("clone");
            git(&bench.node(0), &["clone", "-q", &relay.url(), "clone"]);
            best(&format!("{fleet}, {tree} | the script of 2015"), &relay, |round| {
                fs::write(bench.node(0).join("record.json"), format!("{round}\n")).expect("a record");
                let mut command = hermetic("sh");
                command.args(["-c", SCRIPT_OF_2015, "sh"]).arg(&clone).arg("i-script");
                command
            });
        }
    }
}

fn best(name: &str, relay: &Relay, command: impl Fn(usize) -> Command) {
    let mut results: Vec<(Duration, f64, [u64; 3])> = (0..10)
        .map(|round| {
            let (cpu, carried) = (children_cpu(), relay.carried());
            let started = Instant::now();
            let output = command(round).output().expect("it runs");
            let wall = started.elapsed();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            // The relay sees the end of a connection a moment after the program.
            std::thread::sleep(Duration::from_millis(50));
            let now = relay.carried();
            (wall, children_cpu() - cpu, [now[0] - carried[0], now[1] - carried[1], now[2] - carried[2]])
        })
        .collect();
    results.sort_by_key(|result| result.0);
    let (wall, _, [sent, received, connections]) = results[0];
    let cpu: f64 = results.iter().map(|result| result.1).sum::<f64>() / results.len() as f64;
    println!(
        "| {name} | {:.1} | {:.0} | {sent} | {received} | {connections} |",
        wall.as_secs_f64() * 1000.0,
        cpu * 1000.0
    );
}

/// Counts what goes to the server and back.
struct Relay {
    port: u16,
    counts: Arc<[AtomicU64; 3]>,
}

impl Relay {
    fn start(server: u16) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let counts = Arc::new([const { AtomicU64::new(0) }; 3]);
        let shared = counts.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                shared[2].fetch_add(1, Ordering::Relaxed);
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                for (direction, from, to) in [(0, &client, &server), (1, &server, &client)] {
                    let (mut from, mut to) =
                        (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let _ = to.set_nodelay(true);
                    let shared = shared.clone();
                    std::thread::spawn(move || {
                        let mut buffer = [0; 65536];
                        while let Ok(length @ 1..) = from.read(&mut buffer) {
                            shared[direction].fetch_add(length as u64, Ordering::Relaxed);
                            if to.write_all(&buffer[..length]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Relay { port, counts }
    }

    fn url(&self) -> String {
        format!("git://127.0.0.1:{}/list.git", self.port)
    }

    fn carried(&self) -> [u64; 3] {
        [0, 1, 2].map(|index| self.counts[index].load(Ordering::Relaxed))
    }
}

/// Nodes that have published before and now say something new.
fn presence(bench: &Bench) -> Vec<Command> {
    for node in 0..bench.size {
        assert!(bench.presence(node).arg("publish").output().expect("presence runs").status.success());
    }
    for node in 0..bench.size {
        assert!(bench.presence(node).arg("list").output().expect("presence runs").status.success());
        fs::write(bench.node(node).join("nodeinfo/port.txt"), NEW_PORT).expect("a fact");
    }
    presence_publish(bench)
}

/// Nodes without any state of their own.
fn presence_cold(bench: &Bench) -> Vec<Command> {
    for node in 0..bench.size {
        fs::write(bench.node(node).join("nodeinfo/port.txt"), NEW_PORT).expect("a fact");
    }
    presence_publish(bench)
}

fn presence_publish(bench: &Bench) -> Vec<Command> {
    (0..bench.size)
        .map(|node| {
            let mut command = bench.presence(node);
            command.arg("publish");
            command
        })
        .collect()
}

/// What says that an update has arrived.
const NEW_PORT: &str = "8099";

/// A server with a repository, and N nodes with their facts and clones.
struct Bench {
    size: usize,
    dir: tempfile::TempDir,
    server: Server,
}

impl Bench {
    fn new(size: usize) -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        let repository = dir.path().join("list.git");
        git(dir.path(), &["init", "-q", "--bare", "--initial-branch=main", "list.git"]);
        let seed = dir.path().join("seed");
        git(dir.path(), &["clone", "-q", "list.git", "seed"]);
        fs::write(seed.join("README"), "the list\n").expect("a file");
        git(&seed, &["checkout", "-q", "-B", "main"]);
        git(&seed, &["add", "."]);
        git(&seed, &["commit", "-q", "-m", "begin"]);
        git(&seed, &["push", "-q", "origin", "main"]);
        let server = Server::start(dir.path());
        let bench = Bench { size, dir, server };
        for node in 0..size {
            let info = bench.node(node).join("nodeinfo");
            fs::create_dir_all(&info).expect("a directory");
            for (fact, value) in [
                ("instance-id", format!("i-{node:04}")),
                ("nodepart", "app1".into()),
                ("stacktype", "lad1".into()),
                ("address", format!("10.0.{}.{}", node / 250, node % 250 + 1)),
                ("port", "8080".into()),
            ] {
                fs::write(info.join(format!("{fact}.txt")), value).expect("a fact");
            }
        }
        assert!(repository.exists());
        bench
    }

    /// Puts that many other nodes on the list, in one commit.
    fn fill(&self, nodes: usize, hashed: bool) {
        let seed = self.dir.path().join("seed");
        for node in 0..nodes {
            let id = format!("i-{:08x}", (node as u64).wrapping_mul(2_654_435_761) & 0xffff_ffff);
            let folder = seed.join("it/presence/all").join(if hashed { &id[id.len() - 2..] } else { "" });
            fs::create_dir_all(&folder).expect("a directory");
            let record = format!(
                "{{\n    \"filetype\": \"nodepresence\",\n    \"value\": {{\n        \"instance-id\": \"{id}\",\n        \
                 \"ipv4\": \"10.0.{}.{}\",\n        \"nodepart\": \"app1\"\n    }}\n}}\n",
                node / 250 % 250,
                node % 250 + 1
            );
            fs::write(folder.join(format!("{id}.json")), record).expect("a record");
        }
        git(&seed, &["add", "."]);
        git(&seed, &["commit", "-q", "-m", "a fleet"]);
        git(&seed, &["push", "-q", "origin", "main"]);
    }

    fn node(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("n{node}"))
    }

    fn presence(&self, node: usize) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_presence"));
        command
            .env("HOME", self.dir.path())
            .env("PRESENCE_STATE_DIR", self.node(node).join("state"))
            .env("PRESENCE_NODEINFO", self.node(node).join("nodeinfo"))
            .env("PRESENCE_STORE", self.server.url());
        command
    }

    /// The same shell script for every node, in a clone of its own.
    fn scripts(&self, script: &str) -> Vec<Command> {
        (0..self.size)
            .map(|node| {
                let dir = self.node(node);
                let id = format!("i-{node:04}");
                git(&dir, &["clone", "-q", &self.server.url(), "clone"]);
                let record = format!(
                    "{{\"filetype\":\"nodepresence\",\"value\":{{\"instance-id\":\"{id}\",\"port\":\"{NEW_PORT}\"}}}}\n"
                );
                fs::write(dir.join("record.json"), &record).expect("a record");
                if script == OWN_REF {
                    fs::write(dir.join("clone").join(format!("{id}.json")), record).expect("a record");
                    git(&dir.join("clone"), &["add", "."]);
                    git(&dir.join("clone"), &["commit", "-q", "-m", "x"]);
                }
                let mut command = hermetic("sh");
                command.args(["-c", script, "sh"]).arg(dir.join("clone")).arg(id);
                command
            })
            .collect()
    }

    /// How many of the updates are on the branch, or wait on a ref.
    fn arrived(&self) -> String {
        let repository = self.dir.path().join("list.git");
        let on_branch =
            git(&repository, &["grep", "-l", NEW_PORT, "main", "--", "it/presence/all"]).lines().count();
        let refs = git(&repository, &["for-each-ref", "--format=%(refname)"]);
        let own = refs.lines().filter(|name| name.starts_with("refs/heads/own/")).count();
        match own {
            0 => {
                let mut list = self.presence(0);
                list.args(["list", "--where", &format!("port={NEW_PORT}"), "--format", "ids"]);
                let seen =
                    String::from_utf8_lossy(&list.output().expect("presence runs").stdout).lines().count();
                format!("{on_branch} on the branch, {seen} for readers")
            }
            own => format!("{own}"),
        }
    }
}

struct Server {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Server {
    fn start(base: &Path) -> Server {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let log = base.join("log");
        let child = hermetic("git")
            .args([
                "daemon",
                "--verbose",
                "--listen=127.0.0.1",
                "--reuseaddr",
                "--export-all",
                "--enable=receive-pack",
            ])
            .args(["--max-connections=0", &format!("--port={port}")])
            .arg(format!("--base-path={}", base.display()))
            .stderr(fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("git daemon starts");
        let server = Server { child, port, log };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    fn url(&self) -> String {
        format!("git://127.0.0.1:{}/list.git", self.port)
    }

    /// CPU seconds of its children that have ended.
    fn cpu(&self) -> f64 {
        // The daemon collects its children a moment after they end.
        std::thread::sleep(Duration::from_millis(300));
        // `git daemon` runs as a child of the `git` that was started.
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.child.id())).unwrap_or_default();
        let daemon =
            children.split_whitespace().next().map_or_else(|| self.child.id().to_string(), str::to_owned);
        let stat = fs::read_to_string(format!("/proc/{daemon}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: f64 = fields.iter().skip(13).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        ticks / 100.0
    }

    fn asked(&self) -> usize {
        fs::read_to_string(&self.log).unwrap_or_default().matches("] Request ").count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.child.id())).unwrap_or_default();
        for child in children.split_whitespace() {
            let _ = Command::new("kill").arg(child).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hermetic(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, value) in [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("HOME", "/nonexistent"),
        ("GIT_AUTHOR_NAME", "n"),
        ("GIT_AUTHOR_EMAIL", "n@localhost"),
        ("GIT_COMMITTER_NAME", "n"),
        ("GIT_COMMITTER_EMAIL", "n@localhost"),
    ] {
        command.env(name, value);
    }
    command
}

fn git(dir: &Path, args: &[&str]) -> String {
    let output = hermetic("git").args(args).current_dir(dir).output().expect("git runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// CPU seconds of this process's children that have ended.
fn children_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields.iter().skip(13).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}
