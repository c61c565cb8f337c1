//! What users read when something is wrong: the thing, the place and the next step, never a bare OS error.

use std::fs;

use crate::fixture::machine::{Machine, bare_repository};

#[track_caller]
fn told(machine: &Machine, args: &[&str]) -> String {
    let outcome = machine.run(args);
    assert_ne!(outcome.code, Some(0), "{outcome}");
    assert_ne!(outcome.code, Some(101), "a panic: {outcome}");
    outcome.to_string()
}

#[test]
fn of_the_command_line_and_the_configuration() {
    let app = Machine::new("app1");
    insta::assert_snapshot!(told(&app, &["rendr"]), @"
    exit code 2
    --- stderr
    error: unrecognized subcommand 'rendr'

      tip: a similar subcommand exists: 'render'

    Usage: presence [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(told(&app, &["render", "haproxi"]), @"
    exit code 2
    --- stderr
    error: there is no template `haproxi`
    hint: there are: database.env, database.properties, database.yml, haproxy.cfg, hosts, nagios.cfg, nginx-upstream.conf, pgbouncer.ini, prometheus-sd.json
    ");
    insta::assert_snapshot!(told(&app, &["render", "database"]), @"
    exit code 2
    --- stderr
    error: `database` could be any of database.env, database.properties, database.yml
    hint: name it whole, for example `presence render database.env`
    ");
    insta::assert_snapshot!(told(&app, &["render", "hosts", "--set", "novalue"]), @"
    exit code 2
    --- stderr
    error: --set `novalue` is not of the form KEY=VALUE
    ");
    insta::assert_snapshot!(told(&app, &["render", "hosts", "--check", "grep 'x"]), @"
    exit code 2
    --- stderr
    error: `grep 'x` has a quote that is not closed
    hint: a command is words, as in --check 'haproxy -dW -c -f {}'
    ");
    insta::assert_snapshot!(told(&app, &["render", "hosts", "-o", "out", "--owner", "nobody-here"]), @"
    exit code 2
    --- stderr
    error: `nobody-here` names no user or group of this machine
    hint: write USER or USER:GROUP, as names or numbers
    ");
    insta::assert_snapshot!(told(&app, &["render", "hosts", "--template-dir", "no-such"]), @"
    exit code 2
    --- stderr
    error: there is no template directory `no-such`
    ");
    insta::assert_snapshot!(told(&app, &["list", "--where", "rack"]), @"
    exit code 2
    --- stderr
    error: `rack` is not of the form FACT=GLOB
    hint: for example --where 'rack=r1*'
    ");
    insta::assert_snapshot!(told(&app, &["show", "../../x"]), @"
    exit code 2
    --- stderr
    error: no instance-id: the name `../../x` starts with `.`; it must start with a letter or digit (ASCII)
    ");
    insta::assert_snapshot!(told(&app, &["list", "--config", "missing.toml"]), @"
    exit code 2
    --- stderr
    error: cannot read `missing.toml`: No such file or directory (os error 2)
    hint: make `missing.toml` first, or name another one
    ");
    fs::write(app.path("presence.toml"), "folder = 'a'\nstores = 3\n").unwrap();
    insta::assert_snapshot!(told(&app, &["list"]), @"
    exit code 2
    --- stderr
    error: `[DIR]/presence.toml`: TOML parse error at line 2, column 1
      |
    2 | stores = 3
      | ^^^^^^
    unknown field `stores`, expected one of `nodeinfo`, `store`, `folder`, `layout`, `beat-store`, `beat-shards`, `state-dir`, `branch`, `template-dir`, `verbose`, `quiet`, `color`, `vars`, `states`, `limits`, `timeouts`, `render`, `agent`, `health`, `notify`
    hint: `presence init` writes a file that shows every key
    ");
}

#[test]
fn of_the_node_itself() {
    let app = Machine::new("app1");
    insta::assert_snapshot!(told(&app, &["emit", "--nodeinfo", "no-such"]), @"
    exit code 1
    --- stderr
    error: cannot read `no-such`: No such file or directory (os error 2)
    hint: make `no-such` first, or name another one
    ");
    app.fact("instance-id", "../x");
    insta::assert_snapshot!(told(&app, &["emit"]), @"
    exit code 1
    --- stderr
    error: this node has an unusable instance-id: the name `../x` starts with `.`; it must start with a letter or digit (ASCII)
    hint: correct `[DIR]/nodeinfo/instance-id.txt`
    ");
    app.fact("instance-id", "i-app1");
    app.fact("biography", "x".repeat(20_000));
    insta::assert_snapshot!(told(&app, &["publish"]), @"
    exit code 1
    --- stderr
    error: fact `[DIR]/nodeinfo/biography.txt` is longer than 16384 bytes
    hint: a fact is a short text: shorten `[DIR]/nodeinfo/biography.txt`, or give it another ending than .txt
    ");
    fs::remove_file(app.path("nodeinfo/biography.txt")).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", app.path("nodeinfo/secret.txt")).unwrap();
    insta::assert_snapshot!(told(&app, &["publish"]), @"
    exit code 1
    --- stderr
    error: fact `[DIR]/nodeinfo/secret.txt` is no plain file; links are not followed
    hint: replace `[DIR]/nodeinfo/secret.txt` by a copy of what it points to
    ");
    fs::remove_file(app.path("nodeinfo/secret.txt")).unwrap();
    insta::assert_snapshot!(told(&app, &["state", "half way"]), @"
    exit code 2
    --- stderr
    error: `half way` is no state: character 5 of the name `half way` is ` `; only letters, digits (ASCII), `_`, `.` and `-` are allowed
    ");
    insta::assert_snapshot!(told(&app, &["state", "sleepy"]), @"
    exit code 2
    --- stderr
    error: the state `sleepy` is in no table and counts as absent; nothing was changed
    hint: known are decommissioned, done, drained, draining, initdone, presetup, running, setup, wedged; add one to [states] in presence.toml, or set it with --anyway
    ");
    app.run(&["state", "sleepy", "--anyway"]).code(0).says("has the unknown state `sleepy`");
}

#[test]
fn of_stores() {
    let app = Machine::new("app1");
    insta::assert_snapshot!(told(&app, &["publish", "--store", "no-such"]), @"
    exit code 1
    --- stderr
    error: store `no-such`: there is no directory or repository `no-such`
    hint: `git init --bare no-such` makes a repository, `mkdir -p no-such` a plain directory
    ");
    insta::assert_snapshot!(told(&app, &["publish", "--store", "s3://bucket/list"]), @"
    exit code 1
    --- stderr
    error: store `s3://bucket/list`: this build of presence has no transport for `s3`
    hint: use a path, file://, git://, ssh://, user@host:path, http:// or https://; the last four need the Cargo features `ssh` and `https`
    ");
    fs::write(app.path("file"), "x").unwrap();
    insta::assert_snapshot!(told(&app, &["publish", "--store", "file"]), @"
    exit code 1
    --- stderr
    error: store `file`: there is no directory or repository `file`
    hint: `git init --bare file` makes a repository, `mkdir -p file` a plain directory
    ");
    insta::assert_snapshot!(told(&app, &["list", "--store", "no-such"]), @"
    exit code 3
    --- stdout
    ID  PART  STACKTYPE  DEPLOYMENT  STATE  AVAILABILITY  ADDRESS  PORT
    --- stderr
    warning: store `no-such`: there is no directory or repository `no-such`; there is no earlier copy of it
    error: no store could be read; these are the last copies
    hint: `git init --bare no-such` makes a repository, `mkdir -p no-such` a plain directory
    ");
    insta::assert_snapshot!(told(&app, &["render", "haproxy", "--store", "no-such"]), @"
    exit code 3
    --- stderr
    warning: store `no-such`: there is no directory or repository `no-such`; there is no earlier copy of it
    error: no store could be read; there is no last good output to print instead
    hint: `git init --bare no-such` makes a repository, `mkdir -p no-such` a plain directory
    ");
    insta::assert_snapshot!(told(&app, &["show", "i-nobody"]), @"
    exit code 1
    --- stderr
    error: `i-nobody` is not on the list
    hint: `presence list --format ids` lists the nodes
    ");
    insta::assert_snapshot!(told(&app, &["withdraw", "i-nobody"]), @"
    exit code 1
    --- stdout
    [DIR]/state/store.git: i-nobody: not on the list
    --- stderr
    error: no store has a record of `i-nobody`
    hint: `presence list --format ids` lists the nodes
    ");
}

#[test]
fn of_templates_and_targets() {
    let app = Machine::new("app1");
    app.good(&["publish"]);
    let dir = app.path("templates/common");
    fs::create_dir_all(&dir).unwrap();
    let broken = |text: &str, args: &[&str]| {
        fs::write(dir.join("t.cfg.hbs"), text).unwrap();
        told(&app, &[&["render", "t", "--template-dir", "templates"], args].concat())
    };
    insta::assert_snapshot!(broken("a\n{{#nodes}}\n", &[]), @"
    exit code 1
    --- stderr
    error: templates/common/t.cfg.hbs:2:1: `{{#nodes}}` is not closed
    hint: `presence templates` shows where each template comes from
    ");
    insta::assert_snapshot!(broken("a\n  {{vars.missing}}\n", &[]), @r#"
    exit code 1
    --- stderr
    error: templates/common/t.cfg.hbs:2:3: there is no `vars.missing`
    hint: state the fact or set the variable, or write {{default NAME "…"}} or {{#if NAME}} in the template
    "#);
    insta::assert_snapshot!(broken("{{#nodes}}{{adress}}{{/nodes}}\n", &[]), @r#"
    exit code 1
    --- stderr
    error: templates/common/t.cfg.hbs:1:11: there is no `adress` (node i-app1)
    hint: state the fact or set the variable, or write {{default NAME "…"}} or {{#if NAME}} in the template
    "#);
    insta::assert_snapshot!(broken("{{shout self.nodepart}}\n", &[]), @"
    exit code 1
    --- stderr
    error: templates/common/t.cfg.hbs:1:1: there is no helper `shout`
    ");
    insta::assert_snapshot!(broken("{{> missing}}\n", &[]), @"
    exit code 1
    --- stderr
    error: templates/common/t.cfg.hbs:1:1: there is no partial `missing`
    ");
    insta::assert_snapshot!(broken("x\n", &["--check", "sh -c 'echo bad line 3; exit 1'", "-o", "out"]), @"
    exit code 4
    --- stderr
    error: the new `[DIR]/out` was refused by its check; the old file stands: `sh -c 'echo bad line 3; exit 1'` ended with exit status 1
      | bad line 3
    hint: `presence render NAME --diff -o FILE` shows what would change; see the check's output above
    ");
    insta::assert_snapshot!(broken("x\n", &["--check", "no-such-program {}", "-o", "out"]), @"
    exit code 4
    --- stderr
    error: the new `[DIR]/out` was refused by its check; the old file stands: cannot run `no-such-program {}`: No such file or directory (os error 2)
    hint: see that the program is installed and in PATH
    ");
    insta::assert_snapshot!(broken("x\n", &["--reload", "false", "-o", "out"]), @"
    exit code 5
    --- stderr
    error: `[DIR]/out` is in place, but its reload failed; it will be tried again at the next run: `false` ended with exit status 1
    hint: fix what the command complains of, then run the same command again
    ");
    insta::assert_snapshot!(told(&app, &["render", "database.yml"]), @"
    exit code 1
    --- stderr
    error: built-in:common/database.yml.hbs:11:9: `vars.db_host` is required: no active node of the part `db*` with an address and a port is in scope
    ");
}

#[test]
fn of_names_that_nobody_bears() {
    let app = Machine::new("app1");
    let list = app.path("list.git");
    bare_repository(&list);
    let app = app.store(list.display());
    // An empty list says nothing of names.
    assert_eq!(app.good(&["list", "--part", "ap1"]), app.good(&["list"]));
    app.good(&["publish"]);
    let told = "no node on the list is of the part `ap1`; there are app1";
    for words in [
        &["list", "--part", "ap1"][..],
        &["list", "--part", "ap1", "--format", "json"],
        &["check", "--part", "ap1"],
    ] {
        app.run(words).code(0).says(told);
    }
    app.run(&["list", "--deployment", "fed2"]).code(0).says("of the deployment `fed2`; there are fed1");
    for _ in 0..2 {
        app.run(&["render", "hosts", "--part", "ap1"]).code(0).says(told);
    }
    for words in [&["list", "--part", "ap*"][..], &["render", "hosts", "--part", "app1"]] {
        app.good(words);
    }
}
