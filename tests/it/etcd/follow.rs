//! The agent follows a list in etcd by a watch.

use super::{hosts, machine, renders_hosts};
use crate::agent::daemon::Daemon;
use crate::fixture::Etcd;

#[test]
fn a_change_reaches_the_file_without_a_poll() {
    let cluster = Etcd::one();
    let lb = renders_hosts(&cluster, "lb1", "[agent]\ninterval = '1h'\npoll = '1h'\nquiet-min = '0s'\n");
    let agent = Daemon::start(&lb);
    agent.wait_for("the first file", || hosts(&lb).contains("10.0.0.1"));
    let app = machine(&cluster, "app1");
    app.good(&["publish"]);
    agent.wait_for("the new node", || hosts(&lb).contains("10.0.0.2"));
    app.fact("ipv4", "10.0.1.7");
    app.good(&["publish"]);
    agent.wait_for("the changed node", || hosts(&lb).contains("10.0.1.7"));
    app.good(&["withdraw"]);
    agent.wait_for("the node to leave", || !hosts(&lb).contains("10.0.1.7"));
}

#[test]
fn a_dead_nodes_lease_ends_and_its_silence_is_noticed() {
    let cluster = Etcd::one();
    // The shortest lease has 10 seconds.
    let lb = renders_hosts(
        &cluster,
        "lb1",
        "max-age = '3s'\nmin-nodes = 0\nmax-shrink = 100\n[agent]\ninterval = '1s'\nquiet-min = '0s'\n",
    );
    let app = machine(&cluster, "app1").config("[agent]\ninterval = '1s'\n");
    let db = machine(&cluster, "db1");
    let alive = Daemon::start(&app);
    alive.wait_for("the node", || app.run(&["list", "--format", "ids"]).stdout.contains("i-app1"));
    db.good(&["publish"]);
    let agent = Daemon::start(&lb);
    agent.wait_for("the node", || hosts(&lb).contains("10.0.0.2"));
    drop(alive);
    agent.wait_for("the silence", || !hosts(&lb).contains("10.0.0.2"));
    assert!(lb.run(&["list"]).stdout.contains("i-app1"), "its record stays");
}
