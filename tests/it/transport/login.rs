//! Logins over http.

use super::*;
use crate::fixture::{GitHttpServer, HttpOptions};

fn server() -> GitHttpServer {
    GitHttpServer::with(HttpOptions { login: Some(("deploy", "open/sesame")), ..HttpOptions::default() })
}

#[test]
fn in_the_url() {
    let server = server();
    let list = server.repository("list.git");
    let node = Machine::new("app1");
    let url = server.url_with_login("deploy", "open%2fsesame", "list.git");
    publish_and_list(node, &url, &list);
    assert!(server.requests().iter().all(|line| !line.contains(" 401 ")), "{:?}", server.requests());
}

#[test]
fn with_a_token() {
    let server = server();
    let list = server.repository("list.git");
    let node = Machine::new("app1");
    let node = node.env("PRESENCE_GIT_TOKEN", "open/sesame");
    publish_and_list(node, &server.url("list.git").replace("://", "://deploy@"), &list);
}

#[test]
fn from_a_credential_helper_that_is_asked_once() {
    let server = server();
    let list = server.repository("list.git");
    let node = Machine::new("app1");
    let calls = node.path("calls");
    let helper = format!(
        "[credential]\n\thelper = \"!f() {{ echo \\\"$1\\\" >> {}; echo username=deploy; echo password=open/sesame; }}; f\"\n",
        calls.display()
    );
    std::fs::write(node.path("home/.gitconfig"), helper).unwrap();
    let node = node.store(server.url("list.git"));
    node.good(&["publish"]);
    assert_eq!(std::fs::read_to_string(&calls).unwrap(), "get\n");
    node.fact("port", 9090);
    node.good(&["publish"]);
    assert_eq!(list.commits().len(), 2);
}

#[test]
fn a_wrong_one_is_refused_and_not_shown() {
    let server = server();
    server.repository("list.git");
    let node = Machine::new("app1");
    assert_snapshot!(publish(&node, &server.url("list.git"), server.address()), @"
    exit code 1
    --- stderr
    error: store `http://HOST:PORT/list.git`: `HOST:PORT` refused the login: it requires a user and a password
    hint: put a token into PRESENCE_GIT_TOKEN, or configure a git credential helper
    ");
    let url = server.url_with_login("deploy", "hunter2", "list.git");
    assert_snapshot!(publish(&node, &url, server.address()), @"
    exit code 1
    --- stderr
    error: store `http://deploy:***@HOST:PORT/list.git`: `HOST:PORT` refused the login: the user or password in the URL is wrong
    hint: correct it, or leave it out of the URL
    ");
    let node = node.env("PRESENCE_GIT_TOKEN", "hunter2");
    assert_snapshot!(publish(&node, &server.url("list.git"), server.address()), @"
    exit code 1
    --- stderr
    error: store `http://HOST:PORT/list.git`: `HOST:PORT` refused the login: it does not accept the token in PRESENCE_GIT_TOKEN
    hint: create a new token on the server; if the token needs a user name, write https://USER@HOST/…
    ");
}

#[test]
fn a_token_is_not_sent_to_whom_does_not_ask() {
    let server = GitHttpServer::with(HttpOptions {
        directives: "if ($http_authorization) { return 418; }",
        ..HttpOptions::default()
    });
    let list = server.repository("list.git");
    let node = Machine::new("app1");
    let node = node.env("PRESENCE_GIT_TOKEN", "open/sesame");
    publish_and_list(node, &server.url("list.git"), &list);
}
