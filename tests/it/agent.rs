//! The agent, with a real git store, real publishers, a real HAProxy and real signals.

mod balancer;
mod check;
pub(crate) mod daemon;
mod deaths;
mod figures;
mod first;
mod haproxy;
mod health;
mod kill;
#[cfg(all(feature = "https", feature = "ssh"))]
mod liveness;
mod load;
#[cfg(feature = "https")]
mod notify;
mod place;
#[cfg(all(feature = "https", feature = "ssh"))]
mod stores;
#[cfg(feature = "https")]
mod trouble;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::fixture::machine::{Machine, bare_repository};
use daemon::{Daemon, wait};
use place::{Place, over_each_store};

/// A machine with a bare repository as its store, and a table for the hosts file.
fn machine(part: &str, agent: &str) -> Machine {
    let machine = Machine::new(part);
    let repository = machine.path("list.git");
    bare_repository(&repository);
    renders_hosts(&machine, agent);
    machine.store(repository.display())
}

/// The same, with the list at a given place.
fn machine_at(place: &Place, part: &str, agent: &str) -> Machine {
    let machine = place.machine(part);
    renders_hosts(&machine, &format!("{}{agent}", place.max_age()));
    machine
}

fn renders_hosts(machine: &Machine, more: &str) {
    let hosts = machine.path("hosts");
    let text = format!("[[render]]\nname = 'hosts'\noutput = '{}'\n{more}", hosts.display());
    fs::write(machine.path("presence.toml"), text).unwrap();
}

over_each_store!(
    a_beat_publishes_and_keeps_every_file_right,
    the_agent_follows_the_list_and_ends_cleanly,
    who_is_stopped_can_say_so,
    the_store_goes_away_and_comes_back,
    files_with_the_same_reload_are_reloaded_once,
    of_beats_at_the_same_time_one_reloads,
);
over_each_store!(but ssh:
    a_hangup_beats_at_once,
    a_store_that_goes_away_in_the_quiet_before_a_render_loses_nothing,
    many_changes_make_few_renders,
);

/// Settings for a fast agent.
const QUICK: &str = "[agent]\ninterval = '1s'\npoll = '100ms'\nquiet-min = '50ms'\n";

fn a_beat_publishes_and_keeps_every_file_right(place: Place) {
    let lb = machine_at(&place, "lb1", "[[render]]\nname = 'no-such-template'\noutput = '/nonexistent/x'\n");
    let outcome = lb.run(&["beat", "--dry-run"]).code(2).says("would publish i-lb1");
    assert!(!lb.path("hosts").exists(), "{outcome}");
    lb.run(&["beat"]).code(2).says("there is no template `no-such-template`");
    let hosts = fs::read_to_string(lb.path("hosts")).unwrap();
    assert!(hosts.contains("10.0.0.1"), "{hosts}");
    fs::write(lb.path("hosts"), "spoilt\n").unwrap();
    lb.run(&["beat"]).code(2);
    assert_eq!(fs::read_to_string(lb.path("hosts")).unwrap(), hosts);
    assert!(lb.good(&["list", "--max-age", "1h"]).contains("i-lb1"));
}

fn the_agent_follows_the_list_and_ends_cleanly(place: Place) {
    let lb = machine_at(&place, "lb1", QUICK);
    let agent = Daemon::start(&lb);
    agent.wait_for("the first file", || lb.path("hosts").exists());
    let app = place.machine("app1");
    app.good(&["publish"]);
    let has = |text: &str| fs::read_to_string(lb.path("hosts")).unwrap().contains(text);
    agent.wait_for("the new node", || has("10.0.0.2"));
    app.good(&["withdraw"]);
    agent.wait_for("the node to leave", || !has("10.0.0.2"));
    // A change in nodeinfo is published without waiting for a beat.
    lb.fact("rack", "r7");
    agent.wait_for("the fact to be published", || {
        app.run(&["list", "--where", "rack=r7"]).stdout.contains("i-lb1")
    });
    // The next beat repairs the file.
    fs::write(lb.path("hosts"), "spoilt\n").unwrap();
    agent.wait_for("the file to be made right", || has("10.0.0.1"));
    let (code, log) = agent.end(Signal::TERM);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("SIGTERM: the agent stops"), "{log}");
}

fn a_hangup_beats_at_once(place: Place) {
    let lb = machine_at(&place, "lb1", "[agent]\ninterval = '1h'\n");
    let agent = Daemon::start(&lb);
    agent.wait_for("the first file", || lb.path("hosts").exists());
    agent.wait_for("signals to be heard", || agent.log().contains("agent started"));
    let app = place.machine("app1");
    app.good(&["publish"]);
    agent.signal(Signal::HUP);
    agent.wait_for("the new node", || fs::read_to_string(lb.path("hosts")).unwrap().contains("10.0.0.2"));
    assert_eq!(agent.end(Signal::INT).0, Some(0));
}

