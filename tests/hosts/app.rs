//! An application server: an nginx that answers every request with 200, in one process, and an agent that
//! publishes it.

use std::fs;

use rustix::process::Signal;

use crate::host::Host;
use crate::process::Process;

pub(crate) struct App {
    server: Option<Process>,
    agent: Option<Process>,
    pub(crate) host: Host,
}

impl App {
    /// The server runs, the agent does not yet.
    pub(crate) fn new(host: Host, config: &str) -> App {
        host.become_node("app", config);
        let text = CONFIG.replace("{ADDRESS}", &host.address.to_string());
        fs::write(host.path("nginx.conf"), text).unwrap();
        let mut app = App { server: None, agent: None, host };
        app.serve();
        app
    }

    /// Starts the server.
    pub(crate) fn serve(&mut self) {
        let mut command = self.host.command("nginx");
        let dir = self.host.dir().to_owned();
        command
            .arg("-p")
            .arg(&dir)
            .arg("-c")
            .arg(dir.join("nginx.conf"))
            .arg("-e")
            .arg(dir.join("nginx.log"));
        self.server = Some(Process::start(&mut command, &self.host.path("nginx.log")));
    }

    /// Kills the server.
    pub(crate) fn fail(&mut self) {
        self.server = None;
    }

    /// Stops the server: it accepts connections and does not answer.
    pub(crate) fn hang(&self) {
        self.server.as_ref().unwrap().signal(Signal::STOP);
    }

    /// Continues the server.
    pub(crate) fn go_on(&self) {
        self.server.as_ref().unwrap().signal(Signal::CONT);
    }

    /// Starts the agent, or restarts it.
    pub(crate) fn start_agent(&mut self) {
        self.agent = None;
        self.agent = Some(self.host.agent());
    }

    /// Kills the agent.
    pub(crate) fn kill_agent(&mut self) {
        self.agent = None;
    }
}

const CONFIG: &str = "\
daemon off;
master_process off;
pid nginx.pid;
events { worker_connections 500; }
http {
    access_log off;
    client_body_temp_path tmp;
    proxy_temp_path tmp;
    fastcgi_temp_path tmp;
    uwsgi_temp_path tmp;
    scgi_temp_path tmp;
    keepalive_requests 1000000;
    server {
        listen {ADDRESS}:8080;
        location / { return 200 \"well\\n\"; }
    }
}
";
