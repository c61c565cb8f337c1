//! How large a fleet is, and how fast it beats.

use std::time::Duration;

/// A fleet to come.
#[derive(Clone)]
pub(crate) struct Plan {
    /// How many application servers.
    pub(crate) apps: usize,
    /// How many git servers, all of which are stores of every node.
    pub(crate) stores: usize,
    /// From beat to beat.
    pub(crate) interval: Duration,
    /// From look to look of a balancer.
    pub(crate) poll: Duration,
    /// How long a node may be silent.
    pub(crate) max_age: Duration,
    /// Requests a second through all balancers.
    pub(crate) rate: u32,
    /// How soon balancers must heed what a store was told: they look once a second. The suite's machine may be busy.
    pub(crate) heeded: Duration,
    /// How long a fault lasts that must do no harm.
    pub(crate) fault: Duration,
}

impl Plan {
    /// Ten hosts, hasty: for the suite.
    pub(crate) fn short() -> Plan {
        Plan {
            apps: 6,
            stores: 1,
            interval: Duration::from_secs(2),
            poll: Duration::from_secs(1),
            max_age: Duration::from_secs(10),
            rate: 100,
            heeded: Duration::from_secs(30),
            fault: Duration::from_secs(16),
        }
    }

    /// As in production, only smaller: for the figures.
    pub(crate) fn long() -> Plan {
        Plan {
            apps: 15,
            stores: 1,
            interval: Duration::from_secs(5),
            poll: Duration::from_secs(1),
            max_age: Duration::from_secs(20),
            rate: 400,
            heeded: Duration::from_secs(3),
            fault: Duration::from_secs(45),
        }
    }

    /// How soon the record of a node that has died must be off every file: its last heartbeat was just left.
    pub(crate) fn expired(&self) -> Duration {
        self.max_age + self.interval + self.heeded
    }

    /// The same with two stores.
    pub(crate) fn two_stores(self) -> Plan {
        Plan { stores: 2, ..self }
    }
}
