//! Changes at run time give the same as a reload of the file.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use presence::haproxy::{ApplyRequest, Socket, apply};

use super::{Balancer, PATIENCE, lines, told};
use crate::fixture::haproxy::HaProxy;
use crate::fixture::http_server::{CHECK_PATH, HttpServer};

/// The built-in template for these app servers, as the program renders it.
fn render(dir: &Path, front: std::net::SocketAddr, servers: &[(&str, &HttpServer, &str)]) -> String {
    let store = dir.join("store");
    let _ = std::fs::remove_dir_all(&store);
    std::fs::create_dir(&store).unwrap();
    for (name, server, state) in servers {
        let address = server.address();
        let record = format!(
            r#"{{"filetype": "nodepresence", "value": {{"instance-id": "{name}", "nodepart": "app1", "state": "{state}",
            "ipv4": "{}", "port": "{}"}}}}"#,
            address.ip(),
            address.port()
        );
        std::fs::write(store.join(format!("{name}.json")), record).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_presence"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", dir);
    // No configuration of the machine itself.
    std::fs::write(dir.join("presence.toml"), "").unwrap();
    command.args(["render", "haproxy", "--part", "lb1", "--force", "--store"]).arg(&store);
    command.arg("--config").arg(dir.join("presence.toml")).arg("--nodeinfo").arg(&store);
    command.args(["--addresses", "0.0.0.0/0"]);
    command.arg("--state-dir").arg(dir.join("state"));
    let socket = HaProxy::socket_in(dir).display().to_string();
    for (key, value) in [
        ("stats_socket", socket.as_str()),
        ("bind_address", &front.ip().to_string()),
        ("frontend_port", &front.port().to_string()),
        ("check_path", CHECK_PATH),
        ("log", "127.0.0.1:514"),
        ("maxconn", "100"),
    ] {
        command.arg("--set").arg(format!("{key}={value}"));
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What must not change: ids, names, addresses, ports, and whether they receive requests.
fn servers(haproxy: &HaProxy) -> BTreeSet<String> {
    let answer = haproxy.ask("show servers state app1");
    let of = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let (admin, weight): (u32, u32) = (fields[6].parse().unwrap(), fields[7].parse().unwrap());
        let state = match (admin & 0x23, admin & 0x18, weight) {
            (0, 0, 1..) => "ready",
            (0, _, _) => "drain",
            _ => "down",
        };
        format!("{} {} {} {}:{} {state}", fields[0], fields[2], fields[3], fields[4], fields[18])
    };
    answer.lines().filter(|line| line.contains(" app1 ")).map(of).collect()
}

#[test]
fn a_reload_of_the_built_in_templates_file_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let front = HaProxy::free_address();
    let apps: Vec<HttpServer> = (0..6).map(|_| HttpServer::start(200)).collect();
    let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(|index: usize| &apps[index]);
    let old = render(
        dir.path(),
        front,
        &[("a", a, "done"), ("b", b, "done"), ("c", c, "draining"), ("d", d, "wedged"), ("e", e, "done")],
    );
    let new = render(
        dir.path(),
        front,
        &[("a", a, "draining"), ("b", b, "drained"), ("c", c, "done"), ("d", d, "running"), ("f", f, "done")],
    );
    assert_ne!(old, new);
    let haproxy = HaProxy::start(dir.path(), &old);
    let (worker, before) = (haproxy.worker(), servers(&haproxy));
    let socket = Socket::new(&HaProxy::socket_in(dir.path()));
    let outcome =
        apply(&ApplyRequest { socket: &socket, old: &old, new: &new, overrides: &(), patience: PATIENCE })
            .unwrap();
    assert!(outcome.is_settled(), "{}", told(&outcome));
    assert_eq!(haproxy.worker(), worker, "no reload");
    let at_run_time = servers(&haproxy);
    assert_eq!(at_run_time.len(), 5, "{at_run_time:?}");
    assert_ne!(at_run_time, before);

    std::fs::write(HaProxy::config_in(dir.path()), &new).unwrap();
    HaProxy::check(dir.path()).unwrap();
    haproxy.reload();
    assert_eq!(servers(&haproxy), at_run_time);
    let outcome =
        apply(&ApplyRequest { socket: &socket, old: &new, new: &new, overrides: &(), patience: PATIENCE })
            .unwrap();
    assert_eq!(told(&outcome), "");
}

/// Some columns of `show stat` and `show servers conn` for a server: settings of the file that show nowhere
/// else.
fn hidden(haproxy: &HaProxy, name: &str) -> Vec<String> {
    let stat = haproxy.ask("show stat -1 4 -1");
    let header = stat.lines().next().unwrap();
    let server = stat.lines().find(|line| line.starts_with(&format!("app,{name},"))).unwrap();
    let shown = ["weight", "bck", "slim", "qlimit", "check_rise", "check_fall", "mode"];
    let stat = header.trim_start_matches("# ").split(',').zip(server.split(','));
    let stat =
        stat.filter(|(column, _)| shown.contains(column)).map(|(column, value)| format!("{column} {value}"));
    let pool = haproxy.ask("show servers conn app");
    let header = pool.lines().next().unwrap();
    let server = pool.lines().find(|line| line.starts_with(&format!("app/{name} "))).unwrap();
    let pool = header.trim_start_matches("# ").split(' ').zip(server.split(' '));
    let pool = pool.filter(|(column, _)| ["purge_delay", "idle_lim"].contains(column));
    stat.chain(pool.map(|(column, value)| format!("{column} {value}"))).collect()
}

