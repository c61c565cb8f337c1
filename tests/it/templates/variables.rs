//! Every variable of every built-in template, judged by the program that reads the output.

use std::collections::BTreeSet;
use std::fs;

use super::fleet::{Fleet, mixed, node};
use crate::fixture::machine::Machine;
use crate::fixture::port::free_port;
use crate::judges::{haproxy, nagios, nginx, pgbouncer};

/// A fleet of a hundred nodes, one of which states no port.
fn fleet() -> Fleet {
    let mut fleet = mixed(100, 3);
    let mut facts = node("app2", 1_000);
    facts.remove("port");
    fleet.add(&facts.into());
    fleet
}

/// The variables that a template reads.
pub(crate) fn variables(template: &str) -> BTreeSet<String> {
    let path = format!("{}/templates/common/{template}.hbs", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    let name = |rest: &str| -> String {
        rest.chars().take_while(|character| character.is_ascii_alphanumeric() || *character == '_').collect()
    };
    text.split("vars.").skip(1).map(name).collect()
}

#[test]
fn haproxy_takes_every_variable_alone_and_with_all_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (state, socket, chroot) = (path("state"), path("admin.sock"), path("chroot"));
    fs::write(&state, "1\n").unwrap();
    fs::create_dir(&chroot).unwrap();
    let [peers, stats, frontend] = [free_port(), free_port(), free_port()].map(|port| port.to_string());
    let (peers_bind, stats_bind) = (format!("127.0.0.1:{peers}"), format!("127.0.0.1:{stats}"));
    // The variable, its value, and the line that it produces.
    let set: Vec<(&str, &str, String)> = vec![
        ("log", "stdout format raw", "    log stdout format raw local0".into()),
        ("user", "nobody", "    user nobody".into()),
        ("group", "nogroup", "    group nogroup".into()),
        ("chroot", &chroot, format!("    chroot {chroot}")),
        ("stats_socket", &socket, format!("    stats socket {socket} mode 660 level admin")),
        ("server_state_file", &state, format!("    server-state-file {state}")),
        ("peers_bind", &peers_bind, format!("    peer presence {peers_bind}")),
        ("maxconn", "100", "    maxconn 100".into()),
        ("max_spread_checks", "900", "    max-spread-checks 900".into()),
        ("hard_stop_after", "90s", "    hard-stop-after 90s".into()),
        ("timeout_connect", "1s", "    timeout connect 1s".into()),
        ("timeout_client", "2s", "    timeout client 2s".into()),
        ("timeout_server", "3s", "    timeout server 3s".into()),
        ("timeout_queue", "4s", "    timeout queue 4s".into()),
        ("timeout_check", "500ms", "    timeout check 500ms".into()),
        ("timeout_http_request", "6s", "    timeout http-request 6s".into()),
        ("timeout_http_keep_alive", "7s", "    timeout http-keep-alive 7s".into()),
        ("timeout_tunnel", "1h", "    timeout tunnel 1h".into()),
        ("server_options", "maxconn 200", " init-addr none maxconn 200".into()),
        ("stats_bind", &stats_bind, format!("    bind {stats_bind}")),
        ("bind_address", "127.0.0.1", "    bind 127.0.0.1:".into()),
        ("bind_options", "backlog 1000", " backlog 1000".into()),
        ("frontend_port", &frontend, format!(":{frontend}")),
        ("app_parts", "app[12]", "backend app2".into()),
        ("app_port", "8079", ":8079 id ".into()),
        ("app_weight", "100", " check weight 100".into()),
        ("prefer_zone", "east", " backup".into()),
        ("balance", "source", "    balance source".into()),
        ("stick_on", "src", "    stick-table type ipv6 size 100k expire 30m".into()),
        ("stick_type", "ip", String::new()),
        ("check_path", "/alive?x=1", "    http-check send meth GET uri /alive?x=1 ver".into()),
        ("check_host", "shop.example.org", " hdr Host 'shop.example.org'".into()),
        ("check_status", "200-399", "    http-check expect status 200-399".into()),
        ("check_port", "8081", " check port 8081".into()),
        ("check", "tcp", String::new()),
    ];
    let names: BTreeSet<String> = set.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(variables("haproxy.cfg"), names);

    let fleet = fleet();
    for (name, value, line) in &set {
        let outcome = fleet.render("haproxy", &[(name, value)]);
        haproxy::accepts(outcome.good());
        assert!(outcome.good().contains(line), "{name}: no {line:?} in\n{}", outcome.good());
        assert_eq!(outcome.good().contains("httpchk"), *name != "check");
        assert_eq!(outcome.good() == fleet.render("haproxy", &[]).good(), *name == "stick_type", "{name}");
    }
    let all: Vec<(&str, &str)> = set.iter().map(|(name, value, _)| (*name, *value)).collect();
    for fleet in [Fleet::default(), fleet.clone()] {
        haproxy::accepts(fleet.render("haproxy", &all).good());
        let http: Vec<_> = all.iter().copied().filter(|(name, _)| *name != "check").collect();
        haproxy::accepts(fleet.render("haproxy", &http).good());
    }
    let sticky = fleet.render("haproxy", &all);
    assert!(sticky.good().contains("    stick-table type ip size 100k expire 30m peers presence\n"));
    for balance in ["roundrobin", "first", "random", "uri", "hdr(host)", "rdp-cookie"] {
        haproxy::accepts(fleet.render("haproxy", &[("balance", balance)]).good());
    }
}

