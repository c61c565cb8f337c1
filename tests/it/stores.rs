//! Several stores, failing stores, and files that are not records.

use std::fs;
use std::os::unix::fs::symlink;

use crate::fixture::machine::{Machine, bare_repository, git};

#[test]
fn any_one_of_two_stores_is_enough() {
    let host = Machine::new("lb1");
    let (first, second) = (host.path("first.git"), host.path("second"));
    bare_repository(&first);
    fs::create_dir(&second).unwrap();
    let app = Machine::new("app1").store(first.display()).store(second.display());
    assert_eq!(app.good(&["publish"]).lines().count(), 2);
    assert_eq!(app.good(&["list", "--format", "ids"]), "i-app1\n");

    let gone = host.path("gone.git");
    fs::rename(&first, &gone).unwrap();
    app.fact("port", 9090);
    let outcome = app.run(&["publish"]).code(0).says("first.git");
    assert!(outcome.stdout.contains("port 8080 -> 9090"), "{outcome}");
    let list = app.run(&["list", "--format", "json"]).code(0).says("presence uses its last copy (1 files)");
    assert!(list.stdout.contains(r#""port": 9090"#), "the store that answers is the truth: {list}");

    fs::rename(&gone, &first).unwrap();
    let back = app.good(&["publish"]);
    assert!(back.contains("first.git: i-app1: port 8080 -> 9090"), "{back}");
    assert!(back.contains("second: i-app1: unchanged"), "{back}");
}

#[test]
fn of_two_records_of_a_node_the_newest_wins_whichever_store_has_it() {
    let host = Machine::new("lb1");
    for (dir, port, time) in [("old", 1, "20200101-000000"), ("new", 2, "20200102-000000")] {
        let folder = host.path(dir).join("it/presence/all");
        fs::create_dir_all(&folder).unwrap();
        let app = Machine::new("app1").with("port", port).with("statetss", time);
        fs::write(folder.join("i-app1.json"), app.good(&["emit"])).unwrap();
    }
    for order in [["old", "new"], ["new", "old"]] {
        let reader =
            Machine::new("lb1").store(host.path(order[0]).display()).store(host.path(order[1]).display());
        assert!(reader.good(&["show", "i-app1"]).contains("port          2\n"));
    }
}

#[test]
fn when_no_store_answers_the_last_copies_are_shown_and_the_exit_code_says_so() {
    let app = Machine::new("app1");
    let list = app.path("list.git");
    bare_repository(&list);
    let app = app.store(list.display());
    app.good(&["publish"]);
    app.good(&["list"]);
    fs::rename(&list, app.path("away")).unwrap();
    let listed = app.run(&["list", "--format", "ids"]).code(3).says("no store could be read");
    assert_eq!(listed.stdout, "i-app1\n");
    app.run(&["show", "i-app1"]).code(3);
    app.run(&["publish"]).code(1).says("list.git");
}

#[test]
fn a_bad_file_costs_its_node_and_never_the_list() {
    let app = Machine::new("app1");
    let list = app.path("list");
    let folder = list.join("it/presence/all");
    fs::create_dir_all(folder.join("more/deeper")).unwrap();
    let app = app.store(list.display());
    app.good(&["publish"]);
    fs::rename(folder.join("i-app1.json"), folder.join("more/deeper/i-app1.json")).unwrap();
    let record = |id: &str| format!(r#"{{"filetype":"nodepresence","value":{{"instance-id":"{id}"}}}}"#);
    fs::write(folder.join("broken.json"), "{").unwrap();
    fs::write(folder.join("other.json"), r#"{"filetype":"shopping"}"#).unwrap();
    fs::write(folder.join("large.json"), " ".repeat(70_000)).unwrap();
    fs::write(folder.join("liar.json"), record("i-app1")).unwrap();
    fs::write(folder.join("evil.json"), record("../../x")).unwrap();
    fs::write(folder.join("binary.json"), [0xff, 0xfe]).unwrap();
    fs::write(folder.join("README.md"), "not looked at").unwrap();
    symlink("/etc/hostname", folder.join("link.json")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.join("fifo.json"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let check = |machine: &Machine| {
        let list = machine.run(&["list", "--format", "json"]).code(0).stdout;
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        assert_eq!(list["nodes"].as_array().unwrap().len(), 1, "{list}");
        list["problems"]
            .as_array()
            .unwrap()
            .iter()
            .map(|problem| {
                format!("{}: {}\n", problem["path"].as_str().unwrap(), problem["reason"].as_str().unwrap())
            })
            .collect::<String>()
    };
    insta::assert_snapshot!(check(&app), @"
    binary.json: is not UTF-8 text
    broken.json: is not JSON: EOF while parsing an object at line 1 column 1
    evil.json: has an unusable instance-id: the name `../../x` starts with `.`; it must start with a letter or digit (ASCII)
    fifo.json: is not a regular file
    large.json: is larger than the 65536 bytes that a record may have
    liar.json: states the instance-id `i-app1`, which is not the name of the file
    link.json: is a link, and links are not followed
    other.json: is not a presence file: `filetype` is `shopping`, not `nodepresence`
    ");
    // The same in git, which stores no fifo.
    fs::remove_file(folder.join("fifo.json")).unwrap();
    git(&list, &["init", "--quiet", "--initial-branch=main"]);
    git(&list, &["add", "--all"]);
    git(&list, &["commit", "--quiet", "-m", "all kinds of files"]);
    git(&app.path(""), &["clone", "--quiet", "--bare", "list", "list.git"]);
    let reader = Machine::new("lb1").store(app.path("list.git").display());
    insta::assert_snapshot!(check(&reader), @"
    binary.json: is not UTF-8 text
    broken.json: is not JSON: EOF while parsing an object at line 1 column 1
    evil.json: has an unusable instance-id: the name `../../x` starts with `.`; it must start with a letter or digit (ASCII)
    large.json: is 70000 bytes, more than the 65536 that a record may have
    liar.json: states the instance-id `i-app1`, which is not the name of the file
    link.json: is a link, and links are not followed
    other.json: is not a presence file: `filetype` is `shopping`, not `nodepresence`
    ");
}

#[test]
fn a_folder_of_the_users_choice() {
    let app = Machine::new("app1");
    app.good(&["publish", "--folder", "fleet/nodes"]);
    assert_eq!(app.good(&["list", "--format", "ids", "--folder", "fleet/nodes"]), "i-app1\n");
    assert_eq!(app.good(&["list", "--format", "ids"]), "");
    app.run(&["list", "--folder", "../up"]).code(2).says("not a folder inside a store");
}
