//! The server-state file over real reloads.

use std::collections::BTreeSet;
use std::path::PathBuf;

use presence::haproxy::{Overrides, Socket, state_file};

use super::{Balancer, PATIENCE, lines, told};
use crate::fixture::haproxy::HaProxy;
use crate::fixture::http_server::HttpServer;

/// A balancer with a state file, which is empty at first.
fn start(servers: &str) -> (tempfile::TempDir, PathBuf, Balancer) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state");
    state_file::write(&file, state_file::EMPTY).unwrap();
    let global = format!("    server-state-file {}\n", file.display());
    let balancer = Balancer::start_with(&global, "    load-server-state-from-file global\n", servers);
    (dir, file, balancer)
}

impl Balancer {
    /// A reload when nothing else is possible: it preserves the running states.
    fn reload_with(&mut self, file: &std::path::Path, servers: &str) {
        let socket = Socket::new(&HaProxy::socket_in(self.path()));
        self.config = format!("{}{servers}", self.head);
        std::fs::write(HaProxy::config_in(self.path()), &self.config).unwrap();
        state_file::write(file, state_file::EMPTY).unwrap();
        HaProxy::check(self.path()).unwrap();
        let states = state_file::before_reload(&socket, &self.config, &Overrides::default()).unwrap();
        state_file::write(file, &states).unwrap();
        self.haproxy.reload();
    }
}

#[test]
fn a_broken_server_stays_down_over_a_reload() {
    let servers = [200, 500].map(HttpServer::start);
    let [good, broken] = &servers;
    let both = lines([(0, good, ""), (1, broken, "")]);
    let (_dir, file, mut balancer) = start(&both);
    balancer
        .haproxy
        .wait("its checks find it broken", || balancer.haproxy.ask("show stat -1 4 -1").contains(",DOWN,"));
    let before = broken.requests();
    balancer.reload_with(&file, &both);
    assert_eq!(balancer.serving(&servers), BTreeSet::from([0]));
    assert_eq!(broken.requests(), before);
    // With its saved state, the next check would refuse any config.
    let refused = HaProxy::check(balancer.path()).unwrap_err();
    assert!(refused.contains("is DOWN, changed from server-state"), "{refused}");
    state_file::write(&file, state_file::EMPTY).unwrap();
    HaProxy::check(balancer.path()).unwrap();
}

#[test]
fn a_new_server_that_is_not_good_yet_is_not_let_in_by_a_reload() {
    let servers = [200, 500].map(HttpServer::start);
    let [good, wedged] = &servers;
    let (_dir, file, mut balancer) = start(&lines([(0, good, "")]));
    let both = lines([(0, good, ""), (1, wedged, "")]);
    let outcome = balancer.change(&both, std::time::Duration::from_secs(1));
    assert_eq!(outcome.pending.len(), 1, "{}", told(&outcome));
    balancer.reload_with(&file, &both);
    assert_eq!(balancer.serving(&servers), BTreeSet::from([0]));
    assert_eq!(wedged.requests(), 0);
    // The state does not keep it out either.
    wedged.set_status(200);
    balancer.haproxy.wait("its checks find it good", || balancer.serving(&servers).len() == 2);
    assert_eq!(told(&balancer.again(PATIENCE)), "");
}

#[test]
fn a_reload_takes_states_and_addresses_from_the_new_file() {
    let servers = [(); 6].map(|()| HttpServer::start(200));
    let [a, b, c, d, e, f] = &servers;
    let old = lines([(0, a, ""), (1, b, "disabled"), (2, c, "weight 0"), (3, d, ""), (4, e, "")]);
    let (_dir, file, mut balancer) = start(&old);
    // States set at run time are saved as well as those of the file.
    let stopped =
        lines([(0, a, "weight 0"), (1, b, "disabled"), (2, c, "weight 0"), (3, d, "disabled"), (4, e, "")]);
    assert!(balancer.change(&stopped, PATIENCE).is_settled());
    assert_eq!(balancer.serving(&servers), BTreeSet::from([4]));
    // All are wanted again, and the last has another port.
    let new = lines([(0, a, ""), (1, b, ""), (2, c, ""), (3, d, ""), (4, f, "")]);
    balancer.reload_with(&file, &new);
    balancer.haproxy.wait("all serve", || balancer.serving(&servers) == BTreeSet::from([0, 1, 2, 3, 5]));
    assert_eq!(told(&balancer.again(PATIENCE)), "");
}
