//! The tables `[[render]]`, `[[page]]`, `[agent]`, `[[health]]`, `[[notify]]` and `[[credential]]`, as resolved.

mod credential;
mod written;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use glob::Pattern;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::name::Name;
use crate::output::limits::Limits;
use crate::output::{Command, Target};
use crate::probe::Question;
use crate::roster::Selector;
pub(super) use credential::CredentialTable;
pub(super) use written::{AgentTable, EtcdTable, HealthTable, NotifyTable, PageTable, RenderTable};

/// A file to keep up to date.
#[derive(Debug, Clone)]
pub struct Render {
    /// The template's name.
    pub name: String,
    /// The file, with its check and reload.
    pub target: Target,
    /// Render for this part.
    pub part: Option<String>,
    /// Render for this stacktype.
    pub stacktype: Option<String>,
    /// Render for this deployment.
    pub deployment: Option<String>,
    /// The template folders to search first.
    pub template_dirs: Vec<PathBuf>,
    /// Variables, which override those of the whole configuration.
    pub vars: Map<String, Value>,
    /// The safety limits.
    pub limits: Limits,
    /// Nodes that are silent for longer are missed.
    pub max_age: Option<SignedDuration>,
    /// Only nodes that accept a connection are active. Nodes of these parts are asked.
    pub reachable: Option<Pattern>,
    /// The file is not made before an active node of these parts is in scope.
    pub wait_for: Option<Pattern>,
}

impl Render {
    /// The variables of this file over those of the whole configuration. A table, such as the variables of one
    /// part, is overridden name by name.
    pub fn vars_over(&self, all: &Map<String, Value>) -> Map<String, Value> {
        let mut vars = all.clone();
        for (name, value) in &self.vars {
            match (vars.get_mut(name), value) {
                (Some(Value::Object(known)), Value::Object(own)) => known.extend(own.clone()),
                _ => drop(vars.insert(name.clone(), value.clone())),
            }
        }
        vars
    }
}

/// A page of the fleet to keep up to date.
#[derive(Debug, Clone)]
pub struct PageFile {
    /// The file.
    pub target: Target,
    /// The nodes to show.
    pub selector: Selector,
    /// Nodes that are silent for longer are shown as silent.
    pub max_age: Option<SignedDuration>,
    /// The most changes; `None` for the usual number.
    pub events: Option<usize>,
    /// The seconds after which an open page looks for a newer one.
    pub reload: u64,
}

/// The agent's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// The time between beats.
    pub interval: Duration,
    /// The part of the interval over which the beats of a fleet spread.
    pub splay: Duration,
    /// The time between looks at the stores.
    pub poll: Duration,
    /// How long the list must be unchanged before a render.
    pub quiet_min: Duration,
    /// The longest delay of a render after a change.
    pub quiet_max: Duration,
    /// The maximum number of reloads per minute.
    pub reloads_per_minute: u32,
    /// What to publish when the agent is stopped.
    pub on_stop: OnStop,
    /// The file of metrics.
    pub metrics: Option<PathBuf>,
}

/// What to publish when the agent is stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnStop {
    /// Nothing: a restart of the agent does not concern the fleet.
    #[default]
    Nothing,
    /// Publish that this node is draining.
    Draining,
    /// Withdraw this node.
    Withdraw,
}

/// A check of this node's own service.
#[derive(Debug, Clone)]
pub struct Health {
    /// Its name in messages and state files.
    pub name: String,
    /// The service of this node that it checks; `None` for the node itself.
    pub service: Option<Name>,
    /// The check itself.
    pub check: Check,
    /// This many successes in a row make the node healthy.
    pub rise: u32,
    /// This many failures in a row make the node unhealthy.
    pub fall: u32,
    /// After this time, a missing answer is a failure.
    pub timeout: Duration,
    /// The time between checks.
    pub interval: Duration,
    /// The longest hold before a node that fails repeatedly is announced as healthy again.
    pub damp: Duration,
}

/// The kind of a health check.
#[derive(Debug, Clone)]
pub enum Check {
    /// A command must succeed.
    Command(Command),
    /// A connection or HTTP request must succeed.
    Answers(SocketAddr, Question),
}

/// A receiver of notifications about changes of the roster.
#[derive(Debug, Clone)]
pub struct Notify {
    /// Gets a JSON object by POST.
    pub url: Option<String>,
    /// Gets the JSON object in the file `{}`.
    pub command: Option<Command>,
    /// Only critical changes.
    pub critical_only: bool,
    /// The longest time for one delivery.
    pub timeout: Duration,
}
