//! The log of `-v` and `PRESENCE_LOG`.

use std::fs;

use crate::fixture::GitDaemon;
use crate::fixture::machine::Machine;

/// The lines of the log, with the durations, ports and ids of commits replaced.
fn log(stderr: &str, server: &GitDaemon) -> String {
    let lines = stderr.lines().filter(|line| line.starts_with("info: ") || line.starts_with("debug: "));
    let lines = lines.map(|line| {
        let words = line.split(' ').map(|word| match word.split_once('=') {
            Some((name @ ("duration_ms" | "limit_ms"), value)) => {
                assert!(value.parse::<u64>().is_ok(), "{line}");
                format!("{name}=N")
            }
            _ if word.trim_end_matches('"').len() == 40 => "ID".to_owned(),
            _ => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ").replace(&server.url(""), "git://server/") + "\n"
    });
    lines.collect()
}

#[test]
fn verbose_runs_log_what_stores_answer_and_what_becomes_of_files() {
    let mut server = GitDaemon::start();
    server.repository("list.git");
    let node = Machine::new("app1").store(server.url("list.git"));
    fs::create_dir(node.path("templates")).unwrap();
    fs::create_dir(node.path("templates/common")).unwrap();
    fs::write(node.path("templates/common/x.hbs"), "{{#nodes}}{{instance-id}}\n{{/nodes}}").unwrap();
    node.configure(&format!(
        "template-dir = '{}'\n[[render]]\nname = 'x'\noutput = '{}'\n",
        node.path("templates").display(),
        node.path("x").display()
    ));

    let outcome = node.run(&["publish", "-v"]).code(0);
    let expect = "\
info: store answered operation=change url=git://server/list.git duration_ms=N answer=\"merged: joined\"
info: command ended exit_code=0 duration_ms=N
";
    assert_eq!(log(&outcome.stderr, &server), expect, "{outcome}");
    let outcome = node.run(&["publish", "-v"]).code(0);
    let expect = "answer=\"not asked: it confirmed this record recently\"\n";
    assert!(log(&outcome.stderr, &server).contains(expect), "{outcome}");

    let quiet = node.command(&["beat", "--dry-run", "-q"]).env("PRESENCE_LOG", "debug").output().unwrap();
    let stderr = String::from_utf8(quiet.stderr).unwrap();
    assert!(quiet.status.success() && quiet.stdout.is_empty(), "{stderr}");
    let logged = log(&stderr, &server);
    for expect in [
        "debug: command began version=",
        "debug: store asked operation=look url=git://server/list.git limit_ms=N\n",
        "info: store answered operation=read url=git://server/list.git duration_ms=N answer=\"1 files, version ID\n",
        "debug: file asked for nodes path=",
        " question=* active=1 leaving=0\n",
        " held=0 result=replaced\n",
    ] {
        assert!(logged.contains(expect), "no {expect:?} in\n{stderr}");
    }
    assert_eq!(logged.lines().count(), stderr.lines().count(), "{stderr}");

    server.kill();
    let outcome = node.run(&["list", "-v"]).code(3);
    let logged = log(&outcome.stderr, &server);
    assert!(logged.contains("info: store failed operation="), "{outcome}");
    assert_eq!(
        logged.matches("store failed").count(),
        1,
        "a store that failed is not asked again: {outcome}"
    );
}

#[test]
fn the_log_changes_no_output() {
    let server = GitDaemon::start();
    server.repository("list.git");
    let node = Machine::new("app1").store(server.url("list.git"));
    node.good(&["publish"]);
    for words in [&["render", "hosts"][..], &["list"], &["list", "--format", "json"], &["emit"]] {
        let plain = node.run(words).code(0);
        let logged = node.command(words).env("PRESENCE_LOG", "debug").output().unwrap();
        assert_eq!(String::from_utf8(logged.stdout).unwrap(), plain.stdout, "{words:?}");
        assert!(!plain.stderr.contains("duration_ms"), "{plain}");
        assert!(String::from_utf8(logged.stderr).unwrap().contains("duration_ms"), "{words:?}");
    }
}

#[test]
fn the_log_shows_no_password_and_acts_upon_no_terminal() {
    let node = Machine::new("app1");
    for url in ["git://bob:hunter2@127.0.0.1:9/x.git", "http://127.0.0.1:9/x.git?token=hunter2"] {
        for command in ["publish", "list", "doctor"] {
            let outcome = node.run(&[command, "-vv", "--store", url]);
            assert!(
                outcome.stderr.contains("command ended") && !outcome.stderr.contains("hunter2"),
                "{outcome}"
            );
        }
    }
    let outcome = node.run(&["list", "-vv", "--store", "/nowhere/\u{1b}[31m"]);
    assert!(outcome.stderr.contains("info: store failed") && !outcome.stderr.contains('\u{1b}'), "{outcome}");
}

#[test]
fn a_level_that_does_not_exist_is_an_error() {
    let node = Machine::new("app1").env("PRESENCE_LOG", "loud");
    node.run(&["emit"]).code(2).says("error: `PRESENCE_LOG` is `loud`; use `off`, `info` or `debug`");
}
