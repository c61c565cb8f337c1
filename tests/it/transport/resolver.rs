//! URLs, proxies and git's own configuration: publishing uses the same store as reading.

use std::fs;

use super::*;
use crate::fixture::machine::git;
use crate::fixture::{GitDaemon, GitHttpServer, Host, HttpOptions, Proxy, Repository};

/// The machine with a git configuration.
fn configured(machine: Machine, text: &str) -> Machine {
    fs::write(machine.path("home/.gitconfig"), text).unwrap();
    machine
}

#[test]
fn a_url_is_rewritten_for_reading_and_for_publishing() {
    for host in Host::each() {
        let list = host.repository("list.git");
        let url = host.url("list.git");
        let base = url.strip_suffix("list.git").unwrap();
        let text = format!("[url \"{base}\"]\n\tinsteadOf = https://git.corp.invalid/\n");
        let node = configured(Machine::new("app1"), &text);
        host.admit(&node);
        publish_and_list(node, "https://git.corp.invalid/list.git", &list);
        // Not twice: the rewritten URL itself begins with a prefix that is rewritten.
        let text = format!("{text}[url \"https://wrong.invalid/\"]\n\tinsteadOf = {base}\n");
        let node = configured(Machine::new("app2"), &text);
        host.admit(&node);
        let node = node.store("https://git.corp.invalid/list.git");
        node.good(&["beat"]);
        assert!(node.good(&["list", "--format", "ids"]).contains("i-app2"), "{url}");
    }
}

#[test]
fn a_store_is_written_where_it_is_pushed_to() {
    let server = GitDaemon::start();
    let (here, there) = (server.repository("here.git"), server.repository("there.git"));
    let text =
        format!("[url \"{}\"]\n\tpushInsteadOf = {}\n", server.url("there.git"), server.url("here.git"));
    let node = configured(Machine::new("app1"), &text).store(server.url("here.git"));
    node.good(&["publish"]);
    assert_eq!((here.files().len(), there.files().len()), (0, 1));
    // One of the two cannot be a path.
    let text = format!("[url \"/srv/list.git\"]\n\tpushInsteadOf = {}\n", server.url("here.git"));
    let node = configured(Machine::new("app1"), &text).store(server.url("here.git"));
    node.run(&["publish"]).code(1).says("one of them is a path");
}

#[test]
fn a_url_may_stand_for_a_path_and_a_path_for_a_url() {
    let server = GitDaemon::start();
    let list = server.repository("list.git");
    let near = list.git(["rev-parse", "--absolute-git-dir"]);
    let text = format!("[url \"{}\"]\n\tinsteadOf = https://git.corp.invalid/list.git\n", near.trim());
    publish_and_list(configured(Machine::new("app1"), &text), "https://git.corp.invalid/list.git", &list);
    let text = format!("[url \"{}\"]\n\tinsteadOf = /srv/list.git\n", server.url("list.git"));
    let node = configured(Machine::new("app2"), &text).store("/srv/list.git");
    node.good(&["publish"]);
    assert_eq!(node.good(&["list", "--format", "ids"]), "i-app1\ni-app2\n");
}

#[test]
fn a_configuration_of_git_that_cannot_be_read_is_an_error() {
    let server = GitDaemon::start();
    server.repository("list.git");
    let node = configured(Machine::new("app1"), "[url \"x\n").store(server.url("list.git"));
    node.run(&["publish"]).code(1).says("read git's configuration");
    node.run(&["list"]).code(3).says("read git's configuration");
    // Another file instead of the one in the home directory.
    let text = format!("[url \"git://wrong.invalid/\"]\n\tinsteadOf = {}\n", server.url(""));
    let node = configured(Machine::new("app1"), &text).store(server.url("list.git"));
    node.run(&["publish"]).code(1).says("wrong.invalid");
    fs::write(node.path("other"), "").unwrap();
    let other = node.path("other");
    let node = node.env("GIT_CONFIG_GLOBAL", other);
    node.good(&["publish"]);
    node.good(&["list"]);
}

#[test]
fn the_proxy_of_gits_configuration_is_gone_through() {
    let server = GitHttpServer::start();
    let list = server.repository("list.git");
    let (host, url) = (server.address(), server.url("list.git"));
    let proxy = Proxy::start(host.port());
    let text = format!("[http]\n\tproxy = {}\n", proxy.url());
    publish_and_list(configured(Machine::new("app1"), &text), &url, &list);
    assert!(proxy.log().contains(&host.port().to_string()), "{}", proxy.log());
    let before = proxy.log();
    for text in [
        format!("[http]\n\tproxy = {}\n[http \"http://{host}\"]\n\tproxy =\n", proxy.url()),
        format!("[http \"https://{host}\"]\n\tproxy = {}\n", proxy.url()),
    ] {
        configured(Machine::new("app2"), &text).store(&url).good(&["publish"]);
    }
    // An empty one also overrides the variables.
    let node =
        configured(Machine::new("app3"), "[http]\n\tproxy =\n").env("http_proxy", "http://127.0.0.1:1");
    node.store(&url).good(&["publish"]);
    for no_proxy in ["git.example 127.0.0.1", "git.example, 127.0.0.0/8", " * "] {
        let node = Machine::new("app4").env("http_proxy", proxy.url()).env("no_proxy", no_proxy).store(&url);
        node.good(&["publish"]);
        node.good(&["list"]);
    }
    // The variable of one scheme does not affect the other.
    let node = Machine::new("app5").env("https_proxy", "http://127.0.0.1:1");
    node.store(&url).good(&["publish"]);
    assert_eq!(proxy.log(), before, "it was not asked");
}

