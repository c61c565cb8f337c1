//! `presence doctor`: reports what works, and finds each thing that would fail before it does.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;

use crate::fixture::haproxy::HaProxy;
use crate::fixture::machine::{Machine, Outcome, bare_repository, git};

/// A node whose own record is on the list, in a directory.
fn node() -> Machine {
    let app = Machine::new("app1");
    let store = app.path("all");
    fs::create_dir(&store).unwrap();
    let app = app.store(store.display());
    app.good(&["publish"]);
    app
}

/// A `[[render]]` table for the hosts file, with additional lines.
fn table(machine: &Machine, more: &str) -> String {
    format!("[[render]]\nname = 'hosts'\noutput = '{}'\n{more}\n", machine.path("hosts").display())
}

fn doctor_with(machine: &Machine, config: &str) -> Outcome {
    fs::write(machine.path("presence.toml"), config).unwrap();
    machine.run(&["doctor"])
}

/// The failed line must contain this text, and the exit code must be 1.
#[track_caller]
fn fails(outcome: Outcome, text: &str) {
    let found = outcome.stdout.split("\nFAILED").skip(1).chain(outcome.stdout.strip_prefix("FAILED"));
    let found =
        found.map(|rest| rest.split("\nok ").next().unwrap_or_default()).any(|line| line.contains(text));
    assert!(found, "no failure says {text:?}\n{outcome}");
    outcome.code(1).says("checks failed");
}

#[test]
fn what_works_is_gone_through_and_changes_nothing() {
    let app = node();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = format!(
        "{}[[health]]\ntcp = '{port}'\n[[health]]\ncommand = 'true'\n",
        table(&app, "check = 'test -s {}'\nreload = 'touch reloaded'")
    );
    let outcome = doctor_with(&app, &config).code(0);
    for text in [
        "this node is i-app1",
        "1 nodes on the list",
        "accepts records",
        "would replace",
        "is rendered from `hosts`",
        "the programs of 3 of 3 commands are installed",
        "health check `true` passes",
    ] {
        assert!(outcome.stdout.contains(text), "{text}: {outcome}");
    }
    assert!(!outcome.stdout.contains("FAILED") && outcome.stderr.is_empty(), "{outcome}");
    assert!(!app.path("hosts").exists() && !app.path("reloaded").exists());
    let json: Value = serde_json::from_str(&app.good(&["doctor", "--format", "json"])).unwrap();
    let findings = json["findings"].as_array().unwrap();
    assert_eq!((&json["failed"], json["ok"].as_u64() > Some(8)), (&0.into(), true), "{json}");
    assert!(
        findings.iter().any(|finding| finding["subject"] == "file" && finding["verdict"] == "ok"),
        "{json}"
    );
    assert_eq!(app.good(&["doctor", "-q"]), "");
    // The beat does what was rehearsed.
    app.run(&["beat"]).code(0);
    assert!(app.path("reloaded").exists());
    assert!(app.good(&["doctor"]).contains("is already up to date"));
}

#[test]
fn a_key_that_others_can_read_fails() {
    use std::os::unix::fs::PermissionsExt;
    let app = node();
    let file = app.path("secret");
    let table =
        |key: &str, url: &str| format!("[[credential]]\nurl = '{url}'\n{key} = '{}'\n", file.display());
    let ssh = "ssh://git@git.example.net";
    fails(doctor_with(&app, &table("ssh-key", ssh)), "No such file");
    fs::write(&file, "x\n").unwrap();
    for (key, url, good, bad) in [
        ("ssh-key", ssh, 0o600, 0o640),
        ("known-hosts", ssh, 0o644, 0o664),
        ("token-file", "https://git.example.net", 0o640, 0o644),
        ("login-file", "https://git.example.net", 0o600, 0o604),
    ] {
        let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        mode(good);
        doctor_with(&app, &table(key, url)).code(0);
        mode(bad);
        fails(doctor_with(&app, &table(key, url)), &format!("has mode {bad:04o}"));
    }
}

