//! What goes wrong in a cluster: the last good list serves on, and nothing acknowledged is lost.

use std::thread;
use std::time::Duration;

use super::{hosts, machine, renders_hosts};
use crate::agent::daemon::Daemon;
use crate::fixture::http_server::HttpServer;
use crate::fixture::machine::Machine;
use crate::fixture::{Etcd, silent_server};

/// An agent that looks only when the store says so, but beats often enough to see what fails.
const WATCHES: &str = "[agent]\ninterval = '1h'\npoll = '1h'\nquiet-min = '0s'\nmetrics = 'metrics.prom'\n";
const BEATS: &str = "[agent]\ninterval = '2s'\nquiet-min = '0s'\nmetrics = 'metrics.prom'\n";

/// An agent that has written its first file.
fn agent(lb: &Machine) -> Daemon {
    let agent = Daemon::start(lb);
    agent.wait_for("the first file", || hosts(lb).contains("10.0.0.1"));
    agent
}

#[test]
fn one_member_of_three_may_die_whichever_it_is() {
    let mut cluster = Etcd::three();
    let lb = renders_hosts(&cluster, "lb1", BEATS);
    let agent = agent(&lb);
    for place in 0..3 {
        cluster.kill(place);
        let app = machine(&cluster, &format!("app{place}")).with("ipv4", format!("10.0.1.{place}"));
        app.good(&["publish"]);
        agent.wait_for("the new node", || hosts(&lb).contains(&format!("10.0.1.{place}")));
        cluster.restart(place);
        cluster.wait_until_healthy();
    }
    assert!(!agent.log().contains("the cluster has no quorum"), "{}", agent.log());
}

#[test]
fn without_a_quorum_the_file_stays_and_publishing_fails() {
    let mut cluster = Etcd::three();
    let lb = renders_hosts(&cluster, "lb1", BEATS);
    let app = machine(&cluster, "app1").config("[timeouts]\nconnect = 12\npublish = 30\nread = 30\n");
    app.good(&["publish"]);
    let agent = agent(&lb);
    agent.wait_for("the node", || hosts(&lb).contains("10.0.0.2"));
    let before = hosts(&lb);
    cluster.kill(0);
    cluster.kill(1);
    app.run(&["state", "draining"]).code(1).says("has no quorum").says("more than half of the members");
    app.run(&["list"]).code(3).says("no quorum");
    agent.wait_for("the complaint", || agent.log().contains("no quorum"));
    assert_eq!(hosts(&lb), before);
    cluster.restart(0);
    cluster.restart(1);
    cluster.wait_until_healthy();
    assert!(app.good(&["list"]).contains("i-app1"), "nothing acknowledged is lost");
    let late = machine(&cluster, "app2").with("ipv4", "10.0.1.9");
    late.good(&["publish"]);
    agent.wait_for("the new node", || hosts(&lb).contains("10.0.1.9"));
}

#[test]
fn a_member_that_hangs_is_left_for_another_one() {
    let cluster = Etcd::three();
    let leader = cluster.leader();
    let (first, second) = ((leader + 1) % 3, (leader + 2) % 3);
    let url = cluster.url_of(&[first, second, leader]);
    let lb = Machine::new("lb1").store(&url);
    let text = format!("[[render]]\nname = 'hosts'\noutput = '{}'\n{BEATS}", lb.path("hosts").display());
    lb.configure(&text);
    let agent = agent(&lb);
    cluster.hang(first);
    let app = Machine::new("app1").store(&url);
    app.good(&["publish"]);
    agent.wait_for("the new node", || hosts(&lb).contains("10.0.0.2"));
    cluster.go_on(first);
}

#[test]
fn a_service_that_never_answers_is_left_for_another_one() {
    let cluster = Etcd::one();
    let (_listener, silent) = silent_server();
    let rest = cluster.url().replacen("etcd://", "", 1);
    let app = Machine::new("app1").store(format!("etcd://{silent},{rest}"));
    assert!(app.good(&["publish"]).contains("joined"));
}

