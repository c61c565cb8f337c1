//! Text, names, addresses and paths as HAProxy reads them, after a check with `-dW -c`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use presence::endpoint::{Address, Port};
use presence::escape::haproxy::{assign_ids, name, path, quoted};

use super::server::Server;
use super::{assert_same, escaped, payloads, run, stdout, write};
use crate::judges::haproxy::command;

const DEFAULTS: &str =
    "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n";

/// Writes the config, checks it as in production, and starts it.
#[track_caller]
fn start(file: &Path, config: &str, socket: &Path) -> Server {
    write(file, config);
    stdout(run("haproxy", "haproxy", command(file).arg("-c")));
    Server::start(&mut command(file), socket)
}

/// A log-format body shows how HAProxy reads words, quotes, variables and formats together.
#[test]
fn haproxy_serves_every_text_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let (file, socket) = (directory.path().join("haproxy.cfg"), directory.path().join("http.sock"));
    let values = escaped(quoted);
    let rules = values.iter().enumerate().map(|(index, (_, escaped))| {
        format!("  http-request return status 200 content-type text/plain lf-string {escaped} if {{ path /v{index} }}\n")
    });
    let rules: String = rules.collect();
    let config = format!("{DEFAULTS}frontend f\n  bind unix@{}\n{rules}", socket.display());
    let server = start(&file, &config, &socket);
    let read: Vec<String> = (0..values.len()).map(|index| server.value(index)).collect();
    assert_same(&values, &read);
}

/// `show servers state` lists each server, address, port and id that HAProxy knows; there must be no others.
#[test]
fn haproxy_knows_the_servers_that_were_written_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let (file, socket) = (directory.path().join("haproxy.cfg"), directory.path().join("cli.sock"));
    let more =
        ["127.0.0.1", "192.0.2.1", "2001:db8::1", "2001:DB8:0:0::2", "::1", "::ffff:192.0.2.2", "fe80::1"];
    let offered: Vec<String> = payloads().into_iter().chain(more.map(str::to_owned)).collect();
    let addresses: Vec<Address> = offered.iter().filter_map(|text| Address::parse(text).ok()).collect();
    // `2001:db8::1` is a payload because HAProxy misreads it without brackets.
    assert_eq!(addresses.len(), more.len() + 1, "an address payload got through: {addresses:?}");
    assert!(offered.iter().all(|text| Port::parse(text).is_err()), "a port payload got through");
    let accepted = escaped_names(&offered, addresses.len());

    let names: BTreeSet<&str> = accepted.iter().map(String::as_str).collect();
    let port = Port::parse("65535").unwrap();
    let mut expect = BTreeSet::new();
    let mut servers = String::new();
    for ((name, id), address) in names.iter().zip(assign_ids(&names)).zip(addresses.iter().cycle()) {
        servers.push_str(&format!("  server {name} {} id {id}\n", address.host_port(port)));
        expect.insert(format!("{id} {name} {address} {port}"));
    }
    servers.push_str("  server highest-id 127.0.0.1:65535 id 2147483647\n");
    expect.insert("2147483647 highest-id 127.0.0.1 65535".to_owned());

    let config = format!(
        "global\n  stats socket {}\n{DEFAULTS}frontend f\n  bind unix@{}/http.sock\nbackend b\n{servers}",
        socket.display(),
        directory.path().display()
    );
    let state = start(&file, &config, &socket).ask("show servers state b\n");
    let read: BTreeSet<String> = state
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()) && line.contains(' '))
        // The fields of version 1: srv_id, srv_name, srv_addr and srv_port (HAProxy 2.6 management guide,
        // section 9.3).
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .map(|fields| format!("{} {} {} {}", fields[2], fields[3], fields[4], fields[18]))
        .collect();
    assert_eq!(read, expect);
}

/// The payloads that are names, extended so that every address has a server.
fn escaped_names(offered: &[String], at_least: usize) -> BTreeSet<String> {
    let longest = "x".repeat(64);
    let ordinary = ["web-1", "check", "disabled", "A..b_c-", longest.as_str()].map(str::to_owned);
    let filler = (0..at_least).map(|index| format!("node-{index}"));
    let candidates = offered.iter().cloned().chain(ordinary).chain(filler);
    candidates.filter_map(|text| name(&text).ok()).collect()
}

/// The test sees HAProxy's requests: each path belongs to a backend whose check connects to this test.
#[test]
fn haproxy_asks_for_every_path_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let (file, socket) = (directory.path().join("haproxy.cfg"), directory.path().join("http.sock"));
    let offered = payloads().into_iter().flat_map(|payload| [format!("/{payload}"), payload]);
    let paths: BTreeSet<String> = offered.filter_map(|text| path(&text).ok()).collect();
    assert!(paths.len() > 50, "nearly every path is refused, so this test tests nothing");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let backends: String = paths
        .iter()
        .enumerate()
        .map(|(index, path)| {
            format!(
                "backend b{index}\n  option httpchk\n  http-check send meth GET uri {path}\n  \
                 http-check expect status 200\n  server s {address} id 1 check inter 500ms\n"
            )
        })
        .collect();
    let config = format!("{DEFAULTS}frontend f\n  bind unix@{}\n{backends}", socket.display());
    let _server = start(&file, &config, &socket);

    let mut read = BTreeSet::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while read.len() < paths.len() && Instant::now() < deadline {
        // HAProxy checks every half second until it is stopped, so this wait is short.
        let (stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        let asked = line.strip_prefix("GET ").and_then(|rest| rest.strip_suffix(" HTTP/1.0\r\n"));
        read.insert(asked.unwrap_or(&line).to_owned());
    }
    assert_eq!(read, paths);
}
