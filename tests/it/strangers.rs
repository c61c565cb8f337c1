//! Other users of this machine: how they can obstruct a program that root runs, and what they can see of it.
//! Without root, these tests check nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::agent::daemon::Daemon;
use crate::fixture::machine::{Machine, Outcome, bare_repository};

/// An unprivileged user.
const STRANGER: u32 = 65534;

/// A machine with a list, and a folder that belongs to a stranger. `None` without the rights to make one.
fn machine() -> Option<(Machine, PathBuf)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let app = Machine::new("app1");
    let store = app.path("all");
    fs::create_dir(&store).unwrap();
    let app = app.store(store.display());
    app.good(&["publish"]);
    let his = app.path("his");
    fs::create_dir(&his).unwrap();
    chown(&his, Some(STRANGER), Some(STRANGER)).unwrap();
    fs::set_permissions(app.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    Some((app, his))
}

/// A file of root that no other user may read or change.
fn victim(app: &Machine) -> PathBuf {
    let victim = app.path("victim");
    fs::write(&victim, "precious\n").unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
    victim
}

fn link_of_a_stranger(target: &Path, link: &Path) {
    symlink(target, link).unwrap();
    lchown(link, Some(STRANGER), Some(STRANGER)).unwrap();
}

#[track_caller]
fn is_untouched(victim: &Path) {
    let found = fs::metadata(victim).unwrap();
    assert_eq!((found.mode() & 0o7777, found.uid()), (0o600, 0));
    assert_eq!(fs::read_to_string(victim).unwrap(), "precious\n");
}

fn render(app: &Machine, path: &Path, more: &[&str]) -> Outcome {
    let path = path.display().to_string();
    app.run(&[&["render", "hosts", "-o", &path], more].concat())
}

#[test]
fn a_file_in_his_folder_is_written_and_nothing_that_his_links_lead_to() {
    let Some((app, his)) = machine() else { return };
    let victim = victim(&app);
    let asked = ["--mode", "0644", "--owner", "65534"];
    // As documented: a file for an application, in the application's own folder.
    let file = his.join("hosts");
    render(&app, &file, &asked).code(0);
    let found = fs::metadata(&file).unwrap();
    assert_eq!((found.mode() & 0o7777, found.uid()), (0o644, STRANGER));
    // The file becomes a link, whose mode and owner would be set even though its content is correct.
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    link_of_a_stranger(&victim, &file);
    render(&app, &file, &asked).code(1).says("is a link, and links are not followed");
    fs::write(&victim, &text).unwrap();
    render(&app, &file, &asked).code(1).says("is a link");
    fs::write(&victim, "precious\n").unwrap();
    is_untouched(&victim);
    // A folder of the stranger becomes a link to one of root's.
    let roots = app.path("roots");
    fs::create_dir(&roots).unwrap();
    link_of_a_stranger(&roots, &his.join("config"));
    let outcome = render(&app, &his.join("config/hosts"), &asked).code(1);
    outcome.says("belongs to user 65534 but leads to a folder of another user").says("chown -h root");
    assert_eq!(fs::read_dir(&roots).unwrap().count(), 0);
    // A link to another folder of the stranger is allowed, and root's own links may lead anywhere.
    fs::create_dir(his.join("releases")).unwrap();
    chown(his.join("releases"), Some(STRANGER), None).unwrap();
    link_of_a_stranger(Path::new("releases"), &his.join("current"));
    render(&app, &his.join("current/hosts"), &[]).code(0);
    symlink(&roots, app.path("ours")).unwrap();
    render(&app, &app.path("ours/hosts"), &[]).code(0);
    assert!(his.join("releases/hosts").exists() && roots.join("hosts").exists());
}