#[test]
fn a_second_agent_is_refused_and_told_of_the_first() {
    let lb = machine("lb1", QUICK);
    let agent = Daemon::start(&lb);
    agent.wait_for("the first file", || lb.path("hosts").exists());
    lb.run(&["agent"]).code(1).says(&format!("another agent (pid {})", agent.pid()));
    // A manual beat is not an agent.
    lb.run(&["beat"]).code(0);
}

#[test]
fn systemd_is_told() {
    let lb = machine("lb1", QUICK);
    let path = lb.path("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let agent = Daemon::start_with(&lb, |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000000");
    });
    let mut told: Vec<String> = Vec::new();
    let mut until = |wanted: &str| {
        while !told.iter().any(|text| text.starts_with(wanted)) {
            let mut bytes = [0; 4096];
            let read = socket.recv(&mut bytes).unwrap_or_else(|_| panic!("no {wanted} after {told:?}"));
            told.push(String::from_utf8_lossy(&bytes[..read]).into_owned());
        }
        told.clone()
    };
    let told_before = until("READY=1");
    assert!(told_before.iter().any(|text| text == "STATUS=1 nodes, 1 files, all well"), "{told_before:?}");
    assert!(lb.path("hosts").exists(), "ready before the first file");
    until("WATCHDOG=1");
    agent.signal(Signal::TERM);
    until("STOPPING=1");
}

fn who_is_stopped_can_say_so(place: Place) {
    place.machine("db1").good(&["publish"]);
    for (word, expect) in [("draining", "draining"), ("withdraw", "")] {
        let lb = machine_at(&place, "lb1", &format!("{QUICK}on-stop = '{word}'\n"));
        lb.good(&["state", "done"]);
        let agent = Daemon::start(&lb);
        agent.wait_for("the first file", || lb.path("hosts").exists());
        let (code, log) = agent.end(Signal::TERM);
        assert_eq!(code, Some(0), "{log}");
        let listed = lb.good(&["list"]);
        match expect {
            "" => assert!(!listed.contains("i-lb1"), "{listed}\n{log}"),
            state => assert!(listed.contains(state), "{listed}\n{log}"),
        }
    }
}

fn the_store_goes_away_and_comes_back(mut place: Place) {
    let lb = machine_at(&place, "lb1", &format!("{QUICK}metrics = 'metrics.prom'\n"));
    let metrics = || fs::read_to_string(lb.path("metrics.prom")).unwrap_or_default();
    let agent = Daemon::start(&lb);
    agent.wait_for("the first file", || lb.path("hosts").exists());
    let before = fs::read(lb.path("hosts")).unwrap();
    place.go_away();
    agent.wait_for("the error to be counted", || metrics().contains("presence_store_errors_total{"));
    agent.wait_for("a beat without a store", || metrics().contains("result=\"unreachable\""));
    assert_eq!(fs::read(lb.path("hosts")).unwrap(), before);
    assert!(metrics().contains("presence_file_good{"), "{}", metrics());
    assert!(agent.log().contains("is left as it is"), "{}", agent.log());
    lb.run(&["beat"]).code(3).says("is left as it is");
    place.come_back();
    place.machine("app1").good(&["publish"]);
    agent.wait_for("the new node", || fs::read_to_string(lb.path("hosts")).unwrap().contains("10.0.0.2"));
    agent.wait_for("all to be well again", || agent.log().contains("stores: resolved"));
    // The same complaint is not repeated at every look.
    let said = agent.log().matches(place.complaint()).count();
    assert!(said <= 3, "{}", agent.log());
}

fn a_store_that_goes_away_in_the_quiet_before_a_render_loses_nothing(mut place: Place) {
    let lb = machine_at(
        &place,
        "lb1",
        "[agent]\ninterval = '1h'\npoll = '100ms'\nquiet-min = '2s'\nmetrics = 'metrics.prom'\n",
    );
    let agent = Daemon::start(&lb);
    agent.wait_for("the first file", || lb.path("hosts").exists());
    place.machine("app1").good(&["publish"]);
    // Long enough to see the change, and shorter than the quiet time.
    std::thread::sleep(Duration::from_millis(700));
    place.go_away();
    let errors = || -> u64 {
        let metrics = fs::read_to_string(lb.path("metrics.prom")).unwrap_or_default();
        let line = metrics.lines().find(|line| line.starts_with("presence_store_errors_total{"));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    };
    agent.wait_for("some looks in vain", || errors() >= 4);
    std::thread::sleep(Duration::from_secs(2));
    assert!(errors() < 40, "{} looks: no wait between them", errors());
    place.come_back();
    agent.wait_for("the new node", || fs::read_to_string(lb.path("hosts")).unwrap().contains("10.0.0.2"));
}

fn many_changes_make_few_renders(place: Place) {
    let lb = machine_at(
        &place,
        "lb1",
        "reload = 'sh -c \"echo x >> reloads\"'\n[agent]\ninterval = '1h'\npoll = '100ms'\nquiet-min = '2s'\nquiet-max = '60s'\n",
    );
    let agent = Daemon::start(&lb);
    let reloads = || fs::read_to_string(lb.path("reloads")).unwrap_or_default().lines().count();
    agent.wait_for("the first file", || reloads() == 1);
    for number in 1..=10 {
        let app = place.machine(&format!("app{number}"));
        app.good(&["publish"]);
    }
    let all = || fs::read_to_string(lb.path("hosts")).unwrap().matches("10.0.0.2").count() == 10;
    wait("all nodes", || agent.log(), all);
    agent.wait_for("the reload", || reloads() >= 2);
    // One, unless this machine took two seconds for one of the publishes.
    assert!(reloads() <= 4, "{}", agent.log());
}

