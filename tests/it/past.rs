//! The list as it was: `--at`, `log`, `diff` and `show --history`, over histories of which each byte is known.

#[cfg(all(feature = "https", feature = "ssh"))]
mod property;
#[cfg(all(feature = "https", feature = "ssh"))]
mod unknown;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;

#[cfg(all(feature = "https", feature = "ssh"))]
use crate::fixture::Host;
use crate::fixture::machine::{Machine, Outcome, bare_repository, git};

/// The time of the first commit: 2026-01-01 00:00 UTC.
const BEGIN: i64 = 1_767_225_600;

/// A change in a commit: a node, and its new state and port, or its removal.
pub(crate) type Edit = (u8, Option<(&'static str, u16)>);

fn record(node: u8, (state, port): (&str, u16)) -> String {
    format!(
        r#"{{"filetype":"nodepresence","value":{{"instance-id":"i-{node}","nodepart":"app1","stacktype":"lad1","deployment":"fed1","state":"{state}","ipv4":"10.0.0.{node}","port":"{port}"}}}}"#
    )
}

/// The input of `git fast-import` for commits on that branch, one a minute, each with a tag.
fn stream(branch: &str, committer: &str, commits: &[Vec<Edit>]) -> String {
    let mut text = String::new();
    for (number, edits) in commits.iter().enumerate() {
        let time = BEGIN + 60 * i64::try_from(number).unwrap();
        let _ = writeln!(text, "commit refs/heads/{branch}\ncommitter t <{committer}> {time} +0000");
        let _ = writeln!(text, "data 2\nc");
        for (node, after) in edits {
            let path = format!("it/presence/all/i-{node}.json");
            let _ = match after {
                Some(after) => {
                    let record = record(*node, *after);
                    writeln!(text, "M 100644 inline {path}\ndata {}\n{record}", record.len())
                }
                None => writeln!(text, "D {path}"),
            };
        }
        let _ = writeln!(text, "\nreset refs/tags/v{number}\nfrom refs/heads/{branch}\n");
    }
    text
}

/// Gives that text to `git fast-import`.
pub(crate) fn fast_import(repository: &Path, text: &str) {
    let mut child = Command::new("git")
        .args(["fast-import", "--quiet", "--force"])
        .current_dir(repository)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Makes these commits in the repository, and returns their ids.
pub(crate) fn import(repository: &Path, commits: &[Vec<Edit>]) -> Vec<String> {
    import_by(repository, "t@localhost", commits)
}

/// The same, as that committer.
fn import_by(repository: &Path, committer: &str, commits: &[Vec<Edit>]) -> Vec<String> {
    let branch = git(repository, &["symbolic-ref", "--short", "HEAD"]);
    let branch = branch.trim();
    fast_import(repository, &stream(branch, committer, commits));
    let ids = git(repository, &["log", "--reverse", "--format=%H", branch]);
    ids.lines().map(str::to_owned).collect()
}

const TEMPLATE: &str = "{{#nodes}}{{instance-id}} {{state}} {{availability}} {{address}}:{{port}}\n{{else}}nobody\n{{/nodes}}\
                        {{input.tree}}\n";

/// A reader of that list, with a template that shows all of it.
pub(crate) fn reader(url: &str) -> Machine {
    let reader = Machine::new("lb1").store(url);
    fs::create_dir_all(reader.path("templates/common")).unwrap();
    fs::write(reader.path("templates/common/all.hbs"), TEMPLATE).unwrap();
    reader
}

fn render(reader: &Machine, args: &[&str]) -> Outcome {
    reader.run(&[&["render", "all", "--template-dir", "templates"], args].concat())
}

/// What readers without a memory rendered when each commit was the newest.
pub(crate) fn rendered_then(repository: &Path, commits: &[String]) -> Vec<String> {
    let branch = git(repository, &["symbolic-ref", "HEAD"]);
    let then = commits.iter().map(|commit| {
        git(repository, &["update-ref", branch.trim(), commit]);
        render(&reader(&repository.display().to_string()), &[]).code(0).stdout
    });
    then.collect()
}

/// Four states of a fleet: one node, two, one of them drained, one.
fn small() -> Vec<Vec<Edit>> {
    vec![
        vec![(1, Some(("setup", 80)))],
        vec![(1, Some(("done", 80))), (2, Some(("done", 80)))],
        vec![(2, Some(("draining", 8080)))],
        vec![(2, None)],
    ]
}

fn time(minutes: i64, seconds: i64) -> String {
    jiff::Timestamp::from_second(BEGIN + 60 * minutes + seconds).unwrap().to_string()
}

pub(crate) fn edits() -> impl Strategy<Value = Vec<Vec<Edit>>> {
    let states = prop::sample::select(vec!["setup", "done", "draining", "decommissioned", "odd"]);
    let edit = (1u8..4, prop::option::weighted(0.8, (states, 80u16..82)));
    prop::collection::vec(prop::collection::vec(edit, 1..3), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is rendered of a past moment is what was rendered then, byte for byte.
    #[test]
    fn the_past_is_rendered_as_it_was(history in edits()) {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().join("list.git");
        bare_repository(&repository);
        let commits = import(&repository, &history);
        let then = rendered_then(&repository, &commits);
        let reader = reader(&repository.display().to_string());
        // The last output is no part of the past.
        render(&reader, &[]).code(0);
        for (number, expect) in then.iter().enumerate() {
            let minutes = i64::try_from(number).unwrap();
            for at in [&commits[number], &commits[number][..8], &format!("v{number}"), &time(minutes, 0), &time(minutes, 59)] {
                let now = render(&reader, &["--at", at]).code(0);
                prop_assert_eq!(&now.stdout, expect, "{}\n{}", at, now.stderr);
            }
        }
        render(&reader, &[]).code(0);
    }
}

#[cfg(all(feature = "https", feature = "ssh"))]
#[test]
fn the_past_is_fetched_when_it_is_asked_for() {
    for host in Host::each() {
        let list = host.repository("list.git");
        let url = host.url("list.git");
        let place = tempfile::tempdir().unwrap();
        let copy = place.path().join("copy.git");
        bare_repository(&copy);
        let commits = import(&copy, &small());
        let then = rendered_then(&copy, &commits);
        git(&copy, &["symbolic-ref", "HEAD", "refs/heads/main"]);
        list.take(&copy);
        for at in [commits[0].clone(), commits[1][..8].to_owned(), "v1".to_owned(), time(0, 30)] {
            let reader = reader(&url);
            host.admit(&reader);
            render(&reader, &[]).code(0);
            let number = if at == "v1" || at == commits[1][..8] { 1 } else { 0 };
            let outcome = render(&reader, &["--at", &at]).code(0);
            assert_eq!(outcome.stdout, then[number], "{url} {at}: {outcome}");
            assert_eq!(render(&reader, &["--at", &at]).code(0).stdout, then[number], "again");
            assert_eq!(render(&reader, &[]).code(0).stdout, then[3], "the present is not touched");
            git(&reader.mirror(), &["fsck", "--strict"]);
        }
        let reader = reader(&url);
        host.admit(&reader);
        render(&reader, &["--at", "v9"]).code(1).says("there is no version `v9`");
        let early = render(&reader, &["--at", "2025-12-31"]).code(1);
        early.says("the history begins at 2026-01-01T00:00:00Z");
    }
}

/// A reader of a list with the small history.
fn small_reader() -> (Machine, Vec<String>) {
    let reader = reader("list.git");
    let repository = reader.path("list.git");
    bare_repository(&repository);
    let commits = import(&repository, &small());
    (reader, commits)
}

#[test]
fn list_and_show_look_back() {
    let (reader, commits) = small_reader();
    assert_eq!(reader.good(&["list", "--at", "v1", "--format", "ids"]), "i-1\ni-2\n");
    let json: serde_json::Value =
        serde_json::from_str(&reader.good(&["list", "--at", "v2", "--format", "json"])).unwrap();
    assert_eq!(json["nodes"][1]["state"], "draining");
    assert_eq!(json["stores"][0]["commit"], commits[2].as_str());
    assert_eq!(json["stores"][0]["time"], "2026-01-01T00:02:00Z");
    let listed = reader.run(&["list", "--at", "2026-01-01 00:01"]).code(0);
    listed.says(&format!("list.git: the commit {} of 2026-01-01 00:01:00 UTC", &commits[1][..8]));
    let shown = reader.run(&["show", "i-2", "--at", "v2"]).code(0);
    assert!(shown.stdout.contains("last seen     unknown: the past has no heartbeats"), "{shown}");
    reader.run(&["show", "i-2", "--at", "now"]).code(1).says("`i-2` was not on the list then");
    reader.run(&["list", "--at", "2026-01-03"]).code(2).says("2026-01-03T00:00:00Z is in the future");
    reader.run(&["list", "--at", "2025-12-31"]).code(1).says("the history begins at 2026-01-01T00:00:00Z");
    reader.run(&["list", "--at", "some day"]).code(2).says("`some day` is no moment");
    reader.run(&["list", "--at", "1 day ago", "--max-age", "1h"]).code(2).says("no heartbeats");
    reader.run(&["render", "all", "--at", "v1", "-o", "out"]).code(2).says("a file that is in use");
    fs::create_dir(reader.path("plain")).unwrap();
    reader
        .run(&["list", "--at", "v1", "--store", "plain"])
        .code(1)
        .says("a plain directory keeps no history");
    // A store that keeps no past does not hide one that does.
    let both =
        reader.run(&["list", "--at", "v1", "--format", "ids", "--store", "plain", "--store", "list.git"]);
    let both = both.code(0).says("a plain directory keeps no history");
    assert_eq!(both.stdout, "i-1\ni-2\n");
}

#[test]
fn the_history_is_a_line_for_each_change() {
    let (reader, _) = small_reader();
    insta::assert_snapshot!(reader.good(&["log"]), @"
    2026-01-01 00:03:00 eb4fa1d7 i-2 (app1): left
    2026-01-01 00:02:00 eff5e345 i-2 (app1): port 80 -> 8080, state done -> draining
    2026-01-01 00:01:00 f894e907 i-1 (app1): state setup -> done
    2026-01-01 00:01:00 f894e907 i-2 (app1): joined
    2026-01-01 00:00:00 1ced0711 i-1 (app1): joined by then: the known history begins here
    ");
    insta::assert_snapshot!(reader.good(&["log", "i-2", "--since", "2026-01-01 00:02", "--part", "app*"]), @"
    2026-01-01 00:03:00 eb4fa1d7 i-2 (app1): left
    2026-01-01 00:02:00 eff5e345 i-2 (app1): port 80 -> 8080, state done -> draining
    ");
    assert_eq!(reader.good(&["log", "--part", "db*"]), "");
    insta::assert_snapshot!(reader.good(&["log", "-n", "2", "--format", "json"]), @r#"
    [
      {
        "change": "left",
        "commit": "eb4fa1d7f4817fd973cf8f82629eeba397a075f6",
        "instance-id": "i-2",
        "kind": "left",
        "nodepart": "app1",
        "time": "2026-01-01T00:03:00Z"
      },
      {
        "change": "port 80 -> 8080, state done -> draining",
        "commit": "eff5e3459cbb5129e918fbc9fffa0f0ab0b48d93",
        "facts": [
          {
            "after": "8080",
            "before": "80",
            "fact": "port"
          },
          {
            "after": "draining",
            "before": "done",
            "fact": "state"
          }
        ],
        "instance-id": "i-2",
        "kind": "state",
        "nodepart": "app1",
        "time": "2026-01-01T00:02:00Z"
      }
    ]
    "#);
    let early = reader.run(&["log", "i-1", "--since", "2025-06-01"]).code(0);
    early.says(
        "warning: nothing is known of the time before 2026-01-01 00:00:00 UTC: the history begins then",
    );
    reader.run(&["log", "--since", "yesterday"]).code(2).says("`yesterday` is no time");
}

#[test]
fn two_moments_differ_in_nodes_and_in_files() {
    let (reader, _) = small_reader();
    insta::assert_snapshot!(reader.good(&["diff", "v0", "2026-01-01 00:02"]), @"
    i-1 (app1): state setup -> done
    i-2 (app1): joined
    ");
    insta::assert_snapshot!(reader.good(&["diff", "v2", "--format", "json"]), @r#"
    [
      {
        "change": "left",
        "instance-id": "i-2",
        "nodepart": "app1"
      }
    ]
    "#);
    let words = ["diff", "v1", "v2", "--render", "all", "--template-dir", "templates"];
    insta::assert_snapshot!(reader.good(&words), @"
    --- all (v1)
    +++ all (v2)
    @@ -1,3 +1,3 @@
     i-1 done active 10.0.0.1:80
    -i-2 done active 10.0.0.2:80
    -7e0ccc37b5dfd747f8331e3652558d7a
    +i-2 draining draining 10.0.0.2:8080
    +9dc57383192bf3fdae4351eea13853f5
    ");
    assert_eq!(reader.good(&["diff", "v3", "now"]), "");
}

#[test]
fn a_node_has_a_history_of_facts_and_states() {
    let reader = reader("list.git");
    let repository = reader.path("list.git");
    bare_repository(&repository);
    import(&repository, &small()[..3]);
    let shown = reader.good(&["show", "i-1", "--history"]);
    insta::assert_snapshot!(shown.split_once("\n\n").unwrap().1, @r#"
    {
        "filetype": "nodepresence",
        "value": {
            "deployment": "fed1",
            "instance-id": "i-1",
            "ipv4": "10.0.0.1",
            "nodepart": "app1",
            "port": "80",
            "stacktype": "lad1",
            "state": "done"
        }
    }

    FACT         VALUE     SINCE                          COMMIT
    deployment   fed1      2026-01-01 00:00:00 or before  1ced0711
    instance-id  i-1       2026-01-01 00:00:00 or before  1ced0711
    ipv4         10.0.0.1  2026-01-01 00:00:00 or before  1ced0711
    nodepart     app1      2026-01-01 00:00:00 or before  1ced0711
    port         80        2026-01-01 00:00:00 or before  1ced0711
    stacktype    lad1      2026-01-01 00:00:00 or before  1ced0711
    state        done      2026-01-01 00:01:00            f894e907

    STATE  FOR      SINCE                          COMMIT
    done   1d 3h    2026-01-01 00:01:00            f894e907
    setup  unknown  2026-01-01 00:00:00 or before  1ced0711
    "#);
    insta::assert_snapshot!(reader.good(&["show", "i-2", "--history", "--format", "json"]), @r#"
    {
      "address": "10.0.0.2",
      "availability": "draining",
      "deployment": "fed1",
      "found": {
        "path": "i-2.json",
        "stale": false,
        "store": "list.git"
      },
      "history": {
        "earlier_states_left_out": false,
        "facts": {
          "deployment": {
            "commit": "f894e907a359bc27661e053fa4a4b981298af3f6",
            "exact": true,
            "time": "2026-01-01T00:01:00Z"
          },
          "instance-id": {
            "commit": "f894e907a359bc27661e053fa4a4b981298af3f6",
            "exact": true,
            "time": "2026-01-01T00:01:00Z"
          },
          "ipv4": {
            "commit": "f894e907a359bc27661e053fa4a4b981298af3f6",
            "exact": true,
            "time": "2026-01-01T00:01:00Z"
          },
          "nodepart": {
            "commit": "f894e907a359bc27661e053fa4a4b981298af3f6",
            "exact": true,
            "time": "2026-01-01T00:01:00Z"
          },
          "port": {
            "commit": "eff5e3459cbb5129e918fbc9fffa0f0ab0b48d93",
            "exact": true,
            "time": "2026-01-01T00:02:00Z"
          },
          "stacktype": {
            "commit": "f894e907a359bc27661e053fa4a4b981298af3f6",
            "exact": true,
            "time": "2026-01-01T00:01:00Z"
          },
          "state": {
            "commit": "eff5e3459cbb5129e918fbc9fffa0f0ab0b48d93",
            "exact": true,
            "time": "2026-01-01T00:02:00Z"
          }
        },
        "states": [
          {
            "listed": true,
            "seconds": 97325,
            "since": {
              "commit": "eff5e3459cbb5129e918fbc9fffa0f0ab0b48d93",
              "exact": true,
              "time": "2026-01-01T00:02:00Z"
            },
            "state": "draining",
            "until": null
          },
          {
            "listed": true,
            "seconds": 60,
            "since": {
              "commit": "f894e907a359bc27661e053fa4a4b981298af3f6",
              "exact": true,
              "time": "2026-01-01T00:01:00Z"
            },
            "state": "done",
            "until": "2026-01-01T00:02:00Z"
          }
        ]
      },
      "instance-id": "i-2",
      "ipv4": "10.0.0.2",
      "nodepart": "app1",
      "port": 8080,
      "stacktype": "lad1",
      "state": "draining"
    }
    "#);
}

#[test]
fn a_history_that_was_replaced_is_not_guessed() {
    let (reader, _) = small_reader();
    let repository = reader.path("list.git");
    // Somebody squashes the first three commits and pushes with force.
    let squashed = git(&repository, &["commit-tree", "v2^{tree}", "-m", "squashed"]);
    git(&repository, &["update-ref", "refs/heads/main", squashed.trim()]);
    let log = reader.good(&["log"]);
    assert_eq!(log.matches(": joined by then: the known history begins here\n").count(), 2, "{log}");
    // The old commits are there until git removes them, and their ids still name them.
    assert_eq!(reader.good(&["list", "--at", "v0", "--format", "ids"]), "i-1\n");
    // A shallow clone as the store.
    let reader = self::reader("shallow.git");
    let (other, _) = small_reader();
    let url = format!("file://{}", other.path("list.git").display());
    git(&reader.path(""), &["clone", "--quiet", "--bare", "--depth", "2", &url, "shallow.git"]);
    let log = reader.good(&["log"]);
    assert!(log.contains(": left\n") && log.contains(": joined by then: "), "{log}");
    reader
        .run(&["list", "--at", "2026-01-01 00:01"])
        .code(1)
        .says("its history is known since 2026-01-01T00:02:00Z only: older commits are missing");
}
