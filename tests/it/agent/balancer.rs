//! A load balancer of a fleet: a store, a HAProxy, and an agent that keeps its file up to date.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::daemon::Daemon;
use super::load;
use super::place::Place;
#[cfg(all(feature = "https", feature = "ssh"))]
use crate::fixture::haproxy;
use crate::fixture::haproxy::HaProxy;
use crate::fixture::http_server::{CHECK_PATH, HttpServer};
use crate::fixture::machine::Machine;

pub(crate) struct Balancer {
    pub(crate) machine: Machine,
    pub(crate) haproxy: HaProxy,
    pub(crate) front: SocketAddr,
    /// The place of the list.
    pub(crate) place: Place,
}

impl Balancer {
    /// A balancer for these nodes, which are already on the list. It checks them often. Its agent is not
    /// started.
    pub(crate) fn start(nodes: &[(&str, &HttpServer)]) -> Balancer {
        Balancer::start_at(Place::here(), nodes)
    }

    /// The same, with the list at a given place.
    pub(crate) fn start_at(place: Place, nodes: &[(&str, &HttpServer)]) -> Balancer {
        let agent = "interval = '5s'\npoll = '200ms'\nquiet-min = '100ms'\nreloads-per-minute = 1000\n";
        let often = "server_options = 'inter 500ms downinter 500ms fastinter 100ms slowstart 1ms'\n";
        Balancer::start_with(place, nodes, agent, often)
    }

    /// The same, with these lines of `[agent]` and `[render.vars]`.
    pub(crate) fn start_with(
        place: Place,
        nodes: &[(&str, &HttpServer)],
        agent: &str,
        vars: &str,
    ) -> Balancer {
        let machine = place.machine("lb1");
        let front = HaProxy::free_address();
        machine.good(&["state", "done"]);
        let starting = Starting { machine, front, place: &place, agent, vars };
        for (part, server) in nodes {
            starting.join(part, server);
        }
        // HAProxy does not run yet and cannot be asked.
        let dir = starting.machine.path("");
        let socket = HaProxy::socket_in(&dir);
        let asks = format!("apply = 'runtime'\nsocket = '{}'\n", socket.display());
        let of_the_file = format!("state-file = '{}/states'\npatience = '1s'\n", dir.display());
        starting.configure("true");
        let path = starting.machine.path("presence.toml");
        let text = fs::read_to_string(&path).unwrap().replace(&asks, "").replace(&of_the_file, "");
        let vars = format!(
            "[render.vars]\nstats_socket = '{}'\nserver_state_file = '{}/states'\n",
            socket.display(),
            dir.display()
        );
        fs::write(&path, text.replace("[render.vars]\n", &vars)).unwrap();
        fs::write(starting.machine.path("states"), "1\n").unwrap();
        assert_eq!(starting.machine.run(&["beat"]).code, Some(0));
        fs::remove_file(starting.machine.path("reloads")).unwrap();
        let config = fs::read_to_string(HaProxy::config_in(&dir)).unwrap();
        let haproxy = HaProxy::start(&dir, &config);
        starting.configure(&format!("kill -USR2 $(cat {})", pid_file(&dir).display()));
        note_pid(&dir, &haproxy);
        Balancer { machine: starting.machine, haproxy, front, place }
    }

    /// Kills HAProxy, with all its run-time state.
    pub(crate) fn kill_haproxy(&mut self) {
        self.haproxy.kill();
    }

    /// Starts HAProxy from its file, as an operator would.
    pub(crate) fn start_haproxy(&mut self) {
        let dir = self.machine.path("");
        self.haproxy = HaProxy::start(&dir, &self.config());
        note_pid(&dir, &self.haproxy);
    }

    /// Restarts HAProxy with another file beside its own.
    #[cfg(all(feature = "https", feature = "ssh"))]
    pub(crate) fn restart_haproxy_with(&mut self, other: &str) {
        self.kill_haproxy();
        let dir = self.machine.path("");
        let path = dir.join("other.cfg");
        fs::write(&path, other).unwrap();
        let mut command = std::process::Command::new(haproxy::program());
        command.arg("-f").arg(path);
        self.haproxy = HaProxy::start_as(command, &dir, &self.config());
        note_pid(&dir, &self.haproxy);
    }

