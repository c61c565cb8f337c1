//! The copy of the history that looks at the past use: what it leaves alone, and what becomes of it under faults.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::fixture::machine::{Machine, Outcome, git};
use crate::fixture::terminal::Terminal;
use crate::fixture::{GitDaemon, Host, Repository, fleet};
use crate::past::{Edit, import};

/// The longest wait for something that must happen.
const LIMIT: Duration = Duration::from_secs(120);

/// A history of that many commits after the first: a node joins, and changes its port in each.
fn history(changes: u16) -> Vec<Vec<Edit>> {
    let first = vec![(1, Some(("done", 80))), (2, Some(("done", 80)))];
    let rest = (1..=changes).map(|number| vec![(1, Some(("done", 80 + number)))]);
    std::iter::once(first).chain(rest).collect()
}

/// Gives the repository that history. Returns its commits, the oldest first.
fn give(list: &Repository, commits: &[Vec<Edit>]) -> Vec<String> {
    list.git(["symbolic-ref", "HEAD", "refs/heads/main"]);
    import(list.path(), commits)
}

/// The directory of the only store that this machine has used.
fn place(machine: &Machine) -> PathBuf {
    fs::read_dir(machine.path("state/stores")).unwrap().next().unwrap().unwrap().path()
}

/// The whole log, as ports and words.
fn log(machine: &Machine) -> Outcome {
    machine.run(&["log", "--limit", "100000"])
}

fn is_shallow(repository: &Path) -> bool {
    git(repository, &["rev-parse", "--is-shallow-repository"]) == "true\n"
}

#[test]
fn the_history_is_beside_the_mirror() {
    for host in Host::each() {
        let list = host.repository("list.git");
        let commits = give(&list, &history(5));
        let reader = Machine::new("lb1").store(host.url("list.git"));
        host.admit(&reader);
        assert_eq!(reader.good(&["list", "--format", "ids"]), "i-1\ni-2\n");
        let past = place(&reader).join("past/mirror.git");
        assert!(!past.exists(), "nobody has looked back");
        assert_eq!(log(&reader).code(0).stdout.lines().count(), 7);
        assert!(is_shallow(&reader.mirror()) && !is_shallow(&past));
        for repository in [&reader.mirror(), &past] {
            git(repository, &["fsck", "--strict"]);
        }
        // What is there is not fetched again: the server may lose it.
        list.git(["update-ref", "-d", "refs/heads/main"]);
        let then =
            reader.run(&["list", "--at", &commits[2], "--where", "port=82", "--format", "ids"]).code(0);
        assert_eq!(then.stdout, "i-1\n");
    }
}

#[test]
fn nobody_waits_for_those_who_look_back() {
    let server = GitDaemon::start();
    let list = server.repository("list.git");
    give(&list, &history(3));
    let node = Machine::new("app1").store(server.url("list.git"));
    node.configure("[timeouts]\nhistory = 1\n");
    log(&node).code(0);
    let lock = fs::File::options().write(true).open(place(&node).join("past/lock")).unwrap();
    lock.lock().unwrap();
    log(&node).code(1).says("past/lock` for ").says("`history` in `[timeouts]`");
    node.good(&["publish"]);
    node.good(&["list"]);
    node.good(&["beat"]);
    drop(lock);
    assert_eq!(log(&node).code(0).stdout.lines().count(), 6);
}