#[test]
fn a_folder_that_may_only_be_written_is_written() {
    let Some((app, his)) = machine() else { return };
    let program = app.path("presence");
    fs::copy(env!("CARGO_BIN_EXE_presence"), &program).unwrap();
    let drop = his.join("drop");
    fs::create_dir(&drop).unwrap();
    chown(&drop, Some(STRANGER), None).unwrap();
    fs::set_permissions(&drop, fs::Permissions::from_mode(0o300)).unwrap();
    symlink("drop", his.join("link")).unwrap();
    for (name, text) in [("drop/hosts", "first"), ("drop/hosts", "second"), ("link/hosts", "third")] {
        app.fact("hostname", text);
        app.good(&["publish"]);
        let args = ["render", "hosts", "-o", his.join(name).to_str().unwrap()].map(str::to_owned);
        let of_root = app.command(&[]);
        let mut command = Command::new(&program);
        command.args(args).current_dir(&his).env_clear().uid(STRANGER).gid(STRANGER);
        command.envs(of_root.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.env("PRESENCE_STATE_DIR", his.join("state")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(fs::read_to_string(drop.join("hosts")).unwrap().contains(text));
    }
    assert_eq!(fs::read_dir(&drop).unwrap().count(), 1);
}

#[test]
fn metrics_go_into_his_folder_and_through_none_of_his_links() {
    let Some((app, his)) = machine() else { return };
    let victim = victim(&app);
    let metrics = his.join("presence.prom");
    link_of_a_stranger(&victim, &metrics);
    fs::write(
        app.path("presence.toml"),
        format!("[agent]\ninterval = '1s'\npoll = '1s'\nmetrics = '{}'\n", metrics.display()),
    )
    .unwrap();
    let agent = Daemon::start(&app);
    let is_there = || fs::symlink_metadata(&metrics).is_ok_and(|found| found.is_file());
    agent.wait_for("the metrics", is_there);
    // The metrics collector is another user.
    assert_eq!(fs::metadata(&metrics).unwrap().mode() & 0o7777, 0o644);
    is_untouched(&victim);
    // The whole folder is replaced by a link while the agent runs.
    let roots = app.path("roots");
    fs::create_dir(&roots).unwrap();
    fs::rename(&his, app.path("moved")).unwrap();
    link_of_a_stranger(&roots, &his);
    agent.wait_for("the link to be told", || agent.log().contains("leads to a folder of another user"));
    assert_eq!(fs::read_dir(&roots).unwrap().count(), 0);
}

#[test]
fn the_state_directory_is_for_its_user_alone() {
    let Some((app, _)) = machine() else { return };
    // As made by an older version or a package.
    let state = app.path("state");
    app.run(&["beat"]).code(0);
    app.run(&["render", "hosts"]).code(0);
    let all = || {
        let found =
            Command::new("find").arg(&state).args(["-name", "*.git", "-prune", "-o", "-print"]).output();
        let found = String::from_utf8(found.unwrap().stdout).unwrap();
        found.lines().map(PathBuf::from).collect::<Vec<_>>()
    };
    let is_private = || {
        for path in all() {
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o077, 0, "{}", path.display());
        }
    };
    is_private();
    let locks: Vec<PathBuf> = all().into_iter().filter(|path| path.ends_with("lock")).collect();
    assert!(!locks.is_empty(), "{:?}", all());
    let hold = |path: &Path| {
        let mut command = Command::new("flock");
        command.arg("--nonblock").arg(path).arg("true").uid(STRANGER).gid(STRANGER).stderr(Stdio::null());
        command.status().unwrap().success()
    };
    for path in all() {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    assert!(locks.iter().all(|lock| hold(lock)), "otherwise this test shows nothing");
    // The next run removes those rights.
    app.good(&["list"]);
    is_private();
    assert!(!locks.iter().any(|lock| hold(lock)));
}

#[test]
fn a_record_in_a_shared_folder_is_not_written_through_a_link() {
    let Some((app, _)) = machine() else { return };
    let victim = victim(&app);
    let store = app.path("all");
    let record = store.join("i-app1.json");
    fs::remove_file(&record).unwrap();
    link_of_a_stranger(&victim, &record);
    app.run(&["publish"]).code(0);
    assert!(fs::symlink_metadata(&record).unwrap().is_file());
    // The same for a heartbeat.
    fs::create_dir_all(store.join(".beats")).unwrap();
    let beat = store.join(".beats/i-app1");
    let _ = fs::remove_file(&beat);
    link_of_a_stranger(&victim, &beat);
    app.run(&["beat"]);
    let _ = fs::remove_dir_all(store.join(".beats"));
    let roots = app.path("roots");
    fs::create_dir(&roots).unwrap();
    link_of_a_stranger(&roots, &store.join(".beats"));
    app.run(&["beat"]);
    assert_eq!(fs::read_dir(&roots).unwrap().count(), 0);
    is_untouched(&victim);
}

/// Runs the program on a terminal, and returns what arrived there. `None` without the program `script`.
fn on_a_terminal(app: &Machine, args: &[&str]) -> Option<String> {
    let program = app.command(args);
    let words = std::iter::once(program.get_program()).chain(program.get_args());
    let line: Vec<String> =
        words.map(|word| shell_words::quote(word.to_str().unwrap()).into_owned()).collect();
    let mut command = Command::new("script");
    command.args(["-qec", &line.join(" "), "/dev/null"]).current_dir(app.path("")).env_clear();
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.stdin(Stdio::null()).output().ok()?;
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn nothing_that_others_say_acts_on_a_terminal() {
    const HOSTILE: &str = "\u{1b}]0;x\u{7}\u{1b}[31m\u{9b}2J\u{202e}\u{2066}\u{200b}\u{2028}\u{85}";
    let app = Machine::new("app1");
    let store = app.path("all");
    fs::create_dir(&store).unwrap();
    let record = serde_json::json!({"filetype": "nodepresence", "value": {
        "instance-id": "a", "nodepart": format!("app{HOSTILE}"), "stacktype": HOSTILE, "deployment": HOSTILE,
        "state": format!("x{HOSTILE}"), "address": format!("1.2.3.4{HOSTILE}"), HOSTILE: HOSTILE}});
    fs::write(store.join("a.json"), record.to_string()).unwrap();
    fs::write(store.join(format!("b{HOSTILE}.json")), "{}").unwrap();
    let app = app.store(store.display());
    fs::write(app.path("nodeinfo/note.txt"), HOSTILE).unwrap();
    for args in [
        &["list"][..],
        &["list", "--format", "json"],
        &["list", "--format", "prometheus"],
        &["list", "--format", "ids"],
        &["show", "a"],
        &["show", "a", "--format", "json"],
        &["check", "--format", "json"],
        &["doctor"],
        &["doctor", "--format", "json"],
        &["emit"],
        &["show", HOSTILE],
    ] {
        // Output to a file is unchanged if it is a record, and harmless otherwise.
        let outcome = app.run(args);
        let plain = format!("{}{}", if args[0] == "emit" { "" } else { &outcome.stdout }, outcome.stderr);
        let shown = on_a_terminal(&app, args).unwrap_or_default().replace("\r\n", "\n");
        // The colours of this program itself.
        let colours = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[33m", "\u{1b}[36m"];
        let shown = colours.iter().fold(shown, |text, colour| text.replace(colour, ""));
        let shown = shown.replace("\u{1b}[31merror", "error");
        for text in [plain, shown] {
            let acts = |character: char| {
                HOSTILE.contains(character) && !character.is_ascii_graphic() || character == '\r'
            };
            assert!(!text.contains(acts), "{args:?}: {text:?}");
        }
    }
    // The JSON has the same meaning.
    let listed: serde_json::Value =
        serde_json::from_str(&app.run(&["list", "--format", "json"]).stdout).unwrap();
    assert_eq!(listed["nodes"][0]["stacktype"], HOSTILE);
}

#[test]
fn in_a_shared_repository_nothing_is_written_through_his_links() {
    if machine().is_none() {
        return;
    }
    let app = Machine::new("app1");
    let (list, roots) = (app.path("list.git"), app.path("roots"));
    let app = app.store(list.display());
    let links_to_roots = |names: &[String], owner: u32| {
        for path in [&list, &roots] {
            if path.exists() {
                fs::remove_dir_all(path).unwrap();
            }
        }
        bare_repository(&list);
        fs::create_dir(&roots).unwrap();
        for name in names {
            let link = list.join(name);
            if link.exists() {
                fs::remove_dir_all(&link).unwrap();
            }
            symlink(&roots, &link).unwrap();
            lchown(&link, Some(owner), Some(owner)).unwrap();
        }
        app.run(&["publish"])
    };
    let is_empty = || fs::read_dir(&roots).unwrap().next().is_none();
    let objects: Vec<String> = (0..256).map(|first| format!("objects/{first:02x}")).collect();
    for (names, says) in [
        (&["refs/heads".to_owned()][..], "refs/heads` in it is a link whose owner does not own its target"),
        (&objects, "belongs to user 65534 but leads to a folder of another user"),
    ] {
        links_to_roots(names, STRANGER).code(1).says(says);
        assert!(is_empty(), "{says}");
        links_to_roots(names, 0).code(0);
        assert!(!is_empty(), "root's own links are followed");
    }
    links_to_roots(&[], 0).code(0);
    fs::remove_file(list.join("config")).unwrap();
    link_of_a_stranger(&victim(&app), &list.join("config"));
    app.run(&["list"]).says("config` in it is a link whose owner does not own its target");
    is_untouched(&app.path("victim"));
}

/// A second file of a node, with a time far ahead, in a sticky folder.
#[test]
fn a_second_file_of_a_node_does_not_count_and_does_not_stop_it() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let app = Machine::new("app1");
    let store = app.path("all");
    fs::create_dir_all(store.join("his")).unwrap();
    let app = app.store(store.display());
    let forged = r#"{"filetype":"nodepresence","value":{"instance-id":"i-app1","nodepart":"evil","statetss":"99991231-235959"}}"#;
    let other = store.join("his/i-app1.json");
    fs::write(&other, forged).unwrap();
    // Not even root may remove that.
    let held = Command::new("chattr").arg("+i").arg(&other).status();
    let is_held = held.is_ok_and(|status| status.success());
    let published = app.run(&["publish"]).code(0);
    if is_held {
        assert!(published.stderr.contains("this node has a second file"), "{published}");
        for port in [9001, 9002] {
            app.fact("port", port);
            app.run(&["publish"]).code(0);
            let listed = app.run(&["list", "--format", "ids"]).code(0);
            listed
                .says("his/i-app1.json: is a second file of the node `i-app1`: presence uses `i-app1.json`");
            assert!(app.run(&["show", "i-app1"]).stdout.contains(&port.to_string()));
        }
        app.run(&["withdraw"]).code(1).says("i-app1.json");
        assert!(Command::new("chattr").arg("-i").arg(&other).status().unwrap().success());
        app.fact("port", 9003);
        app.run(&["publish"]).code(0);
    }
    assert!(!other.exists(), "what can be removed is");
    // It returns once more, and the next change removes it.
    fs::write(&other, forged).unwrap();
    assert!(!app.run(&["show", "i-app1"]).stdout.contains("evil"));
    app.good(&["publish"]);
    assert!(!other.exists());
    // A later time wins until the next beat, although nothing else changed.
    fs::write(&other, forged.replace("9999", "2025")).unwrap();
    assert!(app.run(&["show", "i-app1"]).stdout.contains("evil"));
    app.good(&["beat"]);
    assert!(!other.exists() && !app.run(&["show", "i-app1"]).stdout.contains("evil"));
}