#[test]
fn reloads_have_a_budget_and_what_is_over_it_is_owed() {
    let lb = machine(
        "lb1",
        &format!(
            "reload = 'sh -c \"echo x >> reloads\"'\n{QUICK}reloads-per-minute = 2\nmetrics = 'metrics.prom'\n"
        ),
    );
    let agent = Daemon::start(&lb);
    let reloads = || fs::read_to_string(lb.path("reloads")).unwrap_or_default().lines().count();
    agent.wait_for("the first file", || reloads() == 1);
    for number in 1..=4 {
        Machine::new(&format!("app{number}")).store(lb.path("list.git").display()).good(&["publish"]);
        let there = || fs::read_to_string(lb.path("hosts")).unwrap().matches("10.0.0.2").count() == number;
        agent.wait_for("the file", there);
    }
    agent.wait_for("the metric", || {
        let metrics = fs::read_to_string(lb.path("metrics.prom")).unwrap_or_default();
        metrics.lines().any(|line| line.starts_with("presence_file_pending{") && line.ends_with(" 1"))
    });
    assert_eq!(reloads(), 2, "{}", agent.log());
    assert!(agent.log().contains("hosts: right; its reload is pending"), "{}", agent.log());
    // The next run makes up for it: a manual beat has no budget, because a user wants it.
    drop(agent);
    lb.run(&["beat"]).code(0).says("the pending reload has succeeded");
    assert_eq!(reloads(), 3);
}

fn files_with_the_same_reload_are_reloaded_once(place: Place) {
    let reload =
        "reload = 'sh -c \"test ! -e broken && test -e hosts && test -e hosts2 && echo x >> reloads\"'\n";
    let more = |machine: &Machine| {
        format!(
            "{reload}[[render]]\nname = 'hosts'\noutput = '{}2'\n{reload}",
            machine.path("hosts").display()
        )
    };
    let lb = place.machine("lb1");
    renders_hosts(&lb, &format!("{}{QUICK}", more(&lb)));
    let reloads = || fs::read_to_string(lb.path("reloads")).unwrap_or_default().lines().count();
    lb.run(&["beat"]).code(0).says("hosts replaced and reloaded").says("hosts2 replaced and reloaded");
    assert_eq!(reloads(), 1, "when both files are in place");
    lb.run(&["beat"]).code(0).says("hosts2 is unchanged");
    assert_eq!(reloads(), 1);
    // A failed reload is owed by both files, and run once for both.
    fs::write(lb.path("broken"), "").unwrap();
    let app = place.machine("app1");
    app.good(&["publish"]);
    let failed = lb.run(&["beat"]).code(5);
    assert_eq!(failed.stderr.matches("but its reload failed").count(), 2, "{failed}");
    fs::remove_file(lb.path("broken")).unwrap();
    lb.run(&["beat"]).code(0).says("hosts2 is unchanged; the pending reload has succeeded");
    assert_eq!(reloads(), 2);
    // The agent does the same.
    let agent = Daemon::start(&lb);
    app.good(&["withdraw"]);
    agent.wait_for("the node to leave", || {
        agent.log().matches("replaced").count() == 2
            && !fs::read_to_string(lb.path("hosts2")).unwrap().contains("10.0.0.2")
    });
    assert_eq!(reloads(), 3, "{}", agent.log());
}

#[test]
fn a_quiet_beat_says_nothing_where_nothing_failed() {
    let lb = machine("lb1", "reload = 'true'\n");
    for command in [
        &["beat", "--quiet"][..],
        &["beat", "-q"],
        &["publish", "-q"],
        &["state", "done", "-q"],
        &["withdraw", "-q"],
    ] {
        assert_eq!(lb.good(command), "", "{command:?}");
    }
    let init = ["init", "-q", "--config", "new.toml", "--nodeinfo", "facts"];
    assert_eq!(lb.good(&init), "");
    assert!(lb.path("new.toml").exists());
    lb.run(&["beat", "-q", "--store", "/no/such/place"]).code(3).says("/no/such/place");
}

fn of_beats_at_the_same_time_one_reloads(place: Place) {
    let lb = machine_at(
        &place,
        "lb1",
        "reload = 'sh -c \"mkdir alone || exit 9; sleep 0.3; rmdir alone; echo x >> reloads\"'\n",
    );
    lb.good(&["publish"]);
    let beat = || lb.command(&["beat"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let beats: Vec<_> = (0..5).map(|_| beat()).collect();
    for beat in beats {
        let output = beat.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(!said.contains("warning"), "{said}");
    }
    assert_eq!(fs::read_to_string(lb.path("reloads")).unwrap().lines().count(), 1);
}
