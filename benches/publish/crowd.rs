//! N nodes publish a change at the same moment, through a real `git daemon` on loopback: how many arrive, how
//! long until all are durable, and the cost, next to other methods.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::SCRIPT_OF_2015;
use crate::measure::children_cpu;

/// Fetches, commits on top and pushes, until it succeeds.
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

/// Pushes an existing commit to a ref of the node's own, until the server accepts it: the best possible
/// result of one push per node. All commits are in one clone.
const OWN_REF: &str = r#"
until git -C "$1" push -q origin "refs/own/$2:refs/heads/own/$2"; do
    sleep "0.$(od -An -N1 -tu1 /dev/urandom | tr -d ' ')"
done
"#;

pub(crate) fn run(sizes: &[usize]) {
    println!(
        "| nodes | how | arrived | wall s | CPU s of clients | CPU s of the server | pushes and fetches |"
    );
    println!("|---|---|---|---|---|---|---|");
    for size in sizes {
        one(*size, "presence", &presence);
        one(*size, "own refs (the floor)", &own_refs);
        one(*size, "presence, from nothing", &presence_cold);
        if *size <= 200 {
            one(*size, "the script of 2015, once", &|bench| scripts(bench, SCRIPT_OF_2015));
        }
        if *size <= 50 {
            one(*size, "retry on one branch", &|bench| scripts(bench, RETRY));
        }
    }
}

fn one(size: usize, name: &str, publishers: &dyn Fn(&Bench) -> Vec<Command>) {
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

/// Nodes that have published, have seen the list since, and now publish a change.
fn presence(bench: &Bench) -> Vec<Command> {
    let state = bench.node(0).join("state");
    for command in ["list", "publish"] {
        // The second command records how fast the server usually is.
        assert!(bench.presence(0).arg(command).output().expect("presence runs").status.success());
    }
    for node in 1..bench.size {
        copy(&state, &bench.node(node).join("state"));
    }
    presence_cold(bench)
}

/// Nodes without any state.
fn presence_cold(bench: &Bench) -> Vec<Command> {
    for node in 0..bench.size {
        fs::write(bench.node(node).join("nodeinfo/port.txt"), NEW_PORT).expect("a fact");
    }
    (0..bench.size)
        .map(|node| {
            let mut command = bench.presence(node);
            command.arg("publish");
            command
        })
        .collect()
}

/// git alone, with one ref per node.
fn own_refs(bench: &Bench) -> Vec<Command> {
    let clone = bench.dir.path().join("own.git");
    git(bench.dir.path(), &["clone", "-q", "--bare", &bench.server.url(), "own.git"]);
    let commits = (0..bench.size).map(|node| {
        let (id, record) = (id(node), bench.record(node).replace("8080", NEW_PORT));
        format!(
            "commit refs/own/{id}\ncommitter n <n@localhost> 1 +0000\ndata 1\nx\nfrom refs/heads/main\n\
             M 100644 inline it/presence/all/{id}.json\ndata {}\n{record}\n",
            record.len()
        )
    });
    import(&clone, &commits.collect::<String>());
    git(&clone, &["pack-refs", "--all"]);
    (0..bench.size)
        .map(|node| {
            let mut command = hermetic("sh");
            command.args(["-c", OWN_REF, "sh"]).arg(&clone).arg(id(node));
            command
        })
        .collect()
}

/// The same shell script for every node, each in its own clone.
fn scripts(bench: &Bench, script: &str) -> Vec<Command> {
    (0..bench.size)
        .map(|node| {
            let dir = bench.node(node);
            git(&dir, &["clone", "-q", &bench.server.url(), "clone"]);
            fs::write(dir.join("record.json"), bench.record(node).replace("8080", NEW_PORT))
                .expect("a record");
            let mut command = hermetic("sh");
            command.args(["-c", script, "sh"]).arg(dir.join("clone")).arg(id(node));
            command
        })
        .collect()
}

fn id(node: usize) -> String {
    format!("i-{node:04}")
}

/// The value that identifies an update.
const NEW_PORT: &str = "8099";

/// A server with a repository, and N nodes with facts and clones.
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
        let server = Server::start(dir.path());
        let bench = Bench { size, dir, server };
        for node in 0..size {
            let info = bench.node(node).join("nodeinfo");
            fs::create_dir_all(&info).expect("a directory");
            for (fact, value) in [
                ("instance-id", id(node)),
                ("nodepart", "app1".into()),
                ("stacktype", "lad1".into()),
                ("address", format!("10.0.{}.{}", node / 250, node % 250 + 1)),
                ("port", "8080".into()),
            ] {
                fs::write(info.join(format!("{fact}.txt")), value).expect("a fact");
            }
        }
        fs::create_dir(bench.directory()).expect("a directory");
        // As if all nodes had published once: into a directory, and from there into one commit.
        let mut commit = String::from("commit refs/heads/main\ncommitter n <n@localhost> 1 +0000\ndata 0\n");
        for node in 0..size {
            let mut publish = bench.presence(node);
            publish
                .env("PRESENCE_STORE", bench.directory())
                .env("PRESENCE_STATE_DIR", bench.dir.path().join("seed"));
            assert!(publish.arg("publish").output().expect("presence runs").status.success());
            let record = bench.record(node);
            commit.push_str(&format!(
                "M 100644 inline it/presence/all/{}.json\ndata {}\n{record}\n",
                id(node),
                record.len()
            ));
        }
        import(&repository, &commit);
        bench
    }

    fn directory(&self) -> PathBuf {
        self.dir.path().join("directory")
    }

    /// The node's previous record.
    fn record(&self, node: usize) -> String {
        let path = self.directory().join(format!("{}.json", id(node)));
        fs::read_to_string(path).expect("a record")
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

    /// How many updates are on the branch or wait on a ref.
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

    /// The CPU seconds of its children that have ended.
    fn cpu(&self) -> f64 {
        // The daemon reaps its children shortly after they end.
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
        fs::read_to_string(&self.log).unwrap_or_default().matches("] ApplyRequest ").count()
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

fn import(repository: &Path, stream: &str) {
    let mut child = hermetic("git")
        .args(["fast-import", "--quiet"])
        .current_dir(repository)
        .stdin(Stdio::piped())
        .spawn()
        .expect("git runs");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(stream.as_bytes()).expect("git reads");
    drop(input);
    assert!(child.wait().expect("git ends").success());
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().expect("cp runs");
    assert!(status.success());
}
