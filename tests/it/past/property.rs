//! The past is rendered as it was rendered then: random histories, over every kind of network.

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::{BEGIN, fast_import, reader, time};
use crate::fixture::machine::{Machine, bare_repository, git};
use crate::fixture::{Host, Repository};

/// What a commit does to the file of a node.
#[derive(Debug, Clone)]
enum Deed {
    /// The node states this state and port, in a record of so many hours after the beginning.
    States(&'static str, u16, i64),
    Leaves,
    /// Somebody edits the file by hand, and it is no record any more.
    Breaks,
    /// Somebody copies the record of another node into it.
    Mimics,
    /// The node has a second file in another folder, with this port and so many hours after the beginning.
    Doubles(u16, i64),
    /// Somebody removes the second file.
    Tidied,
}

/// A node that never leaves, so that the list is always there.
const STAYS: u8 = 9;

fn record(node: u8, state: &str, port: u16, hours: i64) -> String {
    let then = jiff::Timestamp::from_second(BEGIN + 3600 * hours).unwrap().strftime("%Y%m%d-%H%M%S");
    format!(
        r#"{{"filetype":"nodepresence","value":{{"instance-id":"i-{node}","nodepart":"app1","stacktype":"lad1","deployment":"fed1","state":"{state}","statetss":"{then}","ipv4":"10.0.0.{node}","port":"{port}"}}}}"#
    )
}

impl Deed {
    /// The line of `git fast-import`, and the file's new text.
    fn line(&self, node: u8) -> String {
        let (path, second) =
            (format!("it/presence/all/i-{node}.json"), format!("it/presence/all/old/i-{node}.json"));
        let put = |path: &str, text: &str| format!("M 100644 inline {path}\ndata {}\n{text}\n", text.len());
        match self {
            Deed::States(state, port, hours) => put(&path, &record(node, state, *port, *hours)),
            Deed::Leaves => format!("D {path}\n"),
            Deed::Breaks => put(&path, "{ \"filetype\": "),
            Deed::Mimics => put(&path, &record(STAYS, "done", 81, 1)),
            Deed::Doubles(port, hours) => put(&second, &record(node, "done", *port, *hours)),
            Deed::Tidied => format!("D {second}\n"),
        }
    }
}

type History = Vec<Vec<(u8, Deed)>>;

fn histories() -> impl Strategy<Value = History> {
    let state = prop::sample::select(vec!["setup", "done", "draining", "decommissioned", "odd"]);
    // Some records are of the far future, as the clock of the reader is then.
    let hours = prop::sample::select(vec![-1i64, 0, 1, 30]);
    let deed = prop_oneof![
        5 => (state, 80u16..82, hours.clone()).prop_map(|(state, port, hours)| Deed::States(state, port, hours)),
        2 => Just(Deed::Leaves),
        1 => Just(Deed::Breaks),
        1 => Just(Deed::Mimics),
        2 => (82u16..84, hours).prop_map(|(port, hours)| Deed::Doubles(port, hours)),
        1 => Just(Deed::Tidied),
    ];
    prop::collection::vec(prop::collection::vec((1u8..4, deed), 1..3), 3..6)
}

/// Makes these commits, one a minute, and returns their ids. The first one also has a file that is no node's.
fn commit(list: &Repository, history: &History) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("copy.git");
    bare_repository(&copy);
    let mut text = String::new();
    for (number, deeds) in history.iter().enumerate() {
        let seconds = BEGIN + 60 * i64::try_from(number).unwrap();
        let _ =
            writeln!(text, "commit refs/heads/main\ncommitter t <t@localhost> {seconds} +0000\ndata 2\nc");
        if number == 0 {
            text.push_str(&Deed::States("done", 80, 0).line(STAYS));
            text.push_str("M 100644 inline it/presence/all/README\ndata 5\nhello\n");
        }
        deeds.iter().for_each(|(node, deed)| text.push_str(&deed.line(*node)));
    }
    fast_import(&copy, &text);
    list.take(&copy);
    git(&copy, &["log", "--reverse", "--format=%H", "main"]).lines().map(str::to_owned).collect()
}

/// What a reader renders, without a memory of its last output. Its clock stands at `now`, unless that is `None`.
fn rendered(reader: &Machine, now: Option<&str>, args: &[&str]) -> String {
    let _ = fs::remove_dir_all(reader.path("state/targets"));
    let mut command =
        reader.command(&[&["render", "all", "--template-dir", "templates", "-q"], args].concat());
    command.envs(now.map(|now| ("PRESENCE_NOW", now)));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A reader who sees each version come keeps what it renders. Others ask for the same moments later: one that has
/// never seen the list, and one that fetched one of its versions when that was the newest.
fn check(host: &Host, list: &Repository, url: &str, history: &History, seen: usize) {
    let machine = || {
        let machine = reader(url);
        host.admit(&machine);
        machine
    };
    let (live, fresh, shallow) = (machine(), machine(), machine());
    let commits = commit(list, history);
    let minute = |number: usize, seconds| time(i64::try_from(number).unwrap(), seconds);
    let mut then = Vec::new();
    for (number, commit) in commits.iter().enumerate() {
        list.git(["update-ref", "refs/heads/main", commit]);
        then.push(rendered(&live, Some(&minute(number, 10)), &[]));
        if number == seen % commits.len() {
            assert_eq!(rendered(&shallow, Some(&minute(number, 10)), &[]), then[number]);
        }
    }
    for (number, expect) in then.iter().enumerate() {
        // Each begins with what is farthest from what it has.
        let other = commits.len() - 1 - number;
        assert_eq!(&rendered(&fresh, None, &["--at", &minute(number, 59)]), expect, "{url} {number} by time");
        assert_eq!(
            rendered(&fresh, None, &["--at", &commits[other]]),
            then[other],
            "{url} {other} by commit"
        );
        assert_eq!(rendered(&shallow, None, &["--at", &commits[other]]), then[other], "{url} {other} again");
        assert_eq!(
            &rendered(&shallow, None, &["--at", &minute(number, 0)]),
            expect,
            "{url} {number} by time again"
        );
    }
    git(&shallow.mirror(), &["fsck", "--strict"]);
}

#[test]
fn the_past_is_rendered_as_it_was_over_every_kind_of_network() {
    let name = Cell::new(0);
    for host in Host::each() {
        let config = ProptestConfig {
            cases: 2,
            max_shrink_iters: 30,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let run = |(history, seen): (History, usize)| {
            name.set(name.get() + 1);
            let name = format!("list-{}.git", name.get());
            check(&host, &host.repository(&name), &host.url(&name), &history, seen);
            Ok(())
        };
        TestRunner::new(config).run(&(histories(), 0usize..6), run).unwrap();
    }
}
