//! `presence list` for people: the table on a terminal and in a file, and `--watch`.

use std::process::Command;

use crate::fixture::GitDaemon;
use crate::fixture::machine::Machine;
use crate::fixture::terminal::{Terminal, plain};

/// The time of the tests is 2026-01-02 03:04:05.
const NOW: &str = "2026-01-02T03:04:05Z";

fn node(server: &GitDaemon, part: &str) -> Machine {
    Machine::new(part).store(server.url("list.git"))
}

/// Publishes a node with a heartbeat of that time.
fn beat(machine: &Machine, time: &str) {
    let output = machine.command(&["beat"]).env("PRESENCE_NOW", time).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A list with a fresh node, a silent one that drains, one without a heartbeat, and one of another deployment.
fn fleet(server: &GitDaemon) -> Machine {
    server.repository("list.git");
    beat(&node(server, "app10").with("state", "done"), "2026-01-02T03:03:53Z");
    let silent = node(server, "app2").with("instance-id", "i-0c44e9b33ab12cd02").with("state", "draining");
    beat(&silent, "2026-01-01T01:00:00Z");
    node(server, "db1").with("state", "odd").run(&["publish"]).code(0);
    beat(&node(server, "app1").with("deployment", "another-deployment"), "2026-01-02T03:10:00Z");
    node(server, "lb1")
}

fn on_terminal(reader: &Machine, args: &[&str], columns: u16) -> String {
    let (code, seen) = Terminal::start(reader, args, columns, 24).end();
    assert_eq!(code, Some(0), "{seen}");
    seen.replace("\r\n", "\n")
}

#[test]
fn a_file_gets_a_table_with_all_of_it() {
    let server = GitDaemon::start();
    let reader = fleet(&server);
    let listed = reader.run(&["list"]).code(0);
    insta::assert_snapshot!(listed.with(server.url(""), "git://server/"), @"
    exit code 0
    --- stdout
    ID                   PART   STACKTYPE  DEPLOYMENT          STATE     AVAILABILITY  ADDRESS   PORT  SEEN  FRESHNESS
    i-0c44e9b33ab12cd02  app2   lad1       fed1                draining  draining      10.0.0.2  8080  26h   silent
    i-app1               app1   lad1       another-deployment  -         active        10.0.0.2  8080  -5m   ahead
    i-app10              app10  lad1       fed1                done      active        10.0.0.2  8080  12s   fresh
    i-db1                db1    lad1       fed1                odd       absent        10.0.0.3  8080  -     never
    --- stderr
    warning: git://server/list.git: i-db1.json: has the unknown state `odd`, which is treated as absent
    ");
    // The past has no heartbeats.
    insta::assert_snapshot!(reader.run(&["list", "--at", "now", "--part", "app2"]).code(0).stdout, @"
    ID                   PART  STACKTYPE  DEPLOYMENT  STATE     AVAILABILITY  ADDRESS   PORT
    i-0c44e9b33ab12cd02  app2  lad1       fed1        draining  draining      10.0.0.2  8080
    ");
    let coloured = reader.run(&["list", "--part", "app10", "--color", "always"]).code(0).stdout;
    assert!(coloured.contains("\u{1b}[32mfresh\u{1b}[0m"), "{coloured:?}");
    assert_eq!(plain(&coloured), reader.run(&["list", "--part", "app10"]).code(0).stdout);
}

#[test]
fn a_terminal_gets_what_fits() {
    let server = GitDaemon::start();
    let reader = fleet(&server);
    let wide = on_terminal(&reader, &["list", "-q"], 160);
    insta::assert_snapshot!(plain(&wide), @"
    ID                   PART   STACKTYPE  DEPLOYMENT          STATE     AVAILABILITY  ADDRESS   PORT  SEEN  FRESHNESS
    i-app1               app1   lad1       another-deployment  -         active        10.0.0.2  8080  -5m   ahead

    i-0c44e9b33ab12cd02  app2   lad1       fed1                draining  draining      10.0.0.2  8080  26h   silent
    i-app10              app10  lad1       fed1                done      active        10.0.0.2  8080  12s   fresh
    i-db1                db1    lad1       fed1                odd       absent        10.0.0.3  8080  -     never
    ");
    let usual = on_terminal(&reader, &["list", "-q"], 80);
    insta::assert_snapshot!(plain(&usual), @"
    ID                   PART   STACK  DEPLOY       STATE     ADDRESS   SEEN  FRESH
    i-app1               app1   lad1   anoth…yment  -         10.0.0.2  -5m   ahead

    i-0c44e9b33ab12cd02  app2   lad1   fed1         draining  10.0.0.2  26h   silent
    i-app10              app10  lad1   fed1         done      10.0.0.2  12s   fresh
    i-db1                db1    lad1   fed1         odd       10.0.0.3  -     never
    ");
    assert!(
        usual.contains("\u{1b}[33mdraining\u{1b}[0m") && usual.contains("\u{1b}[31msilent\u{1b}[0m"),
        "{usual:?}"
    );
    let unknown = on_terminal(&reader, &["list", "-q"], 0);
    assert_eq!(plain(&unknown), plain(&usual));
    let age = on_terminal(&reader, &["list", "-q", "--max-age", "30h", "--part", "app2"], 80);
    assert!(age.contains("fresh"), "{age:?}");
    // Scripts get the same lines from a terminal.
    let ids = on_terminal(&reader, &["list", "--format", "ids", "-q"], 80);
    assert_eq!(ids, reader.run(&["list", "--format", "ids"]).stdout);

    for (name, value) in [("NO_COLOR", "1"), ("PRESENCE_COLOR", "never")] {
        let reader = node(&server, "lb1").env(name, value);
        let seen = on_terminal(&reader, &["list", "-q"], 80);
        assert_eq!(seen, plain(&usual));
    }
}

#[test]
fn a_watched_table_follows_the_list_and_survives_its_store() {
    let mut server = GitDaemon::start();
    let reader = fleet(&server);
    let mut terminal = Terminal::start(&reader, &["list", "--watch", "1", "--part", "app*"], 80, 10);
    let screen = terminal.wait_for("i-app10").replace(&server.url(""), "git://server/");
    insta::assert_snapshot!(screen, @"
    03:04:05 UTC, every 1 s: 3 nodes, 1 problem

    ID                   PART   STACK  DEPLOY       STATE     ADDRESS   SEEN  FRESH
    i-app1               app1   lad1   anoth…yment  -         10.0.0.2  -5m   ahead

    i-0c44e9b33ab12cd02  app2   lad1   fed1         draining  10.0.0.2  26h   silent
    i-app10              app10  lad1   fed1         done      10.0.0.2  12s   fresh
    ");
    beat(&node(&server, "app3"), NOW);
    terminal.wait_for("i-app3");
    server.kill();
    let screen = terminal.wait_for("no store answers");
    let (status, table) = screen.split_once('\n').unwrap();
    let expect = "03:04:05 UTC: no store answers; this is the list of 03:04:05: ";
    assert!(status.starts_with(expect) && status.chars().count() == 80, "{status:?}");
    insta::assert_snapshot!(table.trim_start(), @"
    ID                   PART   STACK  DEPLOY       STATE     ADDRESS   SEEN  FRESH
    i-app1               app1   lad1   anoth…yment  -         10.0.0.2  -5m   ahead

    i-0c44e9b33ab12cd02  app2   lad1   fed1         draining  10.0.0.2  26h   silent
    i-app3               app3   lad1   fed1         -         10.0.0.2  0s    fresh
    i-app10              app10  lad1   fed1         done      10.0.0.2  12s   fresh
    ");
    // It returns, and so does the present list.
    server.restart();
    beat(&node(&server, "app4"), NOW);
    let screen = terminal.wait_for("i-app4");
    assert!(!screen.contains("no store answers"), "{screen}");
    terminal.types("\u{3}");
    let (code, seen) = terminal.end();
    assert_eq!(code, Some(0), "{}", plain(&seen));
    assert!(seen.starts_with("\u{1b}[?1049h") && seen.ends_with("\u{1b}[?25h\u{1b}[?1049l"), "{seen:?}");
    assert!(!seen.contains("warning"), "{}", plain(&seen));
}

#[test]
fn a_watch_ends_with_the_code_of_its_last_reading() {
    let mut server = GitDaemon::start();
    let reader = fleet(&server);
    reader.run(&["list"]).code(0);
    server.kill();
    // Before a store has answered, there are the last copies. Ten rows do not hold all.
    let mut terminal = Terminal::start(&reader, &["list", "--watch"], 80, 5);
    let screen = terminal.wait_for("these are the last copies");
    assert!(screen.contains("more lines: `presence list` shows them all"), "{screen}");
    let lines: Vec<&str> = screen.lines().collect();
    assert!(lines.len() == 5 && lines.iter().all(|line| line.chars().count() <= 80), "{screen}");
    terminal.types("\u{3}");
    let (code, seen) = terminal.end();
    let (_, rest) = seen.split_once("\u{1b}[?1049l").unwrap();
    assert_eq!(code, Some(3), "{}", plain(&seen));
    assert!(
        plain(rest).starts_with("error: no store could be read; these were the last copies\n"),
        "{rest:?}"
    );

    let terminal = Terminal::start(&reader, &["list", "--watch", "1"], 80, 24);
    terminal.wait_for("these are the last copies");
    let ended = Command::new("pkill").args(["-TERM", "-P", &terminal.pid().to_string()]).status().unwrap();
    assert!(ended.success());
    assert_eq!(terminal.end().0, Some(3));
}

#[test]
fn only_a_terminal_can_be_watched() {
    let reader = Machine::new("lb1");
    let watched = reader.run(&["list", "--watch"]).code(2);
    insta::assert_snapshot!(watched, @"
    exit code 2
    --- stderr
    error: --watch redraws a terminal, and stdout is not one
    hint: without --watch, the table is printed once
    ");
    for words in [&["--watch", "0"][..], &["--watch", "--format", "ids"], &["--watch", "--at", "now"]] {
        reader.run(&[&["list"], words].concat()).code(2).says("--watch");
    }
    // An unknown state ends it, and the screen is as before.
    let (code, seen) = Terminal::start(&reader, &["list", "--watch", "--state", "drainig"], 80, 24).end();
    let (_, rest) = seen.rsplit_once("\u{1b}[?1049l").unwrap();
    assert_eq!(code, Some(2), "{}", plain(&seen));
    assert!(rest.contains("no node is in the state `drainig`"), "{rest:?}");
}
