//! `ssh://` and `user@host:path`

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::*;
use crate::fixture::Sshd;

/// A node that can log in to the server and knows its host key.
fn friend(server: &Sshd) -> Machine {
    let node = Machine::new("app1");
    server.admit(&node);
    server.introduce(&node);
    node
}

#[test]
fn publishing_and_listing() {
    let server = Sshd::start();
    let list = server.repository("it's here!.git");
    publish_and_list(friend(&server), &server.url("it's%20here!.git"), &list);
}

#[test]
fn a_host_of_the_users_ssh_configuration() {
    let server = Sshd::start();
    let list = server.repository("list.git");
    let node = friend(&server);
    let config = format!(
        "Host fleet\n  HostName 127.0.0.1\n  Port {}\n  User {}\n",
        server.address().port(),
        server.user()
    );
    fs::write(node.path("home/.ssh/config"), config).unwrap();
    publish_and_list(node, &format!("fleet:{}", server.path("list.git")), &list);
}

#[test]
fn the_command_of_the_environment() {
    let server = Sshd::start();
    let list = server.repository("list.git");
    let node = friend(&server);
    let key = node.path("home/other name");
    fs::rename(node.path("home/.ssh/id_ed25519"), &key).unwrap();
    let node = node.env("GIT_SSH_COMMAND", format!("ssh -i '{}'", key.display()));
    publish_and_list(node, &server.url("list.git"), &list);
}

#[test]
fn a_credential_of_the_configuration() {
    let server = Sshd::start();
    let list = server.repository("list.git");
    let node = friend(&server);
    // The key and the host keys of the user are of no use: only the credential has good ones.
    let (key, hosts) = (node.path("a key%d"), node.path("host keys"));
    fs::rename(node.path("home/.ssh/id_ed25519"), &key).unwrap();
    fs::rename(node.path("home/.ssh/known_hosts"), &hosts).unwrap();
    let stranger = Machine::new("app2");
    Sshd::start().admit(&stranger);
    fs::copy(stranger.path("home/.ssh/id_ed25519"), node.path("home/.ssh/id_ed25519")).unwrap();
    let url = server.url("list.git");
    publish(&node, &url, server.address()).code(1).says("host key");
    let table = |url: &str| {
        format!(
            "[[credential]]\nurl = '{url}'\nssh-key = '{}'\nknown-hosts = '{}'\n",
            key.display(),
            hosts.display()
        )
    };
    let node = node.config(&table(&server.url("other")));
    publish(&node, &url, server.address()).code(1).says("host key");
    node.configure(&table(&server.url("")));
    let node = publish_and_list(node, &url, &list);
    // Host keys of the user do not count beside those of the credential.
    fs::rename(&hosts, node.path("home/.ssh/known_hosts")).unwrap();
    // An unchanged record would not be sent.
    node.fact("port", 9091);
    publish(&node, &url, server.address()).code(1).says("the host key of `HOST:PORT` is not in known_hosts");
}

/// The first ssh of a shared connection stays in the background. presence must not wait for it.
#[test]
fn a_shared_connection() {
    let server = Sshd::start();
    let list = server.repository("list.git");
    let node = friend(&server);
    let socket = node.path("home/.ssh/shared");
    let config = format!("ControlMaster auto\nControlPath {}\nControlPersist 3\n", socket.display());
    fs::write(node.path("home/.ssh/config"), config).unwrap();
    let _node = publish_and_list(node, &server.url("list.git"), &list);
    assert!(socket.exists());
}

