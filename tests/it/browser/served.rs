//! The page as a web server serves it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::devtools::{Browser, DESKTOP, PHONE};
use super::fleet::{AT, fleet, page};
use super::{is_in_order, text, texts};
use crate::fixture::machine::{Machine, git};
use crate::fixture::{GitDaemon, Program};

/// nginx, which serves the files of a directory. Its log has the status of each answer.
fn serve(dir: &Path) -> (Program, String) {
    let (nginx, address) = Program::serve(|port| {
        let here = dir.display();
        let config = format!(
            "daemon off; master_process off; pid {here}/pid; events {{ worker_connections 64; }}
            http {{
                types {{ text/html html; }}
                log_format status '$status';
                access_log {here}/access.log status;
                client_body_temp_path {here}/temp; proxy_temp_path {here}/temp; fastcgi_temp_path {here}/temp;
                uwsgi_temp_path {here}/temp; scgi_temp_path {here}/temp;
                server {{ listen 127.0.0.1:{port}; root {here}/site; }}
            }}"
        );
        fs::write(dir.join("nginx.conf"), config).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-e").arg(dir.join("error.log")).arg("-c").arg(dir.join("nginx.conf"));
        command
    });
    (nginx, format!("http://{address}/fleet.html"))
}

/// Replaces the page at once, as `presence page` does.
fn replace(dir: &Path, data: &Value) {
    fs::write(dir.join("new"), page(data)).unwrap();
    fs::rename(dir.join("new"), dir.join("site/fleet.html")).unwrap();
}

/// The same fleet, later, after one more change: node `node` is wedged.
fn later(data: &mut Value, seconds: i64, node: usize) {
    let at = data["at"].as_i64().unwrap() + seconds;
    data["at"] = at.into();
    data["nodes"][node]["is"]["state"] = "wedged".into();
    data["nodes"][node]["counted"] = false.into();
    let event = json!([at - 1, node, "state", "0a0b0c0d", [["state", "done", "wedged"]]]);
    data["history"]["events"].as_array_mut().unwrap().push(event);
}

#[test]
fn an_open_page_takes_up_the_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("site")).unwrap();
    let mut data = fleet(12, 60).data;
    data["reload"] = 1.into();
    replace(dir.path(), &data);
    let (nginx, url) = serve(dir.path());
    let mut browser = Browser::start();
    browser.open(&url, DESKTOP);
    let now = |browser: &mut Browser| text(browser, "#headline");
    assert!(now(&mut browser).starts_with("12 nodes, 9 active; "));
    browser.eval("show({ filter: 'state:wedged', sort: 'id', descending: true, node: 'i-0003' })");
    // Nothing is new: the server says so without the page.
    let log = || fs::read_to_string(dir.path().join("access.log")).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !log().contains("304") {
        assert!(std::time::Instant::now() < deadline, "never asked for what changed: {}", log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }

    // A newer page is shown in place.
    browser.eval("window.same = true");
    later(&mut data, 60, 5);
    replace(dir.path(), &data);
    browser.wait("document.getElementById('headline').innerText.startsWith('12 nodes, 8 active; ')");
    assert_eq!(texts(&mut browser, "#table .node"), ["i-0005", "i-0003"], "filter and order stay");
    assert_eq!(text(&mut browser, "#details h2"), "i-0003", "so does the node");
    assert_eq!(browser.eval("window.same"), true);

    // Who writes a filter is not disturbed.
    browser.press("/");
    browser.write(" db");
    later(&mut data, 60, 8);
    replace(dir.path(), &data);
    browser.wait("!document.getElementById('newer').hidden");
    assert!(now(&mut browser).starts_with("12 nodes, 8 active; "));
    assert_eq!(texts(&mut browser, "#table .node"), Vec::<String>::new());
    browser.eval("document.getElementById('newer').click()");
    assert!(now(&mut browser).starts_with("12 nodes, 7 active; "));
    assert_eq!(texts(&mut browser, "#table .node"), ["i-0008"]);

    // Nor who looks at the past.
    browser.eval("document.activeElement.blur()");
    browser.eval(&format!("show({{ at: {} }})", AT - 3600));
    later(&mut data, 60, 10);
    replace(dir.path(), &data);
    browser.wait("!document.getElementById('newer').hidden");
    assert!(text(&mut browser, "#when").starts_with("past 2026-09-21 13:13:20 UTC"));
    browser.eval("document.getElementById('now').click()");
    browser.wait("document.getElementById('headline').innerText.startsWith('12 nodes, 6 active; ')");
    assert_eq!(browser.eval("document.getElementById('newer').hidden"), true);
    is_in_order(&mut browser, "newer pages");

    // An answer that is not a page changes nothing, and is told.
    fs::write(dir.path().join("site/fleet.html"), "<p>down for maintenance").unwrap();
    browser.wait("document.getElementById('stale').innerText.startsWith('No newer page could be read')");
    assert!(now(&mut browser).starts_with("12 nodes, 6 active; "));
    drop(nginx);
    browser.wait("document.getElementById('stale').innerText.includes('fetch')");
    assert!(now(&mut browser).starts_with("12 nodes, 6 active; "));
}

