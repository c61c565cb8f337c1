//! The page of a fleet: its list, its wiring, and the last changes of one of its stores.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::fleet::{self, Fleet, FleetStores};
use super::node::{self, NodeError};
use super::wiring::{Templates, Uses, wiring};
use crate::config::Config;
use crate::errors::chain;
use crate::history::{End, Timeline};
use crate::record::Facts;
use crate::roster::{Heartbeats, Node, Selector};
use crate::store::{At, Moment, StoreErrorKind};
use crate::view::Groups;
use crate::view::page::{self, Content, Known, Page, StoreSeen};

/// What a page shows, unless another number is asked for.
pub const EVENTS: usize = 10_000;

/// What to show.
#[derive(Debug)]
pub struct Request<'a> {
    /// The moment at which the fleet was read; `None` for now.
    pub at: Option<&'a At>,
    /// The nodes to show.
    pub selector: &'a Selector,
    /// Nodes without a sign of life for longer are silent; `None` for the usual time.
    pub max_age: Option<SignedDuration>,
    /// The most changes.
    pub events: usize,
    /// The seconds after which an open page looks for a newer one.
    pub reload: Option<u64>,
    /// What the user says of templates.
    pub uses: &'a [Uses],
    /// Template folders to search first.
    pub template_dirs: &'a [PathBuf],
}

/// A page, and what could not be found out.
#[derive(Debug)]
pub struct Made {
    /// The page.
    pub page: Page,
    /// What is not known, one sentence each. The page says it too.
    pub notes: Vec<String>,
    /// What went wrong, one sentence each. The page says it too.
    pub warnings: Vec<String>,
}

/// Makes the page of that fleet, which was read from these stores. `own` are the facts of this node.
pub fn make(
    config: &Config,
    stores: &FleetStores,
    fleet: &Fleet,
    own: &Facts,
    request: &Request<'_>,
) -> Result<Made, NodeError> {
    let nodes: Vec<&Node> = fleet.roster.nodes.iter().filter(|node| request.selector.matches(node)).collect();
    let groups = Groups::of(nodes.iter().copied());
    let templates = Templates { config, own, dirs: request.template_dirs, uses: request.uses };
    let wiring = wiring(&templates, &groups, &fleet.roster);
    let past = Past::of(config, stores, fleet, request);
    let (at, commit) = moment(fleet, request.at, past.timeline.as_ref())?;
    let page = page::page(&Content {
        at,
        is_past: request.at.is_some(),
        commit,
        stores: past.stores,
        problems: fleet.problems(),
        nodes,
        heartbeats: request.at.is_none().then_some(Heartbeats {
            now: at,
            max_age: request.max_age,
            are_heard: fleet.hears_beats(),
            has: &|node| fleet.has_heartbeat(node.record.id()),
        }),
        timeline: past.timeline.as_ref(),
        states: &config.states,
        wiring: &wiring,
        reload: request.reload,
    });
    let notes = wiring.notes.into_iter().chain(past.notes).collect();
    Ok(Made { page, notes, warnings: past.warnings })
}

/// The moment that the page shows, and the version of the list then, if it is known.
fn moment(
    fleet: &Fleet,
    at: Option<&At>,
    timeline: Option<&Timeline>,
) -> Result<(Timestamp, Option<String>), NodeError> {
    let moments = || fleet.readings.iter().filter_map(|reading| reading.moment.as_ref());
    let commit = |moment: &Moment| moment.commit.clone();
    Ok(match at {
        None => (node::now()?, timeline.and_then(|timeline| timeline.newest.as_ref()).map(commit)),
        Some(At::Time(time)) => (*time, moments().next().map(commit)),
        Some(_) => {
            let time = match moments().map(|moment| moment.time).max() {
                Some(time) => time,
                None => node::now()?,
            };
            (time, moments().next().map(commit))
        }
    })
}

/// What the stores know of the past.
struct Past {
    timeline: Option<Timeline>,
    stores: Vec<StoreSeen>,
    notes: Vec<String>,
    warnings: Vec<String>,
}

impl Past {
    /// The last changes, from the first store that answers and has a history, in one walk.
    fn of(config: &Config, stores: &FleetStores, fleet: &Fleet, request: &Request<'_>) -> Past {
        let end = match request.at {
            Some(_) => End::At(fleet.readings.iter().filter_map(|reading| reading.moment.clone()).collect()),
            None => End::Newest,
        };
        let listed = fleet.roster.nodes.iter();
        let listed: BTreeMap<_, _> =
            listed.map(|node| (node.record.id().clone(), request.selector.matches(node))).collect();
        let others = (request.selector.clone(), config.states.clone());
        let visitor = Timeline::new(request.events, end, listed, others);
        let walked = match fleet.is_current() {
            true => fleet::histories(stores, &visitor),
            false => Vec::new(),
        };
        let mut walked = walked.into_iter();
        let mut past = Past { timeline: None, stores: Vec::new(), notes: Vec::new(), warnings: Vec::new() };
        let mut used: Option<String> = None;
        for reading in &fleet.readings {
            let mut store = StoreSeen {
                store: reading.url.clone(),
                problem: reading.error.as_ref().map(|error| chain(error)),
                history: Known::None,
                begins: None,
                note: None,
            };
            match walked.next() {
                None => {}
                Some(Err(error)) => {
                    if reading.error.is_none() && !matches!(error.kind, StoreErrorKind::NoHistory) {
                        past.warnings.push(chain(&error));
                    }
                    store.note = Some(chain(&error));
                }
                Some(Ok(found)) => match &used {
                    Some(used) => store.note = Some(format!("the changes on this page are from {used}")),
                    None => {
                        store.begins = found.begins.as_ref().map(|begins| begins.time);
                        store.history = if store.begins.is_some() { Known::Begins } else { Known::Whole };
                        store.note = told(&found, request.events, config.looking_back);
                        past.notes.extend(store.note.iter().map(|note| format!("{}: {note}", reading.url)));
                        past.timeline = Some(found);
                        used = Some(reading.url.clone());
                    }
                },
            }
            past.stores.push(store);
        }
        if past.timeline.is_none() && fleet.is_current() {
            past.notes.push("no store that answers has a history, so the page shows no changes".to_owned());
        }
        past
    }
}

/// What is not known of the past.
fn told(found: &Timeline, most: usize, limit: Duration) -> Option<String> {
    if found.is_late {
        let seconds = limit.as_secs();
        return Some(format!(
            "older changes are not on the page: reading the history reached the time limit of {seconds} s (`history`)"
        ));
    }
    match (&found.newest, found.is_cut, &found.begins) {
        (None, ..) => Some("no change is known up to that moment".to_owned()),
        (Some(_), true, _) => Some(format!("only the last {most} changes are on the page")),
        (Some(_), false, Some(begins)) => {
            let begins = begins.time.strftime("%Y-%m-%d %H:%M:%S");
            Some(format!("nothing is known of the time before {begins} UTC: the history begins then"))
        }
        (Some(_), false, None) => None,
    }
}
