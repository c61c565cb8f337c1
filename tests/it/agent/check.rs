//! `presence check`, and `--awake`.

use serde_json::Value;

use crate::fixture::haproxy::HaProxy;
use crate::fixture::http_server::HttpServer;
use crate::fixture::machine::Machine;

/// A fleet of two databases in a directory; only one of them answers.
fn fleet(servers: &[&HttpServer]) -> (Machine, Vec<Machine>) {
    let app = Machine::new("app1");
    let store = app.path("all");
    std::fs::create_dir(&store).unwrap();
    let silent = HaProxy::free_address();
    let addresses = servers.iter().map(|server| server.address()).chain([silent]);
    let nodes = addresses.enumerate().map(|(number, address)| {
        let node = Machine::new(&format!("db{}", number + 1)).store(store.display());
        let node = node.with("address", address.ip()).with("port", address.port()).with("state", "done");
        node.good(&["publish"]);
        node
    });
    let nodes = nodes.collect();
    (app.store(store.display()), nodes)
}

#[test]
fn nodes_are_asked_and_who_does_not_answer_is_told() {
    let server = HttpServer::start(200);
    let (app, nodes) = fleet(&[&server]);
    let outcome = app.run(&["check", "--part", "db*"]).code(1).says("1 of 2 nodes do not answer");
    assert!(outcome.stdout.lines().any(|line| line.contains("i-db1") && line.contains(" ms")), "{outcome}");
    assert!(outcome.stdout.contains("NONE: connection refused"), "{outcome}");
    app.good(&["check", "--part", "db1", "--http", "/x"]);
    server.set_status(503);
    let outcome = app.run(&["check", "--part", "db1", "--http", "/x", "--format", "json"]).code(1);
    let json: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&json["nodes"][0]["problem"], &json["silent"]), (&"status 503".into(), &1.into()));
    // A drained node need not answer, unless it is asked for.
    nodes[1].fact("state", "drained");
    nodes[1].good(&["publish"]);
    app.good(&["check", "--part", "db*"]);
    app.run(&["check", "--state", "drained"]).code(1);
    app.run(&["check", "--http", "no path"]).code(2);
}

#[test]
fn a_node_without_a_port_is_not_asked_and_fails_nothing() {
    let server = HttpServer::start(200);
    let (app, nodes) = fleet(&[&server]);
    std::fs::remove_file(nodes[1].path("nodeinfo/port.txt")).unwrap();
    nodes[1].good(&["publish", "--anyway"]);
    let table = app.good(&["check", "--part", "db*"]);
    assert!(table.contains("not asked: states no port"), "{table}");
    let outcome = app.run(&["check", "--part", "db*", "--format", "json"]).code(0);
    let json: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&json["answering"], &json["silent"], &json["unasked"]), (&1.into(), &0.into(), &1.into()));
    assert_eq!(json["nodes"][1]["answers"], Value::Null);
    app.run(&["check", "--part", "db2"]).code(0).says("no node was asked");
    // `--port` asks for an answer.
    let free = HaProxy::free_address().port().to_string();
    app.run(&["check", "--part", "db2", "--port", &free]).code(1).says("1 of 1 nodes do not answer");
    // An invalid port is not a missing port.
    nodes[1].fact("port", "http");
    nodes[1].run(&["publish"]);
    app.run(&["check", "--part", "db2"]).code(1);
}

#[test]
fn only_who_is_awake_is_rendered_and_limits_hold() {
    let server = HttpServer::start(200);
    let (app, _nodes) = fleet(&[&server]);
    let render = |more: &[&str]| {
        let mut args = vec!["render", "database.env"];
        args.extend(more);
        app.run(&args)
    };
    render(&[]).code(0);
    render(&["--awake=app*"]).code(0);
    render(&["--awake"]).code(0).says("does not answer at");
    drop(server);
    // All fail to answer: they have not left in order, so the last good output stays.
    let outcome =
        render(&["--awake=db*"]).code(3).says("`db*` has 0 active nodes where the last good output had 1");
    assert!(outcome.stdout.contains("127.0.0.1"), "{outcome}");
}
