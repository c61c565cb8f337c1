//! Steps for a server, and the reasons to wait for it: as commands of HAProxy, and as text for people.

use std::fmt;

/// A server, by its names in HAProxy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName {
    /// The section that it is in.
    pub backend: String,
    /// Its own name.
    pub server: String,
}

/// One action on one server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// The server.
    pub server: ServerName,
    /// The action.
    pub action: Action,
}

/// The actions on a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Add it, in maintenance, with this address and these options.
    Add(String),
    /// Enable its check.
    EnableHealth,
    /// Create cookies for the servers of its backend that have none.
    DynamicCookie,
    /// Give it requests.
    Ready,
    /// Give it no new clients.
    Drain,
    /// Give it no requests.
    Maint,
    /// Change its weight.
    Weight(u16),
    /// Delete it.
    Delete,
}

/// A server in transition, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The server.
    pub server: ServerName,
    /// What it waits for.
    pub why: Why,
    /// Whether it has waited for less than the patience, so that it is worth waiting for.
    pub fresh: bool,
}

/// What a server waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Its check has not found it good; with the last verdict.
    Verdict(String),
    /// It still has this many sessions.
    Sessions(u64),
    /// HAProxy keeps idle connections to it.
    Connections,
    /// Another server with its id must be deleted first.
    Id(u32),
    /// Others must serve before it may stop.
    Others,
}

impl Step {
    /// The command for the stats socket. Names and options are words without blanks or separators (a
    /// configuration with others needs a reload), so nothing needs escaping.
    pub fn command(&self) -> String {
        let server = &self.server;
        match &self.action {
            Action::Add(words) => format!("add server {server} {words}"),
            Action::EnableHealth => format!("enable health {server}"),
            Action::DynamicCookie => format!("enable dynamic-cookie backend {}", server.backend),
            Action::Ready => format!("set server {server} state ready"),
            Action::Drain => format!("set server {server} state drain"),
            Action::Maint => format!("set server {server} state maint"),
            Action::Weight(weight) => format!("set server {server} weight {weight}"),
            Action::Delete => format!("del server {server}"),
        }
    }

    /// Whether people want to know about it.
    pub(super) fn is_news(&self) -> bool {
        !matches!(self.action, Action::EnableHealth | Action::DynamicCookie)
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.backend, self.server)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = &self.server;
        match &self.action {
            Action::Add(_) => write!(f, "{server} added"),
            Action::EnableHealth => write!(f, "{server} is being checked"),
            Action::DynamicCookie => write!(f, "cookies made for {}", server.backend),
            Action::Ready => write!(f, "{server} ready"),
            Action::Drain => write!(f, "{server} draining"),
            Action::Maint => write!(f, "{server} down"),
            Action::Weight(weight) => write!(f, "{server} has weight {weight}"),
            Action::Delete => write!(f, "{server} removed"),
        }
    }
}

impl Waiting {
    /// Whether further waiting is useless: the patience is over, and its checks find it bad.
    pub fn is_failed(&self) -> bool {
        !self.fresh && matches!(&self.why, Why::Verdict(last) if !is_none(last))
    }
}

/// Whether this means that there is no verdict yet.
fn is_none(verdict: &str) -> bool {
    verdict.is_empty() || verdict == "INI"
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} waits for {}", self.server, self.why)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Verdict(last) if is_none(last) => f.write_str("the first result of its check"),
            Why::Verdict(last) => write!(f, "its check to pass; the last result was {last}"),
            Why::Sessions(1) => f.write_str("its last session to end"),
            Why::Sessions(count) => write!(f, "its {count} sessions to end"),
            Why::Connections => f.write_str("its idle connections to be closed"),
            Why::Id(id) => write!(f, "another server to give up the id {id}"),
            Why::Others => f.write_str("other servers to take over"),
        }
    }
}