/// A record, last touched at that time of 2026-01-02.
fn record(part: &str, state: &str, time: &str, note: &str) -> String {
    json!({ "filetype": "nodepresence", "value": {
        "instance-id": format!("i-{part}"), "nodepart": part, "stacktype": "lad1", "deployment": "fed1",
        "state": state, "statetss": format!("20260102-{time}"), "ipv4": "10.0.0.2", "port": "8080", "note": note,
    } })
    .to_string()
}

/// Adds a commit of that time of 2026-01-02, with these records; `None` removes one.
fn commit(repository: &Path, time: &str, records: &[(&str, Option<String>)]) {
    let branch = git(repository, &["symbolic-ref", "HEAD"]);
    let branch = branch.trim();
    let time: jiff::Timestamp = format!("2026-01-02T{time}Z").parse().unwrap();
    let has_parent = repository.join(branch).exists();
    let mut text =
        format!("commit {branch}\ncommitter t <t@localhost> {} +0000\ndata 1\nc\n", time.as_second());
    if has_parent {
        text.push_str(&format!("from {branch}^0\n"));
    }
    for (part, record) in records {
        let path = format!("it/presence/all/i-{part}.json");
        text.push_str(&match record {
            Some(record) => format!("M 100644 inline {path}\ndata {}\n{record}\n", record.len()),
            None => format!("D {path}\n"),
        });
    }
    let mut import = Command::new("git");
    import.args(["fast-import", "--quiet"]).current_dir(repository).stdin(Stdio::piped());
    let mut import = import.spawn().unwrap();
    import.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
}

const HOSTILE: &str =
    "</script><script>window.taken = 1</script><img src=x onerror=\"window.taken = 1\">\u{202e}";

/// A server with the list of three nodes. One of them was wedged for an hour.
fn list() -> GitDaemon {
    let server = GitDaemon::start();
    server.repository("list.git");
    let list = server.path("list.git");
    let first = ["app1", "db1", "lb1"].map(|part| (part, Some(record(part, "done", "010000", ""))));
    commit(&list, "01:00:00", &first);
    commit(&list, "02:00:00", &[("app1", Some(record("app1", "wedged", "020000", HOSTILE)))]);
    commit(&list, "02:58:05", &[("app1", Some(record("app1", "done", "025805", HOSTILE)))]);
    server
}

