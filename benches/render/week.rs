//! A week of a fleet through a template: each node drains and returns every day, one commit for each change.

use std::path::Path;
use std::process::Command;

use crate::FOLDER;
use crate::fleet;
use crate::machine::Machine;
use crate::measure::{self, Best};

const DAYS: usize = 7;
const WEEK: u64 = 7 * 86_400;

pub(crate) fn run(nodes: usize, runs: usize) {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("list.git");
    let files = fleet::files(nodes, 1);
    fleet::repository(&list, FOLDER, false, &files);
    let first = git(&list, &["rev-parse", "main"]);
    let changes = files.iter().flat_map(|file| [fleet::drained(file), file.clone()]);
    let changes = std::iter::repeat_n(changes, DAYS).flatten();
    let every = WEEK / (2 * DAYS * nodes) as u64;
    let commits = changes.zip(1..).map(|(file, number)| (fleet::SOME_TIME + number * every, vec![file]));
    fleet::commits(&list, FOLDER, false, commits);
    git(&list, &["repack", "-adq"]);
    let commits = git(&list, &["rev-list", "--count", "main"]);
    println!("| {nodes} nodes, {commits} commits | wall | cpu | MB |\n|---|---|---|---|");
    let machine = Machine::new(dir.path(), "list.git");
    let row = |name: &str, words: &[&str]| {
        let best = Best::of(runs, || measure::run(machine.presence(words)));
        println!("| {name} | {best} |");
    };
    let all = commits.as_str();
    row("log", &["log", "--limit", all, "-q"]);
    let replay = ["replay", "--from", &first, "--part", "lb1", "--set", "haproxy_version=2.8", "-q"];
    let with = |words: &[&'static str]| [&replay[..], words].concat();
    row("replay haproxy", &with(&["--render", "haproxy"]));
    row("replay haproxy, runtime", &with(&["--render", "haproxy", "--apply", "runtime"]));
    let scope = ["--render", "haproxy", "--stacktype", "lad1", "--deployment", "fed1"];
    row("replay haproxy, a ninth of the nodes in scope", &with(&scope));
    row("replay hosts", &with(&["--render", "hosts"]));
}

fn git(repository: &Path, words: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(repository).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
