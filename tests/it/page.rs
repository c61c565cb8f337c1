//! `presence page`: one HTML file of a fleet and its history.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::fixture::machine::{Machine, bare_repository, git};
use crate::fixture::{GitDaemon, fleet};

/// The data of a page, as a browser finds it.
#[track_caller]
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once(r#"<script type="application/json" id="fleet">"#).expect("a page");
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// The changes as lines.
fn events(data: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let event = |event: &Value| {
        let node = &data["nodes"][usize::try_from(event[1].as_u64().unwrap()).unwrap()]["id"];
        let changes = event[4].as_array().unwrap().iter();
        let changes = changes.filter(|change| change[0] == "state" || change[0] == "port");
        let changes: Vec<String> = changes
            .map(|change| format!(" {} {}>{}", text(&change[0]), text(&change[1]), text(&change[2])))
            .collect();
        format!("{} {}{}", text(&event[2]), text(node), changes.concat())
    };
    data["history"]["events"].as_array().unwrap().iter().map(event).collect()
}

/// The changes of the small fleet.
const EVENTS: [&str; 6] = [
    "joined i-app1 state ->done",
    "joined i-db1",
    "joined i-lb1",
    "state i-app1 state done>draining",
    "facts i-app1 port 8080>9090",
    "left i-db1",
];

/// Publishes a small fleet with some changes, and returns its balancer.
fn small_fleet(server: &GitDaemon) -> Machine {
    server.repository("list.git");
    let url = server.url("list.git");
    let app = Machine::new("app1").store(&url).with("state", "done");
    let db = Machine::new("db1").store(&url);
    let balancer = Machine::new("lb1").store(&url);
    for machine in [&app, &db, &balancer] {
        machine.good(&["publish", "-q"]);
    }
    app.good(&["state", "draining", "-q"]);
    app.fact("port", "9090");
    app.good(&["publish", "-q"]);
    db.good(&["withdraw", "-q"]);
    balancer
}

#[test]
fn a_page_has_the_list_its_wiring_and_its_changes() {
    let server = GitDaemon::start();
    let balancer = small_fleet(&server);
    balancer.good(&["beat", "-q"]);
    let outcome = balancer.run(&["page", "-o", "fleet.html", "--max-age", "5m", "--reload", "30"]).code(0);
    assert!(outcome.stderr.ends_with("fleet.html replaced\n") && outcome.stdout.is_empty(), "{outcome}");
    let page = fs::read_to_string(balancer.path("fleet.html")).unwrap();
    let data = data(&page);
    let tip = git(&server.path("list.git"), &["rev-parse", "HEAD"]);
    assert_eq!(data["commit"], tip.trim());
    assert_eq!((&data["past"], &data["reload"]), (&json!(false), &json!(30)));
    let store = json!({ "store": server.url("list.git"), "problem": null, "history": "whole", "begins": null, "note": null });
    assert_eq!(data["stores"], json!([store]));
    let now = 1_767_323_045;
    assert_eq!(data["at"], now);
    let node = &data["nodes"][2];
    assert_eq!(
        (&node["id"], &node["heard"], &node["freshness"]),
        (&json!("i-lb1"), &json!(now), &json!("fresh"))
    );
    let node = &data["nodes"][0];
    assert_eq!(
        node["is"],
        json!({
            "part": "app1", "stacktype": "lad1", "deployment": "fed1", "state": "draining", "address": "10.0.0.2"
        })
    );
    assert!(node["facts"].as_array().unwrap().contains(&json!(["port", "9090"])), "{node}");
    // The database is gone, and its last facts are known.
    let gone = &data["nodes"][1];
    assert_eq!(
        (&gone["listed"], &gone["is"]["part"], &gone["counted"]),
        (&json!(false), &json!("db1"), &json!(false))
    );
    assert_eq!(events(&data), EVENTS);
    let history = &data["history"];
    assert_eq!((&history["begins"], &history["cut"]), (&Value::Null, &json!(false)));
    let group = |part: &str| json!(["lad1", "fed1", part]);
    assert_eq!(
        data["wiring"]["edges"],
        json!([{ "from": group("lb1"), "to": group("app1"), "by": ["haproxy.cfg"] }])
    );

    // The last changes only, and only some nodes: one that is gone is judged by what it stated last.
    let outcome =
        balancer.run(&["page", "--events", "2"]).code(0).says("only the last 2 changes are on the page");
    let cut = self::data(&outcome.stdout);
    assert_eq!(events(&cut), EVENTS[4..]);
    assert_eq!(cut["history"]["cut"], true);
    let outcome = balancer.run(&["page", "--part", "[ad]*", "-o", "-"]).code(0);
    let some = self::data(&outcome.stdout);
    assert_eq!(events(&some).iter().filter(|event| event.contains("lb1")).count(), 0);
    assert_eq!(some["nodes"].as_array().unwrap().len(), 2);
}

#[test]
fn a_page_of_a_past_moment_ends_there_and_is_always_the_same() {
    let server = GitDaemon::start();
    let balancer = small_fleet(&server);
    let repository = server.path("list.git");
    git(&repository, &["tag", "a", "HEAD~2"]);
    // A commit that changes nothing in the folder, and a later change.
    let commit = |tree: &str, parent: &str, date: &str| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=t", "-c", "user.email=t@localhost", "commit-tree", tree]);
        command.args(["-p", parent, "-m", "x"]).env("GIT_COMMITTER_DATE", date).current_dir(&repository);
        let commit = String::from_utf8(command.output().unwrap().stdout).unwrap();
        git(&repository, &["update-ref", "HEAD", commit.trim()]);
    };
    let time = git(&repository, &["log", "-1", "--format=%ct"]);
    commit("HEAD^{tree}", "HEAD", &format!("@{} +0000", time.trim()));
    git(&repository, &["tag", "b"]);
    commit("a^{tree}", "HEAD", "@4000000000 +0000");
    for (name, count) in [("a", 4), ("b", 6)] {
        let page = balancer.good(&["page", "--at", name, "-q"]);
        let data = data(&page);
        let commit = git(&repository, &["rev-parse", name]);
        assert_eq!((&data["past"], &data["commit"]), (&json!(true), &json!(commit.trim())));
        assert_eq!(events(&data), EVENTS[..count]);
        let port = if name == "a" { "8080" } else { "9090" };
        assert!(data["nodes"][0]["facts"].as_array().unwrap().contains(&json!(["port", port])), "{data}");
        let other =
            Machine::new("lb1").store(server.url("list.git")).env("PRESENCE_NOW", "2026-02-02T03:04:05Z");
        assert_eq!(other.good(&["page", "--at", name, "-q"]), page, "equal lists give equal bytes");
    }
}