#[test]
fn the_page_of_a_git_store_follows_its_list() {
    let server = list();
    let list = server.path("list.git");
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("site")).unwrap();
    let file = dir.path().join("site/fleet.html");
    let reader = Machine::new("lb1").store(server.url("list.git"));
    let make = |time: &str, max_age: &str| {
        let mut command = reader.command(&["page", "--max-age", max_age, "--reload", "1", "-o"]);
        let output = command.arg(&file).env("PRESENCE_NOW", format!("2026-01-02T{time}Z")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    make("03:04:05", "3h");
    let (_nginx, url) = serve(dir.path());
    let mut browser = Browser::start();
    browser.open(&url, DESKTOP);
    let headline = text(&mut browser, "#headline");
    assert!(headline.starts_with("3 nodes, all active; last change 6 min before: i-app1 "), "{headline}");
    assert!(headline.contains("state wedged → done"), "{headline}");
    assert_eq!(text(&mut browser, "#missing-body"), "No node is missing.");
    let boxes =
        browser.eval("[...document.querySelectorAll('#wiring .box .name')].map((one) => one.textContent)");
    assert_eq!(boxes, json!(["lb1", "app1", "db1"]));
    assert_eq!(texts(&mut browser, "#table .node"), ["i-app1", "i-db1", "i-lb1"]);
    assert_eq!(texts(&mut browser, "#table td.c-heard")[0], "6 min before");
    browser.eval("show({ node: 'i-app1' })");
    let details = text(&mut browser, "#details");
    assert!(
        details.contains("<script>window.taken = 1</script>") && details.contains("\\u{202e}"),
        "{details}"
    );
    browser.eval("show({ node: null })");
    browser.eval("document.getElementById('hour').click()");
    let headline = text(&mut browser, "#headline");
    let then = "1 h before this page was made: 3 nodes, 2 active; 1 down; last change 4 min earlier: i-app1 ";
    assert!(headline.starts_with(then), "{headline}");
    assert_eq!(text(&mut browser, "#missing li"), "i-app1 (app1) wedged for 4 min");
    browser.eval("document.getElementById('now').click()");

    // The database leaves, the balancer goes on, and nobody hears of the application.
    commit(&list, "03:09:00", &[("lb1", Some(record("lb1", "done", "030900", "")))]);
    commit(&list, "03:10:00", &[("db1", None)]);
    make("03:20:00", "15m");
    browser.wait("document.getElementById('headline').innerText.startsWith('2 nodes, ')");
    let expect = "2 nodes, 1 active; 1 silent; last change 10 min before: i-db1 left (db1)";
    assert_eq!(text(&mut browser, "#headline"), expect);
    let missing = ["i-app1 (app1) silent for 21 min", "i-db1 (db1) left 10 min before"];
    assert_eq!(texts(&mut browser, "#missing li"), missing);
    assert_eq!(browser.eval("typeof window.taken"), "undefined");
    is_in_order(&mut browser, "a git store");
}

#[test]
fn a_page_of_a_past_moment_says_what_it_cannot_know() {
    let server = list();
    let reader = Machine::new("lb1").store(server.url("list.git"));
    reader.run(&["page", "--at", "2026-01-02 02:10", "-o", "then.html"]).code(0);
    let mut browser = Browser::start();
    browser.open(&format!("file://{}", reader.path("then.html").display()), PHONE);
    let headline = text(&mut browser, "#headline");
    assert!(
        headline.starts_with("3 nodes, 2 active; 1 down; last change 10 min before: i-app1 "),
        "{headline}"
    );
    assert_eq!(text(&mut browser, "#when"), "as of 2026-01-02 02:10:00 UTC");
    let missing = text(&mut browser, "#missing");
    assert!(missing.contains("i-app1 (app1) wedged for 10 min"), "{missing}");
    assert!(missing.contains("Silent nodes are not known for the past"), "{missing}");
    assert!(texts(&mut browser, "#table td.c-heard").iter().all(|heard| heard.ends_with("not known")));
    browser.eval("document.getElementById('earlier').click()");
    browser.eval("document.getElementById('earlier').click()");
    let headline = text(&mut browser, "#headline");
    assert!(headline.starts_with("1 h 10 min before this page was made: 3 nodes, all active"), "{headline}");
    is_in_order(&mut browser, "a past moment");
}
