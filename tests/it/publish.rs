//! What `emit`, `publish`, `state`, `withdraw`, `list` and `show` do with a list in a git repository, and
//! what they print.

use std::fs;

use crate::fixture::machine::{Machine, bare_repository, git};

#[test]
fn emit_prints_the_bytes_that_publish_writes() {
    let app = Machine::new("app1");
    let record = app.good(&["emit"]);
    insta::assert_snapshot!(record, @r#"
    {
        "filetype": "nodepresence",
        "value": {
            "deployment": "fed1",
            "hostname": "app1",
            "instance-id": "i-app1",
            "ipv4": "10.0.0.2",
            "ipv6": "2001:db8::1",
            "nodepart": "app1",
            "port": "8080",
            "stacktype": "lad1"
        }
    }
    "#);
    app.good(&["publish"]);
    assert_eq!(git(&app.path("state/store.git"), &["show", "HEAD:it/presence/all/i-app1.json"]), record);
}

#[test]
fn a_life_is_a_readable_history() {
    let app = Machine::new("app1");
    let repository = app.path("list.git");
    bare_repository(&repository);
    let app = app.store(format!("file://{}", repository.display()));
    assert!(app.good(&["publish"]).ends_with(": i-app1: joined\n"));
    assert!(app.good(&["publish"]).ends_with(": i-app1: unchanged\n"));
    app.fact("port", 8081);
    app.good(&["publish"]);
    app.good(&["state", "draining"]);
    app.run(&["state", "draining"]).code(0).says("already");
    app.good(&["withdraw"]);
    app.good(&["withdraw"]);
    insta::assert_snapshot!(git(&repository, &["log", "--format=%an: %s", "--name-status"]), @"
    i-app1: i-app1 (app1): left

    D	it/presence/all/i-app1.json
    i-app1: i-app1 (app1): state draining

    M	it/presence/all/i-app1.json
    i-app1: i-app1 (app1): port 8080 -> 8081

    M	it/presence/all/i-app1.json
    i-app1: i-app1 (app1): joined

    A	it/presence/all/i-app1.json
    ");
}

#[test]
fn the_history_is_told_in_words() {
    let app = Machine::new("app1");
    app.good(&["publish"]);
    app.good(&["state", "draining"]);
    Machine::new("db1").store(app.path("state/store.git").display()).good(&["publish"]);
    app.good(&["withdraw"]);
    // The time and the commit differ between runs.
    let told = |args: &[&str]| -> Vec<String> {
        app.good(args).lines().map(|line| line.splitn(4, ' ').nth(3).unwrap().to_owned()).collect()
    };
    assert_eq!(
        told(&["log"]),
        [
            "i-app1 (app1): left",
            "i-db1 (db1): joined",
            "i-app1 (app1): state draining",
            "i-app1 (app1): joined"
        ]
    );
    assert_eq!(told(&["log", "i-app1", "-n", "1"]), ["i-app1 (app1): left"]);
    let json: serde_json::Value = serde_json::from_str(&app.good(&["log", "--format", "json"])).unwrap();
    assert_eq!(json[1]["instance-id"], "i-db1");
    fs::create_dir(app.path("plain")).unwrap();
    app.run(&["log", "--store", "plain"]).code(1).says("a plain directory keeps no history");
}

#[test]
fn a_clone_with_a_work_tree_stays_clean() {
    let app = Machine::new("app1");
    let clone = app.path("clone");
    git(&app.path(""), &["init", "--quiet", "--initial-branch=main", "clone"]);
    fs::write(clone.join("README"), "about\n").unwrap();
    git(&clone, &["add", "README"]);
    git(&clone, &["commit", "--quiet", "-m", "begin"]);
    let app = app.store(clone.display());
    app.good(&["publish"]);
    assert!(clone.join("it/presence/all/i-app1.json").exists());
    assert_eq!(git(&clone, &["status", "--porcelain"]), "");
    app.good(&["withdraw"]);
    assert_eq!(git(&clone, &["status", "--porcelain"]), "");
    assert!(!clone.join("it/presence/all/i-app1.json").exists());
}

#[test]
fn a_directory_is_the_folder_itself_if_it_has_none() {
    let app = Machine::new("app1");
    let folder = app.path("it/presence/all");
    fs::create_dir_all(&folder).unwrap();
    let inside = Machine::new("app1").store(app.path("").display());
    inside.good(&["publish"]);
    let itself = Machine::new("app1").store(folder.display());
    assert!(itself.good(&["publish"]).ends_with(": unchanged\n"));
    assert_eq!(itself.good(&["list", "--format", "ids"]), "i-app1\n");
    assert_eq!(inside.good(&["list", "--format", "ids"]), "i-app1\n");
    assert_eq!(fs::read_to_string(folder.join("i-app1.json")).unwrap(), itself.good(&["emit"]));
}

#[test]
fn twenty_at_once_and_not_one_is_lost() {
    let host = Machine::new("lb1");
    let repository = host.path("list.git");
    bare_repository(&repository);
    let nodes: Vec<Machine> = (0..20)
        .map(|n| Machine::new("app1").with("instance-id", format!("i-{n:02}")).with("port", 8000 + n))
        .map(|node| node.store(repository.display()))
        .collect();
    let running: Vec<_> =
        nodes.iter().map(|node| node.command(&["publish", "-q"]).spawn().unwrap()).collect();
    for mut child in running {
        assert!(child.wait().unwrap().success());
    }
    let reader = host.store(repository.display());
    assert_eq!(reader.good(&["list", "--format", "ids"]).lines().count(), 20);
    assert_eq!(git(&repository, &["rev-list", "--count", "main"]), "20\n");
    git(&repository, &["fsck", "--strict"]);
}

#[test]
fn the_files_of_2015_are_read_as_they_are() {
    let lb = Machine::new("lb1");
    let folder = lb.path("old");
    fs::create_dir(&folder).unwrap();
    fs::write(
        folder.join("i-c44e9b33.json"),
        r#"{
    "filetype": "nodepresence",
    "value": {
        "a": "a",
        "initgitrepo": "initrepo_petulant-cyril",
        "instance-id": "i-c44e9b33",
        "nodepart": "app1",
        "stacktype": "lad1"
    }
}
"#,
    )
    .unwrap();
    let lb = lb.store(folder.display());
    insta::assert_snapshot!(lb.good(&["list"]), @"
    ID          PART  STACKTYPE  DEPLOYMENT  STATE  AVAILABILITY  ADDRESS  PORT  SEEN  FRESHNESS
    i-c44e9b33  app1  lad1       -           -      active        ?        -     -     never
    ");
    let shown = lb.good(&["show", "i-c44e9b33"]);
    assert!(shown.contains("address       none: it has no `address`, `ipv4` or `ipv6`"), "{shown}");
    assert!(shown.contains(r#""a": "a""#), "{shown}");
}

#[test]
fn list_and_show_speak_json() {
    let app = Machine::new("app1");
    app.good(&["state", "done"]);
    let list: serde_json::Value = serde_json::from_str(&app.good(&["list", "--format", "json"])).unwrap();
    let node = &list["nodes"][0];
    assert_eq!((&node["instance-id"], &node["availability"]), (&"i-app1".into(), &"active".into()), "{list}");
    assert_eq!(list["problems"], serde_json::json!([]));
    let shown: serde_json::Value =
        serde_json::from_str(&app.good(&["show", "i-app1", "--format", "json"])).unwrap();
    assert_eq!(shown["address"], "10.0.0.2");
    let nobody = app.run(&["list", "--part", "db*", "--format", "ids"]).code(0);
    assert_eq!(nobody.stdout, "");
    nobody.says("no node on the list has the part `db*`; known: app1");
    assert_eq!(app.good(&["list", "--where", "ipv4=10.*", "--state", "done", "--format", "ids"]), "i-app1\n");
}