#[test]
fn what_is_wrong_with_a_file_fails() {
    let app = node();
    let check = |more: &str, text: &str| fails(doctor_with(&app, &table(&app, more)), text);
    check("check = 'no-such-checker {}'", "there is no program `no-such-checker` in PATH");
    check("reload = '/no/such/reloader'", "/no/such/reloader");
    check("check = 'false {}'", "was refused by its check");
    check("template-dir = '/no/such/templates'", "there is no template directory `/no/such/templates`");
    check("min-nodes = 5", "refused by a safety limit");
    let templates = app.path("templates/common");
    fs::create_dir_all(&templates).unwrap();
    let dir = format!("template-dir = '{}'", app.path("templates").display());
    for (template, text) in [
        ("{{#nodes}}", "hosts.hbs:1:1"),
        ("{{vars.missing}}", "there is no `vars.missing`"),
        ("{{#nodes}}{{adress}}{{/nodes}}", "there is no `adress`"),
    ] {
        fs::write(templates.join("hosts.hbs"), template).unwrap();
        check(&dir, text);
    }
    let gone = "[[render]]\nname = 'hosts'\noutput = '/no/such/dir/x'\n";
    fails(doctor_with(&app, gone), "there is no such directory");
    let no_template = format!("[[render]]\nname = 'nothing'\noutput = '{}'\n", app.path("x").display());
    fails(doctor_with(&app, &no_template), "there is no template `nothing`");
}

