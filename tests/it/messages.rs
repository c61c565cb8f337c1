//! Error messages: each names the thing, the place and the next step, and is never a bare OS error.

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
    hint: known templates: database.env, database.properties, database.yml, haproxy.cfg, hosts, nagios.cfg, nginx-upstream.conf, pgbouncer.ini, prometheus-sd.json
    ");
    insta::assert_snapshot!(told(&app, &["render", "database"]), @"
    exit code 2
    --- stderr
    error: `database` could be any of database.env, database.properties, database.yml
    hint: write the full name, for example `presence render database.env`
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
    hint: write a command as words, as in --check 'haproxy -dW -c -f {}'
    ");
    insta::assert_snapshot!(told(&app, &["render", "hosts", "-o", "out", "--owner", "nobody-here"]), @"
    exit code 2
    --- stderr
    error: `nobody-here` does not name a user or group of this machine
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
    error: not an instance-id: the name `../../x` starts with `.`; it must start with a letter or digit (ASCII)
    ");
    insta::assert_snapshot!(told(&app, &["list", "--config", "missing.toml"]), @"
    exit code 2
    --- stderr
    error: there is no configuration `missing.toml`
    hint: create one with `presence init --config missing.toml`
    ");
    fs::write(app.path("presence.toml"), "folder = 'a'\nstores = 3\n").unwrap();
    insta::assert_snapshot!(told(&app, &["list"]), @"
    exit code 2
    --- stderr
    error: `[DIR]/presence.toml`: TOML parse error at line 2, column 1
      |
    2 | stores = 3
      | ^^^^^^
    unknown field `stores`, expected one of `nodeinfo`, `store`, `folder`, `layout`, `beat-store`, `beat-shards`, `state-dir`, `branch`, `addresses`, `template-dir`, `verbose`, `quiet`, `color`, `vars`, `states`, `limits`, `store-limits`, `timeouts`, `render`, `page`, `agent`, `health`, `notify`, `credential`, `etcd`
    hint: `presence init` writes a file that shows every key
    ");
}

#[test]
fn of_commands_that_only_a_shell_understands_and_of_checks_without_the_file() {
    let app = Machine::new("app1");
    insta::assert_snapshot!(told(&app, &["render", "hosts", "-o", "out", "--reload", "true && touch 'a b'"]), @r#"
    exit code 2
    --- stderr
    error: only a shell understands `&&` in `true && touch 'a b'`, but presence runs commands without one: write sh -c 'true && touch '\''a b'\'''
    hint: or quote it, if it is part of an argument; {} is the file, also in the script
    "#);
    insta::assert_snapshot!(told(&app, &["render", "hosts", "--check", "haproxy -c -f {} 2>&1"]), @"
    exit code 2
    --- stderr
    error: only a shell understands `2>&1` in `haproxy -c -f {} 2>&1`, but presence runs commands without one: write sh -c 'haproxy -c -f {} 2>&1'
    hint: or quote it, if it is part of an argument; {} is the file, also in the script
    ");
    insta::assert_snapshot!(told(&app, &["render", "hosts", "--check", "haproxy -c -f /etc/haproxy/haproxy.cfg"]), @"
    exit code 2
    --- stderr
    error: the check `haproxy -c -f /etc/haproxy/haproxy.cfg` has no `{}`: it would check the old file, not the new one
    hint: write {} in place of the file's name; `true {}` checks nothing
    ");
    assert!(!app.path("out").exists());
    let table = |line: &str| format!("[[render]]\nname = 'hosts'\noutput = '/nonexistent/x'\n{line}\n");
    for (text, expect) in [
        (table("check = 'haproxy -c -f /etc/haproxy/haproxy.cfg'"), "has no `{}`"),
        (table("check = 'true {} | cat'"), "sh -c 'true {} | cat'"),
        (
            table("reload = 'kill -USR2 $(cat /run/haproxy.pid)'"),
            "sh -c 'kill -USR2 $(cat /run/haproxy.pid)'",
        ),
        ("[[health]]\ncommand = 'pgrep app > /dev/null'\n".to_owned(), "sh -c 'pgrep app > /dev/null'"),
        ("[[notify]]\ncommand = 'mail root < {}'\n".to_owned(), "sh -c 'mail root < {}'"),
    ] {
        fs::write(app.path("presence.toml"), &text).unwrap();
        for command in ["doctor", "beat"] {
            app.run(&[command]).code(2).says(expect);
        }
    }
    for (option, line) in
        [("--check", "sh -c 'test -s \"$1\" && true' sh {}"), ("--reload", "sh -c 'true && true'")]
    {
        fs::write(app.path("presence.toml"), "").unwrap();
        app.run(&["render", "hosts", "-o", "out", option, line]).code(0);
    }
}

/// The words of the command in the first backquotes after `from`, as a shell splits them.
fn words_after(text: &str, from: &str) -> Vec<String> {
    let command = text.split_once(from).unwrap().1.split('`').nth(1).unwrap();
    shell_words::split(command).unwrap()
}

#[test]
fn of_commands_that_can_be_pasted_whatever_the_path() {
    let app = Machine::new("app1");
    for name in ["a b", "it's", "x;y"] {
        let missing = format!("{name}.toml");
        let said = told(&app, &["list", "--config", &missing]);
        assert_eq!(words_after(&said, "hint: "), ["presence", "init", "--config", &missing]);
        let said = told(&app, &["list", "--store", name]);
        assert_eq!(words_after(&said, "hint: "), ["git", "init", "--bare", name]);
        // The next step contains the arguments of `init`, and works.
        let nodeinfo = format!("{name} facts");
        let store = app.path(&format!("{name} list"));
        let store = store.to_str().unwrap();
        let options = ["--config", &missing, "--nodeinfo", &nodeinfo, "--store", store];
        let init =
            app.run(&[&["init", "--part", "app1", "--stacktype", "lad1"], &options[..]].concat()).code(0);
        let next = words_after(&init.stderr, "next: ");
        assert_eq!(next[..4], ["presence", "emit", "--config", &missing], "{init}");
        assert!(next.windows(2).any(|pair| pair == ["--store", store]), "{init}");
        let words: Vec<&str> = next[1..].iter().map(String::as_str).collect();
        assert!(app.good(&words).contains("\"nodepart\": \"app1\""));
        let config = fs::read_to_string(app.path(&missing)).unwrap();
        assert!(config.lines().any(|line| line.starts_with("store = [")), "{config}");
    }
}

#[test]
fn of_two_tables_for_one_file() {
    let app = Machine::new("app1");
    fs::create_dir(app.path("real")).unwrap();
    std::os::unix::fs::symlink("real", app.path("link")).unwrap();
    let tables = |paths: [&str; 2]| {
        let table = |path| format!("[[render]]\nname = 'hosts'\noutput = '{}'\n", app.path(path).display());
        fs::write(app.path("presence.toml"), paths.map(table).concat()).unwrap();
    };
    for other in ["link/hosts", "real/../real/hosts", "real/hosts"] {
        tables(["real/hosts", other]);
        app.run(&["beat"]).code(2).says("two [[render]] tables write");
    }
    tables(["real/hosts", "link/hosts2"]);
    app.run(&["beat"]).code(0);
    // A file is recognized by any of its names.
    app.run(&["accept", "link/hosts"]).code(0);
}

#[test]
fn of_a_state_directory_that_cannot_be_written() {
    let app = Machine::new("app1");
    let store = app.path("all");
    fs::create_dir(&store).unwrap();
    let app = app.store(store.display());
    app.good(&["publish"]);
    // Even root cannot write below a regular file.
    fs::write(app.path("file"), "").unwrap();
    let nowhere = app.path("file/state");
    let nowhere = nowhere.to_str().unwrap();
    let outcome = app
        .run(&["render", "hosts", "--state-dir", nowhere])
        .code(0)
        .says("presence keeps no copy of the output");
    assert!(outcome.stdout.contains("app1"), "{outcome}");
    app.run(&["render", "hosts", "--state-dir", nowhere, "-o", "out"]).code(1);
    assert!(!app.path("out").exists());
}

#[test]
fn of_a_comparison_with_a_fact_that_a_node_does_not_state() {
    let app = Machine::new("app1");
    let store = app.path("all");
    fs::create_dir(&store).unwrap();
    let app = app.store(store.display());
    app.good(&["publish"]);
    fs::create_dir_all(app.path("templates/common")).unwrap();
    let render = |body: &str| {
        fs::write(app.path("templates/common/t.hbs"), format!("{{{{#nodes}}}}{body}{{{{/nodes}}}}")).unwrap();
        app.run(&["render", "t", "--template-dir", "templates"])
    };
    let backup = "{{instance-id}}{{#if (eq backup \"yes\")}} backup{{/if}}";
    assert_eq!(render(backup).code(0).stdout, "i-app1\n");
    render("{{#if (gt weight 5)}}heavy{{/if}}").code(1).says("there is no `weight`");
    app.fact("backup", "yes");
    app.good(&["publish"]);
    assert_eq!(render(backup).code(0).stdout, "i-app1 backup\n");
}

#[test]
fn of_the_node_itself() {
    let app = Machine::new("app1");
    insta::assert_snapshot!(told(&app, &["emit", "--nodeinfo", "no-such"]), @"
    exit code 1
    --- stderr
    error: cannot read `no-such`: No such file or directory (os error 2)
    hint: create `no-such` first, or name another one
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
    error: fact `[DIR]/nodeinfo/secret.txt` is not a regular file; links are not followed
    hint: replace `[DIR]/nodeinfo/secret.txt` by a regular file
    ");
    fs::remove_file(app.path("nodeinfo/secret.txt")).unwrap();
    insta::assert_snapshot!(told(&app, &["state", "half way"]), @"
    exit code 2
    --- stderr
    error: `half way` is not a state: character 5 of the name `half way` is ` `; only letters, digits (ASCII), `_`, `.` and `-` are allowed
    ");
    insta::assert_snapshot!(told(&app, &["state", "sleepy"]), @"
    exit code 2
    --- stderr
    error: the state `sleepy` is in no table, so templates would leave the node out; nothing was changed
    hint: known states: decommissioned, done, drained, draining, initdone, presetup, running, setup, wedged; add one to [states] in presence.toml, or set it with --anyway
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
    hint: create a repository with `git init --bare no-such`, or a plain directory with `mkdir -p no-such`
    ");
    insta::assert_snapshot!(told(&app, &["publish", "--store", "s3://bucket/list"]), @"
    exit code 1
    --- stderr
    error: store `s3://bucket/list`: this build of presence has no transport for `s3`
    hint: use a path, file://, git://, ssh://, user@host:path, http://, https://, etcd:// or etcds://; from ssh:// on, they need the Cargo features `ssh`, `https` and `etcd`
    ");
    fs::write(app.path("file"), "x").unwrap();
    insta::assert_snapshot!(told(&app, &["publish", "--store", "file"]), @"
    exit code 1
    --- stderr
    error: store `file`: `file` is a file, not a directory or repository
    hint: `ls -ld file` shows it; name the directory or repository of the list with --store
    ");
    insta::assert_snapshot!(told(&app, &["list", "--store", "no-such"]), @"
    exit code 3
    --- stdout
    ID  PART  STACKTYPE  DEPLOYMENT  STATE  AVAILABILITY  ADDRESS  PORT  SEEN  FRESHNESS
    --- stderr
    warning: store `no-such`: there is no directory or repository `no-such`; there is no earlier copy of it
    error: no store could be read; these are the last copies
    hint: create a repository with `git init --bare no-such`, or a plain directory with `mkdir -p no-such`
    ");
    insta::assert_snapshot!(told(&app, &["render", "haproxy", "--store", "no-such"]), @"
    exit code 3
    --- stderr
    warning: store `no-such`: there is no directory or repository `no-such`; there is no earlier copy of it
    error: no store could be read; there is no last good output to print instead
    hint: create a repository with `git init --bare no-such`, or a plain directory with `mkdir -p no-such`
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
fn of_one_store_of_two_that_is_away() {
    let app = Machine::new("app1");
    fs::create_dir(app.path("list")).unwrap();
    let list = app.path("list");
    let app = app.store(list.display()).store("no-such");
    for words in [&["publish"][..], &["list"], &["beat"]] {
        app.run(words).code(0).says("hint: create a repository with `git init --bare no-such`");
    }
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
    insta::assert_snapshot!(broken("x\n", &["--check", "sh -c 'echo bad line 3; exit 1' {}", "-o", "out"]), @"
    exit code 4
    --- stderr
    error: the new `[DIR]/out` was refused by its check; the old file stands: `sh -c 'echo bad line 3; exit 1' {}` ended with exit status 1
      | bad line 3
    hint: see what the check says above; nothing was changed
    ");
    insta::assert_snapshot!(broken("x\n", &["--check", "no-such-program {}", "-o", "out"]), @"
    exit code 4
    --- stderr
    error: the new `[DIR]/out` was refused by its check; the old file stands: cannot run `no-such-program {}`: No such file or directory (os error 2)
    hint: check that the program is installed and in PATH
    ");
    insta::assert_snapshot!(broken("x\n", &["--reload", "false", "-o", "out"]), @"
    exit code 5
    --- stderr
    error: `[DIR]/out` is in place, but its reload failed; the next run tries it again: `false` ended with exit status 1
    hint: correct the problem that the command reports, then run the same command again
    ");
    insta::assert_snapshot!(told(&app, &["render", "database.yml"]), @"
    exit code 1
    --- stderr
    error: built-in:common/database.yml.hbs:12:9: `vars.db_host` is required: no active node of the part `db*` with an address and a port is in scope
    ");
}

#[test]
fn of_urls_that_were_mistyped() {
    let app = Machine::new("app1");
    for url in [
        "url=https://u:s3cret@127.0.0.1:1/x",
        "<https://u:s3cret@127.0.0.1:1/x>",
        "https:///u:s3cret@127.0.0.1:1/x",
        "https://127.0.0.1:1/x#s3cret",
        "https://127.0.0.1:1/x;token=s3cret",
        "https://s3cret:x-oauth-basic@127.0.0.1:1/x",
        "u:s3cret/w@127.0.0.1/x",
        "127.0.0.1/x?private_token=s3cret",
    ] {
        for words in [&["list"][..], &["publish"], &["doctor"], &["list", "--format", "json"]] {
            let outcome = app.run(&[words, &["--store", url]].concat());
            assert!(!outcome.to_string().contains("s3cret"), "{url}: {outcome}");
        }
        fs::write(app.path("presence.toml"), format!("store = {url}\n")).unwrap();
        let outcome = app.run(&["list"]);
        assert!(!outcome.to_string().contains("s3cret"), "{url}: {outcome}");
        fs::write(app.path("presence.toml"), "").unwrap();
    }
    // The file contains the password, so only its owner may read it, and the next step omits it.
    let outcome = app.run(&["init", "--config", "new.toml", "--store", "https://u:s3cret@127.0.0.1:1/x"]);
    assert!(!outcome.to_string().contains("s3cret") && !outcome.stderr.contains("--store"), "{outcome}");
    assert!(fs::read_to_string(app.path("new.toml")).unwrap().contains("s3cret"));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(app.path("new.toml")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // `init` must not take a folder for an existing file.
    app.run(&["init", "--config", "home"]).code(1).says("home").says("not a file");
}

#[test]
fn of_names_that_nobody_bears() {
    let app = Machine::new("app1");
    let list = app.path("list.git");
    bare_repository(&list);
    let app = app.store(list.display());
    // An empty list says nothing about names.
    assert_eq!(app.good(&["list", "--part", "ap1"]), app.good(&["list"]));
    app.good(&["publish"]);
    let told = "no node on the list has the part `ap1`; known: app1";
    for words in [
        &["list", "--part", "ap1"][..],
        &["list", "--part", "ap1", "--format", "json"],
        &["check", "--part", "ap1"],
    ] {
        app.run(words).code(0).says(told);
    }
    app.run(&["list", "--deployment", "fed2"]).code(0).says("has the deployment `fed2`; known: fed1");
    for _ in 0..2 {
        app.run(&["render", "hosts", "--part", "ap1"]).code(0).says(told);
    }
    // An unknown state is refused.
    for words in [&["list", "--state", "drainig"][..], &["check", "--state", "done", "--state", "drainig"]] {
        let outcome =
            app.run(words).code(2).says("did you mean `draining`?").says("known states: absent, active,");
        assert_eq!(outcome.stdout, "");
    }
    app.good(&["list", "--state", "drained"]);
    app.run(&["state", "bogus", "--anyway"]).code(0);
    assert_eq!(app.run(&["list", "--state", "bogus", "--format", "ids"]).code(0).stdout, "i-app1\n");
    app.good(&["state", "done"]);
    for (words, told) in [
        (&["--where", "typo=x"][..], "no node on the list has the fact `typo`; known: deployment, hostname,"),
        (&["--where", "port=80"], "no node on the list has a `port` that matches `80`; known: 8080"),
        (&["--where", "port=80*", "--state", "drained"], "no node on the list meets all these conditions"),
    ] {
        for command in ["list", "check"] {
            app.run(&[&[command], words].concat()).code(0).says(told);
        }
    }
    let told = "no node in scope has a part that matches `ap1` (the variable `app_parts`); the parts in scope are app1";
    app.run(&["render", "haproxy", "--set", "app_parts=ap1"]).code(0).says(told);
    app.run(&["render", "haproxy", "--set", "app_parts=app*, {ap,web}1"]).code(0).says(told);
    let default = app.run(&["render", "nginx-upstream", "--set", "app_parts=app*,web"]).code(0).stderr;
    assert!(default.contains("matches `web`") && !default.contains("matches `app*`"), "{default}");
    app.good(&["render", "hosts", "--set", "app_parts=ap1"]);
    for words in [&["list", "--part", "ap*"][..], &["render", "hosts", "--part", "app1"]] {
        app.good(words);
    }
}
