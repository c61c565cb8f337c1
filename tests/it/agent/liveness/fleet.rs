//! A balancer whose agent keeps a hosts file up to date, and applications in it, each with its own agent.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::agent::daemon::Daemon;
use crate::agent::place::Place;
use crate::fixture::Repository;
use crate::fixture::machine::Machine;

/// How long a node may be silent: eight heartbeats.
pub(super) const MAX_AGE: Duration = Duration::from_secs(8);

/// With the balancer, the file has six nodes: three silent ones exceed this share, two do not.
const MAX_SHRINK: u8 = 40;

pub(super) struct Fleet {
    pub(super) place: Place,
    pub(super) balancer: Machine,
    agent: Option<Daemon>,
    pub(super) apps: BTreeMap<u32, App>,
}

pub(super) struct App {
    pub(super) machine: Machine,
    agent: Option<Daemon>,
}

impl Fleet {
    /// A balancer and `apps` applications, all running and in the file.
    pub(super) fn start(place: Place, apps: u32) -> Fleet {
        let mut fleet = Fleet::new(place);
        for number in 1..=apps {
            fleet.add(number);
            fleet.start_app(number);
        }
        fleet.start_balancer();
        fleet.become_served(&fleet.all());
        fleet
    }

    /// A balancer whose agent does not run yet.
    pub(super) fn new(place: Place) -> Fleet {
        let balancer = place.machine("lb1");
        Fleet::of(place, balancer)
    }

    /// The same for a balancer that already has its stores.
    pub(super) fn of(place: Place, balancer: Machine) -> Fleet {
        let text = format!(
            "[agent]\ninterval = '1s'\npoll = '150ms'\nquiet-min = '50ms'\nmetrics = 'metrics.prom'\n\
             [[render]]\nname = 'hosts'\noutput = '{}'\nmax-age = '{}s'\nmax-shrink = {MAX_SHRINK}\n",
            balancer.path("hosts").display(),
            MAX_AGE.as_secs()
        );
        fs::write(balancer.path("presence.toml"), text).unwrap();
        Fleet { place, balancer, agent: None, apps: BTreeMap::new() }
    }

    /// Adds an application whose agent does not run yet.
    pub(super) fn add(&mut self, number: u32) {
        let machine = self.place.machine("app");
        self.add_machine(number, machine);
    }

    /// Adds a machine that already has its stores as an application.
    pub(super) fn add_machine(&mut self, number: u32, machine: Machine) {
        let machine = machine
            .with("instance-id", id(number))
            .with("hostname", format!("app{number}"))
            .with("ipv4", format!("10.0.1.{number}"))
            .with("state", "done")
            // Long ago, so that it is not a sign of life.
            .with("statetss", "20260101-000000");
        fs::write(machine.path("presence.toml"), "[agent]\ninterval = '1s'\n").unwrap();
        self.apps.insert(number, App { machine, agent: None });
    }

    pub(super) fn start_app(&mut self, number: u32) {
        self.start_app_with(number, |_| {});
    }

    /// Starts it with a changed environment.
    pub(super) fn start_app_with(&mut self, number: u32, more: impl FnOnce(&mut Command)) {
        let app = self.apps.get_mut(&number).unwrap();
        app.agent = Some(Daemon::start_with(&app.machine, more));
    }

    /// Kills the agents of these applications, all at the same time.
    pub(super) fn kill_apps(&mut self, numbers: &[u32]) {
        for number in numbers {
            self.apps.get_mut(number).unwrap().agent = None;
        }
    }

    pub(super) fn start_balancer(&mut self) {
        self.start_balancer_with(|_| {});
    }

    /// Starts it with a changed environment.
    pub(super) fn start_balancer_with(&mut self, more: impl FnOnce(&mut Command)) {
        self.agent = Some(Daemon::start_with(&self.balancer, more));
    }

    pub(super) fn kill_balancer(&mut self) {
        self.agent = None;
    }

    /// The repository of the list, as seen by the server.
    pub(super) fn repository(&self) -> Repository {
        Repository::at(&self.place.repository())
    }

    /// All applications.
    pub(super) fn all(&self) -> Vec<u32> {
        self.apps.keys().copied().collect()
    }

    /// The applications in the file.
    pub(super) fn served(&self) -> Vec<u32> {
        let hosts = fs::read_to_string(self.balancer.path("hosts")).unwrap_or_default();
        let words: Vec<&str> = hosts.split_whitespace().collect();
        self.all().into_iter().filter(|number| words.contains(&id(*number).as_str())).collect()
    }

    /// A metric of the balancer's agent.
    pub(super) fn metric(&self, name: &str) -> Option<u64> {
        let metrics = fs::read_to_string(self.balancer.path("metrics.prom")).unwrap_or_default();
        metrics.lines().find(|line| line.starts_with(name))?.rsplit(' ').next()?.parse().ok()
    }

    /// What the balancer's agents have logged so far.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.balancer.path("agent.log")).unwrap()
    }

    /// How many lines of the log contain the text.
    pub(super) fn said(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    #[track_caller]
    pub(super) fn wait_for(&self, what: &str, condition: impl FnMut() -> bool) {
        crate::agent::daemon::wait(what, || self.log(), condition);
    }

    /// Waits until the file has exactly these applications. Those that are already in it must never leave it.
    #[track_caller]
    pub(super) fn become_served(&self, expected: &[u32]) {
        let before: Vec<u32> = self.served().into_iter().filter(|number| expected.contains(number)).collect();
        self.wait_for(&format!("{expected:?} to be served"), || {
            let now = self.served();
            assert!(before.iter().all(|number| now.contains(number)), "{now:?} served\n{}", self.log());
            now == expected
        });
    }

    /// The file must have exactly these applications all the time.
    #[track_caller]
    pub(super) fn stay_served(&self, expected: &[u32], time: Duration) {
        let started = Instant::now();
        while started.elapsed() < time {
            assert_eq!(self.served(), expected, "after {:?}\n{}", started.elapsed(), self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends all agents. The balancer's agent has never waited for a lock, and has reported `holds` times that
    /// it keeps silent nodes.
    #[track_caller]
    pub(super) fn end(self, holds: usize) {
        let log = self.log();
        for words in ["has held", "holds `"] {
            assert!(!log.contains(words), "{log}");
        }
        assert_eq!(self.said("silent, but kept"), holds, "{log}");
    }
}

pub(super) fn id(number: u32) -> String {
    format!("i-app{number}")
}