/// HAProxy must not only accept the file: it runs with it without root, and answers where the variables say.
#[test]
fn haproxy_runs_with_the_variables_of_a_balancer() {
    let (first, stats, peers) = (free_port(), free_port(), free_port());
    let mut fleet = Fleet::default();
    for number in 0..4 {
        fleet.add(&node(["app1", "app2"][number % 2], number).into());
    }
    let running = haproxy::Running::start(|socket| {
        let vars = [
            ("stats_socket", socket),
            ("bind_address", "127.0.0.1"),
            ("frontend_port", &first.to_string()),
            ("stats_bind", &format!("127.0.0.1:{stats}")),
            ("peers_bind", &format!("127.0.0.1:{peers}")),
            ("stick_on", "src"),
        ];
        fleet.render("haproxy", &vars).good().to_owned()
    });
    assert_eq!(running.ports(), BTreeSet::from([first, first + 1, stats, peers]));
    assert_eq!(running.servers().iter().filter(|server| server.backend == "app1").count(), 2);
}

/// The defaults require nothing that some machines lack: no right, no file, no high limit.
#[test]
fn haproxy_runs_for_anybody() {
    let first = free_port();
    let running = haproxy::Running::start_as_nobody(256, |socket| {
        let vars = [("stats_socket", socket), ("frontend_port", &first.to_string())];
        Fleet::of([&node("app1", 0)]).render("haproxy", &vars).good().to_owned()
    });
    assert_eq!(running.ports(), BTreeSet::from([first]));
}

#[test]
fn a_part_gets_the_port_that_a_variable_gives_it() {
    let mut fleet = Fleet::default();
    for (number, part) in ["app1", "app2", "app-api"].into_iter().enumerate() {
        fleet.add(&node(part, number).into());
    }
    let binds = |vars: &[(&str, &str)]| -> String {
        let outcome = fleet.render("haproxy", vars);
        haproxy::accepts(outcome.good());
        let lines = outcome.good().lines().filter_map(|line| line.strip_prefix("    bind *:"));
        format!("{} {}", lines.collect::<Vec<_>>().join(","), outcome.reports.len())
    };
    assert_eq!(binds(&[]), "80,81 1");
    assert_eq!(binds(&[("frontend_port", "8000"), ("frontend_port_app-api", "9000")]), "9000,8000,8001 0");
    assert_eq!(binds(&[("frontend_port_app2", "80"), ("frontend_port_app-api", "80")]), "80 2");
}

#[test]
fn the_others_take_their_variables() {
    assert_eq!(variables("hosts"), BTreeSet::from(["hosts_domain".to_owned()]));
    assert_eq!(variables("prometheus-sd.json"), BTreeSet::from(["metrics_port".to_owned()]));
    let fleet = fleet();
    let prometheus = fleet.render("prometheus-sd", &[("metrics_port", "9200")]);
    assert!(prometheus.good().contains(":9200\"") && !prometheus.good().contains(":9100\""));

    assert_eq!(variables("nginx-upstream.conf"), ["app_parts", "app_port"].map(str::to_owned).into());
    let upstreams = fleet.render("nginx-upstream", &[("app_parts", "app2"), ("app_port", "8079")]);
    nginx::accepts(upstreams.good());
    assert!(upstreams.good().contains(":8079;") && !upstreams.good().contains("upstream app1"));

    let names = ["nagios_host_template", "nagios_check_command", "nagios_max_check_attempts"];
    assert_eq!(variables("nagios.cfg"), names.map(str::to_owned).into());
    let vars = [("nagios_check_command", "notify"), ("nagios_max_check_attempts", "3")];
    if let Some(objects) = nagios::objects(fleet.render("nagios", &vars).good()) {
        let host = &objects["i-00000"].1;
        assert_eq!((host["check_command"].as_str(), host["max_check_attempts"].as_str()), ("notify", "3"));
    }
    let own = fleet.render("nagios", &[("nagios_host_template", "our-host")]);
    assert!(own.good().contains("    use         our-host\n") && !own.good().contains("check_command"));
}

