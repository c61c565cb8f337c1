//! What a node states: it is judged before it is published, and survives if a fact is missing for a moment.

use std::fs;
use std::time::Duration;

use crate::agent::daemon::Daemon;
use crate::fixture::machine::{Machine, bare_repository};

fn machine() -> Machine {
    let machine = Machine::new("app1").with("address", "10.0.0.9").with("state", "done");
    fs::create_dir(machine.path("list")).unwrap();
    let list = machine.path("list");
    machine.store(list.display())
}

fn listed(machine: &Machine) -> String {
    fs::read_to_string(machine.path("list/i-app1.json")).unwrap()
}

#[test]
fn what_others_cannot_use_is_told_with_its_file() {
    let machine = machine();
    for (fact, value, expect) in [
        ("address", "web1.example.net", "is not an IP address"),
        ("address", "10.0.0.2/24", "is not an IP address"),
        ("address", "fe80::1%eth0", "zone id"),
        ("address", "0.0.0.0", "unspecified"),
        ("port", "8080/tcp", "is not a port"),
        ("port", "70000", "out of range"),
        ("port", "8080,8443", "is not a port"),
        ("nodepart", "app/1", "unusable `nodepart`"),
        ("state", "runing", "did you mean `running`?"),
    ] {
        let before = fs::read_to_string(machine.path(&format!("nodeinfo/{fact}.txt"))).unwrap();
        machine.fact(fact, value);
        let file = format!("nodeinfo/{fact}.txt");
        machine.run(&["publish"]).code(0).says(expect).says(&file);
        machine.run(&["beat"]).code(0).says(expect).says(&file);
        fs::write(machine.path(&file), before).unwrap();
    }
    machine.good(&["publish"]);
    fs::write(machine.path("nodeinfo/owner.txt"), b"caf\xe9").unwrap();
    machine.run(&["publish"]).code(1).says("owner.txt` is not UTF-8").says("as UTF-8");
}

#[test]
fn files_written_on_windows_are_read() {
    let machine = machine();
    fs::write(machine.path("nodeinfo/port.txt"), b"\xef\xbb\xbf8081\r\n").unwrap();
    fs::write(machine.path("presence.toml"), b"\xef\xbb\xbf[agent]\r\n").unwrap();
    machine.good(&["publish"]);
    assert!(listed(&machine).contains("\"port\": \"8081\""));
    let marked = [b"\xef\xbb\xbf", listed(&machine).as_bytes()].concat();
    fs::write(machine.path("list/i-app1.json"), marked).unwrap();
    assert_eq!(machine.good(&["list", "--format", "ids"]), "i-app1\n");
}

#[test]
fn a_fact_that_is_away_for_a_moment_stays_on_the_list() {
    let machine = machine();
    machine.good(&["publish"]);
    let whole = listed(&machine);
    let empty = |fact: &str| fs::write(machine.path(&format!("nodeinfo/{fact}.txt")), " \n").unwrap();
    let kept = |words: &[&str], fact: &str| {
        let outcome = machine.run(words).code(0);
        outcome.says(&format!("nodeinfo/{fact}.txt` is empty")).says("the list keeps");
        assert_eq!(listed(&machine), whole, "{words:?}");
    };
    for (fact, value) in [("address", "10.0.0.9"), ("port", "8080"), ("nodepart", "app1"), ("state", "done")]
    {
        empty(fact);
        kept(&["publish", "--dry-run"], fact);
        kept(&["publish"], fact);
        machine.fact(fact, value);
        machine.good(&["publish"]);
        // Its other changes are not delayed.
        empty(fact);
        kept(&["beat"], fact);
        machine.fact(fact, value);
        machine.good(&["publish"]);
    }
    // Two runs in a row are intended; so is a single one with `--anyway`.
    empty("port");
    kept(&["publish"], "port");
    machine.run(&["publish"]).code(0);
    assert!(!listed(&machine).contains("\"port\""));
    machine.fact("port", "8080");
    machine.good(&["publish"]);
    assert_eq!(listed(&machine), whole);
    empty("port");
    machine.run(&["publish", "--anyway"]).code(0);
    assert!(!listed(&machine).contains("\"port\""));
}