#[test]
fn host_keys_are_checked() {
    let server = Sshd::start();
    server.repository("list.git");
    let node = Machine::new("app1");
    server.admit(&node);
    let check = || {
        let outcome = publish(&node, &server.url("list.git"), server.address());
        outcome
            .with(server.address().port(), "PORT")
            .with(server.path(""), "/DIR/")
            .with(server.user(), "USER")
    };
    assert_snapshot!(check(), @"
    exit code 1
    --- stderr
    error: store `ssh://USER@HOST:PORT/DIR/list.git`: the host key of `HOST:PORT` is not in known_hosts
    hint: `ssh-keyscan -p PORT 127.0.0.1` shows its key; check the key with the server's administrator, then add it to known_hosts, or to the file that `known-hosts` in a [[credential]] names
    ");

    // The key of another server under this server's name.
    let key = fs::read_to_string(node.path("home/.ssh/id_ed25519.pub")).unwrap();
    server.introduce_as(&node, &key);
    assert_snapshot!(check(), @"
    exit code 1
    --- stderr
    error: store `ssh://USER@HOST:PORT/DIR/list.git`: the host key of `HOST:PORT` does not match known_hosts
    hint: if the server was reinstalled, remove the old key with `ssh-keygen -R '[127.0.0.1]:PORT'`; if not, somebody may be intercepting the connection
    ");
}

#[test]
fn keys_are_checked() {
    let server = Sshd::start();
    server.repository("list.git");
    let node = Machine::new("app1");
    server.introduce(&node);
    let outcome = publish(&node, &server.url("list.git"), server.address());
    assert_snapshot!(outcome
            .with(server.path(""), "/DIR/").with(server.user(), "USER"), @"
    exit code 1
    --- stderr
    error: store `ssh://USER@HOST:PORT/DIR/list.git`: `HOST:PORT` refused the login: USER@127.0.0.1: Permission denied (publickey).
    hint: the server must know the public key of this user (`ssh-add -l`, `~/.ssh/id_ed25519.pub`), and the private key must have no passphrase or be in an agent
    ");
}

#[test]
fn a_missing_repository() {
    let server = Sshd::start();
    let node = friend(&server);
    let outcome = publish(&node, &server.url("none.git"), server.address());
    assert_snapshot!(outcome
            .with(server.path(""), "/DIR/").with(server.user(), "USER"), @"
    exit code 1
    --- stderr
    error: store `ssh://USER@HOST:PORT/DIR/none.git`: `HOST:PORT` has no repository `/DIR/none.git`, or hides it from this user
    hint: check the path, and that this user may read the repository
    ");
}

#[test]
fn a_key_that_may_only_read() {
    let server = Sshd::start();
    let _list = server.repository("list.git");
    let node = Machine::new("app1");
    server.admit_for(&node, &format!("git-upload-pack '{}'", server.path("list.git")));
    server.introduce(&node);
    let url = server.url("list.git");
    let outcome = publish(&node, &url, server.address());
    assert_snapshot!(outcome
            .with(server.path(""), "/DIR/").with(server.user(), "USER"), @"
    exit code 1
    --- stderr
    error: store `ssh://USER@HOST:PORT/DIR/list.git`: the server refused the push: this login may only read
    hint: let this login write on the server: for an ssh key, `command=` in `authorized_keys` must not name `git-upload-pack`
    ");
    let doctor = node.run(&["doctor", "--store", &url]).code(1);
    assert!(doctor.stdout.contains("this login may only read"), "{doctor}");
    assert!(!doctor.stdout.contains("accepts records"), "{doctor}");
}

#[test]
fn no_ssh() {
    let node = Machine::new("app1");
    let node = node.env("GIT_SSH", "/nowhere/ssh");
    assert_snapshot!(publish(&node, "git@127.0.0.1:list.git", "none"), @"
    exit code 1
    --- stderr
    error: store `git@127.0.0.1:list.git`: cannot run `/nowhere/ssh`: No such file or directory (os error 2)
    hint: install it (Debian package `openssh-client`), or name another one in GIT_SSH_COMMAND
    ");
}

#[test]
fn an_ssh_that_hangs_is_ended_with_all_that_it_started() {
    let node = Machine::new("app1");
    let node = node.config("[timeouts]\nconnect = 1\nsilence = 1\npublish = 20\n");
    let pids = node.path("pids");
    let script = format!("sleep 600 & echo $$ $! > '{}'; wait", pids.display());
    let script = program(&node, &script);
    let node = node.env("GIT_SSH", script);
    assert_snapshot!(publish(&node, "git@fleet:list.git", "none"), @"
    exit code 1
    --- stderr
    error: store `git@fleet:list.git`: `fleet` has been silent for 2 s
    hint: the server or the network hangs; `silence` in `[timeouts]` of presence.toml sets the limit
    ");
    let pids = fs::read_to_string(pids).unwrap();
    assert_eq!(pids.split_whitespace().count(), 2);
    // Its parent is gone, so it may remain for init to reap; it must not run.
    let runs = |pid: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while pids.split_whitespace().any(runs) {
        assert!(Instant::now() < deadline, "it still runs: {pids}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_ssh_that_talks_much() {
    let server = Sshd::start();
    let list = server.repository("list.git");
    let node = friend(&server);
    // More than a pipe holds, before and after the connection.
    let chatter = "head -c 200000 /dev/zero | tr '\\0' x >&2";
    let script = program(&node, &format!("{chatter}; ssh \"$@\"; {chatter}"));
    let node = node.env("GIT_SSH", script);
    publish_and_list(node, &server.url("list.git"), &list);
}

/// A shell script in place of ssh.
fn program(node: &Machine, script: &str) -> PathBuf {
    let path = node.path("ssh.sh");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}