#[test]
fn a_damaged_copy_of_the_history_is_made_anew() {
    let server = GitDaemon::start();
    let list = server.repository("list.git");
    let commits = give(&list, &history(40));
    let reader = Machine::new("lb1").store(server.url("list.git"));
    let expect = log(&reader).code(0).stdout;
    assert_eq!(expect.lines().count(), 42);
    let past = place(&reader).join("past");
    let pack = |ending: &str| {
        let mut entries = fs::read_dir(past.join("mirror.git/objects/pack")).unwrap();
        let found = entries.find(|entry| entry.as_ref().unwrap().path().extension().unwrap() == ending);
        found.unwrap().unwrap().path()
    };
    let overwrite = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let damages: [(&str, &dyn Fn()); 9] = [
        ("a pack of zeros", &|| overwrite(&pack("pack"), &|bytes| bytes[12..].fill(0))),
        ("half a pack", &|| overwrite(&pack("pack"), &|bytes| bytes.truncate(bytes.len() / 2))),
        ("no pack", &|| fs::remove_file(pack("pack")).unwrap()),
        ("an index of zeros", &|| overwrite(&pack("idx"), &|bytes| bytes[8..].fill(0))),
        ("no index", &|| fs::remove_file(pack("idx")).unwrap()),
        ("no list of refs", &|| fs::remove_file(past.join("heads")).unwrap()),
        ("a list of refs that is none", &|| fs::write(past.join("heads"), "x\n").unwrap()),
        ("a crash", &|| fs::write(past.join("in-use"), "").unwrap()),
        ("a file in its place", &|| {
            fs::remove_dir_all(past.join("mirror.git")).unwrap();
            fs::write(past.join("mirror.git"), "x").unwrap();
        }),
    ];
    for (name, damage) in damages {
        damage();
        let outcome = log(&reader);
        assert!(outcome.code == Some(0) && outcome.stdout == expect, "{name}: {outcome}");
        damage();
        let then = reader.run(&["list", "--at", &commits[7], "--where", "port=87", "--format", "ids"]);
        assert!(then.code == Some(0) && then.stdout == "i-1\n", "{name}: {then}");
        let then = reader.run(&["list", "--at", "2026-01-01 00:07", "--where", "port=87", "--format", "ids"]);
        assert!(then.code == Some(0) && then.stdout == "i-1\n", "{name}: {then}");
        assert_eq!(log(&reader).code(0).stdout, expect, "{name}");
    }
}

#[test]
fn a_history_that_was_replaced_after_the_first_look_is_the_new_one() {
    for host in Host::each() {
        let list = host.repository("list.git");
        let old = give(&list, &history(5));
        let reader = Machine::new("lb1").store(host.url("list.git"));
        host.admit(&reader);
        assert_eq!(log(&reader).code(0).stdout.lines().count(), 7);
        // Another history, at the same times.
        let other: Vec<Vec<Edit>> = (0..4).map(|number| vec![(3, Some(("done", 9000 + number)))]).collect();
        give(&list, &other);
        let ports = |outcome: Outcome| outcome.code(0).stdout.matches("9003").count();
        assert_eq!(ports(log(&reader)), 1);
        let at = |moment: &str, port: &str| {
            let port = format!("port={port}");
            reader.run(&["list", "--at", moment, "--where", &port, "--format", "ids"]).code(0).stdout
        };
        assert_eq!(at("2026-01-01 00:01", "9001"), "i-3\n", "by its time: what the branch has now");
        assert_eq!(at(&old[1], "81"), "i-1\n", "by its commit: what that commit has");
        // All in one commit.
        list.git(["update-ref", "refs/heads/main", &old[5]]);
        let tree = list.git(["rev-parse", "main^{tree}"]);
        let squashed = list.git(["commit-tree", tree.trim(), "-m", "squashed"]);
        list.git(["update-ref", "refs/heads/main", squashed.trim()]);
        let lines = log(&reader).code(0).stdout;
        assert_eq!(lines.matches("joined by then").count(), 2, "{lines}");
        assert_eq!(lines.lines().count(), 2, "{lines}");
    }
}