#[test]
fn what_a_store_does_not_know_of_the_past_is_said() {
    // The first commit is not by presence: it may replace a history.
    let server = GitDaemon::start();
    let path = server.path("list.git");
    bare_repository(&path);
    let file = |id: &str| {
        let record =
            json!({ "filetype": "nodepresence", "value": { "instance-id": id, "nodepart": "app1" } });
        (format!("{id}.json"), record.to_string())
    };
    fleet::commit(&path, "it/presence/all", false, &[file("i-1"), file("i-2")]);
    fleet::commit(&path, "it/presence/all", false, &[file("i-3")]);
    let plain = Machine::new("lb1");
    let folder = plain.path("plain");
    fleet::directory(&folder, &[file("i-4")]);
    let reader = plain.store(folder.display()).store(server.url("list.git"));
    let outcome = reader.run(&["page"]).code(0).says("the history begins then");
    let data = data(&outcome.stdout);
    let begins = 1_445_000_000;
    assert_eq!(data["history"]["begins"], begins);
    let stores = &data["stores"];
    assert_eq!((&stores[0]["history"], &stores[1]["history"]), (&json!("none"), &json!("begins")));
    assert_eq!(stores[1]["begins"], begins);
    assert!(stores[0]["note"].as_str().unwrap().contains("keeps no history"), "{stores}");
    // Nobody knows since when the folder's node is there.
    assert_eq!(events(&data), ["there i-1", "there i-2", "joined i-3", "there i-4"]);

    let alone = Machine::new("lb1").store(folder.display());
    let outcome = alone.run(&["page"]).code(0).says("the page shows no changes");
    let data = self::data(&outcome.stdout);
    assert_eq!((&data["history"]["events"], &data["history"]["begins"]), (&json!([]), &data["at"]));
}

