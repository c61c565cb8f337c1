//! Two machines with one instance-id, and two records of one server.

use std::fs;

use crate::agent::daemon::Daemon;
use crate::fixture::machine::{Machine, bare_repository};

/// Two machines of one image: the same instance-id, different hosts.
fn clones(store: &std::path::Path) -> [Machine; 2] {
    ["10.0.0.2", "10.0.0.3"].map(|address| {
        let machine = Machine::new("app1").with("ipv4", address).store(store.display());
        fs::write(
            machine.path("presence.toml"),
            "[agent]\ninterval = '1s'\npoll = '300ms'\nmetrics = 'metrics.prom'\n",
        )
        .unwrap();
        machine
    })
}

const TOLD: &str = "another machine publishes under the instance-id";

#[test]
fn two_agents_of_one_name_are_told_once_each() {
    let reader = Machine::new("lb1");
    let repository = reader.path("list.git");
    bare_repository(&repository);
    let [one, other] = clones(&repository);
    let agents = [Daemon::start(&one), Daemon::start(&other)];
    for (agent, machine) in agents.iter().zip([&one, &other]) {
        agent.wait_for("the other one to be met", || agent.log().contains(TOLD));
        agent.wait_for("the metric", || {
            let metrics = fs::read_to_string(machine.path("metrics.prom")).unwrap_or_default();
            metrics.contains("presence_instance_id_conflict 1\n")
        });
    }
    // Every reader of the list sees it.
    let reader = reader.store(repository.display());
    agents[0].wait_for("a reader to see it", || reader.run(&["list"]).stderr.contains("two machines"));
    std::thread::sleep(std::time::Duration::from_secs(3));
    for agent in &agents {
        // On a busy machine, one of them may miss the other for three beats.
        let log = agent.log();
        assert_eq!(log.matches(TOLD).count(), 1 + log.matches("publishing: resolved").count(), "{log}");
    }
    // One of them gets its own instance-id.
    one.fact("instance-id", "i-app2");
    let [first, second] = agents;
    drop(first);
    second.wait_for("all to be well", || {
        let metrics = fs::read_to_string(other.path("metrics.prom")).unwrap_or_default();
        metrics.contains("presence_instance_id_conflict 0\n")
    });
    second.wait_for("the list to be well", || !reader.run(&["list"]).stderr.contains("two machines"));
}

#[test]
fn single_beats_meet_each_other_too_in_every_kind_of_store() {
    let reader = Machine::new("lb1");
    let (repository, directory) = (reader.path("list.git"), reader.path("list"));
    bare_repository(&repository);
    fs::create_dir(&directory).unwrap();
    for store in [repository, directory] {
        let [one, other] = clones(&store);
        one.good(&["beat"]);
        other.good(&["beat"]);
        one.run(&["beat"]).code(0).says(TOLD).says("instance-id.txt");
        other.run(&["beat"]).code(0).says(TOLD);
        // Once, not every minute.
        one.good(&["beat"]);
        assert!(one.run(&["list"]).stderr.contains("two machines"));
        // Until it is over.
        for _ in 0..5 {
            other.good(&["beat"]);
        }
        assert_eq!(other.run(&["list"]).stderr, "");
        // A machine with a new state directory stays the same machine.
        fs::remove_dir_all(other.path("state")).unwrap();
        fs::create_dir(other.path("state")).unwrap();
        other.good(&["beat"]);
        other.good(&["beat"]);
    }
}

#[test]
fn machines_that_only_publish_meet_each_other_by_their_records() {
    let reader = Machine::new("lb1");
    let (repository, directory) = (reader.path("list.git"), reader.path("list"));
    bare_repository(&repository);
    fs::create_dir(&directory).unwrap();
    for store in [repository, directory] {
        let [one, other] = clones(&store);
        one.good(&["publish"]);
        other.good(&["publish"]);
        // A single change may be a restored backup.
        one.good(&["publish"]);
        other.good(&["publish"]);
        for machine in [&one, &other, &one] {
            machine.run(&["publish"]).code(0).says(TOLD).says("instance-id.txt");
        }
        assert!(one.run(&["doctor"]).stdout.contains(TOLD));
        // A machine's own changes do not indicate another machine.
        other.fact("instance-id", "i-other");
        for number in 0..4 {
            other.fact("rack", number);
            other.good(&["publish"]);
        }
        for _ in 0..4 {
            one.run(&["publish"]).code(0);
        }
        assert!(!one.run(&["doctor"]).stdout.contains(TOLD));
    }
}

#[test]
fn two_records_of_one_server_are_one_server() {
    let machine = Machine::new("lb1");
    fs::create_dir(machine.path("list")).unwrap();
    let list = machine.path("list");
    let machine = machine.store(list.display());
    let put = |id: &str, state: &str| {
        let text = format!(
            r#"{{"filetype":"nodepresence","value":{{"instance-id":"{id}","nodepart":"app1","stacktype":"lad1","deployment":"fed1","address":"10.1.0.1","port":"80","state":"{state}"}}}}"#
        );
        fs::write(machine.path(&format!("list/{id}.json")), text).unwrap();
    };
    put("i-b", "done");
    put("i-a", "done");
    let told = "i-b.json: has the part (`app1`), address and port of `i-a`";
    let outcome = machine.run(&["list", "--format", "ids"]).code(0).says(told);
    assert_eq!(outcome.stdout, "i-a\ni-b\n");
    let config = machine.run(&["render", "haproxy"]).code(0).says(told).stdout;
    assert!(config.contains("server i-a ") && !config.contains("i-b"), "{config}");
    // An unusable record does not replace the other one.
    let text = fs::read_to_string(machine.path("list/i-a.json")).unwrap();
    fs::write(machine.path("list/i-a.json"), text.replace("}}", r#","check-port":"x"}}"#)).unwrap();
    let config = machine.run(&["render", "haproxy"]).code(0).says("left out node i-a").stdout;
    assert!(config.contains("server i-b "), "{config}");
    let hosts = machine.run(&["render", "hosts"]).code(0).stdout;
    assert!(hosts.contains("i-a") && hosts.contains("i-b"), "{hosts}");
    // The usable one is used.
    put("i-a", "drained");
    let config = machine.run(&["render", "haproxy"]).code(0).stdout;
    assert!(config.contains("server i-b "), "{config}");
}