#[test]
fn what_the_list_said_counts_without_a_memory() {
    let machine = machine();
    machine.good(&["publish"]);
    machine.good(&["list"]);
    fs::remove_file(machine.path("state/said.json")).unwrap();
    fs::remove_file(machine.path("nodeinfo/port.txt")).unwrap();
    machine.run(&["publish"]).code(0).says("there is no `").says("nodeinfo/port.txt`");
    assert!(listed(&machine).contains("\"port\""));
}

/// A directory, a repository on this machine, and one behind a network.
fn each_kind_of_store(test: impl Fn(&Machine)) {
    let place = Machine::new("lb1");
    fs::create_dir(place.path("list")).unwrap();
    bare_repository(&place.path("list.git"));
    test(&Machine::new("app1").store(place.path("list").display()));
    test(&Machine::new("app1").store(place.path("list.git").display()));
    #[cfg(all(feature = "https", feature = "ssh"))]
    {
        let server = crate::fixture::GitDaemon::start();
        server.repository("list.git");
        test(&Machine::new("app1").store(server.url("list.git")));
    }
}

#[test]
fn what_the_list_says_counts_without_a_state_directory() {
    each_kind_of_store(|machine| {
        machine.fact("address", "10.0.0.9");
        machine.good(&["publish"]);
        let said = || machine.good(&["show", "i-app1"]);
        let before = said();
        assert!(before.contains("10.0.0.9"), "{before}");
        fs::remove_dir_all(machine.path("state")).unwrap();
        machine.fact("address", "");
        machine.run(&["publish"]).code(0).says("address.txt` is empty").says("the list keeps `10.0.0.9`");
        assert_eq!(said(), before);
        // Two runs in a row are intended.
        machine.run(&["publish"]).code(0);
        assert!(!said().contains("10.0.0.9"));
    });
}

#[test]
fn without_a_memory_no_reading_is_the_second_one() {
    let machine = machine();
    machine.good(&["publish"]);
    let whole = listed(&machine);
    machine.fact("address", "");
    // Even root cannot write below a regular file.
    fs::write(machine.path("file"), "").unwrap();
    let nowhere = machine.path("file/state");
    let publish = ["publish", "--state-dir", nowhere.to_str().unwrap()];
    for _ in 0..3 {
        machine.run(&publish).code(0).says("the list keeps `10.0.0.9` as long as").says("cannot be written");
        assert_eq!(listed(&machine), whole);
    }
    machine.run(&[&publish[..], &["--anyway"]].concat()).code(0);
    assert!(!listed(&machine).contains("10.0.0.9"));
    // The same for a missing file.
    fs::remove_file(machine.path("nodeinfo/port.txt")).unwrap();
    machine.fact("address", "10.0.0.9");
    machine.run(&publish).code(0).says("there is no `").says("nodeinfo/port.txt`");
    assert_eq!(listed(&machine), whole);
}

#[test]
fn an_agent_that_knows_nothing_asks_the_list_first() {
    each_kind_of_store(|machine| {
        machine.fact("address", "10.0.0.9");
        machine.good(&["publish"]);
        fs::remove_dir_all(machine.path("state")).unwrap();
        fs::create_dir(machine.path("state")).unwrap();
        machine.fact("address", "");
        machine.fact("rack", "r7");
        fs::write(machine.path("presence.toml"), "[agent]\ninterval = '60s'\npoll = '200ms'\n").unwrap();
        let agent = Daemon::start(machine);
        // Its second reading, a fifth of a second later, is the second equal one.
        agent.wait_for("the rest of the record", || agent.log().contains(": i-app1: rack r7\n"));
        assert!(agent.log().contains("the list keeps `10.0.0.9`"), "{}", agent.log());
    });
}

