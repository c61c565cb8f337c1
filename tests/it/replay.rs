//! `presence replay`: a stretch of history through a template, over histories of which each byte is known.

use std::fs;

use proptest::prelude::*;
use serde_json::Value;

use crate::fixture::machine::{Machine, bare_repository, git};
use crate::fixture::{GitDaemon, Host};
use crate::past::{Edit, edits, fast_import, import, reader, rendered_then};

/// Replays with that reader's own template. Returns the JSON.
fn replayed(reader: &Machine, args: &[&str]) -> Value {
    let words = ["replay", "--render", "all", "--template-dir", "templates", "--format", "json"];
    let outcome = reader.run(&[&words, args].concat()).code(0);
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// A fleet that drains a node, loses five of six nodes at once, gets them back, and grows.
fn outage() -> Vec<Vec<Edit>> {
    let done = |nodes: std::ops::RangeInclusive<u8>| nodes.map(|node| (node, Some(("done", 80)))).collect();
    vec![
        done(1..=6),
        vec![(1, Some(("draining", 80)))],
        vec![(1, Some(("done", 80)))],
        (2..=6).map(|node| (node, None)).collect(),
        vec![(1, Some(("done", 8080)))],
        done(2..=6),
        done(7..=8),
    ]
}

/// A reader of a server's list with that history, behind a network.
fn behind(server: &GitDaemon, history: &[Vec<Edit>]) -> (Machine, Vec<String>) {
    let list = server.repository("list.git");
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("copy.git");
    bare_repository(&copy);
    let commits = import(&copy, history);
    list.take(&copy);
    let reader = reader(&server.url("list.git"));
    let template = "{{#nodes part=\"app*\"}}{{instance-id}} {{availability}} {{address}}:{{port}}\n{{else}}nobody\n{{/nodes}}";
    fs::write(reader.path("templates/common/apps.hbs"), template).unwrap();
    (reader, commits)
}

const APPS: [&str; 5] = ["replay", "--render", "apps", "--template-dir", "templates"];

#[test]
fn a_replay_shows_the_worst_moments() {
    let server = GitDaemon::start();
    let (reader, commits) = behind(&server, &outage());
    let told = |args: &[&str]| reader.run(&[&APPS, args].concat()).code(0);
    insta::assert_snapshot!(told(&["--from", &commits[0]]), @"
    exit code 0
    --- stdout
    apps from 2026-01-01 00:00:00 UTC (5e705f03)
           to 2026-01-01 00:06:00 UTC (7fb6314b)

    versions  6
    renders   4
    reloads   4 (each change needs one)
    refusals  1

    FEWEST  MOST  SERVERS OF  TIME OF THE FEWEST   COMMIT
    5       8     app*        2026-01-01 00:01:00  6423f470

    REFUSED              COMMIT    UNTIL                REASON
    2026-01-01 00:03:00  4630d5d6  2026-01-01 00:05:00  `app*` has 1 active node where the last good output had 6; --max-shrink allows a loss of 50% (the file keeps 5 nodes)
    --- stderr
    silence is not replayed: the past has no heartbeats
    ");
    // The last week begins before the history.
    insta::assert_snapshot!(told(&["--from", "7 days ago", "--to", "2026-01-01 00:02:30"]), @"
    exit code 0
    --- stdout
    apps from 2026-01-01 00:00:00 UTC (5e705f03)
           to 2026-01-01 00:02:00 UTC (ae997dc1)

    versions  2
    renders   2
    reloads   2 (each change needs one)
    refusals  0

    FEWEST  MOST  SERVERS OF  TIME OF THE FEWEST   COMMIT
    5       6     app*        2026-01-01 00:01:00  6423f470
    --- stderr
    warning: nothing is known of the time before 2026-01-01 00:00:00 UTC: the history begins then
    silence is not replayed: the past has no heartbeats
    ");
    // Without limits, the file follows the list.
    let free = ["--from", &commits[0], "--min-nodes", "0", "--max-shrink", "100", "-q"];
    insta::assert_snapshot!(told(&free), @"
    exit code 0
    --- stdout
    apps from 2026-01-01 00:00:00 UTC (5e705f03)
           to 2026-01-01 00:06:00 UTC (7fb6314b)

    versions  6
    renders   6
    reloads   6 (each change needs one)
    refusals  0

    FEWEST  MOST  SERVERS OF  TIME OF THE FEWEST   COMMIT
    1       8     app*        2026-01-01 00:03:00  4630d5d6
    ");
    let strict = ["--from", &commits[0], "--min-nodes", "7", "--format", "json"];
    let json: Value = serde_json::from_str(&told(&strict).stdout).unwrap();
    assert_eq!(json["refusals"][0]["until"]["commit"], commits[6].as_str(), "{json:#}");
}

#[test]
fn nodes_that_were_withdrawn_are_no_loss() {
    let message = "Updated 5 nodes\n\ni-2 (app1): left\ni-3 (app1): left\ni-4: left\ni-5: left\ni-6: left\n";
    let by_presence = refusals_after("presence@localhost", message);
    assert_eq!(by_presence, 0, "presence withdrew them");
    // Somebody else can write such a message too.
    assert_eq!(refusals_after("t@localhost", message), 1);
    assert_eq!(refusals_after("presence@localhost", "Updated 5 nodes\n\ni-2: left\ni-3: left\n"), 1);
}

/// The number of refusals if five of six nodes leave in one commit, by that committer and with that message.
fn refusals_after(committer: &str, message: &str) -> usize {
    let server = GitDaemon::start();
    let (reader, commits) = behind(&server, &outage()[..1]);
    let list = server.path("list.git");
    let branch = git(&list, &["symbolic-ref", "HEAD"]);
    let who = format!("committer t <{committer}> 1767225660 +0000");
    let mut text = format!("commit {}\n{who}\ndata {}\n{message}\n", branch.trim(), message.len());
    text.push_str(&format!("from {}\n", commits[0]));
    text.extend((2..=6).map(|node| format!("D it/presence/all/i-{node}.json\n")));
    fast_import(&list, &text);
    let words = [&APPS[..], &["--from", &commits[0], "--format", "json", "-q"]].concat();
    let json: Value = serde_json::from_str(&reader.run(&words).code(0).stdout).unwrap();
    assert_eq!(json["versions"], 1, "{json:#}");
    json["refusals"].as_array().unwrap().len()
}

#[test]
fn a_replay_as_json_has_every_change() {
    let server = GitDaemon::start();
    let (reader, commits) = behind(&server, &outage()[..5]);
    let words = [&APPS[..], &["--from", &commits[1][..8], "--format", "json"]].concat();
    insta::assert_snapshot!(reader.run(&words).code(0).stdout, @r#"
    {
      "apply": "reload",
      "changes": [
        {
          "commit": "ae997dc1d124dd203f8242baf14a4935e3e2b546",
          "reload": "every change needs one",
          "time": "2026-01-01T00:02:00Z"
        },
        {
          "commit": "831803c6c820f149c126747a4aab26c59e055f6e",
          "reload": "every change needs one",
          "time": "2026-01-01T00:04:00Z"
        }
      ],
      "failures": [],
      "from": {
        "commit": "6423f470bc5d45f819ac5967d64764c1057af69c",
        "time": "2026-01-01T00:01:00Z"
      },
      "refusals": [
        {
          "before": 6,
          "held": 5,
          "now": 1,
          "question": "app*",
          "reason": "`app*` has 1 active node where the last good output had 6; --max-shrink allows a loss of 50%",
          "since": {
            "commit": "4630d5d631d2235ca0f40f50b3a527e28d7c9020",
            "time": "2026-01-01T00:03:00Z"
          },
          "until": null
        }
      ],
      "reloads": 2,
      "renders": 2,
      "replays_silence": false,
      "servers": [
        {
          "at": {
            "commit": "6423f470bc5d45f819ac5967d64764c1057af69c",
            "time": "2026-01-01T00:01:00Z"
          },
          "fewest": 5,
          "most": 6,
          "question": "app*"
        }
      ],
      "template": "apps",
      "to": {
        "commit": "831803c6c820f149c126747a4aab26c59e055f6e",
        "time": "2026-01-01T00:04:00Z"
      },
      "versions": 3
    }
    "#);
}

#[test]
fn reloads_are_what_haproxy_cannot_do_at_run_time() {
    let server = GitDaemon::start();
    // Before the first server, the file has no backend for it.
    let history = [vec![vec![(9, Some(("setup", 80)))]], outage()].concat();
    let (reader, commits) = behind(&server, &history);
    let words = [
        "replay",
        "--render",
        "haproxy",
        "--part",
        "lb1",
        "--set",
        "haproxy_version=2.8",
        "--from",
        &commits[0],
    ];
    let by_reload = reader.run(&words).code(0);
    let at_run_time = reader.run(&[&words[..], &["--apply", "runtime"]].concat()).code(0);
    insta::assert_snapshot!(at_run_time, @"
    exit code 0
    --- stdout
    haproxy.cfg from 2026-01-01 00:00:00 UTC (d3b26509)
                  to 2026-01-01 00:07:00 UTC (1fd70213)

    versions  7
    renders   5
    reloads   1 (the other changes take effect at run time)
    refusals  2

    FEWEST  MOST  SERVERS OF  TIME OF THE FEWEST   COMMIT
    0       8     app*        2026-01-01 00:00:00  d3b26509
    5       8     app*/app1   2026-01-01 00:02:00  fd166f97

    RELOADS  REASON
    1        `defaults`: a line `frontend` has changed

    REFUSED              COMMIT    UNTIL                REASON
    2026-01-01 00:04:00  58f5998c  2026-01-01 00:06:00  `app*` has 1 active node where the last good output had 6; --max-shrink allows a loss of 50% (the file keeps 5 nodes)
    2026-01-01 00:04:00  58f5998c  2026-01-01 00:06:00  `app*/app1` has 1 active node where the last good output had 6; --max-shrink allows a loss of 50% (the file keeps 5 nodes)
    --- stderr
    warning: no node on the list has the part `lb1`; known: app1
    silence is not replayed: the past has no heartbeats
    ");
    // The table of that file says the same.
    reader.configure(
        "[[render]]\nname = 'haproxy.cfg'\noutput = '/nonexistent/haproxy.cfg'\npart = 'lb1'\napply = 'runtime'\n\
         socket = '/nonexistent/haproxy.sock'\nreload = 'true'\nvars = { haproxy_version = '2.8' }\n",
    );
    let by_table = reader.run(&["replay", "--render", "haproxy", "--from", &commits[0]]).code(0);
    assert_eq!(by_table.stdout, at_run_time.stdout);
    let overridden =
        reader.run(&["replay", "--render", "haproxy", "--from", &commits[0], "--apply", "reload"]);
    assert_eq!(overridden.code(0).stdout, by_reload.stdout);
}

#[test]
fn a_replay_crosses_every_kind_of_network() {
    for host in Host::each() {
        let list = host.repository("list.git");
        let place = tempfile::tempdir().unwrap();
        let copy = place.path().join("copy.git");
        bare_repository(&copy);
        import(&copy, &outage());
        git(&copy, &["symbolic-ref", "HEAD", "refs/heads/main"]);
        list.take(&copy);
        let reader = reader(&host.url("list.git"));
        host.admit(&reader);
        let json = replayed(&reader, &["--from", "v1", "--to", "v2"]);
        assert_eq!((&json["versions"], &json["renders"]), (&1.into(), &1.into()), "{json:#}");
    }
}

#[test]
fn a_stretch_that_is_not_known_is_not_guessed() {
    let server = GitDaemon::start();
    let (reader, commits) = behind(&server, &outage());
    let told = |args: &[&str]| reader.run(&[&APPS, args].concat());
    told(&["--from", "v3", "--to", "v1"]).code(2).says("--from (2026-01-01 00:03:00 UTC) is later than --to");
    told(&["--from", "2025-01-01", "--to", "2025-01-02"]).code(1).says("no version as old as `2025-01-02`");
    told(&["--from", "v9"]).code(1).says("there is no version `v9`");
    reader.run(&["replay", "--render", "no-such", "--from", "v1"]).code(2).says("no-such");
    // A shallow clone as the store.
    let shallow = self::reader("shallow.git");
    let url = server.url("list.git");
    git(&shallow.path(""), &["clone", "--quiet", "--bare", "--depth", "3", &url, "shallow.git"]);
    let words = ["replay", "--render", "all", "--template-dir", "templates", "--format", "json"];
    let outcome = shallow.run(&[&words[..], &["--from", "2026-01-01 00:01"]].concat()).code(0);
    let outcome = outcome.says("nothing is known of the time before 2026-01-01 00:04:00 UTC");
    let json: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(json["from"]["commit"], commits[4].as_str());
    assert_eq!(json["versions"], 2);
    fs::create_dir(reader.path("plain")).unwrap();
    told(&["--from", "1 day ago", "--store", "plain"]).code(1).says("a plain directory keeps no history");
}

#[test]
fn a_template_that_fails_at_times_leaves_the_file() {
    let server = GitDaemon::start();
    let history = [outage().swap_remove(0), vec![(1, Some(("setup", 80)))], vec![(1, Some(("done", 80)))]];
    let (reader, commits) = behind(&server, &history);
    let template = "{{#if (gt (count part=\"app*\") 5)}}full\n{{else}}{{require vars.reserve}}\n{{/if}}";
    fs::write(reader.path("templates/common/apps.hbs"), template).unwrap();
    insta::assert_snapshot!(reader.run(&[&APPS[..], &["--from", &commits[0]]].concat()).code(0), @"
    exit code 0
    --- stdout
    apps from 2026-01-01 00:00:00 UTC (5e705f03)
           to 2026-01-01 00:02:00 UTC (30c9953b)

    versions  2
    renders   0
    reloads   0 (each change needs one)
    refusals  0
    failures  1

    FEWEST  MOST  SERVERS OF  TIME OF THE FEWEST   COMMIT
    6       6     app*        2026-01-01 00:00:00  5e705f03

    FAILED               COMMIT    UNTIL                REASON
    2026-01-01 00:01:00  e2f3e8a1  2026-01-01 00:02:00  templates/common/apps.hbs:2:9: `vars.reserve` is required
    --- stderr
    silence is not replayed: the past has no heartbeats
    ");
    fs::write(reader.path("templates/common/apps.hbs"), "{{vars.x}}").unwrap();
    reader.run(&[&APPS[..], &["--from", &commits[0]]].concat()).code(1).says("could not be rendered");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// A replay finds the changes that a reader of each version finds, byte for byte.
    #[test]
    fn a_replay_renders_what_was_rendered_then(history in edits()) {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().join("list.git");
        bare_repository(&repository);
        let commits = import(&repository, &history);
        let then = rendered_then(&repository, &commits);
        let changed: Vec<&str> = (1..then.len()).filter(|at| then[*at] != then[at - 1]).map(|at| commits[at].as_str()).collect();
        let reader = reader(&repository.display().to_string());
        let free = ["--min-nodes", "0", "--max-shrink", "100"];
        let json = replayed(&reader, &[&["--from", commits[0].as_str()], &free[..]].concat());
        let seen: Vec<&str> = json["changes"].as_array().unwrap().iter().filter_map(|change| change["commit"].as_str()).collect();
        prop_assert_eq!(seen, changed, "{:#}", json);
    }
}
