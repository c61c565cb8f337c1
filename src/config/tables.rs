//! The tables `[[render]]`, `[agent]`, `[[health]]` and `[[notify]]`, as they hold.

mod written;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use glob::Pattern;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::output::limits::Limits;
use crate::output::{Command, Target};
use crate::probe::Question;
pub(super) use written::{AgentTable, HealthTable, NotifyTable, RenderTable};

/// A file to keep right.
#[derive(Debug, Clone)]
pub struct Render {
    /// The template's name.
    pub name: String,
    /// The file, and how it is checked and taken into use.
    pub target: Target,
    /// Stand in for this part.
    pub part: Option<String>,
    /// Stand in for this stacktype.
    pub stacktype: Option<String>,
    /// Stand in for this deployment.
    pub deployment: Option<String>,
    /// Where templates are looked for first.
    pub template_dirs: Vec<PathBuf>,
    /// Variables, over those of the whole configuration.
    pub vars: Map<String, Value>,
    /// The safety limits.
    pub limits: Limits,
    /// Nodes that were silent for longer are absent.
    pub max_age: Option<SignedDuration>,
    /// Only nodes that answer are active: nodes of these parts are asked.
    pub reachable: Option<Pattern>,
}

/// How the agent goes about.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// From beat to beat.
    pub interval: Duration,
    /// Over how much of the interval a fleet spreads.
    pub splay: Duration,
    /// From look to look at the stores.
    pub poll: Duration,
    /// After a change, so long without another before there is a render.
    pub quiet_min: Duration,
    /// After a change, so long at most.
    pub quiet_max: Duration,
    /// So many reloads a minute at most.
    pub reloads_per_minute: u32,
    /// What to say to the list when the agent is stopped.
    pub on_stop: OnStop,
    /// Where metrics are written.
    pub metrics: Option<PathBuf>,
}

/// What is said to the list when the agent is stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnStop {
    /// Nothing: a restart of the agent is no news.
    #[default]
    Nothing,
    /// This node is draining.
    Draining,
    /// This node is off the list.
    Withdraw,
}

/// A check of this node's own service.
#[derive(Debug, Clone)]
pub struct Health {
    /// Its name in messages and memories.
    pub name: String,
    /// What is asked.
    pub check: Check,
    /// So many good answers in a row make it healthy.
    pub rise: u32,
    /// So many bad answers in a row make it ill.
    pub fall: u32,
    /// No answer after this is a bad one.
    pub timeout: Duration,
    /// From question to question.
    pub interval: Duration,
    /// A node that fails again and again must be well for so long at most before it is announced as well.
    pub damp: Duration,
}

/// What a health check asks.
#[derive(Debug, Clone)]
pub enum Check {
    /// Whether a command succeeds.
    Command(Command),
    /// Whether somebody answers there.
    Answers(SocketAddr, Question),
}

/// Who is told of changes of the roster.
#[derive(Debug, Clone)]
pub struct Notify {
    /// A JSON object is posted there.
    pub url: Option<String>,
    /// It gets the JSON object in a file, `{}`.
    pub command: Option<Command>,
    /// Only of critical changes.
    pub critical_only: bool,
    /// How long telling may take.
    pub timeout: Duration,
}
