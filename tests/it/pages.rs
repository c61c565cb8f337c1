//! `[[page]]`: a page of the fleet that beats and the agent keep up to date.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::agent::daemon::Daemon;
use crate::fixture::GitDaemon;
use crate::fixture::machine::Machine;

fn is_on(page: &Path, text: &str) -> bool {
    fs::read_to_string(page).unwrap_or_default().contains(text)
}

/// A balancer with a page at `index.html`, and the server of its list.
fn balancer(more: &str) -> (GitDaemon, Machine) {
    let server = GitDaemon::start();
    server.repository("list.git");
    let balancer = Machine::new("lb1").store(server.url("list.git"));
    let page = balancer.path("index.html");
    balancer.configure(&format!("[[page]]\noutput = '{}'\n{more}", page.display()));
    (server, balancer)
}

#[test]
fn a_beat_replaces_a_page_only_if_it_shows_something_else() {
    let (server, balancer) = balancer("max-age = '5m'\nmode = '0640'\n");
    let page = balancer.path("index.html");
    balancer.run(&["beat", "--dry-run"]).code(0).says("index.html");
    assert!(!page.exists());
    balancer.run(&["beat"]).code(0).says("index.html replaced");
    assert_eq!(fs::metadata(&page).unwrap().mode() & 0o777, 0o640);
    assert!(is_on(&page, "\"i-lb1\"") && is_on(&page, "\"reload\":30"));
    let inode = || fs::metadata(&page).unwrap().ino();
    let first = inode();
    balancer.run(&["beat"]).code(0).says("index.html is unchanged");
    // Later, with another heartbeat.
    let at = |time: &str, args: &[&str]| {
        let output = balancer.command(args).env("PRESENCE_NOW", time).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    assert!(at("2026-01-02T03:07:05Z", &["beat"]).contains("index.html is unchanged"));
    // And so much later that it is made again, which gives the same.
    assert!(at("2026-01-02T09:07:05Z", &["beat"]).contains("index.html is unchanged"));
    assert_eq!(inode(), first);

    // Another node joins, and becomes silent.
    let app = Machine::new("app1").store(server.url("list.git")).env("PRESENCE_NOW", "2026-01-02T09:08:05Z");
    app.good(&["beat", "-q"]);
    assert!(at("2026-01-02T09:08:06Z", &["beat"]).contains("index.html replaced"));
    assert!(is_on(&page, "\"i-app1\"") && !is_on(&page, "\"freshness\":\"silent\""));
    assert!(at("2026-01-02T09:20:05Z", &["beat"]).contains("index.html replaced"));
    assert!(is_on(&page, "\"freshness\":\"silent\""));
    // A damaged page is repaired.
    fs::write(&page, "x").unwrap();
    assert!(at("2026-01-02T09:20:06Z", &["beat"]).contains("index.html replaced"));
    assert!(is_on(&page, "\"i-app1\""));
}

#[test]
fn a_page_that_fails_affects_no_other_file() {
    let (mut server, balancer) = balancer("");
    let text = fs::read_to_string(balancer.path("presence.toml")).unwrap();
    let hosts = balancer.path("hosts");
    let text = format!(
        "{text}[[page]]\noutput = '/nonexistent/x.html'\n[[render]]\nname = 'hosts'\noutput = '{}'\n",
        hosts.display()
    );
    balancer.configure(&text);
    let outcome = balancer.run(&["beat"]).code(1).says("index.html replaced").says("/nonexistent");
    assert!(hosts.exists(), "{outcome}");
    let outcome = balancer.run(&["doctor"]).code(1);
    assert!(outcome.stdout.contains("`/nonexistent/x.html`: there is no such directory"), "{outcome}");
    let page = balancer.path("index.html");
    let before = fs::read(&page).unwrap();
    server.kill();
    balancer.run(&["beat"]).says("index.html` is left as it is");
    assert_eq!(fs::read(&page).unwrap(), before);
}

#[test]
fn the_agent_keeps_a_page_up_to_date() {
    let (server, balancer) =
        balancer("reload = '1s'\n[agent]\ninterval = '1s'\npoll = '100ms'\nquiet-min = '50ms'\n");
    let page = balancer.path("index.html");
    let agent = Daemon::start(&balancer);
    agent.wait_for("the page", || is_on(&page, "\"i-lb1\""));
    let app = Machine::new("app1").store(server.url("list.git"));
    app.good(&["publish", "-q"]);
    agent.wait_for("the new node on the page", || is_on(&page, "\"i-app1\""));
    fs::remove_file(&page).unwrap();
    agent.wait_for("the page again", || is_on(&page, "\"i-app1\""));
}

#[test]
fn a_page_is_made_no_more_often_than_an_open_one_looks_for_it() {
    let agent = "[agent]\ninterval = '1s'\npoll = '100ms'\nquiet-min = '50ms'\n";
    let (server, balancer) = balancer(&format!("reload = '1h'\n{agent}"));
    let (page, hosts) = (balancer.path("index.html"), balancer.path("hosts"));
    let text = fs::read_to_string(balancer.path("presence.toml")).unwrap();
    balancer.configure(&format!("{text}[[render]]\nname = 'hosts'\noutput = '{}'\n", hosts.display()));
    let agent = Daemon::start(&balancer);
    agent.wait_for("the page", || is_on(&page, "\"i-lb1\""));
    for part in ["app1", "app2"] {
        Machine::new(part).store(server.url("list.git")).good(&["publish", "-q"]);
        agent.wait_for("the new node in the other file", || is_on(&hosts, part));
    }
    assert!(!is_on(&page, "\"i-app1\""), "two changes, and no second page");
}
