//! HAProxy hangs, dies and returns without the agent's doing; commands and webhooks hang; disks are full.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::balancer::Balancer;
use super::daemon::Daemon;
use super::place::{Place, over_each_store};
use super::{QUICK, machine};
use crate::fixture::haproxy::HaProxy;
use crate::fixture::http_server::HttpServer;
use crate::fixture::machine::Machine;

#[test]
fn a_haproxy_that_was_restarted_by_hand_serves_the_same() {
    let servers: Vec<HttpServer> = (0..2).map(|_| HttpServer::start(200)).collect();
    let mut balancer = Balancer::start(&[("a", &servers[0])]);
    let agent = balancer.agent();
    balancer.node("b", &servers[1]).good(&["state", "done"]);
    let both = [("i-a".to_owned(), true), ("i-b".to_owned(), true)];
    agent.wait_for("the new server", || balancer.running() == both);
    balancer.kill_haproxy();
    balancer.start_haproxy();
    agent.wait_for("both servers", || balancer.running() == both);
    // It is followed as before.
    balancer.node("b", &servers[1]).good(&["state", "draining"]);
    agent.wait_for("it to drain", || balancer.running().contains(&("i-b".into(), false)));
    assert_eq!(balancer.get(), Some(200));
}

over_each_store!(but ssh: an_agent_that_is_there_before_haproxy_waits_for_it);

fn an_agent_that_is_there_before_haproxy_waits_for_it(place: Place) {
    let servers: Vec<HttpServer> = (0..2).map(|_| HttpServer::start(200)).collect();
    let mut balancer = Balancer::start_at(place, &[("a", &servers[0])]);
    balancer.kill_haproxy();
    balancer.node("b", &servers[1]).good(&["state", "done"]);
    balancer.machine.run(&["beat"]).code(5).says("its reload failed").says("the next run tries it again");
    assert!(balancer.config().contains("i-b "), "the file is right, for when it starts");
    let agent = balancer.agent();
    agent.wait_for("it to be missed", || agent.log().contains("its reload failed"));
    balancer.start_haproxy();
    agent.wait_for("the agent to be content", || agent.log().contains("haproxy.cfg`: resolved"));
    assert_eq!(balancer.running(), [("i-a".into(), true), ("i-b".into(), true)]);
    agent.wait_for("the metric", || {
        balancer.metrics().lines().any(|line| line.starts_with("presence_file_good{") && line.ends_with(" 1"))
    });
}

#[test]
fn a_haproxy_that_hangs_is_told_of_and_holds_nothing_up_for_ever() {
    let servers: Vec<HttpServer> = (0..2).map(|_| HttpServer::start(200)).collect();
    let balancer = Balancer::start(&[("a", &servers[0])]);
    balancer.haproxy.signal_all(Signal::STOP);
    balancer.node("b", &servers[1]).good(&["state", "done"]);
    let outcome = balancer.machine.run(&["beat"]).code(5);
    outcome
        .says("its reload failed")
        .says("its socket does not answer")
        .says("check that HAProxy is running");
    assert!(balancer.config().contains("i-b "));
    balancer.haproxy.signal_all(Signal::CONT);
    let agent = balancer.agent();
    let both = [("i-a".to_owned(), true), ("i-b".to_owned(), true)];
    agent.wait_for("both servers", || balancer.running() == both);
}

#[test]
fn the_socket_of_another_haproxy_makes_no_storm_of_reloads() {
    let server = HttpServer::start(200);
    let balancer = Balancer::start(&[("a", &server)]);
    let other = tempfile::tempdir().unwrap();
    let config = format!(
        "{}defaults\n    mode http\n    timeout connect 5s\n    timeout client 5s\n    timeout server 5s\n\
         frontend x\n    bind {}\n",
        HaProxy::global(other.path()),
        HaProxy::free_address()
    );
    let _other = HaProxy::start(other.path(), &config);
    let path = balancer.machine.path("presence.toml");
    let text = fs::read_to_string(&path).unwrap();
    let ours = HaProxy::socket_in(&balancer.machine.path("")).display().to_string();
    let theirs = HaProxy::socket_in(other.path()).display().to_string();
    // The file names the right socket, but HAProxy is asked at the other one.
    let vars = format!("[render.vars]\nstats_socket = '{ours}'\n");
    let text = text.replace(&format!("socket = '{ours}'"), &format!("socket = '{theirs}'"));
    fs::write(&path, text.replace("[render.vars]\n", &vars)).unwrap();
    let agent = balancer.agent();
    agent.wait_for("it to be given up", || agent.log().contains("still does not use it after 3 reloads"));
    let reloads = balancer.reloads();
    assert!(reloads <= 4, "{}", agent.log());
    for _ in 0..2 {
        balancer.machine.run(&["beat"]).code(5).says("check that `socket` belongs to the HAProxy");
    }
    assert_eq!(balancer.reloads(), reloads, "{}", agent.log());
    assert_eq!(balancer.get(), Some(200));
}

