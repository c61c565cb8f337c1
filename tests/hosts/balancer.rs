//! A load balancer: HAProxy, and an agent that keeps its file up to date.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::haproxy::{self, HaProxy};
use crate::host::Host;
use crate::plan::Plan;
use crate::process::Process;

pub(crate) struct Balancer {
    haproxy: Option<HaProxy>,
    agent: Option<Process>,
    pub(crate) host: Host,
}

impl Balancer {
    /// Nothing runs yet, and there is no file.
    pub(crate) fn new(host: Host, plan: &Plan, stores: &str) -> Balancer {
        let dir = host.dir();
        let text = format!(
            "{stores}[agent]\ninterval = '{interval:?}'\npoll = '{poll:?}'\nmetrics = '{dir}/metrics.prom'\n\
             [[render]]\nname = 'haproxy'\noutput = '{config}'\ncheck = 'haproxy -dW -c -f {{}}'\n\
             reload = 'sh -c \"echo x >> {dir}/reloads; test ! -e {dir}/pid || kill -USR2 $(cat {dir}/pid)\"'\n\
             apply = 'runtime'\nsocket = '{socket}'\nstate-file = '{dir}/states'\nmax-age = '{max_age:?}'\n\
             [render.vars]\napp_parts = 'app'\nbind_address = '{address}'\nmaxconn = 2000\n",
            interval = plan.interval,
            poll = plan.poll,
            max_age = plan.max_age,
            dir = dir.display(),
            config = HaProxy::config_in(dir).display(),
            socket = HaProxy::socket_in(dir).display(),
            address = host.address,
        );
        host.become_node("lb1", &text);
        fs::write(host.path("states"), "1\n").unwrap();
        Balancer { haproxy: None, agent: None, host }
    }

    /// The nodes of the list, as this balancer reads it.
    pub(crate) fn list(&self) -> BTreeSet<String> {
        let output = self.host.run(&["list", "--part", "app", "--format", "ids"]);
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// Writes the file in one beat. This cannot fully succeed while HAProxy does not run.
    pub(crate) fn render(&self) {
        self.host.run(&["beat"]);
    }

    /// Starts HAProxy from its file.
    pub(crate) fn start_haproxy(&mut self) {
        self.haproxy = None;
        let config = fs::read_to_string(HaProxy::config_in(self.host.dir())).unwrap();
        let haproxy = HaProxy::start_as(self.host.command(haproxy::program()), self.host.dir(), &config);
        fs::write(self.host.path("pid"), haproxy.pid().as_raw_nonzero().to_string()).unwrap();
        self.haproxy = Some(haproxy);
    }

    /// Kills HAProxy.
    pub(crate) fn kill_haproxy(&mut self) {
        self.haproxy = None;
    }

    /// Starts the agent, after killing the running one.
    pub(crate) fn start_agent(&mut self) {
        self.agent = None;
        self.agent = Some(self.host.agent());
    }

    /// Kills the agent.
    pub(crate) fn kill_agent(&mut self) {
        self.agent = None;
    }

    /// Ends the agent by SIGTERM, as systemd does. False if it still runs after ten seconds; it is killed
    /// then.
    pub(crate) fn end_agent(&mut self) -> bool {
        let Some(mut agent) = self.agent.take() else { return true };
        agent.signal(Signal::TERM);
        crate::wait::until(Duration::from_secs(10), || !agent.runs())
    }

    /// The address for clients.
    pub(crate) fn front(&self) -> SocketAddr {
        SocketAddr::from((self.host.address, 80))
    }

    /// A view of what it serves.
    pub(crate) fn view(&self) -> View {
        View { dir: self.host.dir().to_owned() }
    }

    /// How often the reload command was run.
    pub(crate) fn reloads(&self) -> usize {
        fs::read_to_string(self.host.path("reloads")).unwrap_or_default().lines().count()
    }
}

/// What a balancer serves, seen from outside.
#[derive(Clone)]
pub(crate) struct View {
    dir: PathBuf,
}

impl View {
    /// The servers in its file.
    pub(crate) fn listed(&self) -> BTreeSet<String> {
        let config = fs::read_to_string(HaProxy::config_in(&self.dir)).unwrap_or_default();
        let servers = config.lines().filter_map(|line| line.trim().strip_prefix("server "));
        servers.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }

    /// The line of a server in its file.
    pub(crate) fn line(&self, id: &str) -> Option<String> {
        let config = fs::read_to_string(HaProxy::config_in(&self.dir)).ok()?;
        config.lines().find(|line| line.trim().starts_with(&format!("server {id} "))).map(str::to_owned)
    }

    /// The servers to which HAProxy sends requests. Empty if HAProxy does not answer.
    pub(crate) fn up(&self) -> BTreeSet<String> {
        let stat = ask(&HaProxy::socket_in(&self.dir), "show stat").unwrap_or_default();
        stat.lines()
            .map(|line| line.split(',').collect::<Vec<_>>())
            .filter(|words| words.len() > 18 && words[0] == "app" && !words[1].ends_with("END"))
            // The columns are the state and the weight; a draining server has the weight 0.
            .filter(|words| words[17].starts_with("UP") && words[18] != "0")
            .map(|words| words[1].to_owned())
            .collect()
    }
}

fn ask(socket: &Path, command: &str) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(format!("{command}\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
