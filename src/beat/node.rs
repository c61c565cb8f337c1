//! This node: its facts from files and the machine, and the clock.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::published;
use crate::endpoint::Address;
use crate::errors::pasted;
use crate::facts::{self, FactsError, Nodeinfo};
use crate::health;
use crate::name::Name;
use crate::record::{Facts, REASON, Record, RecordError, SERVICES};

/// This node's record cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The file with this node's name is empty.
    #[error("`{}` is empty, and this node has no other name", .0.display())]
    EmptyId(PathBuf),
    /// There is no file with this node's name any more, and the machine's own name is different.
    #[error("there is no `{}`: this node has published as `{was}`, so it does not become `{now}` by itself", file.display())]
    OtherId {
        /// The file that should have the name.
        file: PathBuf,
        /// The name so far.
        was: String,
        /// The machine's own name.
        now: String,
    },
    /// The facts could not be read.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// There is no folder to write facts into.
    #[error("there is no nodeinfo folder `{}`", .0.display())]
    NoFolder(PathBuf),
    /// There is no folder of that service, whose health is checked.
    #[error("there is no folder `{}` of the service `{service}`", dir.display())]
    NoService {
        /// The folder.
        dir: PathBuf,
        /// The service.
        service: Name,
    },
    /// The facts do not make a record.
    #[error("this node {source}")]
    Record {
        /// The file that should have the instance-id.
        file: PathBuf,
        /// What is missing or wrong.
        source: RecordError,
    },
    /// The value of `PRESENCE_NOW` is not a time.
    #[error("PRESENCE_NOW is not a time: {0}")]
    Clock(jiff::Error),
}

impl NodeError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            NodeError::Facts(error) => error.hint(),
            NodeError::Record { file, source: RecordError::NoId } => {
                let dir = file.parent().map_or_else(|| ".".to_owned(), pasted);
                Some(format!(
                    "write a unique name into `{}`, or run `presence init --nodeinfo {dir}`",
                    file.display()
                ))
            }
            NodeError::EmptyId(file) | NodeError::OtherId { file, .. } => {
                Some(format!("write the name of this node into `{}`", file.display()))
            }
            NodeError::Record { file, .. } => Some(format!("correct `{}`", file.display())),
            NodeError::NoFolder(dir) => {
                Some(format!("create it with `presence init --nodeinfo {}`", pasted(dir)))
            }
            NodeError::NoService { service, .. } => {
                Some(format!("create it with `presence init --service {service} --port PORT`"))
            }
            NodeError::Clock(_) => Some("write it like 2015-10-08T17:46:46Z".to_owned()),
        }
    }
}

/// The facts of this node. The folder may be missing unless it was named explicitly.
pub fn facts(nodeinfo: &Nodeinfo) -> Result<Facts, NodeError> {
    let mut found = match nodeinfo.dir.is_dir() || nodeinfo.is_named {
        true => facts::read(&nodeinfo.dir)?,
        false => Facts::new(),
    };
    facts::complete(&mut found);
    // A different state was written by hand, so the reason belongs to the old one.
    if found.get("state").and_then(|state| state.as_str()) != Some(health::WEDGED) {
        found.remove(REASON);
    }
    if let Some(Value::Object(services)) = found.get_mut(SERVICES) {
        for facts in services.values_mut().filter_map(Value::as_object_mut) {
            if facts.get("state").and_then(Value::as_str) != Some(health::WEDGED) {
                facts.remove(REASON);
            }
        }
    }
    Ok(found)
}

/// The addresses of this node and its machine, and the node's name, as far as they are known.
pub fn identity(nodeinfo: &Nodeinfo) -> (Vec<IpAddr>, Option<String>) {
    let mut own = facts::own_addresses();
    let facts = facts(nodeinfo).unwrap_or_default();
    let text = |fact: &str| facts.get(fact).and_then(|value| value.as_str());
    let stated = published::ADDRESSES.iter().filter_map(|fact| text(fact)?.parse::<Address>().ok());
    own.extend(stated.map(|address| address.ip()).filter(|address| !address.is_loopback()));
    (own, text(ID).map(str::to_owned))
}

/// The record of this node. An error if its name would differ from before only because the file with the name
/// is missing or being written: the node would join the list a second time.
pub fn record(nodeinfo: &Nodeinfo, state_dir: &Path) -> Result<Record, NodeError> {
    let file = facts::file(&nodeinfo.dir, ID);
    if facts::is_empty(&nodeinfo.dir, ID) {
        return Err(NodeError::EmptyId(file));
    }
    let record =
        Record::new(facts(nodeinfo)?).map_err(|source| NodeError::Record { file: file.clone(), source })?;
    let was = published::id_said(state_dir).filter(|was| was != record.id().as_str());
    match was.filter(|_| !facts::has_file(&nodeinfo.dir, ID)) {
        Some(was) => Err(NodeError::OtherId { file, was, now: record.id().to_string() }),
        None => Ok(record),
    }
}

/// The fact that is this node's name.
const ID: &str = "instance-id";

/// The time. `PRESENCE_NOW` (RFC 3339) replaces the clock, for tests and rehearsals.
pub fn now() -> Result<Timestamp, NodeError> {
    match std::env::var("PRESENCE_NOW") {
        Ok(text) => text.parse().map_err(NodeError::Clock),
        Err(_) => Ok(Timestamp::now()),
    }
}

/// The time as records state it, in UTC.
pub fn now_utc() -> Result<DateTime, NodeError> {
    Ok(now()?.to_zoned(TimeZone::UTC).datetime())
}

/// Writes into nodeinfo that this node is in that state now, with the reason, if it is known. False if it was
/// already.
pub fn enter_state(nodeinfo: &Nodeinfo, state: &Name, reason: Option<&str>) -> Result<bool, NodeError> {
    if !nodeinfo.dir.is_dir() {
        return Err(NodeError::NoFolder(nodeinfo.dir.clone()));
    }
    write_state(&nodeinfo.dir, &facts(nodeinfo)?, state, reason)
}

/// The same for one of its services, in the folder of that.
pub fn enter_state_of(
    nodeinfo: &Nodeinfo,
    service: &Name,
    state: &Name,
    reason: Option<&str>,
) -> Result<bool, NodeError> {
    let dir = facts::service(&nodeinfo.dir, service.as_str());
    if !dir.is_dir() {
        return Err(NodeError::NoService { dir, service: service.clone() });
    }
    let all = facts(nodeinfo)?;
    let own = all.get(SERVICES).and_then(|services| services.get(service.as_str())?.as_object());
    let own: Facts = own.into_iter().flatten().map(|(fact, value)| (fact.clone(), value.clone())).collect();
    write_state(&dir, &own, state, reason)
}

fn write_state(dir: &Path, facts: &Facts, state: &Name, reason: Option<&str>) -> Result<bool, NodeError> {
    let Some(changes) = facts::enter_state(facts, state.as_str(), now_utc()?) else {
        return Ok(false);
    };
    // Before the state, so that a record never has one without the other.
    match reason {
        Some(reason) => facts::write(dir, REASON, reason)?,
        None => facts::remove(dir, REASON)?,
    }
    for (fact, value) in changes {
        facts::write(dir, fact, &value)?;
    }
    Ok(true)
}
