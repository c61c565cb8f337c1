//! SIGKILL of the agent at random moments: afterwards, file, HAProxy and the record of the owed reload agree.

use std::fs;
use std::time::Duration;

use super::balancer::Balancer;
use crate::fixture::http_server::HttpServer;

/// Kills the agent `count` times, while servers come and go and other lines of the file change.
fn rounds(count: u64) {
    let servers: Vec<HttpServer> = (0..4).map(|_| HttpServer::start(200)).collect();
    let balancer = Balancer::start(&[("n0", &servers[0]), ("n1", &servers[1])]);
    let path = balancer.machine.path("presence.toml");
    let text = fs::read_to_string(&path).unwrap();
    let node = |id: &str, server| balancer.node(id, server).with("state", "done");
    let (third, fourth) = (node("n2", &servers[2]), node("n3", &servers[3]));
    for round in 0..count {
        // In turn, a server comes or goes. Every fifth time, other lines of the file change too, which
        // requires a reload.
        match round % 4 {
            0 => third.good(&["publish"]),
            1 => fourth.good(&["publish"]),
            2 => third.good(&["withdraw"]),
            _ => fourth.good(&["withdraw"]),
        };
        let maxconn = 400 + round / 5;
        fs::write(&path, text.replace("maxconn = 400", &format!("maxconn = {maxconn}"))).unwrap();
        let agent = balancer.agent();
        std::thread::sleep(Duration::from_millis(fastrand::u64(..600)));
        drop(agent);
        assert_eq!(balancer.get(), Some(200), "round {round}");

        // The next agent completes the work.
        let agent = balancer.agent();
        let mut wanted = vec!["i-n0", "i-n1"];
        if matches!(round % 4, 0 | 1) {
            wanted.push("i-n2");
        }
        if matches!(round % 4, 1 | 2) {
            wanted.push("i-n3");
        }
        let wanted: Vec<(String, bool)> = wanted.into_iter().map(|id| (id.to_owned(), true)).collect();
        let agrees = || {
            let file = balancer.config();
            let in_file: Vec<(String, bool)> = file
                .lines()
                .filter_map(|line| line.trim().strip_prefix("server ")?.split(' ').next())
                .map(|id| (id.to_owned(), true))
                .collect();
            let owes = fs::read_dir(balancer.machine.path("state/targets"))
                .unwrap()
                .any(|entry| entry.unwrap().path().join("reload-pending").exists());
            !owes
                && in_file == wanted
                && file.contains(&format!("    maxconn {maxconn}\n"))
                && balancer.haproxy.ask("show info").contains(&format!("\nMaxconn: {maxconn}\n"))
                && balancer.running() == wanted
        };
        agent.wait_for(&format!("file, HAProxy and memory to agree in round {round}"), agrees);
        drop(agent);
    }
    let left = fs::read_dir(balancer.machine.path("")).unwrap();
    let staged = left.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name().to_string_lossy().into_owned();
        name.starts_with(".presence-") && name.ends_with("haproxy.cfg")
    });
    assert!(staged.count() <= 1, "what killed runs left is swept");
}

#[test]
fn killed_in_the_middle_of_a_reload_it_is_done_by_the_next() {
    let server = HttpServer::start(200);
    let balancer = Balancer::start(&[("a", &server)]);
    let path = balancer.machine.path("presence.toml");
    let deadly = balancer.machine.path("deadly");
    let murder = format!("test -e {0} && rm {0} && kill -KILL $PPID && exit 1; echo x", deadly.display());
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("maxconn = 400", "maxconn = 401").replace("echo x", &murder)).unwrap();
    fs::write(&deadly, "").unwrap();
    assert_eq!(balancer.machine.run(&["beat"]).code, None, "it was killed");
    assert!(balancer.config().contains("maxconn 401") && balancer.reloads() == 0);
    balancer.machine.run(&["beat"]).code(0).says("the pending reload has succeeded");
    assert_eq!(balancer.reloads(), 1);
    balancer
        .haproxy
        .wait("it has reloaded", || balancer.haproxy.ask("show info").contains("\nMaxconn: 401\n"));
}

#[test]
fn the_agent_may_be_killed_at_any_time() {
    rounds(20);
}

/// `cargo test --test it -- --ignored killed_a_hundred_times`
#[test]
#[ignore = "takes minutes"]
fn the_agent_is_killed_a_hundred_times() {
    rounds(100);
}