#[test]
fn without_a_store_the_last_page_stays() {
    let mut server = GitDaemon::start();
    let balancer = small_fleet(&server);
    balancer.good(&["page", "-q", "-o", "fleet.html"]);
    let before = fs::read(balancer.path("fleet.html")).unwrap();
    server.kill();
    balancer.run(&["page", "-o", "fleet.html", "--events", "1"]).code(3).says("fleet.html` is left as it is");
    assert_eq!(fs::read(balancer.path("fleet.html")).unwrap(), before);
    let outcome = balancer.run(&["page"]).code(3);
    let data = data(&outcome.stdout);
    assert!(data["stores"][0]["problem"].is_string(), "{data}");
    assert_eq!(data["nodes"].as_array().unwrap().len(), 2, "the last copy");
}

#[test]
fn a_page_is_opened_on_a_desktop_only() {
    let server = GitDaemon::start();
    let balancer = small_fleet(&server);
    balancer
        .run(&["page", "-o", "a page.html", "--open"])
        .code(2)
        .says("neither DISPLAY nor WAYLAND_DISPLAY");
    balancer.run(&["page", "--open"]).code(2).says("--output");
    assert!(!balancer.path("a page.html").exists());
    let program = balancer.path("xdg-open");
    fs::write(&program, "#!/bin/sh\nprintf '%s\\n' \"$#\" \"$@\" > opened\nexit 3\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", balancer.path("").display());
    let balancer = balancer.env("DISPLAY", ":0").env("PATH", path);
    let file = balancer.path("a page.html");
    balancer.run(&["page", "-o", "a page.html", "--open"]).code(1).says("`xdg-open` cannot open");
    assert!(file.exists());
    assert_eq!(fs::read_to_string(balancer.path("opened")).unwrap(), format!("1\n{}\n", file.display()));
}

#[test]
fn a_page_of_a_large_fleet_with_a_long_history_is_small() {
    let server = GitDaemon::start();
    let path = server.path("list.git");
    bare_repository(&path);
    let mut nodes = fleet::files(1000, 1);
    fleet::commit(&path, "it/presence/all", false, &nodes);
    let changes: Vec<fleet::File> = (0..3000)
        .map(|change| {
            let node = &mut nodes[change % 1000];
            let before = node.1.clone();
            let begin = before.find("\"state\": \"").unwrap() + 10;
            let end = begin + before[begin..].find('"').unwrap();
            node.1 = format!("{}state{}{}", &before[..begin], change / 1000, &before[end..]);
            node.clone()
        })
        .collect();
    let commits = changes.into_iter().map(|change| (fleet::SOME_TIME, vec![change]));
    fleet::commits(&path, "it/presence/all", false, commits);
    let reader = Machine::new("lb1").store(server.url("list.git"));
    reader.configure("[timeouts]\npublish = 600\nread = 600\n");
    let page = reader.run(&["page", "-q", "--events", "2500"]).code(0).stdout;
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    let data = data(&page);
    assert_eq!(data["nodes"].as_array().unwrap().len(), 1000);
    assert_eq!(events(&data).len(), 2500, "{} bytes", page.len());
    assert_eq!(data["history"]["cut"], true);
}

/// The browser's policy allows the page's own style and script, and nothing else.
#[test]
fn the_policy_of_the_page_is_for_its_own_style_and_script() {
    let server = GitDaemon::start();
    let balancer = small_fleet(&server);
    let page = balancer.run(&["page", "-q"]).code(0).stdout;
    let (_, policy) = page.split_once("http-equiv=\"Content-Security-Policy\" content=\"").unwrap();
    let policy = policy.split('"').next().unwrap();
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    for (name, begin) in [("style", "<style>"), ("script", "<script>")] {
        let (_, text) = page.split_once(begin).unwrap();
        let text = text.split_once(&format!("</{name}>")).unwrap().0;
        let hash = sha256(text);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/view/page/{name}.sha256"));
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(path, format!("{hash}\n")).unwrap();
            continue;
        }
        assert!(
            policy.contains(&format!("{name}-src 'sha256-{hash}'")),
            "{} is out of date: UPDATE_DOCS=1 cargo test the_policy",
            path.display()
        );
    }
}

/// The hash of a text as browsers compare it, by OpenSSL.
fn sha256(text: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", "openssl dgst -sha256 -binary | openssl base64 -A"]);
    let output = assert_cmd::Command::from_std(command).write_stdin(text).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
