//! What kind of store a path is; stores that go away, return, or are broken. An error is never an empty list.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::fixture::machine::{Machine, bare_repository, git};

/// Where this machine records the kind of its only store.
fn memory(machine: &Machine) -> PathBuf {
    fs::read_dir(machine.path("state/stores")).unwrap().next().unwrap().unwrap().path().join("kind")
}

/// A repository with one node's record, and that node.
fn published(name: &str) -> (Machine, PathBuf) {
    let app = Machine::new("app1");
    let list = app.path(name);
    bare_repository(&list);
    let app = app.store(list.display());
    app.good(&["publish"]);
    assert_eq!(app.good(&["list", "--format", "ids"]), "i-app1\n");
    (app, list)
}

/// It must neither read an empty list nor write a record beside the repository's files, and must say this.
#[track_caller]
fn is_refused(app: &Machine, list: &Path, says: &str) {
    app.fact("port", 9999);
    app.run(&["publish"]).code(1).says(says);
    app.run(&["list"]).code(3).says(says);
    let outcome = app.run(&["doctor"]).code(1);
    assert!(outcome.stdout.contains(says), "{outcome}");
    // Even a machine that has never seen the repository.
    let new = Machine::new("app2").store(list.display());
    new.run(&["publish"]).code(1).says(says);
    let outcome = new.run(&["render", "hosts"]);
    assert!(outcome.code != Some(0) && outcome.stdout.is_empty(), "{outcome}");
    for file in ["i-app1.json", "i-app2.json", "it", ".beats"] {
        assert!(!list.join(file).exists(), "{file}");
    }
}