/// The configuration names this socket; the file names the one that HAProxy listens on.
fn ask_at(balancer: &Balancer, socket: &str) {
    let ours = HaProxy::socket_in(&balancer.machine.path("")).display().to_string();
    let path = balancer.machine.path("presence.toml");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace(&format!("socket = '{ours}'"), &format!("socket = '{socket}'"));
    let vars = format!("[render.vars]\nstats_socket = '{ours}'\n");
    fs::write(&path, text.replace("[render.vars]\n", &vars)).unwrap();
}

#[test]
fn a_socket_at_which_nothing_can_be_changed_is_named_and_makes_no_reload_but_for_changes() {
    for level in ["master", "operator", "user"] {
        let server = HttpServer::start(200);
        let mut balancer = Balancer::start(&[("a", &server)]);
        let dir = balancer.machine.path("");
        let (socket, named) = match level {
            "master" => {
                let socket = HaProxy::master_in(&dir).display().to_string();
                let named = format!("`{socket}` is the socket of HAProxy's master process");
                (socket, named)
            }
            level => {
                // HAProxy also listens on another socket, which gives fewer rights.
                let socket = dir.join("lesser.sock").display().to_string();
                balancer.restart_haproxy_with(&format!("global\n    stats socket {socket} level {level}\n"));
                (socket.clone(), format!("`{socket}` has level `{level}`"))
            }
        };
        ask_at(&balancer, &socket);
        for _ in 0..2 {
            balancer.machine.run(&["beat"]).code(5).says(&named).says("level admin");
        }
        let agent = balancer.agent();
        agent.wait_for("it to be named", || agent.log().contains(&named));
        let reloads = balancer.reloads();
        // A change requires a reload, because there is no other way. It ends like every other look.
        let other = HttpServer::start(200);
        balancer.node("b", &other).good(&["state", "done"]);
        agent.wait_for("the new server", || balancer.running().len() == 2);
        assert_eq!(balancer.reloads(), reloads + 1, "{}", agent.log());
        drop(agent);
        balancer.node("b", &other).good(&["state", "draining"]);
        balancer.machine.run(&["beat"]).code(5).says(&named);
        balancer.machine.run(&["beat"]).code(5).says(&named);
        assert_eq!(balancer.reloads(), reloads + 2);
    }
}

#[test]
fn with_nobody_at_the_socket_no_reload_is_done() {
    let server = HttpServer::start(200);
    let balancer = Balancer::start(&[("a", &server)]);
    ask_at(&balancer, "/nonexistent/admin.sock");
    balancer.node("b", &HttpServer::start(200)).good(&["state", "done"]);
    let outcome = balancer.machine.run(&["beat"]).code(5);
    outcome.says("its reload failed").says("its socket does not answer");
    assert_eq!(balancer.reloads(), 1);
}

