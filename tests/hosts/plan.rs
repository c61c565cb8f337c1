//! The size and pace of a fleet.

use std::time::Duration;

/// The parameters of a fleet.
#[derive(Clone)]
pub(crate) struct Plan {
    /// The number of application servers.
    pub(crate) apps: usize,
    /// The number of git servers. Each is a store of every node.
    pub(crate) stores: usize,
    /// The time between beats.
    pub(crate) interval: Duration,
    /// The time between looks of a balancer.
    pub(crate) poll: Duration,
    /// How long a node may be silent.
    pub(crate) max_age: Duration,
    /// Requests per second through all balancers.
    pub(crate) rate: u32,
    /// How soon balancers must apply a change of a store. They look once a second; the machine may be busy.
    pub(crate) heeded: Duration,
    /// The duration of a fault that must do no harm.
    pub(crate) fault: Duration,
}

impl Plan {
    /// Ten hosts at a fast pace, for the test suite.
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

    /// As in production, only smaller, for measurements.
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

    /// How soon the record of a dead node must be gone from every file: its last heartbeat may be just sent.
    pub(crate) fn expired(&self) -> Duration {
        self.max_age + self.interval + self.heeded
    }

    /// The same plan with two stores.
    pub(crate) fn two_stores(self) -> Plan {
        Plan { stores: 2, ..self }
    }
}
