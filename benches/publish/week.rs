//! What a week of a fleet leaves behind: each node changes twice a day and beats every minute.
//!
//! `git fast-import` makes the commits, one per change, as publishing does. Of the ten million heartbeats,
//! only some rounds are real. Their traces are replaced each time and printed after each round.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::fixture::machine::{Machine, git};
use crate::fixture::{GitDaemon, Repository, fleet};

const FOLDER: &str = "it/presence/all";
const CHANGES: usize = 7 * 2;
const ROUNDS: usize = 2;

pub(crate) fn run(nodes: usize) {
    let server = GitDaemon::start();
    let (list, url) = (server.repository("list.git"), server.url("list.git"));
    list.git(["symbolic-ref", "HEAD", "refs/heads/main"]);
    // Automatic gc is replaced by one before each row.
    list.configure("gc.auto", "0");
    let place = list.git(["rev-parse", "--absolute-git-dir"]);
    let place = Path::new(place.trim());
    let files = fleet::files(nodes, 1);
    fleet::repository(place, FOLDER, false, &files);
    // Nodes of their own: the imported nodes change without running.
    let machines: Vec<Machine> = (0..nodes)
        .map(|node| Machine::new("app1").with("instance-id", format!("b-{node}")).store(&url))
        .collect();
    machines.iter().for_each(|machine| drop(machine.good(&["publish"])));
    println!(
        "| {nodes} nodes | commits | server KiB | `git clone` KiB | `git clone --mirror` KiB | a node's mirror KiB | its first `list` ms |"
    );
    println!("|---|---|---|---|---|---|---|");
    row("on the first day", &list, &url, place);
    for round in 0..CHANGES {
        let change = |file: &fleet::File| match round % 2 {
            0 => fleet::drained(file),
            _ => file.clone(),
        };
        let each = files.iter().map(|file| (fleet::SOME_TIME, vec![change(file)]));
        fleet::commits(place, FOLDER, false, each);
    }
    // A publisher removes what the last one left over; the import has not done that.
    machines[0].fact("port", 9001);
    machines[0].good(&["publish"]);
    row("after a week of changes", &list, &url, place);
    for round in 0..ROUNDS {
        // As many at a time as there are processors: the phases of a fleet spread the beats over the minute.
        for some in machines.chunks(4) {
            let beats: Vec<Child> = some.iter().map(|machine| beat(machine, round)).collect();
            for mut beat in beats {
                assert!(beat.wait().unwrap().success());
            }
        }
        row(&format!("and {} heartbeats of each", round + 1), &list, &url, place);
    }
}

fn beat(machine: &Machine, minute: usize) -> Child {
    let mut command = machine.command(&["beat"]);
    command.env("PRESENCE_NOW", format!("2026-01-02T03:{minute:02}:00Z"));
    command.stdout(Stdio::null()).spawn().unwrap()
}

fn row(when: &str, list: &Repository, url: &str, place: &Path) {
    // As the server's administrator would: replaced objects are garbage.
    list.git(["gc", "--quiet", "--prune=now"]);
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["clone", "--quiet", "--no-checkout", url, "clone"]);
    git(dir.path(), &["clone", "--quiet", "--mirror", url, "mirror"]);
    let reader = Machine::new("lb1").store(url);
    let started = Instant::now();
    // States that no table lists cause a warning.
    reader.run(&["list", "--format", "ids"]).code(0);
    let first = started.elapsed().as_millis();
    println!(
        "| {when} | {} | {} | {} | {} | {} | {first} |",
        list.git(["rev-list", "--count", "HEAD"]).trim(),
        size(place),
        size(&dir.path().join("clone")),
        size(&dir.path().join("mirror")),
        size(&reader.mirror()),
    );
}

/// In KiB, as `du` reports.
fn size(path: &Path) -> String {
    let output = Command::new("du").arg("-sk").arg(path).output().unwrap();
    String::from_utf8_lossy(&output.stdout).split_whitespace().next().unwrap_or("?").to_owned()
}