#[test]
fn an_added_server_is_like_one_of_the_file() {
    let app = HttpServer::start(200);
    for options in ["", "maxconn 7 maxqueue 3 backup weight 5 pool-max-conn 9 pool-purge-delay 8s"] {
        let mut balancer = Balancer::start(&lines([(0, &app, options)]));
        let outcome = balancer.change(&lines([(0, &app, options), (1, &app, options)]), PATIENCE);
        assert!(outcome.is_settled(), "{}", told(&outcome));
        assert_eq!(hidden(&balancer.haproxy, "s1"), hidden(&balancer.haproxy, "s0"), "for `{options}`");
    }
}

/// The options that this program sets at run time, each as in a file. Files (`ca-file`, `crt`) are not among
/// them: at run time HAProxy knows only those that it has read before.
const OPTIONS: [&str; 47] = [
    "addr 127.0.0.1",
    "agent-addr 127.0.0.1",
    "agent-inter 1s",
    "agent-port 1",
    "agent-send x",
    "allow-0rtt",
    "alpn h2",
    "backup",
    "check-alpn h2",
    "check-proto h2",
    "check-send-proxy",
    "check-sni x",
    "check-ssl verify none",
    "ciphers AES128",
    "ciphersuites TLS_AES_128_GCM_SHA256",
    "downinter 1s",
    "error-limit 3",
    "fall 3",
    "fastinter 1s",
    "force-tlsv12",
    "init-addr none",
    "inter 1s",
    "maxconn 3",
    "maxqueue 3",
    "minconn 3 maxconn 4",
    "no-tlsv10",
    "no-tls-tickets",
    "observe layer4",
    "on-error fastinter",
    "on-marked-down shutdown-sessions",
    "on-marked-up shutdown-backup-sessions",
    "pool-low-conn 1",
    "pool-max-conn 1",
    "pool-purge-delay 1s",
    "port 1",
    "proto h1",
    "proxy-v2-options ssl",
    "resolve-prefer ipv4",
    "rise 3",
    "send-proxy",
    "send-proxy-v2-ssl-cn",
    "slowstart 1s",
    "sni str(x) ssl verify none",
    "ssl-max-ver TLSv1.2",
    "tfo",
    "verifyhost x",
    "ws h1",
];

#[test]
fn haproxy_takes_at_run_time_what_is_said_to_it() {
    // `tfo` requires it.
    let retry = "    retry-on conn-failure empty-response response-timeout\n";
    let balancer = Balancer::start_with("", retry, "");
    let refused: Vec<String> = OPTIONS
        .into_iter()
        .filter_map(|options| {
            let new = format!("{}    server s 127.0.0.1:9 disabled {options}\n", balancer.head);
            std::fs::write(HaProxy::config_in(balancer.path()), &new).unwrap();
            if let Err(warning) = HaProxy::check(balancer.path()) {
                return Some(format!("{options}: {warning}"));
            }
            let outcome =
                apply(&ApplyRequest { new: &new, ..balancer.request(&balancer.config, PATIENCE) }).unwrap();
            let reason = outcome.reload_needed.clone().map(|reason| format!("{options}: {reason}"));
            assert!(reason.is_some() || told(&outcome) == "app/s added", "{}", told(&outcome));
            let gone = ApplyRequest { old: &new, ..balancer.request(&balancer.config, PATIENCE) };
            assert!(apply(&gone).unwrap().is_settled());
            reason
        })
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// A self-signed certificate with its key, in one file.
fn certificate(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("cert.pem");
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=app.example.org", "-keyout"])
        .arg(dir.join("cert.pem.key"))
        .arg("-out")
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

#[test]
fn a_server_that_speaks_tls_or_the_proxy_protocol_comes_up() {
    let dir = tempfile::tempdir().unwrap();
    let crt = certificate(dir.path());
    // A HAProxy in place of the applications: it speaks TLS, the PROXY protocol, and both.
    let addresses: Vec<_> = (0..3).map(|_| HaProxy::free_address()).collect();
    let tls = format!("ssl crt {}", crt.display());
    let binds: String = [&tls, "accept-proxy", &format!("{tls} accept-proxy")]
        .iter()
        .zip(&addresses)
        .map(|(options, address)| format!("    bind {address} {options}\n"))
        .collect();
    let apps = tempfile::tempdir().unwrap();
    let config = format!(
        "{}defaults\n    mode http\n    timeout connect 5s\n    timeout client 5s\n    timeout server 5s\n\
         frontend apps\n{binds}    http-request return status 200\n",
        HaProxy::global(apps.path())
    );
    let _apps = HaProxy::start(apps.path(), &config);

    let plain = HttpServer::start(200);
    let mut balancer = Balancer::start(&lines([(0, &plain, "")]));
    let worker = balancer.haproxy.worker();
    let mut servers = lines([(0, &plain, "")]);
    let other_port = format!("ssl verify none check-ssl port {}", addresses[0].port());
    let options = ["ssl verify none", "send-proxy-v2", "ssl verify none send-proxy", &other_port];
    for (number, (option, address)) in options.iter().zip(addresses.iter().chain(&addresses)).enumerate() {
        servers.push_str(&format!("    server t{number} {address} id {} check {option}\n", 200 + number));
    }
    let outcome = balancer.change(&servers, PATIENCE);
    assert!(outcome.is_settled(), "{}", told(&outcome));
    assert_eq!(balancer.haproxy.worker(), worker, "no reload");
    // A reload of the file gives the same.
    balancer.haproxy.reload();
    assert_eq!(told(&balancer.again(PATIENCE)), "");
    for _ in 0..10 {
        assert_eq!(balancer.get(), Some(200));
    }
}
