//! Renders `haproxy.cfg` for fleets of several sizes, from a directory and from a repository, next to other
//! readers. `cargo bench --bench render -- --nodes 1000,10000 --runs 7`; with `--dir DIR`, the fleets are
//! kept there and reused. `cargo bench --bench render -- week 1000 --runs 1` replays a week. See README.md beside this folder.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that meets a surprise must stop, and it prints"
)]

mod machine;
mod measure;
mod week;

#[path = "../../tests/it/fixture/fleet.rs"]
mod fleet;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fleet::File;
use machine::Machine;
use measure::Best;

const FOLDER: &str = "it/presence/all";

/// What `buildLiveServerJson` does: loads all files of a folder one by one, and dumps them as one list.
const READER_OF_2015: &str = "import glob, json, sys
nodes = []
for path in glob.glob(sys.argv[1] + '/*.json'):
    with open(path) as file:
        nodes.append(json.load(file)['value'])
json.dump(nodes, sys.stdout)";

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
    if args.first().is_some_and(|mode| mode == "week") {
        let nodes = args.get(1).map_or(1_000, |nodes| nodes.parse().unwrap());
        return week::run(nodes, runs);
    }
    println!("best of {runs} runs: wall ms, user + system ms, peak MB\n");
    let dir = tempfile::tempdir().unwrap();
    start(dir.path(), runs);
    for nodes in nodes.split(',') {
        let count = nodes.parse().unwrap();
        match value("--dir") {
            Some(kept) => side_by_side(&Path::new(&kept).join(nodes), count, runs),
            None => side_by_side(tempfile::tempdir().unwrap().path(), count, runs),
        }
    }
}

/// The start-up cost of every command.
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
    if !folder.exists() {
        fleet::directory(&folder, &files);
        for (name, sharded) in [("flat.git", false), ("sharded.git", true)] {
            fleet::repository(&dir.join(name), FOLDER, sharded, &files);
        }
    }
    drop(files);
    // Younger files are read again each time, since their times prove nothing yet.
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

/// Lower bounds, and other readers. None of them renders anything.
fn others(dir: &Path, folder: &Path, runs: usize) {
    for what in ["read", "parse"] {
        for threads in ["1", "2"] {
            let words = [what, folder.to_str().unwrap(), threads];
            let best = Best::of(runs, || measure::run(measure::inner(&words)));
            println!("| floor: {what} all files, {threads} thread(s) | {best} |");
        }
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
    // Not `python3` from PATH, which may be a wrapper script that searches for the interpreter.
    let which = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    let python = String::from_utf8(which.stdout).unwrap();
    let best = Best::of(runs.min(3), || {
        let mut command = Command::new(python.trim());
        command.args(["-c", READER_OF_2015, folder.to_str().unwrap()]);
        measure::run(command)
    });
    println!("| the Python reader of 2015 | {best} |");
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
    // A younger output is read each time. An older one is read once more, and known afterwards.
    std::thread::sleep(Duration::from_millis(2_500));
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

fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}
