//! The pages that a beat keeps up to date.

use std::hash::Hasher as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fleet::{Fleet, FleetStores};
use super::machine;
use super::node::{self, NodeError};
use super::page::{self, EVENTS, Request};
use crate::config::{Config, PageFile};
use crate::errors::PathError;
use crate::output::{Done, Memory, TargetError, digest};
use crate::record::Facts;
use crate::roster::{Freshness, Heartbeats, Node};

/// The note in a page's memory about the last one.
const LAST: &str = "page.json";

/// After this time, a page is made again although the list is the same: templates may have changed. In seconds.
const LONGEST: i64 = 3600;

/// What is known of the last page.
#[derive(Debug, Serialize, Deserialize)]
struct Last {
    /// Identifies the list.
    list: String,
    /// Identifies what it shows. See [`crate::view::page::Page::essence`].
    essence: String,
    /// Identifies its bytes.
    bytes: String,
    made: Timestamp,
}

/// A page is not in order.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// No store answers.
    #[error("no store could be read; `{}` is left as it is", path.display())]
    Unreachable {
        /// The file.
        path: std::path::PathBuf,
        /// What to do about the stores.
        hint: Option<String>,
    },
    /// The clock.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The memory of the file.
    #[error(transparent)]
    Memory(#[from] PathError),
    /// The file.
    #[error(transparent)]
    Target(#[from] TargetError),
}

impl PageError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            PageError::Unreachable { hint, .. } => hint.clone(),
            PageError::Node(error) => error.hint(),
            PageError::Memory(error) => error.hint(),
            PageError::Target(error) => error.hint(),
        }
    }
}

/// Brings the page up to date. It is replaced only if it shows something else, and not because heartbeats are
/// older. Sentences about what is lost go to `warnings`.
pub fn keep(
    config: &Config,
    stores: &FleetStores,
    (fleet, own): (&Fleet, &Facts),
    table: &PageFile,
    dry_run: bool,
    warnings: &mut Vec<String>,
) -> Result<Done, PageError> {
    let target = &table.target;
    if !fleet.is_current() {
        return Err(PageError::Unreachable { path: target.path.clone(), hint: fleet.hint() });
    }
    let now = node::now()?;
    let memory = Memory::open(&config.state_dir, &machine::key(&target.path))?;
    let (list, last) = (list(fleet, table, now), memory.note::<Last>(LAST));
    let current = target.current()?.unwrap_or_default();
    let last = last.filter(|last| digest(&current) == last.bytes);
    if let Some(last) = &last
        && last.list == list
        && (0..LONGEST).contains(&now.duration_since(last.made).as_secs())
    {
        return Ok(Done::Unchanged);
    }
    let request = Request {
        at: None,
        selector: &table.selector,
        max_age: table.max_age,
        events: table.events.unwrap_or(EVENTS),
        reload: Some(table.reload),
        uses: &[],
        template_dirs: &[],
    };
    let made = page::make(config, stores, fleet, own, &request)?;
    warnings.extend(made.warnings);
    let page = made.page;
    let is_new = last.as_ref().is_none_or(|last| last.essence != page.essence);
    if dry_run {
        return Ok(if is_new { Done::Replaced } else { Done::Unchanged });
    }
    let bytes = if is_new { page.html.as_bytes() } else { &current[..] };
    let done = target.apply(&memory, bytes, warnings)?;
    let bytes = digest(bytes);
    memory.write_note(LAST, Some(&Last { list, essence: page.essence, bytes, made: now }))?;
    Ok(done)
}

/// Identifies the list with its silent nodes, and what is asked for.
fn list(fleet: &Fleet, table: &PageFile, now: Timestamp) -> String {
    let mut hash = fnv::FnvHasher::default();
    let mut add = |text: &str| {
        hash.write_u64(text.len() as u64);
        hash.write(text.as_bytes());
    };
    fleet.digests().iter().for_each(|digest| add(digest));
    fleet.problems().iter().for_each(|problem| add(problem));
    for reading in &fleet.readings {
        add(&reading.url);
        add(&reading.error.as_ref().map(|error| crate::errors::chain(error)).unwrap_or_default());
    }
    add(&format!("{:?} {}", table, env!("CARGO_PKG_VERSION")));
    let has = |node: &Node| fleet.has_heartbeat(node.record.id());
    let heartbeats = Heartbeats { now, max_age: table.max_age, are_heard: fleet.hears_beats(), has: &has };
    fleet.roster.nodes.iter().for_each(|node| add(Freshness::of(node, &heartbeats).as_str()));
    format!("{:016x}", hash.finish())
}
