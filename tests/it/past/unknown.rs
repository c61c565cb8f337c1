//! What is not known of the past, in words.

use super::{BEGIN, Edit, fast_import, import_by, reader, small};
use crate::fixture::GitDaemon;
use crate::fixture::machine::{Machine, Outcome, bare_repository, git};

/// A reader of a server's list with the small history, whose commits that committer made.
fn of(server: &GitDaemon, committer: &str) -> Machine {
    let list = server.repository("list.git");
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("copy.git");
    bare_repository(&copy);
    import_by(&copy, committer, &small());
    list.take(&copy);
    reader(&server.url("list.git"))
}

fn told(reader: &Machine, server: &GitDaemon, args: &[&str]) -> Outcome {
    reader.run(args).with(server.url(""), "git://server/")
}

const RENDER: [&str; 4] = ["--render", "all", "--template-dir", "templates"];

#[test]
fn before_a_history_of_others_nothing_is_known() {
    let server = GitDaemon::start();
    let reader = of(&server, "t@localhost");
    let told = |args: &[&str]| told(&reader, &server, args).code(1);
    insta::assert_snapshot!(told(&["list", "--at", "2025-12-31"]), @"
    exit code 1
    --- stderr
    error: store `git://server/list.git`: the history begins at 2026-01-01T00:00:00Z
    ");
    insta::assert_snapshot!(told(&["diff", "2025-12-31", "v1"]), @"
    exit code 1
    --- stderr
    error: store `git://server/list.git`: the history begins at 2026-01-01T00:00:00Z
    ");
    insta::assert_snapshot!(told(&["show", "i-1", "--at", "2025-12-31"]), @"
    exit code 1
    --- stderr
    error: store `git://server/list.git`: the history begins at 2026-01-01T00:00:00Z
    ");
    insta::assert_snapshot!(
        told(&[&["replay", "--from", "2025-12-01", "--to", "2025-12-31"], &RENDER[..]].concat()), @"
    exit code 1
    --- stderr
    error: the list has no version as old as `2025-12-31`
    hint: `presence log` shows its history
    ");
    insta::assert_snapshot!(told(&["graph", "--at", "2025-12-31"]), @"
    exit code 1
    --- stderr
    error: store `git://server/list.git`: the history begins at 2026-01-01T00:00:00Z
    ");
    insta::assert_snapshot!(told(&["list", "--at", "v9"]), @"
    exit code 1
    --- stderr
    error: store `git://server/list.git`: there is no version `v9`
    hint: `presence log` lists the commits
    ");
}

#[test]
fn before_the_first_commit_of_presence_the_list_was_empty() {
    let server = GitDaemon::start();
    let reader = of(&server, "presence@localhost");
    let told = |args: &[&str]| told(&reader, &server, args);
    insta::assert_snapshot!(told(&["list", "--at", "2025-12-31"]), @"
    exit code 0
    --- stdout
    ID  PART  STACKTYPE  DEPLOYMENT  STATE  AVAILABILITY  ADDRESS  PORT
    --- stderr
    git://server/list.git: the list was empty then: its first commit came later
    ");
    insta::assert_snapshot!(told(&["diff", "2025-12-31", "v1"]), @"
    exit code 0
    --- stdout
    i-1 (app1): joined
    i-2 (app1): joined
    --- stderr
    git://server/list.git: the list was empty then: its first commit came later
    ");
    insta::assert_snapshot!(told(&[&["diff", "2025-12-31", "v0"], &RENDER[..]].concat()), @"
    exit code 0
    --- stdout
    --- all (2025-12-31)
    +++ all (v0)
    @@ -1,2 +1,2 @@
     nobody
    -99aa06d3014798d86001c324468d497f
    +dfe0215a7d323c15337cab83499c735f
    --- stderr
    git://server/list.git: the list was empty then: its first commit came later
    ");
    insta::assert_snapshot!(told(&["show", "i-1", "--at", "2025-12-31"]), @"
    exit code 1
    --- stderr
    git://server/list.git: the list was empty then: its first commit came later
    error: `i-1` was not on the list then
    hint: `presence list --format ids` lists the nodes
    ");
    insta::assert_snapshot!(told(&["log", "--since", "2025-12-01"]), @"
    exit code 0
    --- stdout
    2026-01-01 00:03:00 f0959671 i-2 (app1): left
    2026-01-01 00:02:00 bb201100 i-2 (app1): port 80 -> 8080, state done -> draining
    2026-01-01 00:01:00 fbd8de0d i-1 (app1): state setup -> done
    2026-01-01 00:01:00 fbd8de0d i-2 (app1): joined
    2026-01-01 00:00:00 85a2b93a i-1 (app1): joined
    ");
    insta::assert_snapshot!(
        told(&[&["replay", "--from", "2025-12-01", "--to", "v2"], &RENDER[..]].concat()), @"
    exit code 0
    --- stdout
    all from 2026-01-01 00:00:00 UTC (85a2b93a)
          to 2026-01-01 00:02:00 UTC (bb201100)

    versions  2
    renders   2
    reloads   2 (each change needs one)
    refusals  0

    FEWEST  MOST  SERVERS OF  TIME OF THE FEWEST   COMMIT
    0       2     *           2026-01-01 00:00:00  85a2b93a
    --- stderr
    the list was empty before 2026-01-01 00:00:00 UTC
    silence is not replayed: the past has no heartbeats
    ");
    insta::assert_snapshot!(
        told(&[&["replay", "--from", "2025-12-01", "--to", "2025-12-31"], &RENDER[..]].concat()), @"
    exit code 1
    --- stderr
    error: the list was still empty at `2025-12-31`
    hint: `presence log` shows its history
    ");
}

#[test]
fn a_squashed_history_begins_with_its_squashed_commit() {
    let server = GitDaemon::start();
    let reader = of(&server, "presence@localhost");
    let list = server.path("list.git");
    let tree = git(&list, &["rev-parse", "v2^{tree}"]);
    let begin = BEGIN + 540;
    let commit = format!("commit refs/heads/main\ncommitter t <t@localhost> {begin} +0000\ndata 2\nc\n");
    fast_import(&list, &format!("{commit}M 040000 {} \"\"\n", tree.trim()));
    for tag in ["v0", "v1", "v2", "v3"] {
        git(&list, &["tag", "--delete", tag]);
    }
    git(&list, &["reflog", "expire", "--expire=now", "--all"]);
    git(&list, &["gc", "--quiet", "--prune=now"]);
    let told = |args: &[&str]| told(&reader, &server, args);
    insta::assert_snapshot!(told(&["log"]), @"
    exit code 0
    --- stdout
    2026-01-01 00:09:00 1ad12f4d i-1 (app1): joined by then: the known history begins here
    2026-01-01 00:09:00 1ad12f4d i-2 (app1): joined by then: the known history begins here
    ");
    insta::assert_snapshot!(told(&["list", "--at", "2026-01-01 00:01"]), @"
    exit code 1
    --- stderr
    error: store `git://server/list.git`: the history begins at 2026-01-01T00:09:00Z
    ");
    insta::assert_snapshot!(told(&["diff", "bb201100", "now"]), @"
    exit code 1
    --- stderr
    error: store `git://server/list.git`: there is no version `bb201100`
    hint: `presence log` lists the commits
    ");
    let shown = told(&["show", "i-2", "--history", "-q"]).stdout;
    insta::assert_snapshot!(shown.trim_end().rsplit_once("\n\n").unwrap().1, @"
    STATE     FOR      SINCE                          COMMIT
    draining  unknown  2026-01-01 00:09:00 or before  1ad12f4d
    ");
    let replay = [&["replay", "--from", "2026-01-01 00:01"], &RENDER[..]].concat();
    insta::assert_snapshot!(told(&replay), @"
    exit code 0
    --- stdout
    all from 2026-01-01 00:09:00 UTC (1ad12f4d)
          to 2026-01-01 00:09:00 UTC (1ad12f4d)

    versions  0
    renders   0
    reloads   0 (each change needs one)
    refusals  0

    FEWEST  MOST  SERVERS OF  TIME OF THE FEWEST   COMMIT
    1       1     *           2026-01-01 00:09:00  1ad12f4d
    --- stderr
    warning: nothing is known of the time before 2026-01-01 00:09:00 UTC: the history begins then
    silence is not replayed: the past has no heartbeats
    ");
}

#[test]
fn two_stores_with_different_histories_are_told_apart() {
    let (one, two) = (GitDaemon::start(), GitDaemon::start());
    let first = of(&one, "presence@localhost");
    let list = two.repository("other.git");
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("copy.git");
    bare_repository(&copy);
    let history: Vec<Vec<Edit>> = vec![vec![(7, Some(("done", 80)))], vec![(7, Some(("draining", 80)))]];
    import_by(&copy, "t@localhost", &history);
    list.take(&copy);
    let url = two.url("other.git");
    let told = |args: &[&str]| {
        told(&first, &one, &[args, &["--store", &one.url("list.git"), "--store", &url]].concat())
            .with(two.url(""), "git://other-server/")
    };
    insta::assert_snapshot!(told(&["list", "--at", "2026-01-01 00:01:30"]), @"
    exit code 0
    --- stdout
    ID   PART  STACKTYPE  DEPLOYMENT  STATE     AVAILABILITY  ADDRESS   PORT
    i-1  app1  lad1       fed1        done      active        10.0.0.1  80
    i-2  app1  lad1       fed1        done      active        10.0.0.2  80
    i-7  app1  lad1       fed1        draining  draining      10.0.0.7  80
    --- stderr
    git://server/list.git: the commit fbd8de0d of 2026-01-01 00:01:00 UTC
    git://other-server/other.git: the commit 8bb22d4f of 2026-01-01 00:01:00 UTC
    ");
    insta::assert_snapshot!(told(&["list", "--at", "2025-12-31"]), @"
    exit code 0
    --- stdout
    ID  PART  STACKTYPE  DEPLOYMENT  STATE  AVAILABILITY  ADDRESS  PORT
    --- stderr
    warning: store `git://other-server/other.git`: the history begins at 2026-01-01T00:00:00Z
    git://server/list.git: the list was empty then: its first commit came later
    ");
    insta::assert_snapshot!(told(&["list", "--at", "v3", "--format", "ids"]), @"
    exit code 0
    --- stdout
    i-1
    --- stderr
    warning: store `git://other-server/other.git`: there is no version `v3`
    hint: `presence log` lists the commits
    ");
    insta::assert_snapshot!(told(&["log"]), @"
    exit code 0
    --- stdout
    2026-01-01 00:03:00 f0959671 i-2 (app1): left
    2026-01-01 00:02:00 bb201100 i-2 (app1): port 80 -> 8080, state done -> draining
    2026-01-01 00:01:00 fbd8de0d i-1 (app1): state setup -> done
    2026-01-01 00:01:00 fbd8de0d i-2 (app1): joined
    2026-01-01 00:00:00 85a2b93a i-1 (app1): joined
    ");
    insta::assert_snapshot!(told(&["diff", "v1", "2026-01-01 00:02:30"]), @"
    exit code 0
    --- stdout
    i-2 (app1): port 80 -> 8080, state done -> draining
    ");
}
