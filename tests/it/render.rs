//! What `render` does with a file and with stdout: limits, check, replacement, reload, exit codes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::fixture::machine::{Machine, Outcome, bare_repository, git};

/// A load balancer, and `apps` application servers on its list.
struct Fleet {
    lb: Machine,
    apps: Vec<Machine>,
}

impl Fleet {
    fn new(apps: usize) -> Fleet {
        let lb = Machine::new("lb1");
        let repository = lb.path("list.git");
        bare_repository(&repository);
        let apps = (1..=apps)
            .map(|n| {
                let app =
                    Machine::new("app1").with("instance-id", format!("i-app{n}")).with("port", 8000 + n);
                let app = app.store(repository.display());
                app.good(&["publish"]);
                app
            })
            .collect();
        Fleet { lb: lb.store(repository.display()), apps }
    }

    /// Renders a short list with additional arguments.
    fn render(&self, args: &[&str]) -> Outcome {
        let dir = self.lb.path("templates/common");
        fs::create_dir_all(&dir).unwrap();
        fs::write(
            dir.join("apps.hbs"),
            "{{#nodes part=\"app*\"}}{{instance-id}} {{availability}}\n{{else}}nobody\n{{/nodes}}",
        )
        .unwrap();
        let words = [&["render", "apps", "--template-dir", "templates"], args].concat();
        self.lb.run(&words)
    }

    fn out(&self) -> String {
        fs::read_to_string(self.lb.path("out")).unwrap()
    }

    /// Files vanish from the list, without a withdrawal.
    fn lose(&self, apps: std::ops::Range<usize>) {
        let clone = self.lb.path(&format!("clone{}", apps.start));
        git(&self.lb.path(""), &["clone", "--quiet", "list.git", clone.to_str().unwrap()]);
        let files: Vec<String> = apps.map(|app| format!("it/presence/all/i-app{}.json", app + 1)).collect();
        let words = ["rm", "--quiet"].into_iter().chain(files.iter().map(String::as_str));
        git(&clone, &words.collect::<Vec<_>>());
        git(&clone, &["commit", "--quiet", "--message", "tidy up"]);
        git(&clone, &["push", "--quiet"]);
    }
}

#[test]
fn stdout_is_the_file_and_nothing_else() {
    let fleet = Fleet::new(2);
    let outcome = fleet.render(&[]).code(0);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("i-app1 active\ni-app2 active\n", ""));
}

#[test]
fn a_great_loss_keeps_the_last_good_output() {
    let fleet = Fleet::new(5);
    let all = fleet.render(&[]).code(0).stdout;
    fleet.render(&["-o", "out"]).code(0);
    fleet.lose(0..3);
    let refused =
        fleet.render(&[]).code(3).says("`app*` has 2 active nodes where the last good output had 5");
    assert_eq!(refused.stdout, all, "stdout gets the last good output");
    fleet.render(&["-o", "out"]).code(3).says("/out` keeps 3 nodes");
    assert_eq!(fleet.out(), all);
    fleet.render(&["-o", "out", "--max-shrink", "60"]).code(0);
    assert_eq!(fleet.out().lines().count(), 2);
    fleet.lose(3..5);
    fleet.render(&["-o", "out", "--max-shrink", "100"]).code(3).says("--min-nodes asks for 1");
    fleet.render(&["-o", "out", "--force"]).code(0);
    assert_eq!(fleet.out(), "nobody\n");
    fleet.render(&["-o", "out"]).code(0); // the forced output is the new reference
}

#[test]
fn drained_one_at_a_time_a_fleet_may_go_to_nothing() {
    let fleet = Fleet::new(2);
    fleet.render(&["-o", "out"]).code(0);
    for app in &fleet.apps {
        app.good(&["state", "draining"]);
        fleet.render(&["-o", "out"]).code(0);
        app.good(&["withdraw"]);
        fleet.render(&["-o", "out"]).code(0);
    }
    assert_eq!(fleet.out(), "nobody\n");
}

