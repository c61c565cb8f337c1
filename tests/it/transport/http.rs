//! `http://` and `https://`

use super::*;
use crate::fixture::{GitHttpServer, HttpOptions};

#[test]
fn publishing_and_listing() {
    let server = GitHttpServer::start();
    let list = server.repository("list.git");
    publish_and_list(Machine::new("app1"), &server.url("list.git"), &list);
}

#[test]
fn one_connection_is_enough() {
    let server = GitHttpServer::start();
    server.repository("list.git");
    for part in ["app1", "app2"] {
        let before = server.requests().len();
        Machine::new(part).store(server.url("list.git")).good(&["publish"]);
        let requests = server.requests().split_off(before);
        let connection = |line: &str| line.split(' ').nth(2).unwrap().to_owned();
        let same = requests.iter().all(|line| connection(line) == connection(&requests[0]));
        assert!(same && requests.len() > 2, "{requests:?}");
    }
}

#[test]
fn https_with_an_authority_of_ones_own() {
    let server = GitHttpServer::with(HttpOptions { tls: true, ..HttpOptions::default() });
    let list = server.repository("list.git");
    let node = Machine::new("app1");
    let node = node.env("GIT_SSL_CAINFO", server.authority());
    publish_and_list(node, &server.url("list.git"), &list);

    let url = server.url("list.git").replace("127.0.0.1", "localhost");
    Machine::new("app2").env("SSL_CERT_FILE", server.authority()).store(url).good(&["publish"]);
}

#[test]
fn https_that_is_not_to_be_trusted() {
    let server = GitHttpServer::with(HttpOptions { tls: true, ..HttpOptions::default() });
    server.repository("list.git");
    let node = Machine::new("app1");
    let url = server.url("list.git");
    assert_snapshot!(publish(&node, &url, server.address()), @"
    exit code 1
    --- stderr
    error: store `https://HOST:PORT/list.git`: the certificate of `HOST:PORT` is not trusted: no trusted authority has signed it
    hint: set SSL_CERT_FILE to a file with the certificates of the authorities to trust
    ");

    // Signed by the right authority, for another name.
    let node = node.env("SSL_CERT_FILE", server.authority());
    let outcome = publish(&node, &server.url_of_other_address("list.git"), "127.0.0.2");
    assert_snapshot!(outcome.with(server.address().port(), "PORT"), @r#"
    exit code 1
    --- stderr
    error: store `https://HOST:PORT:PORT/list.git`: the certificate of `HOST:PORT:PORT` is not trusted: certificate not valid for name "HOST:PORT"; certificate is only valid for IpAddress(127.0.0.1) or DnsName("localhost")
    hint: set SSL_CERT_FILE to a file with the certificates of the authorities to trust
    "#);

    let nothing = node.path("nothing.pem");
    std::fs::write(&nothing, "").unwrap();
    let node = node.env("GIT_SSL_CAINFO", &nothing);
    assert_snapshot!(publish(&node, &url, server.address()).with(nothing.display(), "FILE"), @"
    exit code 1
    --- stderr
    error: store `https://HOST:PORT/list.git`: cannot use `FILE` from GIT_SSL_CAINFO: it contains no certificate
    hint: it must be a PEM file with at least one certificate
    ");
}

#[test]
fn what_the_server_refuses() {
    let server = GitHttpServer::start();
    let node = Machine::new("app1");
    assert_snapshot!(publish(&node, &server.url("none.git"), server.address()), @"
    exit code 1
    --- stderr
    error: store `http://HOST:PORT/none.git`: `HOST:PORT` has no repository `/none.git`, or hides it from this user
    hint: check the path, and that this user may read the repository
    ");
    server.repository("list.git").configure("http.receivepack", "false");
    assert_snapshot!(publish(&node, &server.url("list.git"), server.address()), @"
    exit code 1
    --- stderr
    error: store `http://HOST:PORT/list.git`: `HOST:PORT` does not let this user write the repository
    hint: ask the repository's administrator for this permission
    ");
}

#[test]
fn what_a_hook_refuses_is_told_in_its_words() {
    let server = GitHttpServer::start();
    server.repository("list.git").hook("pre-receive", "echo 'i-app1 is not on the guest list' >&2; exit 1");
    assert_snapshot!(publish(&Machine::new("app1"), &server.url("list.git"), server.address()), @"
    exit code 1
    --- stderr
    error: store `http://HOST:PORT/list.git`: the server refused the push: pre-receive hook declined
      | i-app1 is not on the guest list
    hint: ask the repository's administrator: its hooks or permissions do not let this node write
    ");
}

#[test]
fn what_is_no_git_server() {
    let directives = "location /page { default_type text/html; return 200 '<html>'; }
        location /down { return 503; }
        location /small { client_max_body_size 1; return 413; }
        location /login { return 302 https://login.example.net/?from=list; }
        location /loop { return 302 $scheme://$http_host$request_uri; }";
    let server = GitHttpServer::with(HttpOptions { directives, ..HttpOptions::default() });
    let node = Machine::new("app1");
    let node = node.config("timeouts.connect = 1\ntimeouts.publish = 2");
    assert_snapshot!(publish(&node, &server.url("page"), server.address()), @"
    exit code 1
    --- stderr
    error: store `http://HOST:PORT/page`: `HOST:PORT` does not speak git's protocol: its answer is `text/html`, not `application/x-git-receive-pack-advertisement`
    hint: check the URL: `git clone` must accept it
    ");
    assert_snapshot!(publish(&node, &server.url("down"), server.address()), @"
    exit code 1
    --- stderr
    error: store `http://HOST:PORT/down`: `HOST:PORT` answered with HTTP status 503
    hint: see the web server's log
    ");
    // A temporary failure is possible, so it must try more than once.
    assert!(server.requests().iter().filter(|line| line.contains(" /down/")).count() > 1);
    assert_snapshot!(publish(&node, &server.url("small"), server.address()), @"
    exit code 1
    --- stderr
    error: store `http://HOST:PORT/small`: `HOST:PORT` answered with HTTP status 413
    hint: the server rejects requests of this size; with nginx, raise client_max_body_size
    ");
    assert_snapshot!(publish(&node, &server.url("login"), server.address()), @"
    exit code 1
    --- stderr
    error: store `http://HOST:PORT/login`: `HOST:PORT` redirects to `https://login.example.net/`, which is not followed
    hint: if the repository has moved there, use that URL as the store
    ");
    assert_snapshot!(publish(&node, &server.url("loop"), server.address()), @"
    exit code 1
    --- stderr
    error: store `http://HOST:PORT/loop`: `HOST:PORT` does not speak git's protocol: it redirected more than 5 times
    hint: check the URL: `git clone` must accept it
    ");
}

#[test]
fn a_repository_that_was_renamed_is_followed() {
    let directives = "rewrite ^/old.git/(.*)$ $scheme://$http_host/list.git/$1 redirect;";
    let server = GitHttpServer::with(HttpOptions { directives, ..HttpOptions::default() });
    let list = server.repository("list.git");
    publish_and_list(Machine::new("app1"), &server.url("old.git"), &list);
}
