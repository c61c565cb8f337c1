//! One node changes in a fleet of a given size, and one reader looks: over each protocol, next to the script
//! of 2015.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::SCRIPT_OF_2015;
use crate::fixture::machine::Machine;
use crate::fixture::{Host, Repository, fleet};
use crate::measure::{Relay, children_cpu, machine_cpu};

const FOLDER: &str = "it/presence/all";

/// The number of runs of each operation; the best is reported.
const ROUNDS: usize = 10;

pub(crate) fn run(nodes: usize) {
    println!(
        "| {nodes} nodes | wall ms | CPU ms of the client | CPU ms of all else | bytes sent | bytes received | connections |"
    );
    println!("|---|---|---|---|---|---|---|");
    for host in Host::each() {
        for (tree, hashed) in [("flat", false), ("256 folders", true)] {
            Lone::new(nodes, &host, tree, hashed).run();
        }
    }
}

/// The cost of one run.
struct Round {
    wall: Duration,
    /// CPU seconds of the command, and of everything else on this machine meanwhile.
    own: f64,
    rest: f64,
    carried: [u64; 3],
}

struct Lone<'a> {
    nodes: usize,
    /// The protocol and the layout of the folder.
    name: String,
    hashed: bool,
    relay: Relay,
    list: Repository,
    machine: Machine,
    _host: &'a Host,
}

impl Lone<'_> {
    fn new<'a>(nodes: usize, host: &'a Host, tree: &str, hashed: bool) -> Lone<'a> {
        let repository = format!("{}.git", tree.replace(' ', "-"));
        let list = host.repository(&repository);
        list.git(["symbolic-ref", "HEAD", "refs/heads/main"]);
        fleet::repository(&path(&list), FOLDER, hashed, &fleet::files(nodes, 1));
        let relay = Relay::start(host.address());
        let url = host.url_through(&repository, relay.address);
        let scheme = url.split("://").next().unwrap().to_owned();
        let layout = if hashed { "layout = \"{hash}/{instance-id}.json\"\n" } else { "" };
        let machine = Machine::new("app1").config(layout).store(url);
        host.admit(&machine);
        machine.good(&["publish"]);
        Lone { nodes, name: format!("{scheme}, {tree}"), hashed, relay, list, machine, _host: host }
    }

    fn run(&self) {
        let presence = |words: &[&str]| self.machine.command(words);
        self.row("publish, a change", |round| {
            self.machine.fact("port", 1000 + round);
            presence(&["publish"])
        });
        self.row("publish, unchanged", |_| presence(&["publish"]));
        self.row("beat", |_| presence(&["beat"]));
        self.row("list, nothing new", |_| presence(&["list", "--format", "ids"]));
        let files = fleet::files(self.nodes, 1);
        self.row("list, 1% changed", |round| {
            let some = files.iter().skip(round).step_by(100);
            let some: Vec<fleet::File> = match round % 2 {
                0 => some.map(fleet::drained).collect(),
                _ => some.cloned().collect(),
            };
            fleet::commit(&path(&self.list), FOLDER, self.hashed, &some);
            presence(&["list", "--format", "ids"])
        });
        self.row("list, from nothing", |_| {
            let state = self.machine.path("other-state");
            let _ = fs::remove_dir_all(&state);
            presence(&["list", "--format", "ids", "--state-dir", state.to_str().unwrap()])
        });
        if !self.hashed {
            self.script();
        }
    }

    fn script(&self) {
        let url = presence_store(&self.machine);
        let ssh = format!(
            "ssh -o UserKnownHostsFile={0}/known_hosts -i {0}/id_ed25519",
            self.machine.path("home/.ssh").display()
        );
        let hermetic = |program: &str| {
            let mut command = Command::new(program);
            command
                .env("HOME", self.machine.path("home"))
                .env("GIT_SSH_COMMAND", &ssh)
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env("GIT_AUTHOR_NAME", "n")
                .env("GIT_AUTHOR_EMAIL", "n@localhost")
                .env("GIT_COMMITTER_NAME", "n")
                .env("GIT_COMMITTER_EMAIL", "n@localhost")
                .current_dir(self.machine.path(""))
                .stderr(Stdio::null());
            command
        };
        assert!(hermetic("git").args(["clone", "-q", &url, "clone"]).status().unwrap().success());
        self.row("the script of 2015", |round| {
            fs::write(self.machine.path("record.json"), format!("{round}\n")).unwrap();
            let mut command = hermetic("sh");
            command.args(["-c", SCRIPT_OF_2015, "sh", "clone", "i-script"]);
            command
        });
    }

    /// Prepares each run, runs the command that `command` returns, and prints the best result.
    fn row(&self, what: &str, command: impl Fn(usize) -> Command) {
        let mut rounds: Vec<Round> = (0..ROUNDS)
            .map(|round| {
                let mut command = command(round);
                let (own, all, carried) = (children_cpu(), machine_cpu(), self.relay.carried());
                let started = Instant::now();
                let output = command.output().unwrap();
                let wall = started.elapsed();
                assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
                let own = children_cpu() - own;
                // The server ends shortly afterwards, and so does the relay.
                std::thread::sleep(Duration::from_millis(100));
                let now = self.relay.carried();
                let carried = [0, 1, 2].map(|index| now[index] - carried[index]);
                Round { wall, own, rest: machine_cpu() - all - own, carried }
            })
            .collect();
        let mean = |of: fn(&Round) -> f64| rounds.iter().map(of).sum::<f64>() * 1000.0 / ROUNDS as f64;
        let (own, rest) = (mean(|round| round.own), mean(|round| round.rest));
        rounds.sort_by_key(|round| round.wall);
        let [sent, received, connections] = rounds[0].carried;
        let wall = rounds[0].wall.as_secs_f64() * 1000.0;
        println!(
            "| {}: {what} | {wall:.1} | {own:.0} | {rest:.0} | {sent} | {received} | {connections} |",
            self.name
        );
    }
}

fn path(list: &Repository) -> PathBuf {
    list.git(["rev-parse", "--absolute-git-dir"]).trim().into()
}

/// The store of a machine with a single store.
fn presence_store(machine: &Machine) -> String {
    let command = machine.command(&[]);
    let store = command.get_envs().find(|(name, _)| *name == "PRESENCE_STORE");
    store.and_then(|(_, value)| value).unwrap().to_string_lossy().into_owned()
}