#[test]
fn what_cannot_be_opened_is_no_plain_directory() {
    for (what, says) in [
        ("--object-format=sha256", "object format sha256"),
        ("--ref-format=reftable", "ref storage format reftable"),
    ] {
        let app = Machine::new("app1");
        let list = app.path("list");
        git(&app.path(""), &["init", "--quiet", "--bare", what, "list"]);
        let app = app.store(list.display());
        is_refused(&app, &list, says);
    }
    type Break = fn(&Path);
    let broken: [(&str, Break); 6] = [
        ("`config` cannot be read", |list| {
            let config = fs::read_to_string(list.join("config")).unwrap();
            fs::write(list.join("config"), format!("{config}\n[broken")).unwrap();
        }),
        ("partial clone", |list| {
            git(list, &["config", "core.repositoryformatversion", "1"]);
            git(list, &["config", "extensions.partialclone", "origin"]);
        }),
        ("`objects` is missing", |list| fs::rename(list.join("objects"), list.join("away")).unwrap()),
        ("`refs` is missing", |list| fs::rename(list.join("refs"), list.join("away")).unwrap()),
        ("HEAD` in it is not a regular file", |list| {
            let head = list.join("HEAD");
            fs::remove_file(&head).unwrap();
            let mode = rustix::fs::Mode::RUSR;
            rustix::fs::mknodat(rustix::fs::CWD, &head, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }),
        ("git config --system --add safe.directory", |list| {
            std::os::unix::fs::chown(list, Some(65534), Some(65534)).unwrap();
        }),
    ];
    for (says, break_it) in broken {
        for name in ["list", "list.git"] {
            if says.contains("safe.directory") && !rustix::process::geteuid().is_root() {
                continue;
            }
            let (app, list) = published(name);
            break_it(&list);
            is_refused(&app, &list, says);
        }
    }
}

#[test]
fn a_clone_that_cannot_be_opened_is_no_plain_directory() {
    let app = Machine::new("app1");
    let list = app.path("list");
    git(&app.path(""), &["init", "--quiet", "list"]);
    git(&list, &["config", "core.repositoryformatversion", "1"]);
    git(&list, &["config", "extensions.partialclone", "origin"]);
    let app = app.store(list.display());
    is_refused(&app, &list, "partial clone");
    // A `.git` file with a broken link.
    fs::remove_dir_all(list.join(".git")).unwrap();
    fs::write(list.join(".git"), "gitdir: /nowhere\n").unwrap();
    is_refused(&app, &list, "cannot open the repository");
}

#[test]
fn what_was_a_repository_is_none_until_told_otherwise() {
    let (app, list) = published("list");
    fs::rename(&list, app.path("away")).unwrap();
    app.run(&["publish"]).code(1).says("there is no directory or repository");
    assert!(!list.exists());
    fs::create_dir(&list).unwrap();
    let refused = app.run(&["publish"]).code(1).says("was a git repository");
    let hint = format!("`rm {}`", memory(&app).display());
    assert!(refused.stderr.contains(&hint), "{refused}");
    app.run(&["list", "--format", "ids"]).code(3).says("was a git repository");
    assert_eq!(fs::read_dir(&list).unwrap().count(), 0);
    // It returns.
    fs::remove_dir(&list).unwrap();
    fs::rename(app.path("away"), &list).unwrap();
    assert!(app.good(&["publish"]).contains("unchanged"));
    // It becomes a plain directory.
    fs::rename(&list, app.path("away")).unwrap();
    fs::create_dir(&list).unwrap();
    fs::remove_file(memory(&app)).unwrap();
    app.good(&["publish"]);
    assert!(list.join("i-app1.json").exists());
}

#[test]
fn a_directory_with_records_does_not_become_an_empty_repository() {
    let app = Machine::new("app1");
    let list = app.path("list");
    fs::create_dir(&list).unwrap();
    let app = app.store(list.display());
    app.good(&["publish"]);
    git(&list, &["init", "--quiet"]);
    app.run(&["list"]).code(3).says("was a plain directory with records");
    fs::remove_dir_all(list.join(".git")).unwrap();
    assert_eq!(app.good(&["list", "--format", "ids"]), "i-app1\n");
}

#[test]
fn a_directory_that_is_not_mounted_is_not_an_empty_list() {
    for inside in ["", "it/presence/all"] {
        let app = Machine::new("app1");
        let list = app.path("list");
        fs::create_dir_all(list.join(inside)).unwrap();
        let app = app.store(list.display());
        app.good(&["beat"]);
        app.good(&["list"]);
        // The empty directory below the mount point.
        let away = app.path("away");
        fs::rename(&list, &away).unwrap();
        app.run(&["publish"]).code(1).says("there is no directory or repository");
        fs::create_dir(&list).unwrap();
        let listed = app.run(&["list", "--format", "ids"]).code(3).says("held records");
        assert_eq!(listed.stdout, "i-app1\n", "its last copy");
        for command in ["publish", "beat", "withdraw"] {
            app.run(&[command]).code(1).says("held records");
        }
        app.run(&["render", "hosts", "-o", "hosts"]).code(3);
        assert_eq!(fs::read_dir(&list).unwrap().count(), 0);
        // It is mounted again.
        fs::remove_dir(&list).unwrap();
        fs::rename(&away, &list).unwrap();
        assert_eq!(app.good(&["list", "--format", "ids"]), "i-app1\n");
        // The list is meant to begin anew there.
        fs::rename(&list, &away).unwrap();
        fs::create_dir(&list).unwrap();
        fs::remove_file(memory(&app)).unwrap();
        assert_eq!(app.good(&["list", "--format", "ids"]), "");
        app.good(&["publish"]);
    }
}

#[test]
fn the_last_node_leaves_a_directory_in_order() {
    let list = tempfile::tempdir().unwrap();
    let (app, reader) =
        (Machine::new("app1").store(list.path().display()), Machine::new("lb1").store(list.path().display()));
    app.good(&["publish"]);
    assert_eq!(reader.good(&["list", "--format", "ids"]), "i-app1\n");
    app.good(&["withdraw"]);
    // The machine that did it, and one that sees it.
    for machine in [&app, &reader] {
        assert_eq!(machine.good(&["list", "--format", "ids"]), "");
        let written = || fs::metadata(memory(machine)).unwrap().mtime_nsec();
        let before = written();
        assert_eq!(machine.good(&["list", "--format", "ids"]), "");
        assert_eq!(written(), before, "nothing has changed");
    }
    app.good(&["publish"]);
    // A copy of the files in place of the directory is the list as well.
    let path = list.path().join("i-app1.json");
    let record = fs::read(&path).unwrap();
    fs::remove_dir_all(list.path()).unwrap();
    fs::create_dir(list.path()).unwrap();
    fs::write(&path, record).unwrap();
    assert_eq!(reader.good(&["list", "--format", "ids"]), "i-app1\n");
}

#[test]
fn what_cannot_be_looked_at_is_not_missing() {
    if rustix::process::geteuid().is_root() {
        // Root may read everything.
        return;
    }
    let app = Machine::new("app1");
    let list = app.path("closed/list");
    fs::create_dir_all(&list).unwrap();
    let app = app.store(list.display());
    app.good(&["publish"]);
    fs::set_permissions(app.path("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    app.run(&["list"]).code(3).says("Permission denied");
    fs::set_permissions(app.path("closed"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// No hint proposes to replace something that exists.
#[test]
fn hints_do_not_propose_to_replace_what_is_there() {
    let (app, list) = published("list");
    let fifo = |path: &Path| {
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    let hinted = |machine: &Machine, says: &str| {
        for (command, code) in [("list", 3), ("publish", 1)] {
            let outcome = machine.run(&[command]).code(code).says(says);
            let words = ["git init", "mkdir"];
            assert!(!words.iter().any(|word| outcome.stderr.contains(word)), "{outcome}");
        }
    };
    let away = app.path("away");
    fs::rename(&list, &away).unwrap();
    hinted(&app, "any more");
    fs::write(&list, "").unwrap();
    hinted(&app, "is a file, not a directory");
    fs::remove_file(&list).unwrap();
    fifo(&list);
    hinted(&app, "is a fifo, not a directory");
    fs::remove_file(&list).unwrap();
    std::os::unix::fs::symlink("nowhere", &list).unwrap();
    hinted(&app, "is a link that does not lead to a directory");
    // Even if nothing was ever used.
    for name in ["a", "a.git"] {
        let new = Machine::new("app2");
        let list = new.path(name);
        let new = new.store(list.display());
        std::os::unix::fs::symlink("nowhere", &list).unwrap();
        hinted(&new, "is a link that does not lead to a directory");
        fs::remove_file(&list).unwrap();
        fifo(&list);
        hinted(&new, "is a fifo, not a directory");
        fs::remove_file(&list).unwrap();
        fs::create_dir(&list).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", list.join(".git")).unwrap();
        hinted(&new, "its `.git` leads to `/nowhere/at/all`, which does not exist");
    }
    let new = Machine::new("app2");
    let list = new.path("a.git");
    fs::create_dir(&list).unwrap();
    fs::write(list.join("precious"), "").unwrap();
    hinted(&new.store(list.display()), "there is no git repository in it");
    for url in ["file://otherhost/srv/list.git", "file://srv"] {
        hinted(&Machine::new("app2").store(url), "`file://` reads this machine only");
    }
}

/// Runs as a user without access to some files. `None` if that is impossible.
fn as_nobody(machine: &Machine, args: &[&str]) -> Option<std::process::Output> {
    const NOBODY: u32 = 65_534;
    let give = Command::new("chown").args(["-R", "65534:65534"]).arg(machine.path("")).status();
    let mut command = machine.command(args);
    if rustix::process::geteuid().is_root() {
        assert!(give.unwrap().success());
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().ok()
}

#[test]
fn files_that_may_not_be_read_are_not_an_empty_list() {
    let list = tempfile::tempdir().unwrap();
    fs::set_permissions(list.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let folder = list.path().join("it/presence/all");
    fs::create_dir_all(folder.join("fed1")).unwrap();
    let app = Machine::new("app1").store(list.path().display());
    app.good(&["publish"]);
    let record = fs::read_to_string(folder.join("i-app1.json")).unwrap();
    fs::write(
        folder.join("fed1/i-app2.json"),
        record.replace("i-app1", "i-app2").replace("10.0.0.2", "10.0.0.9"),
    )
    .unwrap();
    let reader = Machine::new("lb1").store(list.path().display());
    let read = |machine: &Machine| {
        let ran = as_nobody(machine, &["list", "--format", "ids"])?;
        let words = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Some((ran.status.code(), words.concat()))
    };
    match read(&reader) {
        // Other users cannot enter the program's folder, so this test checks nothing.
        None => return,
        Some(listed) => assert_eq!(listed, (Some(0), "i-app1\ni-app2\n".to_owned())),
    }
    let mode = |path: &str, mode: u32| {
        fs::set_permissions(folder.join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    // The files in an unreadable folder stay as they were, and the folder is named.
    mode("fed1", 0o000);
    let (code, said) = read(&reader).unwrap();
    assert!(code == Some(0) && said.starts_with("i-app1\ni-app2\n") && said.contains("fed1"), "{said}");
    // A reader that never saw the folder has the others, and a problem.
    let new = Machine::new("lb1").store(list.path().display());
    let (code, said) = read(&new).unwrap();
    assert!(code == Some(0) && said.starts_with("i-app1\n") && said.contains("fed1"), "{said}");
    // A node that makes its own file unreadable costs no other node.
    mode("fed1", 0o755);
    mode("fed1/i-app2.json", 0o000);
    let (code, said) = read(&reader).unwrap();
    assert!(code == Some(0) && said.starts_with("i-app1\n") && said.contains("i-app2.json"), "{said}");
    // If no file can be read, the list is not empty.
    for (one, two) in [(0o000, 0o755), (0o000, 0o000)] {
        mode("i-app1.json", one);
        mode("fed1", two);
        let new = Machine::new("lb1").store(list.path().display());
        let (code, said) = read(&new).unwrap();
        assert!(
            code == Some(3) && said.contains("can be read") && said.contains("ermission denied"),
            "{said}"
        );
        let rendered = as_nobody(&new, &["render", "hosts", "-o", "hosts"]).unwrap();
        assert!(rendered.status.code() == Some(3) && !new.path("hosts").exists());
    }
    mode("fed1", 0o755);
}

/// Publishes and reads while the repository is moved away and back. Whatever each attempt gives, nothing is
/// created at the old path, and no confirmed record is lost.
#[test]
fn a_repository_that_is_moved_away_is_not_made_anew() {
    let (app, list) = published("list.git");
    let away = app.path("away.git");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (2..5)
            .map(|number| {
                let node = Machine::new("app1").with("instance-id", format!("i-{number}"));
                let node = node.store(list.display());
                let over = &over;
                scope.spawn(move || {
                    let (mut port, mut confirmed) = (0, 0);
                    let mut beat = || {
                        port += 1;
                        node.fact("port", port);
                        let ran = node.run(&["beat"]);
                        if ran.code == Some(0) {
                            confirmed = port;
                        }
                        ran
                    };
                    // On a busy machine, a move may interrupt every one of these.
                    while !over.load(Ordering::Relaxed) {
                        beat();
                    }
                    let last = beat();
                    assert_eq!(last.code, Some(0), "{}", last.stderr);
                    (number, confirmed)
                })
            })
            .collect();
        let started = Instant::now();
        let mut made_anew = false;
        while started.elapsed() < Duration::from_secs(5) && !made_anew {
            fs::rename(&list, &away).unwrap();
            thread::sleep(Duration::from_millis(3));
            made_anew = list.exists();
            // If something was created there, this fails.
            made_anew |= fs::rename(&away, &list).is_err();
            thread::sleep(Duration::from_millis(10));
        }
        over.store(true, Ordering::Relaxed);
        assert!(!made_anew, "something was made at its old place");
        for writer in writers {
            let (number, confirmed) = writer.join().unwrap();
            let path = format!("main:it/presence/all/i-{number}.json");
            let record = git(&list, &["show", &path]);
            let port = record.split("\"port\": \"").nth(1).unwrap().split('"').next().unwrap();
            assert!(port.parse::<u32>().unwrap() >= confirmed, "{record}");
        }
    });
    git(&list, &["fsck", "--strict"]);
}

/// Publishes while git maintenance removes objects, directories and refs under the writer.
#[test]
fn publishing_beside_those_who_tidy_up() {
    let (app, list) = published("list.git");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let tidy = |commands: &'static [&'static [&'static str]]| {
            let (list, over) = (&list, &over);
            scope.spawn(move || {
                for args in commands.iter().cycle() {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    // Two of them may conflict.
                    let ran =
                        Command::new("git").args(*args).current_dir(list).stderr(Stdio::null()).status();
                    assert!(ran.unwrap().code().is_some());
                }
            })
        };
        // One after the other, as `git gc` ensures: `git prune` during `git repack -a -d` loses objects of
        // any writer.
        tidy(&[
            &["repack", "-q", "-a", "-d"],
            &["prune-packed", "-q"],
            &["gc", "-q"],
            &["prune", "--expire=10.seconds.ago"],
        ]);
        tidy(&[&["pack-refs", "--all"]]);
        let nodes: Vec<_> = (2..4)
            .map(|number| {
                let node = Machine::new("app1").with("instance-id", format!("i-{number}"));
                let node = node.with("address", format!("10.1.0.{number}")).store(list.display());
                scope.spawn(move || {
                    for port in 1..60 {
                        node.fact("port", port);
                        node.good(&["beat"]);
                        assert!(node.good(&["list", "--format", "ids"]).contains("i-app1"));
                    }
                })
            })
            .collect();
        let ended: Vec<_> = nodes.into_iter().map(thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    app.good(&["beat"]);
    assert_eq!(app.good(&["list", "--format", "ids", "--max-age", "1d"]), "i-2\ni-3\ni-app1\n");
    assert_eq!(git(&list, &["log", "--oneline", "main"]).lines().count(), 1 + 2 * 59);
    // Without git's commit graph: `git gc` writes the present heartbeats into it, and `git prune` does not
    // remove the replaced ones from it. git still reads, but `git fsck` reports an error.
    git(&list, &["-c", "core.commitGraph=false", "fsck", "--strict"]);
}

/// Two users of one group publish in turn, with a umask that excludes the group.
#[test]
fn several_users_publish_by_path() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    const GROUP: u32 = 54_320;
    let shared = tempfile::tempdir().unwrap();
    let list = shared.path().join("list.git");
    git(shared.path(), &["init", "--quiet", "--bare", "--shared=group", "--initial-branch=main", "list.git"]);
    let give = |path: &Path, user: u32| {
        let status = Command::new("chown").arg("-R").arg(format!("{user}:{GROUP}")).arg(path).status();
        assert!(status.unwrap().success());
    };
    give(&list, 54_321);
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let users: Vec<(Machine, u32)> = [54_321, 54_322]
        .into_iter()
        .map(|user| {
            let node = Machine::new("app1").with("instance-id", format!("i-{user}")).store(list.display());
            fs::write(node.path("home/.gitconfig"), "[safe]\n\tdirectory = *\n").unwrap();
            node.command(&[]);
            give(&node.path(""), user);
            (node, user)
        })
        .collect();
    let run = |node: &Machine, user: u32, args: &[&str]| {
        let mut command = node.command(args);
        command.uid(user).gid(GROUP);
        command.output()
    };
    if run(&users[0].0, users[0].1, &["--version"]).is_ok_and(|ran| !ran.status.success()) {
        // Other users cannot enter the program's folder, so this test checks nothing.
        return;
    }
    for port in 1..12 {
        for (node, user) in &users {
            node.fact("port", port);
            let ran = run(node, *user, &["beat"]).unwrap();
            assert!(ran.status.success(), "{user} {port}: {}", String::from_utf8_lossy(&ran.stderr));
        }
    }
    assert_eq!(git(&list, &["-c", "safe.directory=*", "rev-list", "--count", "main"]), "22\n");
    let wrong = Command::new("find").arg(&list).args(["-type", "d", "!", "-perm", "-2070"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&wrong.stdout), "", "as git would have made them");
}
