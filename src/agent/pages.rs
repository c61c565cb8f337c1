//! A thread that keeps the pages of the fleet up to date. It reads the stores itself, so that nothing else waits
//! for a page.

use std::sync::mpsc::{self, Sender, SyncSender};
use std::time::{Duration, Instant};

use super::core::{Complaint, Event};
use crate::beat::fleet::{Fleet, FleetStores};
use crate::beat::{node, pages};
use crate::config::Config;
use crate::errors::chain;

/// Starts the thread, if there is a page. It makes all pages for each message, but no more often than an open page
/// looks for a newer one: a large fleet changes all the time, and a page of it is much work. The thread is abandoned
/// when the program ends: a page is replaced as a whole.
pub(super) fn start(config: &Config, stores: &FleetStores, events: &Sender<Event>) -> Option<SyncSender<()>> {
    let least = config.pages.iter().map(|page| Duration::from_secs(page.reload)).min()?;
    let (config, stores, events) = (config.clone(), stores.clone(), events.clone());
    // One message can wait: the list may have changed again while the pages are made.
    let (sender, wanted) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        for () in wanted {
            let begun = Instant::now();
            if events.send(Event::Pages(make(&config, &stores))).is_err() {
                break;
            }
            std::thread::sleep(least.saturating_sub(begun.elapsed()));
        }
    });
    Some(sender)
}

/// Brings all pages up to date, and returns what is wrong.
fn make(config: &Config, stores: &FleetStores) -> Vec<Complaint> {
    let fleet = Fleet::read(config, stores, true);
    // The agent has reported a store that does not answer.
    if !fleet.is_current() {
        return Vec::new();
    }
    let own = node::facts(&config.nodeinfo).unwrap_or_default();
    let mut complaints = Vec::new();
    for table in &config.pages {
        let path = table.target.path.display();
        let mut warnings = Vec::new();
        if let Err(error) = pages::keep(config, stores, (&fleet, &own), table, false, &mut warnings) {
            complaints.push((format!("{path}: {}", chain(&error)), error.hint()).into());
        }
        complaints.extend(warnings.into_iter().map(|text| (format!("{path}: {text}"), None).into()));
    }
    complaints
}