#[test]
fn a_file_that_nobody_remembers_is_not_emptied() {
    let fleet = Fleet::new(0);
    fs::write(fleet.lb.path("out"), "written by hand\n").unwrap();
    fleet.render(&["-o", "out"]).code(3);
    assert_eq!(fleet.out(), "written by hand\n");
    fs::remove_file(fleet.lb.path("out")).unwrap();
    fleet.render(&["-o", "out"]).code(0);
}

#[test]
fn a_store_spelt_wrong_empties_nothing() {
    let fleet = Fleet::new(2);
    let all = fleet.render(&[]).code(0).stdout;
    let wrong = fleet.render(&["--store", "/no/such/place"]).code(3).says("/no/such/place");
    assert_eq!(wrong.stdout, all);
    let empty = fleet.lb.path("empty");
    fs::create_dir(&empty).unwrap();
    let empty = fleet.render(&["--store", empty.to_str().unwrap()]).code(3);
    assert_eq!(empty.stdout, all);
}

#[test]
fn a_refused_check_keeps_the_old_file_and_a_failed_reload_is_owed() {
    let fleet = Fleet::new(1);
    fleet.render(&["-o", "out"]).code(0);
    let old = fleet.out();
    fleet.apps[0].good(&["state", "draining"]);
    fleet.render(&["-o", "out", "--check", "grep -q nothing {}"]).code(4).says("grep -q nothing");
    assert_eq!(fleet.out(), old);
    assert!(
        !fleet
            .lb
            .path("")
            .read_dir()
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_string_lossy().starts_with(".presence") })
    );
    let check = ["--check", "grep -q draining {}"];
    fleet.render(&[&["-o", "out", "--reload", "false"][..], &check].concat()).code(5).says("`false`");
    assert_ne!(fleet.out(), old);
    fleet.render(&["-o", "out", "--reload", "false"]).code(5);
    let marker = fleet.lb.path("reloaded");
    let reload = format!("cp {{}} {}", marker.display());
    fleet.render(&["-o", "out", "--reload", &reload]).code(0);
    assert_eq!(fs::read_to_string(&marker).unwrap(), fleet.out());
    fs::remove_file(&marker).unwrap();
    fleet.render(&["-o", "out", "--reload", &reload]).code(0);
    assert!(!marker.exists(), "unchanged bytes reload nothing");
}

#[test]
fn whatever_fails_stdout_gets_the_last_good_output() {
    let fleet = Fleet::new(1);
    let all = fleet.render(&[]).code(0).stdout;
    assert_eq!(fleet.render(&["--check", "false {}"]).code(4).says("was printed instead").stdout, all);
    assert_eq!(fleet.render(&["--check", "false {}", "--dry-run"]).code(4).stdout, "");
    fs::create_dir_all(fleet.lb.path("worse/common")).unwrap();
    for template in ["{{vars.missing}}", "{{#nodes}}"] {
        fs::write(fleet.lb.path("worse/common/apps.hbs"), template).unwrap();
        let broken = fleet.lb.run(&["render", "apps", "--template-dir", "worse"]);
        assert_eq!(broken.code(1).says("was printed instead").stdout, all);
    }
}

#[test]
fn a_link_is_never_followed() {
    let fleet = Fleet::new(1);
    fs::write(fleet.lb.path("precious"), "x").unwrap();
    symlink("precious", fleet.lb.path("out")).unwrap();
    fleet.render(&["-o", "out"]).code(1).says("is a link");
    assert_eq!(fs::read_to_string(fleet.lb.path("precious")).unwrap(), "x");
}