#[test]
fn two_may_look_back_at_once() {
    let server = GitDaemon::start();
    let list = server.repository("list.git");
    give(&list, &history(300));
    let reader = Machine::new("lb1").store(server.url("list.git"));
    reader.good(&["list"]);
    let start =
        |args: &[&str]| reader.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for round in 0..5 {
        let children = [
            start(&["log", "--limit", "100000"]),
            start(&["list", "--at", "2026-01-01 00:07", "--where", "port=87", "--format", "ids"]),
            start(&["log", "--limit", "100000"]),
        ];
        let outputs = children.map(|child| child.wait_with_output().unwrap());
        let texts = outputs.each_ref().map(|output| {
            assert!(output.status.success(), "{round}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout)
        });
        assert_eq!(texts[1], "i-1\n", "{round}");
        assert!(texts[0] == texts[2] && texts[0].lines().count() == 302, "{round}");
        fs::remove_dir_all(place(&reader).join("past")).unwrap();
    }
}

#[test]
fn who_looks_back_may_be_killed_at_any_time() {
    let server = GitDaemon::start();
    let list = server.repository("list.git");
    give(&list, &history(300));
    let reader = Machine::new("lb1").store(server.url("list.git"));
    reader.good(&["list"]);
    let past = place(&reader).join("past");
    let expect = log(&reader).code(0).stdout;
    for round in 0..40 {
        fs::remove_dir_all(&past).unwrap();
        let mut command = reader.command(&["log", "--limit", "100000"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(round * 4));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(log(&reader).code(0).stdout, expect, "round {round}");
        git(&past.join("mirror.git"), &["fsck", "--strict"]);
    }
    // What is left of a mirror that was being made is removed when the next one is made.
    let left = past.join(".mirror-left");
    fs::create_dir(&left).unwrap();
    let packs = past.join("mirror.git/objects/pack");
    for number in 0..300 {
        fs::write(packs.join(format!("pack-{number}.keep")), "").unwrap();
    }
    assert_eq!(log(&reader).code(0).stdout, expect);
    assert!(!left.exists() && !is_shallow(&past.join("mirror.git")));
}

/// Waits until the terminal got that text.
fn wait_for(terminal: &Terminal, text: &str) {
    let begin = Instant::now();
    while !terminal.seen().contains(text) {
        assert!(begin.elapsed() < LIMIT, "no {text:?} on the terminal\n{}", terminal.seen());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_terminal_shows_how_far_a_look_back_has_come() {
    let server = GitDaemon::start();
    let list = server.repository("list.git");
    let commits = give(&list, &history(3));
    let reader = Machine::new("lb1").store(server.url("list.git"));
    server.hang();
    let terminal = Terminal::start(&reader, &["log"], 80, 24);
    wait_for(&terminal, "waiting for the server");
    server.go_on();
    let (code, seen) = terminal.end();
    assert!(code == Some(0) && seen.contains("joined by then"), "{seen}");
    let after = seen.rsplit("waiting for the server").next().unwrap();
    assert!(after.starts_with("\r\x1b[K"), "it is removed: {seen:?}");

    // A walk that stops at its third commit: whoever opens that object waits for ever.
    let reader = Machine::new("lb1").store("list.git");
    let copy = reader.path("list.git");
    git(
        reader.path("").as_path(),
        &["clone", "--quiet", "--mirror", &list.path().display().to_string(), "list.git"],
    );
    let objects = copy.join("objects");
    for entry in fs::read_dir(objects.join("pack")).unwrap() {
        let pack = entry.unwrap().path();
        if pack.extension().is_some_and(|extension| extension == "pack") {
            let moved = reader.path("moved.pack");
            fs::rename(&pack, &moved).unwrap();
            let input = fs::File::open(&moved).unwrap();
            let unpacked =
                Command::new("git").args(["unpack-objects", "-q"]).current_dir(&copy).stdin(input).status();
            assert!(unpacked.unwrap().success());
        }
    }
    let _ = fs::remove_dir_all(objects.join("pack"));
    reader.good(&["list"]);
    let (folder, name) = commits[1].split_at(2);
    let object = objects.join(folder).join(name);
    fs::remove_file(&object).unwrap();
    assert!(Command::new("mkfifo").arg(&object).status().unwrap().success());
    let terminal = Terminal::start(&reader, &["log"], 80, 24);
    wait_for(&terminal, "reading the history: 1 commits");
}

/// The program with that much memory for its data, in KiB.
fn within(machine: &Machine, kib: u64, args: &[&str]) -> Outcome {
    let program = machine.command(args);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -d {kib} && exec \"$0\" \"$@\"")]);
    command.arg(program.get_program()).args(program.get_args());
    command.current_dir(machine.path("")).env_clear();
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    machine.outcome(command)
}

/// The most memory for the data of a walk, in KiB. The records of the history are twice as much.
const MOST: u64 = 16 * 1024;

#[test]
fn a_walk_keeps_no_records() {
    let server = GitDaemon::start();
    let list = server.repository("list.git");
    list.git(["symbolic-ref", "HEAD", "refs/heads/main"]);
    let mut random = fleet::Random(3);
    let commits = (0..1_000u64).map(|number| {
        let notes: String = (0..2_000).map(|_| format!("{:016x}", random.next())).collect();
        let text = format!(
            r#"{{"filetype":"nodepresence","value":{{"instance-id":"i-1","nodepart":"app1","notes":"{notes}"}}}}"#
        );
        (fleet::SOME_TIME + number, vec![("i-1.json".to_owned(), text)])
    });
    fleet::commits(list.path(), "it/presence/all", false, commits);
    let reader = Machine::new("lb1").store(server.url("list.git"));
    assert_eq!(reader.good(&["log", "--part", "db*"]), "");
    for args in
        [&["log", "--part", "db*"][..], &["log", "--limit", "5"], &["list", "--at", "2015-10-16 12:55"]]
    {
        within(&reader, MOST, args).code(0);
    }
}