#[test]
fn a_proxy_that_is_not_spoken_to_is_never_gone_past() {
    let server = GitHttpServer::start();
    let list = server.repository("list.git");
    let url = server.url("list.git");
    let check = |node: Machine| {
        let outcome = publish(&node, &url, server.address());
        insta::allow_duplicates! {
            assert_snapshot!(outcome, @"
            exit code 1
            --- stderr
            error: store `http://HOST:PORT/list.git`: the proxy `socks5h://proxy.invalid:1080` does not connect to `HOST:PORT`: presence supports http:// and https:// proxies, not socks5h://
            hint: git's `http.proxy`, `https_proxy` and `http_proxy` set the proxy; `no_proxy` lists the hosts to reach without one
            ");
        }
        node.run(&["list", "--store", &url]).code(3).says("not socks5h://");
    };
    const SOCKS: &str = "socks5h://u:secret@proxy.invalid:1080";
    for variable in ["http_proxy", "all_proxy", "ALL_PROXY"] {
        check(Machine::new("app1").env(variable, SOCKS));
    }
    check(configured(Machine::new("app1"), &format!("[http]\n\tproxy = {SOCKS}\n")));
    assert!(list.files().is_empty());
    // The same for a command as a proxy of git://.
    let daemon = GitDaemon::start();
    daemon.repository("list.git");
    let text = "[core]\n\tgitProxy = none for example.com\n\tgitProxy = /bin/connect for 0.0.1\n";
    let node = configured(Machine::new("app1"), text).store(daemon.url("list.git"));
    node.run(&["publish"]).code(1).says("core.gitProxy");
    node.run(&["list"]).code(3).says("core.gitProxy");
    let text = "[core]\n\tgitProxy = none for 127.0.0.1\n\tgitProxy = /bin/connect\n";
    configured(Machine::new("app1"), text).store(daemon.url("list.git")).good(&["publish"]);
}

#[test]
fn the_authorities_of_gits_configuration_are_trusted() {
    let server = GitHttpServer::with(HttpOptions { tls: true, ..HttpOptions::default() });
    let list = server.repository("list.git");
    let text = format!("[http]\n\tsslCAInfo = {}\n", server.authority().display());
    publish_and_list(configured(Machine::new("app1"), &text), &server.url("list.git"), &list);
}

#[test]
fn a_path_with_a_blank_is_written_as_in_any_url() {
    let node = Machine::new("app1");
    let path = node.path("my list.git");
    Repository::init(&path);
    let url = format!("file://{}", path.display()).replace(' ', "%20");
    publish_and_list(node, &url, &Repository::at(&path));
}

#[test]
fn a_repository_with_sha256_is_called_so() {
    for host in Host::each() {
        // A repository in another object format, which the server serves.
        let list = host.repository("list.git");
        let path = list.git(["rev-parse", "--absolute-git-dir"]).trim().to_owned();
        fs::remove_dir_all(&path).unwrap();
        let args = ["init", "--quiet", "--bare", "--object-format=sha256", path.as_str()];
        git("/".as_ref(), &args);
        git(path.as_ref(), &["config", "http.receivepack", "true"]);
        let node = Machine::new("app1");
        host.admit(&node);
        let node = node.store(host.url("list.git"));
        // Empty, and with a branch.
        for has_branch in [false, true] {
            node.run(&["publish"]).code(1).says("has the object format sha256, which is not supported");
            // Over http, git does not tell readers the format of an empty repository.
            if has_branch {
                node.run(&["list"]).code(3).says("has the object format sha256, which is not supported");
                continue;
            }
            let tree = git(path.as_ref(), &["hash-object", "-t", "tree", "-w", "/dev/null"]);
            let commit = git(path.as_ref(), &["commit-tree", "-m", "x", tree.trim()]);
            git(path.as_ref(), &["update-ref", "HEAD", commit.trim()]);
        }
    }
}

#[test]
fn no_password_is_shown_however_the_url_is_mistyped() {
    let node = Machine::new("app1");
    for url in [
        "http://bob:hunter2@127.0.0.1:9/x.git",
        "htps://bob:hunter2@git.example.net/x.git",
        "https//bob:hunter2@git.example.net/x.git",
        "https:/bob:hunter2@git.example.net/x.git",
        "https:bob:hunter2@git.example.net/x.git",
        "bob:hunter2@git.example.net/x.git",
        "https://bob:hunter2/@127.0.0.1:9/x.git",
        "https://bob:hunter2",
        "https://127.0.0.1:9/x.git?token=hunter2",
        "file://bob:hunter2@nowhere/x.git",
    ] {
        for command in ["publish", "list", "doctor", "beat", "log", "withdraw"] {
            let outcome = node.run(&[command, "--store", url]);
            let said = format!("{}{}", outcome.stdout, outcome.stderr);
            assert!(outcome.code != Some(0) && !said.contains("hunter2"), "{url} {command}\n{outcome}");
        }
        let outcome = node.run(&["publish", "--dry-run", "--verbose", "--store", url]);
        assert!(!outcome.stderr.contains("hunter2"), "{url}\n{outcome}");
        // In an unreadable file.
        fs::write(node.path("bad.toml"), format!("store = \"{url}\n")).unwrap();
        let outcome = node.run(&["list", "--config", "bad.toml"]).code(2);
        assert!(!outcome.stderr.contains("hunter2"), "{url}\n{outcome}");
    }
}