#[test]
fn half_of_a_value_does_not_take_the_place_of_a_whole_one() {
    let machine = machine();
    machine.good(&["publish"]);
    let whole = listed(&machine);
    for (fact, half) in [("address", "10.0.0"), ("port", "8080,"), ("nodepart", "app1/"), ("state", "don")] {
        let file = machine.path(&format!("nodeinfo/{fact}.txt"));
        let before = fs::read_to_string(&file).unwrap();
        machine.fact(fact, half);
        machine.run(&["publish"]).code(0).says(&format!("nodeinfo/{fact}.txt`")).says("the list keeps");
        assert_eq!(listed(&machine), whole);
        fs::write(&file, before).unwrap();
        machine.good(&["publish"]);
    }
    // The same value twice is not half-written but wrong, and readers must see it.
    machine.fact("port", "808o");
    machine.run(&["beat"]).code(0).says("the list keeps `8080` until the next publish finds the same value");
    machine.run(&["beat"]).code(0).says("is not a port");
    assert!(listed(&machine).contains("808o"));
}

#[test]
fn an_agent_keeps_a_fact_that_is_away_for_less_than_a_beat() {
    let machine = machine();
    machine.good(&["publish"]);
    let whole = listed(&machine);
    fs::write(machine.path("presence.toml"), "[agent]\ninterval = '2s'\npoll = '100ms'\n").unwrap();
    let agent = Daemon::start(&machine);
    agent.wait_for("the first beat", || machine.path("list/.beats/i-app1").exists());
    fs::write(machine.path("nodeinfo/address.txt"), "").unwrap();
    agent.wait_for("the log to say so", || agent.log().contains("address.txt` is empty"));
    assert_eq!(listed(&machine), whole);
    agent.wait_for("two beats without it", || !listed(&machine).contains("10.0.0.9"));
    machine.fact("address", "10.0.0.9");
    agent.wait_for("it to be back", || listed(&machine) == whole);
    std::thread::sleep(Duration::from_millis(10));
}

#[test]
fn an_unknown_state_is_refused() {
    let machine = machine();
    machine.good(&["publish"]);
    let whole = listed(&machine);
    machine.run(&["state", "drainig"]).code(2).says("did you mean `draining`?").says("--anyway");
    machine.run(&["state", "bogus"]).code(2).says("known states:");
    assert_eq!((listed(&machine), machine.good(&["emit"])), (whole.clone(), whole));
    machine.run(&["state", "bogus", "--anyway"]).code(0).says("treated as absent");
    assert!(listed(&machine).contains("\"state\": \"bogus\""));
}

#[test]
fn a_node_does_not_take_another_name_because_a_file_is_away() {
    let app = Machine::new("app1");
    app.good(&["publish"]);
    app.fact("instance-id", "");
    app.run(&["beat"]).code(1).says("nodeinfo/instance-id.txt` is empty, and this node has no other name");
    std::fs::remove_file(app.path("nodeinfo/instance-id.txt")).unwrap();
    app.run(&["publish"])
        .code(1)
        .says("this node has published as `i-app1`")
        .says("write the name of this node into");
    assert_eq!(app.good(&["list", "--format", "ids"]), "i-app1\n");
    app.fact("instance-id", "i-new");
    app.good(&["publish"]);
}

#[test]
fn a_state_stays_until_another_one_is_there() {
    let app = Machine::new("app1");
    app.good(&["state", "draining"]);
    for _ in 0..3 {
        app.fact("state", "");
        app.run(&["publish"]).code(0).says("the list keeps `draining` until another state is set");
    }
    assert_eq!(app.good(&["list", "--state", "draining", "--format", "ids"]), "i-app1\n");
    app.good(&["state", "done"]);
    assert_eq!(app.good(&["list", "--state", "draining", "--format", "ids"]), "");
}