#[test]
fn the_leader_dies_again_and_again_and_nothing_acknowledged_is_lost() {
    let mut cluster = Etcd::three();
    let url = cluster.url();
    let publishers: Vec<_> = (0..4)
        .map(|number| {
            let url = url.clone();
            thread::spawn(move || {
                let app = Machine::new("app1").with("instance-id", format!("i-{number}")).store(url);
                for round in 0..15 {
                    app.fact("round", round);
                    app.run(&["publish"]).code(0);
                    thread::sleep(Duration::from_millis(50));
                }
            })
        })
        .collect();
    for _ in 0..3 {
        let leader = cluster.leader();
        cluster.kill(leader);
        thread::sleep(Duration::from_millis(1500));
        cluster.restart(leader);
        cluster.wait_until_healthy();
    }
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    let lb = machine(&cluster, "lb1");
    for number in 0..4 {
        assert!(lb.good(&["show", &format!("i-{number}")]).contains("14"));
    }
}

#[test]
fn a_compacted_history_is_read_anew() {
    let cluster = Etcd::one();
    let lb = renders_hosts(&cluster, "lb1", WATCHES);
    let agent = agent(&lb);
    for number in 0..5 {
        let app = machine(&cluster, &format!("app{number}")).with("ipv4", format!("10.0.1.{number}"));
        app.good(&["publish"]);
        cluster.compact();
        agent.wait_for("the new node", || hosts(&lb).contains(&format!("10.0.1.{number}")));
    }
    // While the agent cannot see it.
    agent.signal(rustix::process::Signal::STOP);
    machine(&cluster, "app9").with("ipv4", "10.0.1.9").good(&["publish"]);
    cluster.compact();
    agent.signal(rustix::process::Signal::CONT);
    agent.wait_for("the last node", || hosts(&lb).contains("10.0.1.9"));
}

#[test]
fn a_restored_snapshot_is_noticed_although_revisions_run_backwards() {
    let mut cluster = Etcd::one();
    let lb = renders_hosts(&cluster, "lb1", WATCHES);
    machine(&cluster, "app1").good(&["publish"]);
    let agent = agent(&lb);
    agent.wait_for("the node", || hosts(&lb).contains("10.0.0.2"));
    let file = cluster.path("snapshot");
    cluster.save(&file);
    for number in 2..20 {
        cluster.etcdctl(&["put", "/presence/it/presence/all/readme", &number.to_string()]);
    }
    cluster.restore(&file);
    machine(&cluster, "app3").with("ipv4", "10.0.1.3").good(&["publish"]);
    agent.wait_for("a node of the restored list", || hosts(&lb).contains("10.0.1.3"));
    assert!(hosts(&lb).contains("10.0.0.2"));
}

#[test]
fn a_full_database_is_named_and_the_list_stays_readable() {
    let cluster = Etcd::with(1, &["--quota-backend-bytes=2000000"]);
    let app = machine(&cluster, "app1");
    app.good(&["publish"]);
    let ballast = "x".repeat(60_000);
    for number in 0..60 {
        let key = format!("/ballast/{number}");
        let put = std::process::Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &cluster.url()["etcd://".len()..cluster.url().len() - "/presence".len()]])
            .args(["put", &key, &ballast])
            .output()
            .unwrap();
        if !put.status.success() {
            break;
        }
    }
    app.run(&["state", "draining"]).code(1).says("database space exceeded").says("etcdctl alarm disarm");
    assert!(app.good(&["list"]).contains("i-app1"));
    let doctor = app.run(&["doctor"]).code(1);
    assert!(doctor.stdout.contains("the alarm NOSPACE is on"), "{doctor}");
    cluster.etcdctl(&["del", "--prefix", "/ballast/"]);
    cluster.compact();
    cluster.etcdctl(&["defrag"]);
    cluster.etcdctl(&["alarm", "disarm"]);
    app.run(&["state", "draining"]).code(0);
    assert!(app.good(&["list"]).contains("draining"));
}

#[test]
fn what_is_not_etcd_is_told_as_such() {
    let server = HttpServer::start(200);
    let app = Machine::new("app1").store(format!("etcd://{}/presence", server.address()));
    app.run(&["publish"]).code(1).says("does not answer as etcd's JSON gateway (v3)").says("client port");
    let missing = HttpServer::start(404);
    let app = Machine::new("app1").store(format!("etcd://{}/presence", missing.address()));
    app.run(&["list"]).code(3).says("http status 404");
    let nobody =
        Machine::new("app1").store("etcd://127.0.0.1:1/presence").config("[timeouts]\nconnect = 1\n");
    nobody.run(&["publish"]).code(1).says("no member answers: 127.0.0.1:1: Connection refused");
    let secret = Machine::new("app1").store("etcd://user:secret@127.0.0.1:1/presence");
    let outcome = secret.run(&["publish"]).code(1).says("which belong in `[etcd]`");
    assert!(!outcome.stderr.contains("secret"), "{outcome}");
}
