//! A whole fleet: git servers, balancers, application servers, and the cuts between them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use crate::app::App;
use crate::balancer::{Balancer, View};
use crate::cut::{self, Loss};
use crate::git::GitServer;
use crate::host::Host;
use crate::load::{self, Load};
use crate::namespaces::Namespaces;
use crate::plan::Plan;
use crate::wait;

/// How long a fleet may take to become whole on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// The numbers of the application servers, in the order in which a fleet takes them. Each pair shares one
/// shard of heartbeats (of 64, by a hash of the instance-id): a write by one can harm the other.
const NUMBERS: [u8; 16] = [1, 12, 2, 11, 3, 10, 6, 15, 7, 14, 4, 5, 8, 9, 13, 16];

pub(crate) struct Fleet {
    // The order matters: programs must end before their network is removed.
    pub(crate) apps: Vec<App>,
    pub(crate) balancers: Vec<Balancer>,
    pub(crate) git: Vec<GitServer>,
    network: Namespaces,
    pub(crate) plan: Plan,
}

impl Fleet {
    /// A fleet in which everything runs and every balancer serves every application server.
    #[track_caller]
    pub(crate) fn start(plan: Plan) -> Fleet {
        let network = Namespaces::new();
        cut::prepare(&network);
        let git: Vec<GitServer> = (1..=plan.stores)
            .map(|number| GitServer::start(&network, &format!("git{number}"), number as u8))
            .collect();
        for server in &git {
            let serves =
                || load::in_namespace(&network.hub(), || TcpStream::connect(server.address()).is_ok());
            assert!(wait::until(START_LIMIT, serves), "git daemon does not serve");
        }
        let mut fleet = Fleet { apps: Vec::new(), balancers: Vec::new(), git, network, plan };
        for _ in 0..fleet.plan.apps {
            fleet.join();
        }
        for number in 1..=2 {
            let host = Host::new(&fleet.network, &format!("lb{number}"), 10 + number);
            let balancer = Balancer::new(host, &fleet.plan, &fleet.stores());
            fleet.balancers.push(balancer);
        }
        let ids = fleet.ids();
        for balancer in &mut fleet.balancers {
            assert!(wait::until(START_LIMIT, || balancer.list() == ids), "the list is not complete");
            let complete = || {
                balancer.render();
                balancer.view().listed() == ids
            };
            assert!(wait::until(START_LIMIT, complete), "the file is not complete");
            balancer.start_haproxy();
            balancer.start_agent();
        }
        assert!(fleet.wait_whole(START_LIMIT), "not every server is up");
        fleet
    }

    /// Adds an application server with its agent.
    pub(crate) fn join(&mut self) -> &App {
        let number = NUMBERS[self.apps.len()];
        let host = Host::new(&self.network, &format!("app{number}"), 100 + number);
        let mut app =
            App::new(host, &format!("{}[agent]\ninterval = '{:?}'\n", self.stores(), self.plan.interval));
        app.start_agent();
        self.apps.push(app);
        &self.apps[self.apps.len() - 1]
    }

    fn stores(&self) -> String {
        let urls: Vec<String> = self.git.iter().map(|server| format!("'{}'", server.url())).collect();
        format!("store = [{}]\n", urls.join(", "))
    }

    /// The instance-ids of the application servers.
    pub(crate) fn ids(&self) -> BTreeSet<String> {
        self.apps.iter().map(|app| app.host.id()).collect()
    }

    /// A view of each balancer.
    pub(crate) fn views(&self) -> Vec<View> {
        self.balancers.iter().map(Balancer::view).collect()
    }

    /// Waits until the fleet has been whole for some time. False if that takes too long.
    pub(crate) fn settle(&self, time: Duration, limit: Duration) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < limit && self.wait_whole(limit.saturating_sub(begin.elapsed())) {
            if !wait::until(time, || !self.wait_whole(Duration::ZERO)) {
                return true;
            }
        }
        false
    }

    /// Waits until every balancer lists exactly all application servers and sends requests to each. False if
    /// that takes too long.
    pub(crate) fn wait_whole(&self, limit: Duration) -> bool {
        let (views, ids) = (self.views(), self.ids());
        wait::until(limit, || views.iter().all(|view| view.listed() == ids && view.up() == ids))
    }

    /// Sends steady requests through all balancers.
    pub(crate) fn load(&self) -> Load {
        let fronts = self.balancers.iter().map(Balancer::front).collect();
        Load::start(&self.network.hub(), fronts, self.plan.rate)
    }

    /// Cuts these hosts off from these git servers only.
    pub(crate) fn cut<'a>(&self, hosts: impl IntoIterator<Item = &'a Host>, git: &[usize]) {
        self.lose(Loss::All, hosts, git);
    }

    /// As `cut`, with a given loss.
    pub(crate) fn lose<'a>(&self, loss: Loss, hosts: impl IntoIterator<Item = &'a Host>, git: &[usize]) {
        let git: Vec<Ipv4Addr> = git.iter().map(|number| self.git[*number].host.address).collect();
        let pair = |host: &Host| git.iter().map(|server| (host.address, *server)).collect::<Vec<_>>();
        let pairs: Vec<_> = hosts.into_iter().flat_map(pair).collect();
        cut::cut(&self.network, loss, &pairs);
    }

    /// Ends all cuts.
    pub(crate) fn heal(&self) {
        cut::heal(&self.network);
    }

    /// Unplugs or plugs the host's cable.
    pub(crate) fn plug(&self, host: &Host, up: bool) {
        self.network.plug(&host.name, up);
    }
}