#[test]
fn what_an_operator_sets_at_the_socket_is_left_until_the_list_says_something_else() {
    let servers: Vec<HttpServer> = (0..3).map(|_| HttpServer::start(200)).collect();
    let balancer = Balancer::start(&[("a", &servers[0]), ("b", &servers[1])]);
    let agent = balancer.agent();
    agent.wait_for("both to serve", || balancer.running().iter().filter(|(_, up)| *up).count() == 2);
    // The agent may be at work until it has seen them serve.
    balancer.machine.run(&["beat"]).code(0);
    let state = |server: &str| {
        let states = balancer.haproxy.ask("show servers state app");
        let line = states.lines().find(|line| line.contains(&format!(" {server} "))).unwrap();
        let fields: Vec<&str> = line.split(' ').collect();
        (fields[6].parse::<u8>().unwrap() & 1 != 0, fields[7].to_owned())
    };
    balancer.haproxy.ask("set server app/i-a state maint");
    balancer.haproxy.ask("set server app/i-b weight 7");
    let said = "app/i-a was set to maintenance outside presence, and stays so";
    agent.wait_for("it to be noticed", || agent.log().contains(said));
    agent.wait_for("the weight, too", || agent.log().contains("app/i-b was set to ready with weight 7"));
    // Changes continue around the overrides: by the agent, by another run of the program, and over a restart
    // of the agent.
    let c = balancer.node("c", &servers[2]);
    c.good(&["state", "done"]);
    agent.wait_for("the new server to serve", || balancer.serves(&servers[2]));
    drop(agent);
    balancer.machine.run(&["beat"]).code(0);
    let agent = balancer.agent();
    c.good(&["state", "draining"]);
    agent.wait_for("it to drain", || balancer.running().contains(&("i-c".into(), false)));
    assert_eq!((state("i-a").0, state("i-b").1), (true, "7".to_owned()));
    assert_eq!(agent.log().matches(said).count(), 1, "{}", agent.log());
    // A later change on the list has precedence.
    let a = balancer.node("a", &servers[0]);
    a.good(&["state", "draining"]);
    agent.wait_for("it to drain", || agent.log().contains("app/i-a draining"));
    a.good(&["state", "done"]);
    agent.wait_for("it to serve", || !state("i-a").0 && balancer.serves(&servers[0]));
    assert_eq!((state("i-b").1, balancer.reloads()), ("7".to_owned(), 0));
    // Overrides survive a reload, and so do new ones right after it.
    drop(agent);
    let path = balancer.machine.path("presence.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("maxconn = 400", "maxconn = 401")).unwrap();
    let before = balancer.haproxy.worker();
    if balancer.machine.run(&["beat"]).code != Some(0) {
        // It took longer than the wait. A second reload would end the process that this one starts.
        balancer.haproxy.wait("the slow reload", || balancer.haproxy.worker() != before);
        balancer.machine.run(&["beat"]).code(0);
    }
    balancer.haproxy.ask("set server app/i-a state maint");
    balancer.machine.run(&["beat"]).code(0).says(said);
    assert_eq!((state("i-a").0, state("i-b").1), (true, "7".to_owned()));
}

#[test]
fn a_reload_that_haproxy_does_not_load_is_a_failure() {
    for socket in [HaProxy::socket_in, HaProxy::master_in] {
        let server = HttpServer::start(200);
        let balancer = Balancer::start(&[("a", &server)]);
        let dir = balancer.machine.path("");
        let path = balancer.machine.path("presence.toml");
        let text = fs::read_to_string(&path).unwrap();
        let (ours, confirms) = (HaProxy::socket_in(&dir), socket(&dir));
        let text = text
            .lines()
            .filter(|line| {
                !["apply ", "patience ", "state-file ", "socket "].iter().any(|key| line.starts_with(key))
            })
            .map(|line| match line {
                "[render.vars]" => format!(
                    "socket = '{}'\n[render.vars]\nstats_socket = '{}'\nserver_state_file = '{}/states'\n",
                    confirms.display(),
                    ours.display(),
                    dir.display()
                ),
                line => format!("{line}\n"),
            })
            .collect::<String>();
        fs::write(&path, &text).unwrap();
        balancer.machine.run(&["beat"]).code(0).says("haproxy.cfg is unchanged");
        assert_eq!(balancer.reloads(), 0);

        // Another program has the port of the statistics.
        let taken = TcpListener::bind(HaProxy::free_address()).unwrap();
        let stats = format!("stats_bind = '{}'\n", taken.local_addr().unwrap());
        fs::write(&path, format!("{text}{stats}")).unwrap();
        let outcome = balancer.machine.run(&["beat"]).code(5);
        outcome.says("is in place, but its reload failed").says("the old process").says("a port is in use");
        assert_eq!((balancer.reloads(), balancer.get()), (1, Some(200)));
        // The reload is owed, but only a limited number of times.
        for _ in 0..2 {
            balancer.machine.run(&["beat"]).code(5).says("its reload failed");
        }
        balancer.machine.run(&["beat"]).code(5).says("still does not use it after 3 reloads");
        assert_eq!(balancer.reloads(), 3);
        // Repaired manually.
        drop(taken);
        balancer.haproxy.reload();
        balancer.machine.run(&["beat"]).code(0).says("is unchanged");
        fs::write(&path, &text).unwrap();
        // HAProxy loses a signal that arrives right after it has loaded a file: that reload is not confirmed,
        // and is repeated.
        let reloaded = || balancer.machine.run(&["beat"]).code == Some(0);
        assert!(reloaded() || reloaded(), "{}", balancer.haproxy.log());
        let reloads = balancer.reloads();
        assert!((4..=5).contains(&reloads));
        // The memory of the failed reload does not affect the next one.
        fs::write(&path, format!("{text}timeout_queue = '29s'\n")).unwrap();
        assert!(reloaded() || reloaded(), "{}", balancer.haproxy.log());
        assert!(balancer.reloads() > reloads && balancer.config().contains("timeout queue 29s"));
    }
}

#[test]
fn commands_and_webhooks_that_hang_hold_nothing_up() {
    // Accepts connections and never answers.
    let hook = TcpListener::bind("127.0.0.1:0").unwrap();
    let lb = machine(
        "lb1",
        &format!(
            "{QUICK}[[notify]]\nurl = 'http://{}/'\ntimeout = '1h'\n\
             [[notify]]\ncommand = 'sh -c \"echo x >> told; sleep 3600\"'\ntimeout = '1h'\n\
             [[health]]\nname = 'slow'\ncommand = 'sleep 3600'\ntimeout = '300ms'\ninterval = '100ms'\nfall = 2\n",
            hook.local_addr().unwrap()
        ),
    );
    lb.good(&["state", "done"]);
    Machine::new("db1").store(lb.path("list.git").display()).good(&["publish"]);
    let agent = Daemon::start(&lb);
    agent.wait_for("the first file", || lb.path("hosts").exists());
    // A health check without an answer is a failure.
    agent.wait_for("the list to say so", || lb.good(&["list", "--state", "wedged"]).contains("i-lb1"));
    let app = Machine::new("app1").store(lb.path("list.git").display());
    let has = |text: &str| fs::read_to_string(lb.path("hosts")).unwrap().contains(text);
    for _ in 0..2 {
        app.good(&["publish"]);
        agent.wait_for("the new node", || has("10.0.0.2"));
        agent.wait_for("somebody to be told", || lb.path("told").exists());
        app.good(&["withdraw"]);
        agent.wait_for("the node to leave", || !has("10.0.0.2"));
    }
    let (code, log) = agent.end(Signal::TERM);
    assert_eq!(code, Some(0), "{log}");
    // No process is left behind.
    let here = lb.path("").canonicalize().unwrap();
    let left = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == here));
    assert_eq!(left.map(|process| process.path()).collect::<Vec<_>>(), Vec::<PathBuf>::new());
}

