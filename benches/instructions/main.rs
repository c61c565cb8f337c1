//! Counts the instructions of the most frequent operations, next to the accepted counts: this shows a
//! regression on any machine, busy or not. `cargo bench --bench instructions`; with `-- --accept`, the
//! present counts become the accepted ones. See README.md beside this folder.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that meets a surprise must stop, and it prints"
)]

#[path = "../../tests/it/fixture/fleet.rs"]
#[expect(dead_code, reason = "another bench needs the rest")]
mod fleet;
#[path = "../../tests/it/fixture/instructions.rs"]
mod instructions;
#[path = "../render/machine.rs"]
mod machine;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use instructions::instructions;
use machine::Machine;

const FOLDER: &str = "it/presence/all";

/// Counts may differ by this share between versions of the compiler, libc and git.
const TOLERANCE: f64 = 0.1;

type Counts = BTreeMap<String, u64>;

fn main() -> ExitCode {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/expected.txt");
    let now = counts();
    if std::env::args().any(|arg| arg == "--accept") {
        let lines = now.iter().map(|(name, count)| format!("{count:>12} {name}\n"));
        fs::write(file, lines.collect::<String>()).unwrap();
        return ExitCode::SUCCESS;
    }
    let text = fs::read_to_string(file).unwrap();
    let expected: Counts = text
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(count, name)| (name.to_owned(), count.parse().unwrap()))
        .collect();
    let mut good = expected.len() == now.len();
    println!("| | instructions | were | |\n|---|---|---|---|");
    for (name, count) in &now {
        let before = expected.get(name).copied().unwrap_or_default();
        let share = *count as f64 / before as f64 - 1.0;
        let fits = share.abs() <= TOLERANCE;
        good &= fits;
        println!("| {name} | {count} | {before} | {:+.1}%{} |", share * 100.0, if fits { "" } else { " !" });
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn counts() -> Counts {
    let mut counts = Counts::new();
    let dir = tempfile::tempdir().unwrap();
    let mut count = |name: String, machine: &Machine, words: &[&str]| {
        counts.insert(name, instructions(&machine.presence(words)));
    };

    fleet::repository(&dir.path().join("empty.git"), FOLDER, false, &fleet::files(3, 1));
    let node = Machine::new(dir.path(), "empty.git");
    fs::write(node.dir.join("nodeinfo/instance-id.txt"), "i-1\n").unwrap();
    count("--version".to_owned(), &node, &["--version"]);
    count("emit".to_owned(), &node, &["emit"]);
    instructions(&node.presence(&["publish"]));
    count("publish, unchanged".to_owned(), &node, &["publish"]);

    let mut machines = Vec::new();
    for nodes in [1_000, 10_000] {
        let dir = dir.path().join(nodes.to_string());
        let files = fleet::files(nodes, 1);
        fleet::directory(&dir.join("directory").join(FOLDER), &files);
        fleet::repository(&dir.join("flat.git"), FOLDER, false, &files);
        machines.extend(["directory", "flat.git"].map(|store| (nodes, store, Machine::new(&dir, store))));
    }
    // Younger files are read again each time, since their times prove nothing yet.
    let settle = || std::thread::sleep(Duration::from_millis(2_500));
    let render = ["render", "haproxy", "--part", "lb1", "-q", "-o", "haproxy.cfg"];
    settle();
    for (nodes, store, machine) in &machines {
        count(format!("render {nodes}, {store}: cold"), machine, &render);
        machine.forget("state/targets");
        machine.forget("haproxy.cfg");
        count(format!("render {nodes}, {store}: warm"), machine, &render);
    }
    settle();
    for (nodes, store, machine) in &machines {
        // Checks the file and records its key. This must run under callgrind as well: presence does not trust
        // the memory of another program, and the system sees callgrind as one.
        instructions(&machine.presence(&render));
        count(format!("render {nodes}, {store}: unchanged"), machine, &render);
    }
    counts
}
