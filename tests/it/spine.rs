//! The whole path: three nodes publish to one list, and a real HAProxy serves a request from it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

#[cfg(all(feature = "https", feature = "ssh"))]
use crate::fixture::Sshd;
use crate::fixture::haproxy::HaProxy;
use crate::fixture::http_server::HttpServer;
use crate::fixture::machine::{Machine, bare_repository};

/// The status and body of the balancer's answer.
fn get(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    stream.write_all(b"GET /page HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Publishes the three nodes over `store`, and checks that a request reaches the application.
fn request_reaches_the_application(store: &dyn Fn(Machine) -> Machine) {
    let server = HttpServer::start(200);
    let lb = store(Machine::new("lb1"));
    let app = store(Machine::new("app1"))
        .with("address", server.address().ip())
        .with("port", server.address().port())
        .with("check-path", "/health");
    let db = store(Machine::new("db1")).with("port", 5432);
    for node in [&lb, &app, &db] {
        node.good(&["state", "done"]);
    }

    let dir = tempfile::tempdir().unwrap();
    let frontend = HaProxy::free_address();
    let sets = [
        format!("bind_address={}", frontend.ip()),
        format!("frontend_port={}", frontend.port()),
        format!("stats_socket={}", HaProxy::socket_in(dir.path()).display()),
    ];
    let render = || {
        let mut args = vec!["render", "haproxy"];
        for set in &sets {
            args.extend(["--set", set]);
        }
        // Without the application, a warning says so.
        lb.run(&args).code(0).stdout
    };
    let haproxy = HaProxy::start(dir.path(), &render());
    haproxy.wait("a request reaches the application", || {
        get(frontend).is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    });
    assert!(server.requests() > 0);

    let database = app.good(&["render", "database.yml"]);
    assert!(database.contains("host: \"10.0.0.3\"\n  port: 5432\n"), "{database}");

    app.good(&["state", "draining"]);
    let draining = render();
    assert!(
        draining.lines().any(|line| line.contains("server i-app1 ") && line.ends_with(" weight 0")),
        "{draining}"
    );
    app.good(&["withdraw"]);
    let gone = render();
    assert!(!gone.contains("i-app1"), "{gone}");
    for text in [draining, gone] {
        fs::write(HaProxy::config_in(dir.path()), text).unwrap();
        HaProxy::check(dir.path()).unwrap();
    }
}

#[test]
fn over_a_bare_repository_by_file_url() {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("list.git");
    bare_repository(&repository);
    request_reaches_the_application(&|machine| machine.store(format!("file://{}", repository.display())));
}

#[test]
fn over_a_plain_directory() {
    let dir = tempfile::tempdir().unwrap();
    request_reaches_the_application(&|machine| machine.store(dir.path().display()));
}

#[test]
#[cfg(all(feature = "https", feature = "ssh"))]
fn over_ssh_to_a_real_sshd() {
    let server = Sshd::start();
    let list = server.repository("list.git");
    request_reaches_the_application(&|machine| {
        server.admit(&machine);
        server.introduce(&machine);
        machine.store(server.url("list.git"))
    });
    assert_eq!(list.files(), ["it/presence/all/i-db1.json", "it/presence/all/i-lb1.json"]);
}