    /// From the next start, the file leaves out nodes that are silent for longer.
    pub(crate) fn set_max_age(&self, age: &str) {
        let path = self.machine.path("presence.toml");
        let text = fs::read_to_string(&path).unwrap().replace(self.place.max_age(), "");
        fs::write(&path, text.replace("[[render]]\n", &format!("[[render]]\nmax-age = '{age}'\n"))).unwrap();
    }

    pub(crate) fn agent(&self) -> Daemon {
        Daemon::start(&self.machine)
    }

    /// A node of the same fleet, with its own facts and state directory.
    pub(crate) fn node(&self, part: &str, server: &HttpServer) -> Machine {
        node(&self.place, part, server)
    }

    /// How often the reload command has run since the start.
    pub(crate) fn reloads(&self) -> usize {
        fs::read_to_string(self.machine.path("reloads")).unwrap_or_default().lines().count()
    }

    pub(crate) fn config(&self) -> String {
        fs::read_to_string(HaProxy::config_in(&self.machine.path(""))).unwrap()
    }

    pub(crate) fn metrics(&self) -> String {
        fs::read_to_string(self.machine.path("metrics.prom")).unwrap_or_default()
    }

    /// The status of a request to the balancer, on a new connection.
    pub(crate) fn get(&self) -> Option<u16> {
        load::get(self.front)
    }

    /// Whether this server has recently received a request, while requests are sent.
    pub(crate) fn serves(&self, server: &HttpServer) -> bool {
        let before = server.requests();
        for _ in 0..4 {
            self.get();
        }
        server.requests() > before
    }

    /// The running servers of the backend `app1`, and whether each receives requests.
    pub(crate) fn running(&self) -> Vec<(String, bool)> {
        let stat = self.haproxy.ask("show stat");
        let mut servers: Vec<(String, bool)> = stat
            .lines()
            .map(|line| line.split(',').collect::<Vec<_>>())
            .filter(|words| words.len() > 18 && words[0] == "app" && !words[1].ends_with("END"))
            .map(|words| (words[1].to_owned(), words[17].starts_with("UP") && words[18] != "0"))
            .collect();
        servers.sort();
        servers
    }
}

/// The pid file that the reload command reads.
fn pid_file(dir: &Path) -> PathBuf {
    dir.join("haproxy.pid")
}

fn note_pid(dir: &Path, haproxy: &HaProxy) {
    fs::write(pid_file(dir), haproxy.pid().as_raw_nonzero().to_string()).unwrap();
}

struct Starting<'a> {
    machine: Machine,
    front: SocketAddr,
    place: &'a Place,
    agent: &'a str,
    vars: &'a str,
}

impl Starting<'_> {
    fn join(&self, part: &str, server: &HttpServer) {
        node(self.place, part, server).good(&["state", "done"]);
    }

    fn configure(&self, reload: &str) {
        let dir = self.machine.path("");
        let text = format!(
            "[agent]\n{agent}\
             metrics = '{dir}/metrics.prom'\n\
             [[render]]\nname = 'haproxy'\noutput = '{config}'\ncheck = 'haproxy -dW -c -f {{}}'\n\
             reload = 'sh -c \"echo x >> {dir}/reloads; {reload}\"'\napply = 'runtime'\nsocket = '{socket}'\n\
             state-file = '{dir}/states'\npatience = '1s'\n{max_age}\
             [render.vars]\napp_parts = 'app'\nbind_address = '{ip}'\nfrontend_port = {port}\ncheck_path = '{CHECK_PATH}'\n\
             maxconn = 400\n{vars}",
            agent = self.agent,
            max_age = self.place.max_age(),
            vars = self.vars,
            dir = dir.display(),
            config = HaProxy::config_in(&dir).display(),
            socket = HaProxy::socket_in(&dir).display(),
            ip = self.front.ip(),
            port = self.front.port(),
        );
        fs::write(self.machine.path("presence.toml"), text).unwrap();
    }
}

fn node(place: &Place, id: &str, server: &HttpServer) -> Machine {
    place
        .machine("app")
        .with("instance-id", format!("i-{id}"))
        .with("address", server.address().ip())
        .with("port", server.address().port())
}