#[test]
fn a_mount_point_is_refused_or_written_in_place() {
    let fleet = Fleet::new(2);
    fleet.render(&[]).code(0); // creates the templates
    let render = "\"$P\" render apps --template-dir templates -o out";
    fs::write(fleet.lb.path("source"), "old\n").unwrap();
    fs::write(fleet.lb.path("out"), "").unwrap();
    let script = format!(
        "mount --bind source out; {render} --reload 'touch reloaded'; echo $?; {render} --dry-run; echo $?"
    );
    let Some(said) = fleet.lb.with_mounts(&script) else { return };
    assert!(said.contains("is a mount point") && said.contains("--in-place"), "{said}");
    assert_eq!(said.matches("1\n").count(), 2, "{said}");
    let source = || fs::read_to_string(fleet.lb.path("source")).unwrap();
    assert_eq!((source().as_str(), fleet.lb.path("reloaded").exists()), ("old\n", false));
    let script =
        format!("mount --bind source out; {render} --in-place --force --reload 'touch reloaded'; echo $?");
    let said = fleet.lb.with_mounts(&script).unwrap();
    assert_eq!(source(), "i-app1 active\ni-app2 active\n", "{said}");
    assert!(fleet.lb.path("reloaded").exists());
    // A full disk leaves the old file whole.
    let script = "mkdir full; mount -t tmpfs -o size=8k none full; echo old > full/out; head -c 4k /dev/zero > full/rest; \
                  \"$P\" render haproxy --in-place -o full/out; echo $?; cat full/out; head -c 300 full/rest | wc -c";
    let said = fleet.lb.with_mounts(script).unwrap();
    assert!(said.contains("1\nold\n") && said.contains("No space left"), "{said}");
}

#[test]
fn mode_is_kept_or_set_and_time_stands_still_for_an_unchanged_file() {
    let fleet = Fleet::new(1);
    fleet.render(&["-o", "out", "--mode", "0640"]).code(0);
    let found = fs::metadata(fleet.lb.path("out")).unwrap();
    assert_eq!(found.permissions().mode() & 0o7777, 0o640);
    fleet.render(&["-o", "out"]).code(0);
    assert_eq!(fs::metadata(fleet.lb.path("out")).unwrap().modified().unwrap(), found.modified().unwrap());
    fleet.apps[0].good(&["state", "draining"]);
    fleet.render(&["-o", "out"]).code(0);
    assert_eq!(fs::metadata(fleet.lb.path("out")).unwrap().permissions().mode() & 0o7777, 0o640);
}

#[test]
fn diff_and_dry_run_change_nothing() {
    let fleet = Fleet::new(2);
    fleet.render(&["-o", "out"]).code(0);
    let old = fleet.out();
    fleet.apps[1].good(&["state", "draining"]);
    let diff = fleet.render(&["-o", "out", "--diff"]).code(0).stdout;
    assert!(diff.contains("-i-app2 active\n+i-app2 draining\n"), "{diff}");
    fleet.render(&["-o", "out", "--dry-run", "--reload", "false"]).code(0).says("would replace");
    fleet.render(&["-o", "out", "--dry-run", "--check", "false {}"]).code(4);
    assert_eq!(fleet.out(), old);
    let stdout = fleet.render(&["--dry-run"]).code(0).stdout;
    assert_eq!(stdout, "i-app1 active\ni-app2 draining\n");
}