#[test]
fn pgbouncer_takes_all_its_variables() {
    let set = [
        ("db_parts", "db*"),
        ("db_port", "5433"),
        ("db_host", "db.example.org"),
        ("database", "shop"),
        ("listen_addr", "127.0.0.1"),
        ("listen_port", ""),
        ("auth_type", "any"),
        ("auth_file", "/nowhere"),
        ("pool_mode", "transaction"),
        ("max_client_conn", "50"),
        ("default_pool_size", "7"),
        ("server_tls_sslmode", "prefer"),
        ("ignore_startup_parameters", "extra_float_digits"),
        ("admin_users", "root"),
        ("stats_users", "monitor"),
        ("unix_socket_dir", ""),
        ("logfile", ""),
        ("pidfile", ""),
    ];
    let names: BTreeSet<String> = set.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(variables("pgbouncer.ini"), names);
    let mut facts = node("db1", 1);
    facts.remove("port");
    let rows = pgbouncer::databases(|directory, port| {
        let (port, log, pid) = (port.to_string(), format!("{directory}/log"), format!("{directory}/pid"));
        let vars = set.map(|(name, value)| match name {
            "listen_port" => (name, port.as_str()),
            "unix_socket_dir" => (name, directory),
            "logfile" => (name, log.as_str()),
            "pidfile" => (name, pid.as_str()),
            _ => (name, value),
        });
        Fleet::of([&facts]).render("pgbouncer", &vars).good().to_owned()
    });
    let read = ["name", "host", "port", "pool_size"].map(|column| pgbouncer::column(&rows[0], column));
    assert_eq!(read, ["shop", "127.1.0.2", "5433", "7"]);
}

#[test]
fn haproxy_gets_the_keywords_of_its_version() {
    let fleet = fleet();
    let newer = "    option idle-close-on-response\n";
    for (version, expect) in
        [("", false), ("2.2", false), ("2.5.14", false), ("2.6", true), ("2.10", true), ("3.5-dev5", true)]
    {
        let outcome = fleet.render("haproxy", &[("haproxy_version", version)]);
        assert_eq!(outcome.good().contains(newer), expect, "{version}");
        haproxy::accepts(outcome.good());
    }
    let outcome = fleet.render("haproxy", &[("haproxy_version", "new")]);
    let error = outcome.text.unwrap_err().to_string();
    assert!(
        error.contains("the variable `haproxy_version` is not a version of HAProxy such as 2.6: `new`"),
        "{error}"
    );
}

#[test]
fn the_installed_haproxy_says_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let install = |answer: &str| {
        let path = dir.path().join("haproxy");
        fs::write(&path, format!("#!/bin/sh\n{answer}\n")).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    let machine = Machine::new("app1").env("PATH", dir.path());
    machine.good(&["publish"]);
    let newer = "    option idle-close-on-response\n";
    install("echo 'HA-Proxy version 2.2.9-2+deb11u6 2023/12/16'");
    assert!(!machine.good(&["render", "haproxy"]).contains(newer));
    // Nothing else has changed, and the output for the older version is not repeated.
    install("echo 'HAProxy version 3.0.11-1+deb13u2 2026/01/01'");
    assert!(machine.good(&["render", "haproxy"]).contains(newer));
    assert!(!machine.good(&["render", "haproxy", "--set", "haproxy_version=2.4"]).contains(newer));
    // It must not guess: the file would change back and forth.
    install("echo broken");
    let outcome = machine.run(&["render", "haproxy"]).code(1);
    outcome.says("haproxy -v` does not print it in its first line").says("haproxy_version");
    machine.good(&["render", "database.yml", "--set", "db_host=db.example.org"]);
}

#[test]
fn a_haproxy_that_is_away_for_a_moment_leaves_the_file_as_it_is() {
    let machine = Machine::new("app1");
    machine.good(&["publish"]);
    // No other haproxy must be found. Where this cannot be arranged, the test checks nothing.
    let script = "set -e
        for dir in /usr/local/sbin /usr/sbin /sbin; do mount --bind \"$PWD/home\" $dir; done
        mkdir bin; export PATH=$PWD/bin:/usr/bin:/bin
        new=idle-close-on-response
        render() { \"$P\" render haproxy --part lb1 \"$@\"; }
        install() { printf '#!/bin/sh\necho HAProxy version %s\n' $1 > bin/haproxy; chmod 755 bin/haproxy; }
        never=$(render | grep -c $new || true)
        render -o never.cfg
        install 3.0.11
        render -o file.cfg
        render > stdout.cfg
        cp file.cfg before.cfg
        rm bin/haproxy
        render -o file.cfg --dry-run
        render -o file.cfg
        cmp file.cfg before.cfg && render | cmp - stdout.cfg
        install 2.2.9
        render -o file.cfg
        rm bin/haproxy
        render -o file.cfg
        echo never $never once $(grep -c $new before.cfg) older $(grep -c $new file.cfg || true)";
    if let Some(said) = machine.with_mounts(script) {
        assert!(said.starts_with("never 0 once 1 older 0\n"), "{said}");
    }
}