/// A small file system at that path, until it is dropped.
struct SmallDisk<'a>(&'a Path);

impl SmallDisk<'_> {
    fn mount(place: &Path) -> Option<SmallDisk<'_>> {
        fs::create_dir(place).unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(place).output();
        mount.is_ok_and(|output| output.status.success()).then_some(SmallDisk(place))
    }

    fn fill(&self) {
        // Writes until the disk is full, which is an error.
        let _ = fs::write(self.0.join("ballast"), vec![0; 100_000]);
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Lazily: a killed agent may still be exiting.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that cannot be made says so")]
fn on_a_full_disk_the_old_file_stands() {
    for full in ["out", "memory"] {
        let lb = Machine::new("lb1");
        let store = lb.path("list.git");
        crate::fixture::machine::bare_repository(&store);
        let lb = lb.store(store.display());
        let (out, memory) = (lb.path("out"), lb.path("state/targets"));
        let place = if full == "out" { &out } else { &memory };
        let Some(disk) = SmallDisk::mount(place) else {
            eprintln!("not tested: only root may mount a small file system");
            return;
        };
        fs::create_dir_all(&out).unwrap();
        let (hosts, metrics) = (out.join("hosts"), out.join("presence.prom"));
        let text = format!(
            "[[render]]\nname = 'hosts'\noutput = '{}'\nreload = 'sh -c \"echo x >> reloads\"'\n\
             {QUICK}metrics = '{}'\n",
            hosts.display(),
            metrics.display()
        );
        fs::write(lb.path("presence.toml"), text).unwrap();
        let reloads = || fs::read_to_string(lb.path("reloads")).unwrap_or_default().lines().count();
        lb.run(&["beat"]).code(0);
        let before = fs::read_to_string(&hosts).unwrap();
        let app = Machine::new("app1").store(store.display());
        app.good(&["publish"]);
        disk.fill();
        // Either the old file and no reload, or the new one with its reload and only its counts not recorded.
        let new = || fs::read_to_string(&hosts).unwrap().contains("10.0.0.2");
        let stands = || {
            (fs::read_to_string(&hosts).unwrap() == before) != new() && reloads() == 1 + usize::from(new())
        };
        lb.run(&["beat"]).code(1).says("No space left").says("free some space");
        assert!(stands() && new() == (full == "memory"), "{full}: {}", fs::read_to_string(&hosts).unwrap());
        let agent = Daemon::start(&lb);
        agent.wait_for("it to be said", || agent.log().contains("No space left"));
        assert!(stands(), "{full}: {}", fs::read_to_string(&hosts).unwrap());
        disk.empty();
        agent.wait_for("the new file and its reload", || new() && reloads() == 2);
        agent.wait_for("all to be well", || agent.log().contains("hosts`: resolved"));
    }
}
