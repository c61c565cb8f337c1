//! A proxy between a node and its list, named by the variables that git and curl use.

use super::*;
use crate::fixture::port::free_port;
use crate::fixture::{GitHttpServer, HttpOptions, Proxy};

#[test]
fn https_and_http_go_through_it() {
    for tls in [true, false] {
        let server = GitHttpServer::with(HttpOptions { tls, ..HttpOptions::default() });
        let list = server.repository("list.git");
        let proxy = Proxy::start(server.address().port());
        let node = Machine::new("app1").env(if tls { "https_proxy" } else { "http_proxy" }, proxy.url());
        let node = if tls { node.env("GIT_SSL_CAINFO", server.authority()) } else { node };
        publish_and_list(node, &server.url("list.git"), &list);
        assert!(proxy.log().contains(&server.address().port().to_string()), "{}", proxy.log());

        let before = proxy.log();
        let node = Machine::new("app2").env("https_proxy", proxy.url()).env("http_proxy", proxy.url());
        let node = if tls { node.env("GIT_SSL_CAINFO", server.authority()) } else { node };
        node.env("no_proxy", "127.0.0.1").store(server.url("list.git")).good(&["publish"]);
        assert_eq!(proxy.log(), before, "it was not asked");
    }
}

#[test]
fn a_proxy_that_does_not_want_to_or_is_not_there() {
    let server = GitHttpServer::with(HttpOptions { tls: true, ..HttpOptions::default() });
    server.repository("list.git");
    let url = server.url("list.git");
    let proxy = Proxy::start(1);
    let node = Machine::new("app1").env("https_proxy", proxy.url());
    let outcome = publish(&node, &url, server.address()).with(proxy.address(), "PROXY");
    assert_snapshot!(outcome, @"
    exit code 1
    --- stderr
    error: store `https://HOST:PORT/list.git`: the proxy `PROXY` does not connect to `HOST:PORT`: proxy server responded 403/403
    hint: git's `http.proxy`, `https_proxy` and `http_proxy` set the proxy; `no_proxy` lists the hosts to reach without one
    ");
    let gone = free_port();
    let node = Machine::new("app1").env("https_proxy", format!("http://127.0.0.1:{gone}"));
    let outcome = publish(&node, &url, server.address()).with(format!("127.0.0.1:{gone}"), "PROXY");
    assert_snapshot!(outcome, @"
    exit code 1
    --- stderr
    error: store `https://HOST:PORT/list.git`: the proxy `PROXY` does not connect to `HOST:PORT`: Connection refused (os error 111)
    hint: git's `http.proxy`, `https_proxy` and `http_proxy` set the proxy; `no_proxy` lists the hosts to reach without one
    ");
}
