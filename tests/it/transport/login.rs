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
fn with_a_credential_of_the_configuration() {
    for (key, text) in [("token-file", "open/sesame\n"), ("login-file", "deploy:open/sesame\n")] {
        let server = server();
        let list = server.repository("list.git");
        // The token of the environment is wrong, and not sent.
        let node = Machine::new("app1").env("PRESENCE_GIT_TOKEN", "hunter2");
        std::fs::write(node.path("secret"), text).unwrap();
        let table = format!(
            "[[credential]]\nurl = '{}'\n{key} = '{}'\n",
            server.url("").trim_end_matches('/'),
            node.path("secret").display()
        );
        let node = node.config(&table);
        let url = server.url("list.git").replace("://", "://deploy@");
        let url = if key == "token-file" { url } else { server.url("list.git") };
        let node = publish_and_list(node, &url, &list);
        std::fs::write(node.path("secret"), text.replace("sesame", "hunter3")).unwrap();
        // An unchanged record would not be sent.
        node.fact("port", 9091);
        let refused = publish(&node, &url, server.address()).code(1);
        let refused = refused.says("it does not accept the login of its [[credential]]");
        assert!(!refused.stderr.contains("hunter"), "{refused}");
        std::fs::remove_file(node.path("secret")).unwrap();
        publish(&node, &url, server.address())
            .code(1)
            .says("cannot use")
            .says("[[credential]]: No such file");
    }
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
    hint: put a token into a file, and name it with `token-file` in a [[credential]] of presence.toml; or put it into PRESENCE_GIT_TOKEN, or configure a git credential helper
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
