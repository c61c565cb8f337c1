//! `git://`

use super::*;
use crate::fixture::GitDaemon;

#[test]
fn publishing_and_listing() {
    let server = GitDaemon::start();
    let list = server.repository("list.git");
    publish_and_list(Machine::new("app1"), &server.url("list.git"), &list);
}

#[test]
fn what_the_daemon_refuses() {
    let server = GitDaemon::start();
    let node = Machine::new("app1");
    assert_snapshot!(publish(&node, &server.url("none.git"), server.address()), @"
    exit code 1
    --- stderr
    error: store `git://HOST:PORT/none.git`: `HOST:PORT` refused: access denied or repository not exported: /none.git
    hint: check the path; `git daemon` serves only repositories with a file `git-daemon-export-ok`, and accepts pushes only with --enable=receive-pack
    ");
    server.repository("list.git").configure("daemon.receivepack", "false");
    assert_snapshot!(publish(&node, &server.url("list.git"), server.address()), @"
    exit code 1
    --- stderr
    error: store `git://HOST:PORT/list.git`: `HOST:PORT` refused: access denied or repository not exported: /list.git
    hint: check the path; `git daemon` serves only repositories with a file `git-daemon-export-ok`, and accepts pushes only with --enable=receive-pack
    ");
}

#[test]
fn what_a_hook_refuses_is_told_in_its_words() {
    let server = GitDaemon::start();
    server
        .repository("list.git")
        .hook("pre-receive", "echo 'i-app1 is not on the guest list' >&2; echo bye; exit 1");
    assert_snapshot!(publish(&Machine::new("app1"), &server.url("list.git"), server.address()), @"
    exit code 1
    --- stderr
    error: store `git://HOST:PORT/list.git`: the server refused the push: pre-receive hook declined
      | i-app1 is not on the guest list
      | bye
    hint: ask the repository's administrator: its hooks or permissions do not let this node write
    ");
}
