//! Unreadable objects and missing branches: never an empty list.

use std::fs;
use std::path::Path;

use crate::fixture::machine::{Machine, bare_repository, git};
#[cfg(all(feature = "https", feature = "ssh"))]
use crate::fixture::{GitDaemon, Host};

const RECORD: &str = "it/presence/all/i-app1.json";

/// Unpacks all objects, and removes the cache.
#[cfg(all(feature = "https", feature = "ssh"))]
fn laid_open(repository: &Path) {
    let packs: Vec<_> =
        fs::read_dir(repository.join("objects/pack")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let aside = tempfile::tempdir().unwrap();
    let mut moved = Vec::new();
    for path in packs {
        let to = aside.path().join(path.file_name().unwrap());
        fs::copy(&path, &to).unwrap();
        fs::remove_file(&path).unwrap();
        moved.push(to);
    }
    for pack in moved.iter().filter(|path| path.extension().is_some_and(|end| end == "pack")) {
        let unpacked = std::process::Command::new("git")
            .args(["unpack-objects", "-q"])
            .current_dir(repository)
            .env("GIT_DIR", repository)
            .stdin(fs::File::open(pack).unwrap())
            .status();
        assert!(unpacked.unwrap().success());
    }
}

/// The file of a named object.
fn object(repository: &Path, name: &str) -> std::path::PathBuf {
    let oid = git(repository, &["rev-parse", name]);
    let oid = oid.trim();
    repository.join("objects").join(&oid[..2]).join(&oid[2..])
}

/// Bit rot.
fn rot(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    for byte in bytes.iter_mut().skip(2) {
        *byte ^= 0x55;
    }
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A list of two nodes in a repository on this machine, and a reader without a cache of it.
fn list() -> (Machine, std::path::PathBuf, Machine) {
    let app = Machine::new("app1");
    let list = app.path("list.git");
    bare_repository(&list);
    let app = app.store(list.display());
    app.good(&["publish"]);
    Machine::new("db1").store(list.display()).good(&["publish"]);
    let reader = Machine::new("lb1").store(list.display());
    (app, list, reader)
}

#[test]
fn a_tree_that_cannot_be_read_is_an_error_of_the_store() {
    for tree in ["main^{tree}", "main:it", "main:it/presence", "main:it/presence/all", "main"] {
        for gone in [true, false] {
            let (app, list, reader) = list();
            let path = object(&list, tree);
            match gone {
                true => fs::remove_file(path).unwrap(),
                false => rot(&path),
            }
            let listed = reader.run(&["list", "--format", "ids"]).code(3);
            assert!(listed.stdout.is_empty() && listed.stderr.contains("cannot read"), "{tree}\n{listed}");
            app.fact("port", 9090);
            app.run(&["publish"]).code(1);
            app.run(&["withdraw"]).code(1);
            let file = reader.run(&["render", "hosts", "-o", "hosts"]).code(3);
            assert!(!reader.path("hosts").exists(), "{file}");
        }
    }
}

#[test]
fn a_record_that_cannot_be_read_is_an_error_of_its_file() {
    for gone in [true, false] {
        let (app, list, reader) = list();
        let path = object(&list, &format!("main:{RECORD}"));
        match gone {
            true => fs::remove_file(&path).unwrap(),
            false => rot(&path),
        }
        let listed = reader.run(&["list", "--format", "json"]).code(0);
        assert!(listed.stdout.contains("i-db1") && listed.stdout.contains("cannot be read"), "{listed}");
        // Its node restores it, although the list names it.
        if gone {
            app.run(&["publish"]).code(0);
            assert_eq!(reader.good(&["list", "--format", "ids"]), "i-app1\ni-db1\n");
            git(&list, &["fsck", "--strict"]);
        }
    }
}

#[cfg(all(feature = "https", feature = "ssh"))]
#[test]
fn a_mirror_with_an_unreadable_object_is_made_anew() {
    for name in [format!("refs/presence/fetched:{RECORD}"), "refs/presence/fetched:it/presence".into()] {
        for gone in [true, false] {
            let server = GitDaemon::start();
            server.repository("list.git");
            let url = server.url("list.git");
            Machine::new("app1").store(&url).good(&["publish"]);
            let reader = Machine::new("lb1").store(&url);
            assert_eq!(reader.good(&["list", "--format", "ids"]), "i-app1\n");
            let mirror = reader.mirror();
            laid_open(&mirror);
            fs::remove_file(mirror.with_file_name("records")).unwrap();
            let path = object(&mirror, &name);
            match gone {
                true => fs::remove_file(&path).unwrap(),
                false => rot(&path),
            }
            assert_eq!(reader.good(&["list", "--format", "ids"]), "i-app1\n", "{name} {gone}");
            // The same for a publish.
            let mirror = reader.mirror();
            laid_open(&mirror);
            fs::remove_file(object(&mirror, "refs/presence/fetched:it/presence")).unwrap();
            reader.good(&["publish"]);
            assert_eq!(reader.good(&["list", "--format", "ids"]), "i-app1\ni-lb1\n");
        }
    }
}

#[test]
fn a_branch_is_not_begun_beside_a_list() {
    // The list is on another branch than the one that HEAD names.
    let app = Machine::new("app1");
    let list = app.path("list.git");
    bare_repository(&list);
    let app = app.store(list.display());
    app.good(&["publish"]);
    git(&list, &["symbolic-ref", "HEAD", "refs/heads/other"]);
    Machine::new("db1").store(list.display()).good(&["publish"]);
    assert_eq!(git(&list, &["for-each-ref", "--format=%(refname)", "refs/heads"]), "refs/heads/main\n");
    assert_eq!(app.good(&["list", "--format", "ids"]), "i-app1\ni-db1\n");
    // There are two branches, and HEAD names neither.
    git(&list, &["branch", "second", "main"]);
    app.run(&["list"])
        .code(3)
        .says("HEAD names the branch `other`, which does not exist; existing branches: `main`, `second`");
    app.run(&["publish"]).code(1).says("git symbolic-ref HEAD");
    // The configuration names a missing branch.
    fs::write(app.path("presence.toml"), "branch = 'mian'\n").unwrap();
    for command in ["list", "publish", "doctor"] {
        let outcome = app.run(&[command]);
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(
            outcome.code != Some(0) && said.contains("the configured branch `mian` does not exist"),
            "{outcome}"
        );
    }
    app.run(&["publish"]).code(1).says("--create-branch");
    app.good(&["publish", "--create-branch"]);
    app.good(&["publish"]);
    assert_eq!(app.good(&["list", "--format", "ids"]), "i-app1\n");
}

#[cfg(all(feature = "https", feature = "ssh"))]
#[test]
fn by_path_and_by_network_it_is_the_same_branch() {
    for host in Host::each() {
        let list = host.repository("list.git");
        let url = host.url("list.git");
        let path = list.git(["rev-parse", "--absolute-git-dir"]);
        let near = |part: &str| Machine::new(part).store(path.trim());
        let far = |part: &str| {
            let machine = Machine::new(part);
            host.admit(&machine);
            machine.store(&url)
        };
        // `fleet` is the only branch, but HEAD names another one.
        list.git(["symbolic-ref", "HEAD", "refs/heads/fleet"]);
        near("app1").good(&["publish"]);
        list.git(["symbolic-ref", "HEAD", "refs/heads/nothing"]);
        far("app2").good(&["publish"]);
        near("app3").good(&["publish"]);
        let branches = || list.git(["for-each-ref", "--format=%(refname)", "refs/heads"]);
        assert_eq!(branches(), "refs/heads/fleet\n", "{url}");
        for reader in [near("lb1"), far("lb2")] {
            assert_eq!(reader.good(&["list", "--format", "ids"]), "i-app1\ni-app2\ni-app3\n", "{url}");
        }
        // HEAD names a commit.
        list.git(["branch", "older", "fleet~1"]);
        let tip = list.git(["rev-parse", "fleet"]);
        fs::write(Path::new(path.trim()).join("HEAD"), tip).unwrap();
        for node in [near("db1"), far("db2")] {
            node.good(&["publish"]);
            let tip = list.git(["rev-parse", "fleet"]);
            fs::write(Path::new(path.trim()).join("HEAD"), tip).unwrap();
        }
        assert_eq!(branches(), "refs/heads/fleet\nrefs/heads/older\n", "{url}");
        // A node that knows another branch, which no longer exists, looks again.
        let knows = far("app4").with("rack", "1");
        fs::write(knows.path("presence.toml"), "[timeouts]\nrecheck = 0\n").unwrap();
        list.git(["symbolic-ref", "HEAD", "refs/heads/fleet"]);
        knows.good(&["publish"]);
        list.git(["branch", "-D", "older"]);
        list.git(["branch", "-m", "fleet", "renamed"]);
        list.git(["symbolic-ref", "HEAD", "refs/heads/nothing"]);
        knows.fact("rack", "2");
        knows.good(&["publish"]);
        assert_eq!(branches(), "refs/heads/renamed\n", "{url}");
        list.git(["branch", "-m", "renamed", "fleet"]);
        list.git(["branch", "older", "fleet~1"]);
        // HEAD names neither of two branches.
        list.git(["symbolic-ref", "HEAD", "refs/heads/nothing"]);
        for node in [near("db3"), far("db3")] {
            node.run(&["publish"]).code(1).says("existing branches: `fleet`, `older`");
            node.run(&["list"]).code(3).says("existing branches: `fleet`, `older`");
            let config = "branch = 'fleed'\n[timeouts]\nrecheck = 0\n";
            fs::write(node.path("presence.toml"), config).unwrap();
            node.run(&["publish"]).code(1).says("the configured branch `fleed` does not exist");
            node.run(&["list"]).code(3).says("the configured branch `fleed` does not exist");
        }
        assert_eq!(branches(), "refs/heads/fleet\nrefs/heads/older\n", "{url}");
        let new = far("db4");
        fs::write(new.path("presence.toml"), "branch = 'fresh'\n").unwrap();
        new.good(&["publish", "--create-branch"]);
        assert!(new.good(&["list", "--format", "ids"]).contains("i-db4\n"));
        assert!(branches().contains("refs/heads/fresh"), "{url}");
    }
}
