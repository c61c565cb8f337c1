//! Users, passwords, permissions and certificates.

use std::fs;

use super::{hosts, machine, renders_hosts};
use crate::agent::daemon::Daemon;
use crate::fixture::machine::Machine;
use crate::fixture::{Etcd, make_certificates};

/// A cluster with the users `root`, `presence` (password `se-cret`, all of the list), and `reader` (the same
/// password, may only read).
fn with_users() -> Etcd {
    let cluster = Etcd::one();
    for command in [
        &["user", "add", "root:root"][..],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "list"],
        &["role", "grant-permission", "list", "--prefix=true", "readwrite", "/presence/"],
        &["role", "add", "look"],
        &["role", "grant-permission", "look", "--prefix=true", "read", "/presence/"],
        &["user", "add", "presence:se-cret"],
        &["user", "grant-role", "presence", "list"],
        &["user", "add", "reader:se-cret"],
        &["user", "grant-role", "reader", "look"],
        &["auth", "enable"],
    ] {
        cluster.etcdctl(command);
    }
    cluster
}

#[test]
fn a_user_logs_in_with_a_password_that_is_never_shown() {
    let cluster = with_users();
    let app = machine(&cluster, "app1");
    app.run(&["publish"]).code(1).says("the login failed").says("password-file");
    let password = app.path("password");
    fs::write(&password, "se-cret\n").unwrap();
    app.configure(&format!("[etcd]\nuser = 'presence'\npassword-file = '{}'\n", password.display()));
    let outcome = app.run(&["publish", "-vv"]).code(0);
    assert!(!format!("{outcome}").contains("se-cret"), "{outcome}");
    fs::write(&password, "other-se-cret\n").unwrap();
    let outcome = app.run(&["publish", "-vv"]).code(1).says("invalid user ID or password");
    assert!(!format!("{outcome}").contains("se-cret"), "{outcome}");
    // The environment outranks the file.
    let app = app.env("PRESENCE_ETCD_PASSWORD", "se-cret");
    app.good(&["list"]);
    let reader = app.env("PRESENCE_ETCD_USER", "reader");
    reader.good(&["list"]);
    reader
        .run(&["state", "draining"])
        .code(1)
        .says("does not permit this user to write")
        .says("grant-permission");
    let doctor = reader.run(&["doctor"]).code(1);
    assert!(doctor.stdout.contains("does not permit this user to write keys below `presence`"), "{doctor}");
}

#[test]
fn a_revoked_token_is_renewed() {
    let mut cluster = with_users();
    let lb = renders_hosts(
        &cluster,
        "lb1",
        "[etcd]\nuser = 'presence'\n[agent]\ninterval = '2s'\nquiet-min = '0s'\n",
    );
    let lb = lb.env("PRESENCE_ETCD_PASSWORD", "se-cret");
    let agent = Daemon::start(&lb);
    agent.wait_for("the first file", || hosts(&lb).contains("10.0.0.1"));
    // Tokens are in the memory of the members.
    cluster.kill(0);
    cluster.restart(0);
    let app = machine(&cluster, "app1")
        .env("PRESENCE_ETCD_USER", "presence")
        .env("PRESENCE_ETCD_PASSWORD", "se-cret");
    app.good(&["publish"]);
    agent.wait_for("the new node", || hosts(&lb).contains("10.0.0.2"));
}

#[test]
fn certificates_of_both_sides_are_verified() {
    let dir = tempfile::tempdir().unwrap();
    make_certificates(dir.path());
    let cluster = Etcd::with_tls(dir);
    let app = machine(&cluster, "app1");
    let table = |lines: &[(&str, &str)]| {
        let line = |(key, name): &(&str, &str)| format!("{key} = '{}'\n", cluster.path(name).display());
        app.configure(&format!(
            "[timeouts]\nconnect = 2\n[etcd]\n{}",
            lines.iter().map(line).collect::<String>()
        ));
    };
    app.run(&["publish"]).code(1).says("certificate");
    table(&[("ca", "ca.pem")]);
    app.run(&["publish"]).code(1).says("no member answers");
    table(&[("ca", "ca.pem"), ("certificate", "server.pem"), ("key", "server.key")]);
    app.good(&["publish"]);
    let plain = Machine::new("app1").store(cluster.url().replacen("etcds", "etcd", 1));
    plain.run(&["publish"]).code(1).says("etcds://");
}
