//! Renders `haproxy.cfg` from fleets of several sizes, in a directory and in a repository, beside what else could read
//! them. `cargo bench --bench side_by_side -- --nodes 1000,10000 --runs 7`; see README.md beside this folder.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that meets a surprise must stop, and it prints"
)]

mod measure;

#[path = "../../tests/it/fixture/fleet.rs"]
mod fleet;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fleet::File;
use measure::Best;

const FOLDER: &str = "it/presence/all";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let Some((mode, rest)) = args.split_first()
        && measure::is_inner(mode, rest)
    {
        return;
    }
    let value = |name: &str| args.iter().position(|arg| arg == name).map(|at| args[at + 1].clone());
    let nodes = value("--nodes").unwrap_or_else(|| "100,1000,10000".to_owned());
    let runs = value("--runs").map_or(5, |runs| runs.parse().unwrap());
    println!("best of {runs} runs: wall ms, user + system ms, peak MB\n");
    let dir = tempfile::tempdir().unwrap();
    start(dir.path(), runs);
    for nodes in nodes.split(',') {
        let nodes = nodes.parse().unwrap();
        let dir = tempfile::tempdir().unwrap();
        side_by_side(dir.path(), nodes, runs);
    }
}

/// What every command pays before it does anything.
fn start(dir: &Path, runs: usize) {
    println!("| start | wall | cpu | MB |\n|---|---|---|---|");
    let machine = Machine::new(dir, "none");
    fs::write(machine.dir.join("nodeinfo/instance-id.txt"), "i-1\n").unwrap();
    for words in [&["--version"][..], &["emit"]] {
        let best = Best::of(runs, || measure::run(machine.presence(words)));
        println!("| presence {} | {best} |", words.join(" "));
    }
    println!();
}

fn side_by_side(dir: &Path, nodes: usize, runs: usize) {
    let files = fleet::files(nodes, 1);
    let changed: Vec<File> = [nodes / 3, nodes / 2].iter().map(|at| fleet::drained(&files[*at])).collect();
    let before: Vec<File> = [nodes / 3, nodes / 2].iter().map(|at| files[*at].clone()).collect();
    let folder = dir.join("directory").join(FOLDER);
    fleet::directory(&folder, &files);
    for (name, sharded) in [("flat.git", false), ("sharded.git", true)] {
        fleet::repository(&dir.join(name), FOLDER, sharded, &files);
    }
    drop(files);
    // Younger files than that are read again each time, since their times say nothing yet.
    std::thread::sleep(Duration::from_millis(2_500));
    println!("| {nodes} nodes | wall | cpu | MB |\n|---|---|---|---|");
    others(dir, &folder, runs);
    for store in ["directory", "flat.git", "sharded.git"] {
        let machine = Machine::new(dir, store);
        let change = |files: &[File]| match store {
            "directory" => fleet::directory(&folder, files),
            git => fleet::commit(&dir.join(git), FOLDER, git == "sharded.git", files),
        };
        presence(&machine, store, runs, &change, [&changed, &before]);
    }
    println!();
}

/// The floors, and the readers of others. None of them renders anything.
fn others(dir: &Path, folder: &Path, runs: usize) {
    for threads in ["1", "2"] {
        let best =
            Best::of(runs, || measure::run(measure::inner(&["read", folder.to_str().unwrap(), threads])));
        println!("| read all files, {threads} thread(s) | {best} |");
    }
    let repository = dir.join("flat.git");
    let oids = dir.join("oids");
    let list = format!(
        "git -C {} ls-tree -r --format='%(objectname)' main > {}",
        repository.display(),
        oids.display()
    );
    assert!(shell(&list).status().unwrap().success());
    let best = Best::of(runs, || {
        let mut command = Command::new("git");
        command.args(["-C", repository.to_str().unwrap(), "cat-file", "--batch"]);
        measure::run_on(oids.to_str().unwrap(), command)
    });
    println!("| git cat-file --batch | {best} |");
    let python = "import glob,json,sys
for path in glob.glob(sys.argv[1] + '/*.json'):
    with open(path) as file:
        json.load(file)";
    let best = Best::of(runs.min(3), || {
        let mut command = Command::new("python3");
        command.args(["-c", python, folder.to_str().unwrap()]);
        measure::run(command)
    });
    println!("| Python: json.load of each file | {best} |");
    let best = Best::of(runs.min(3), || {
        measure::run(shell(&format!(
            "find {} -name '*.json' -exec cat {{}} + | jq -s length",
            folder.display()
        )))
    });
    println!("| jq -s | {best} |");
}

fn presence(machine: &Machine, store: &str, runs: usize, change: &dyn Fn(&[File]), changes: [&[File]; 2]) {
    let render =
        || measure::run(machine.presence(&["render", "haproxy", "--part", "lb1", "-q", "-o", "haproxy.cfg"]));
    let best = Best::of(runs, || {
        machine.forget("state");
        machine.forget("haproxy.cfg");
        render()
    });
    println!("| presence, {store}: cold | {best} |");
    let best = Best::of(runs, || {
        machine.forget("state/targets");
        machine.forget("haproxy.cfg");
        render()
    });
    println!("| presence, {store}: warm | {best} |");
    render();
    let best = Best::of(runs, render);
    println!("| presence, {store}: nothing changed | {best} |");
    let mut turn = changes.iter().cycle();
    let best = Best::of(runs, || {
        change(turn.next().unwrap());
        render()
    });
    println!("| presence, {store}: two nodes changed | {best} |");
    change(changes[1]);
}

/// A machine of its own for one store.
struct Machine {
    dir: PathBuf,
    store: PathBuf,
}

impl Machine {
    fn new(dir: &Path, store: &str) -> Machine {
        let machine = Machine { dir: dir.join(format!("machine-{store}")), store: dir.join(store) };
        fs::create_dir_all(machine.dir.join("nodeinfo")).unwrap();
        fs::write(machine.dir.join("presence.toml"), "").unwrap();
        machine
    }

    fn presence(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_presence"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", &self.dir)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("PRESENCE_CONFIG", "presence.toml")
            .env("PRESENCE_NODEINFO", "nodeinfo")
            .env("PRESENCE_STATE_DIR", "state")
            .env("PRESENCE_STORE", &self.store)
            .current_dir(&self.dir)
            .args(words);
        command
    }

    fn forget(&self, name: &str) {
        let path = self.dir.join(name);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else if path.exists() {
            fs::remove_file(path).unwrap();
        }
    }
}

fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}