#[test]
fn what_is_wrong_with_others_fails() {
    let app = node();
    let free = HaProxy::free_address();
    let check = |config: String, text: &str| fails(doctor_with(&app, &config), text);
    check(format!("[[health]]\ntcp = '{free}'\n"), "connection refused");
    check("[[health]]\ncommand = 'false'\n".into(), "health check `false`");
    check("[[health]]\ncommand = 'no-such-program'\n".into(), "no program `no-such-program`");
    check("[[notify]]\ncommand = 'no-such-pager {}'\n".into(), "no program `no-such-pager`");
    #[cfg(feature = "https")]
    {
        let secret = format!("[[notify]]\nurl = 'http://{free}/s3cret'\ntimeout = '2s'\n");
        check(secret.clone(), &format!("webhook http://{free}"));
        assert!(!doctor_with(&app, &secret).stdout.contains("s3cret"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("[[notify]]\nurl = 'http://{}/x'\n", listener.local_addr().unwrap());
        let outcome = doctor_with(&app, &url).code(0);
        assert!(outcome.stdout.contains("only a real message can show"), "{outcome}");
    }
    // What readers cannot use of this node.
    fs::write(app.path("presence.toml"), "").unwrap();
    for (fact, value, text) in [
        ("address", "db.example.org", "unusable `address`"),
        ("port", "70000", "`port`"),
        ("address", "0.0.0.0", "unusable `address`"),
    ] {
        let app = node();
        app.fact(fact, value);
        fails(app.run(&["doctor"]), text);
    }
    // A record that is years ahead.
    app.fact("statetss", "20400101-000000");
    app.run(&["publish"]).code(0);
    fails(app.run(&["doctor"]), "i-app1 (2040-01-01T00:00:00Z) are ahead of this machine's clock");
}

#[test]
fn what_is_wrong_with_a_store_fails() {
    let app = node();
    let missing = app.run(&["doctor", "--store", "/no/such/store"]);
    assert!(!missing.stdout.contains("nodes on the list"), "{missing}");
    assert!(missing.stdout.contains("untried the list: no store could be read"), "{missing}");
    fails(missing, "/no/such/store");
    // One store of two.
    let all = app.path("all").display().to_string();
    let one = app.run(&["doctor", "--store", "/no/such/store", "--store", &all]);
    assert!(one.stdout.contains("1 nodes on the list, from 1 of 2 stores"), "{one}");
    fails(one, "/no/such/store");

    let list = app.path("list.git");
    bare_repository(&list);
    let store = ["--store", list.to_str().unwrap()];
    let outcome = app.run(&[&["doctor"][..], &store].concat()).code(0);
    assert!(outcome.stdout.contains("accepts records; the first one creates the branch `main`"), "{outcome}");
    app.good(&[&["publish"][..], &store].concat());
    let outcome = app.run(&[&["doctor"][..], &store].concat()).code(0);
    assert!(outcome.stdout.contains("accepts records on the branch `main`"), "{outcome}");
    git(&list, &["branch", "other"]);
    git(&list, &["symbolic-ref", "HEAD", "refs/heads/mian"]);
    fails(app.run(&[&["doctor"][..], &store].concat()), "`mian`");
    git(&list, &["symbolic-ref", "HEAD", "refs/heads/main"]);
    let config = format!("store = '{}'\nbranch = 'mian'\n", list.display());
    fs::write(app.path("other.toml"), config).unwrap();
    let mistyped = app.run(&[&["doctor", "--config", "other.toml"][..], &store].concat());
    assert!(
        !mistyped.stdout.contains("nodes on the list") && !mistyped.stdout.contains(" 0 files"),
        "{mistyped}"
    );
    fails(mistyped, "the configured branch `mian` does not exist; existing branches: `main`, `other`");

    // Even root cannot write to a read-only mount.
    let script = "for d in all list.git; do mount --bind $d $d; mount -o remount,ro,bind $d; \
                  $P doctor --store \"$PWD/$d\"; echo \"exit $?\"; done";
    let Some(said) = app.with_mounts(script) else { return };
    assert_eq!(said.matches("FAILED  publishing: ").count(), 2, "{said}");
    assert_eq!(
        (said.matches("Read-only file system").count() >= 2, said.matches("exit 1").count()),
        (true, 2),
        "{said}"
    );
}

#[cfg(all(feature = "https", feature = "ssh"))]
#[test]
fn a_server_that_takes_no_pushes_fails_and_one_that_does_is_left_as_it_was() {
    use crate::fixture::GitDaemon;
    let server = GitDaemon::start();
    let list = server.repository("list.git");
    let app = Machine::new("app1").store(server.url("list.git"));
    app.good(&["publish"]);
    let before = list.git(["for-each-ref"]);
    let outcome = app.run(&["doctor"]).code(0);
    assert!(outcome.stdout.contains("accepts records on the branch `"), "{outcome}");
    assert!(outcome.stdout.contains("only a real push can show"), "{outcome}");
    assert_eq!(list.git(["for-each-ref"]), before);
    let config = "branch = 'no-such-branch'\n".to_owned();
    let mistyped = doctor_with(&app, &config);
    assert!(!mistyped.stdout.contains("ok      0 nodes"), "{mistyped}");
    fails(mistyped, "`no-such-branch`");
    fs::write(app.path("presence.toml"), "").unwrap();
    list.git(["config", "daemon.receivepack", "false"]);
    let outcome = app.run(&["doctor"]);
    assert!(outcome.stdout.contains("1 nodes on the list"), "reading works: {outcome}");
    fails(outcome, "publishing: ");
}

#[test]
fn a_file_that_nobody_can_replace_fails() {
    let app = node();
    let config = table(&app, "");
    fs::write(app.path("presence.toml"), &config).unwrap();
    app.run(&["beat"]).code(0);
    let flag = |flag: &str| Command::new("chattr").arg(flag).arg(app.path("hosts")).status();
    if !flag("+i").is_ok_and(|status| status.success()) {
        return;
    }
    // The file is correct, but the next change would fail.
    let outcome = app.run(&["doctor"]);
    app.fact("ipv4", "10.0.0.9");
    let changed = app.run(&["beat"]);
    flag("-i").unwrap();
    fails(outcome, "is immutable, so the file cannot be replaced");
    changed.code(1).says("is immutable").says("chattr -i");
    // Other names of the file keep the present content.
    fs::hard_link(app.path("hosts"), app.path("other")).unwrap();
    let outcome = app.run(&["doctor"]).code(0);
    assert!(outcome.stdout.contains("1 other name (a hard link)"), "{outcome}");
}

#[test]
fn a_socket_below_admin_fails() {
    let lb = node();
    let dir = lb.path("haproxy");
    fs::create_dir(&dir).unwrap();
    let frontend = HaProxy::free_address();
    let config = |level: &str| {
        let global = HaProxy::global(&dir).replace("level admin", &format!("level {level}"));
        format!(
            "{global}defaults\n    mode tcp\n    timeout connect 1s\n    timeout client 1s\n    timeout server 1s\n\
             frontend f\n    bind {frontend}\n    default_backend b\nbackend b\n    server s 127.0.0.1:9\n"
        )
    };
    let table = table(
        &lb,
        &format!("reload = 'true'\napply = 'runtime'\nsocket = '{}'", HaProxy::socket_in(&dir).display()),
    );
    fails(doctor_with(&lb, &table), "cannot connect to HAProxy's socket");
    fails(doctor_with(&lb, &table.replace("apply = 'runtime'\n", "")), "HAProxy does not answer at");
    for (level, good) in [("operator", false), ("user", false), ("admin", true)] {
        let haproxy = HaProxy::start(&dir, &config(level));
        let outcome = doctor_with(&lb, &table);
        match good {
            true => assert!(outcome.code(0).stdout.contains("with level admin")),
            false => fails(outcome, &format!("has level `{level}`")),
        }
        // A socket that only confirms reloads needs no admin level.
        let confirms = table.replace("apply = 'runtime'\n", "");
        let outcome = doctor_with(&lb, &confirms).code(0);
        assert!(outcome.stdout.contains("which confirms reloads"), "{outcome}");
        drop(haproxy);
    }
}

#[test]
fn a_state_file_that_is_not_empty_fails_no_rehearsal() {
    let lb = node();
    let dir = lb.path("haproxy");
    fs::create_dir(&dir).unwrap();
    let running = format!(
        "{}frontend f\n    mode http\n    bind {}\n    timeout client 1s\n",
        HaProxy::global(&dir),
        HaProxy::free_address()
    );
    let _haproxy = HaProxy::start(&dir, &running);
    let states = lb.path("states");
    let check = format!("check = \"grep -q '^1$' '{}'\"", states.display());
    let config = table(
        &lb,
        &format!(
            "{}\nreload = 'true'\napply = 'runtime'\nsocket = '{}'\nstate-file = '{}'",
            check.replace("'\"", "' {}\""),
            HaProxy::socket_in(&dir).display(),
            states.display()
        ),
    );
    for content in [None, Some("1\n# be_id be_name\n")] {
        if let Some(content) = content {
            fs::write(&states, content.replace('1', "2")).unwrap();
        }
        let outcome = doctor_with(&lb, &config).code(0);
        assert!(
            outcome.stdout.contains("presence empties it before a real check, but not in a rehearsal"),
            "{outcome}"
        );
        assert!(outcome.stdout.contains("would replace"), "{outcome}");
    }
    fs::write(&states, "1\n").unwrap();
    let outcome = doctor_with(&lb, &config.replace("^1$", "^2$"));
    fails(outcome, "grep");
    let outcome = doctor_with(&lb, &config).code(0);
    assert!(!outcome.stdout.contains("rehearsal"), "{outcome}");
}

#[test]
fn a_configuration_that_cannot_be_read_is_a_finding_too() {
    let app = Machine::new("app1");
    fs::write(app.path("presence.toml"), "stores = 3\n").unwrap();
    let outcome = app.run(&["doctor", "--format", "json"]).code(2).says("unknown field `stores`");
    let json: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&json["failed"], &json["findings"][0]["subject"]), (&1.into(), &"configuration".into()));
    assert_eq!(app.run(&["doctor"]).code(2).stdout, "");
}
