//! Broken networks, for every protocol.

use super::*;
use crate::fixture::port::free_port;
use crate::fixture::{GitDaemon, GitHttpServer, Relay, silent_server};

/// A node with short time limits.
fn impatient() -> Machine {
    Machine::new("app1").config("[timeouts]\nconnect = 1\nsilence = 1\npublish = 4\n")
}

#[test]
fn nothing_listens() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let check = |scheme: &str| {
        let url = format!("{scheme}://{address}/list.git");
        publish(&impatient(), &url, &address).with(port, "PORT")
    };
    assert_snapshot!(check("git"), @"
    exit code 1
    --- stderr
    error: store `git://HOST:PORT/list.git`: cannot connect to `HOST:PORT`: Connection refused (os error 111)
    hint: check that the server is running, that the port is right, and that no firewall blocks it
    ");
    assert_snapshot!(check("ssh"), @"
    exit code 1
    --- stderr
    error: store `ssh://HOST:PORT/list.git`: cannot connect to `HOST:PORT`: Connection refused (os error 111)
    hint: check that the server is running, that the port is right, and that no firewall blocks it
    ");
    assert_snapshot!(check("http"), @"
    exit code 1
    --- stderr
    error: store `http://HOST:PORT/list.git`: cannot connect to `HOST:PORT`: Connection refused (os error 111)
    hint: check that the server is running, that the port is right, and that no firewall blocks it
    ");
    assert_snapshot!(check("https"), @"
    exit code 1
    --- stderr
    error: store `https://HOST:PORT/list.git`: cannot connect to `HOST:PORT`: Connection refused (os error 111)
    hint: check that the server is running, that the port is right, and that no firewall blocks it
    ");
}

#[test]
fn a_server_is_silent() {
    let (_listener, address) = silent_server();
    let check = |scheme: &str| publish(&impatient(), &format!("{scheme}://{address}/list.git"), address);
    assert_snapshot!(check("git"), @"
    exit code 1
    --- stderr
    error: store `git://HOST:PORT/list.git`: `HOST:PORT` has been silent for 1 s
    hint: the server or the network hangs; `silence` in `[timeouts]` of presence.toml sets the limit
    ");
    assert_snapshot!(check("ssh"), @"
    exit code 1
    --- stderr
    error: store `ssh://HOST:PORT/list.git`: cannot connect to `HOST:PORT`: timed out
    hint: check that the server is running, that the port is right, and that no firewall blocks it
    ");
    assert_snapshot!(check("http"), @"
    exit code 1
    --- stderr
    error: store `http://HOST:PORT/list.git`: `HOST:PORT` has been silent for 1 s
    hint: the server or the network hangs; `silence` in `[timeouts]` of presence.toml sets the limit
    ");
    assert_snapshot!(check("https"), @"
    exit code 1
    --- stderr
    error: store `https://HOST:PORT/list.git`: cannot connect to `HOST:PORT`: timed out
    hint: check that the server is running, that the port is right, and that no firewall blocks it
    ");
}

#[test]
fn a_name_that_is_none() {
    let check = |scheme: &str| publish(&impatient(), &format!("{scheme}://list.invalid/list.git"), "none");
    assert_snapshot!(check("git"), @"
    exit code 1
    --- stderr
    error: store `git://list.invalid/list.git`: the name of `list.invalid` cannot be resolved
    hint: check the spelling of the host's name, and the name servers of this machine
    ");
    assert_snapshot!(check("ssh"), @"
    exit code 1
    --- stderr
    error: store `ssh://list.invalid/list.git`: the name of `list.invalid` cannot be resolved
    hint: check the spelling of the host's name, and the name servers of this machine
    ");
    assert_snapshot!(check("http"), @"
    exit code 1
    --- stderr
    error: store `http://list.invalid/list.git`: the name of `list.invalid` cannot be resolved
    hint: check the spelling of the host's name, and the name servers of this machine
    ");
}

#[test]
fn a_url_that_is_dangerous() {
    let node = Machine::new("app1");
    assert_snapshot!(publish(&node, "ssh://-oProxyCommand=touch%20evil/x", "none"), @"
    exit code 1
    --- stderr
    error: store `ssh://-oProxyCommand=touch%20evil/x`: the URL cannot be used: its host starts with `-`, which a program could take for an option
    hint: a URL is SCHEME://[USER@]HOST[:PORT]/PATH, or [USER@]HOST:PATH for ssh
    ");
    assert_snapshot!(publish(&node, "git://127.0.0.1/a%0ab", "none"), @"
    exit code 1
    --- stderr
    error: store `git://127.0.0.1/a%0ab`: the URL cannot be used: its path contains a control character
    hint: a URL is SCHEME://[USER@]HOST[:PORT]/PATH, or [USER@]HOST:PATH for ssh
    ");
}

/// The message for a cut depends on which arrives first: the bytes or the end.
#[track_caller]
fn assert_cut(outcome: &Outcome) {
    let told = ["the connection to `HOST:PORT` broke", "`HOST:PORT` closed the connection"];
    let cut = outcome.code == Some(1) && told.iter().any(|words| outcome.stderr.contains(words));
    assert!(cut && outcome.stderr.contains("\nhint: run the same command again"), "{outcome}");
}

#[test]
fn a_push_that_is_cut_is_made_good_by_the_next() {
    let server = GitDaemon::start();
    let list = server.repository("list.git");
    // Enough to ask for the refs, too little for the pack.
    let relay = Relay::start(server.address(), 300);
    let node = Machine::new("app1");
    let url = format!("git://{}/list.git", relay.address());
    assert_cut(&publish(&node, &url, relay.address()));
    // One to fetch and one to push: data that may have arrived is not sent again.
    assert_eq!((relay.connections(), list.commits().len()), (2, 0));
    relay.heal();
    publish_and_list(node, &url, &list);
}

#[test]
fn a_push_over_http_that_is_cut_is_made_good_by_the_next() {
    let server = GitHttpServer::start();
    let list = server.repository("list.git");
    let relay = Relay::start(server.address(), 900);
    let node = Machine::new("app1");
    let url = format!("http://{}/list.git", relay.address());
    assert_cut(&publish(&node, &url, relay.address()));
    assert_eq!((relay.connections(), list.commits().len()), (1, 0));
    relay.heal();
    publish_and_list(node, &url, &list);
}