#[test]
fn variables_come_from_a_file_that_others_cannot_read() {
    let fleet = Fleet::new(1);
    let dir = fleet.lb.path("templates/common");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("login.hbs"), "{{vars.user}} {{vars.password}}\n").unwrap();
    let render = |file: &str, set: &str| {
        let words = ["render", "login", "--template-dir", "templates", "-o", "login", "--vars-file", file];
        fleet.lb.run(&[&words[..], &["--set", set]].concat())
    };
    let out = || fs::read_to_string(fleet.lb.path("login")).unwrap();
    fs::write(fleet.lb.path("a.json"), r#"{"user": "a", "password": "hunter22"}"#).unwrap();
    render("a.json", "user=b").code(0);
    assert_eq!(out(), "b hunter22\n");
    // Its content is an input of the output, its name is none.
    fs::write(fleet.lb.path("a.json"), r#"{"password": "hunter23"}"#).unwrap();
    render("a.json", "user=b").code(0);
    assert_eq!(out(), "b hunter23\n");
    for bad in ["[\"hunter24\"]", "{\"password\": hunter24}", "\"hunter24\""] {
        fs::write(fleet.lb.path("a.json"), bad).unwrap();
        let refused =
            render("a.json", "user=b").code(2).says("`a.json` is not one JSON object: see line 1, column");
        assert!(!refused.stderr.contains("hunter24"), "{}", refused.stderr);
    }
    render("missing.json", "user=b").code(1).says("missing.json");
    assert_eq!(out(), "b hunter23\n");
}

#[test]
fn two_runs_at_once_do_not_mix() {
    let fleet = Fleet::new(3);
    fleet.render(&[]).code(0); // creates the templates
    let log = fleet.lb.path("log");
    let slow = format!("sh -c 'echo begin >> {0}; sleep 0.1; echo end >> {0}'", log.display());
    let running: Vec<_> = (8080..8084)
        .map(|port| {
            let port = format!("frontend_port={port}");
            let args = ["render", "haproxy", "-o", "out", "-q", "--reload", &slow, "--set", &port];
            fleet.lb.command(&args).spawn().unwrap()
        })
        .collect();
    for mut child in running {
        assert!(child.wait().unwrap().success());
    }
    let lines = fs::read_to_string(log).unwrap();
    assert_eq!(lines, "begin\nend\n".repeat(lines.lines().count() / 2), "one after the other");
}

#[test]
fn a_file_by_hand_keeps_nodes_that_are_silent_at_once_as_a_beat_does() {
    let fleet = Fleet::new(3);
    fleet.apps.iter().for_each(|app| drop(app.good(&["beat"])));
    fleet.render(&["-o", "out"]).code(0);
    fleet.render(&[]).code(0);
    fleet.apps[2].good(&["state", "draining"]);
    let later = Fleet { lb: fleet.lb.env("PRESENCE_NOW", "2026-01-02T05:04:05Z"), apps: fleet.apps };
    let kept = later.render(&["-o", "out", "--max-age", "5m"]).code(0);
    assert_eq!(later.out(), "i-app1 active\ni-app2 active\ni-app3 draining\n", "it follows other changes");
    let kept = kept.says("i-app1, i-app2, i-app3: silent, but kept: more nodes are silent at once");
    kept.says("the network or the store; `--force` drops them");
    // Output to stdout is all or nothing.
    let refused =
        later.render(&["--max-age", "5m"]).code(3).says("i-app1, i-app2, i-app3: silent: more nodes");
    assert!(!refused.stderr.contains("kept:") && refused.stdout.contains("i-app1 active"), "{refused}");
    later.render(&["-o", "out", "--max-age", "5m", "--force"]).code(0);
    assert_eq!(later.out(), "nobody\n");
}

#[test]
fn a_file_waits_for_its_first_node() {
    let app = Machine::new("app1");
    let store = app.path("all");
    fs::create_dir(&store).unwrap();
    let app = app.store(store.display());
    let file = app.path("database.yml");
    let table =
        format!("[[render]]\nname = 'database.yml'\noutput = '{}'\nwait-for-nodes = 'db*'\n", file.display());
    fs::write(app.path("presence.toml"), &table).unwrap();
    let waits = "not made yet: it waits for an active node of `db*` in scope";
    let quiet = |outcome: Outcome| assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    app.run(&["beat"]).code(0).says(waits);
    quiet(app.run(&["beat", "--quiet"]).code(0));
    let words = ["render", "database.yml", "-o", "by-hand", "--wait-for-nodes", "db*"];
    app.run(&words).code(0).says(waits);
    assert!(!file.exists() && !app.path("by-hand").exists());
    // A database of another stacktype, or one that leaves, is none.
    let db = Machine::new("db1").store(store.display());
    db.fact("stacktype", "lad2");
    db.good(&["publish"]);
    quiet(app.run(&["beat", "--quiet"]).code(0));
    db.fact("stacktype", "lad1");
    db.good(&["publish"]);
    quiet(app.run(&["beat", "--quiet"]).code(0));
    app.run(&words).code(0);
    let good = fs::read_to_string(&file).unwrap();
    assert!(good.contains("10.0.0.3"), "{good}");
    assert_eq!(fs::read_to_string(app.path("by-hand")).unwrap(), good);
    // A file that was made does not wait: its last database is a loss, and is reported.
    db.good(&["state", "wedged"]);
    assert_ne!(app.run(&["beat"]).code, Some(0));
    assert_ne!(app.run(&words).code, Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), good);
}
