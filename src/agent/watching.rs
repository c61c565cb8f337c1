//! One thread for each store that reports a change by itself. It waits for a change since the version that the
//! store's other thread has read last, and sends an [`Event`].

use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::core::Event;
use crate::schedule::back_off;
use crate::store::{Stores, Version};

/// How long one wait lasts at most. Between two waits, a later version may replace the earlier one.
const SLICE: Duration = Duration::from_secs(300);

/// The waits after failures. The store's other thread reports what is wrong, at its own pace.
const BASE: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// The version of the list that was read last.
pub(super) struct Seen(Arc<Shared>);

#[derive(Default)]
struct Shared {
    last: Mutex<Last>,
    woken: Condvar,
}

#[derive(Default)]
struct Last {
    /// How many readings there were.
    number: u64,
    version: Option<Version>,
    /// Whether the store's other thread has ended.
    closed: bool,
}

impl Seen {
    /// Starts the thread. `None` if the store does not report changes.
    pub(super) fn start(stores: &Stores, place: usize, events: &Sender<Event>) -> Option<Seen> {
        if !stores.waits() {
            return None;
        }
        let shared = Arc::new(Shared::default());
        let (stores, events, own) = (stores.clone(), events.clone(), shared.clone());
        std::thread::spawn(move || run(&own, &stores, place, &events));
        Some(Seen(shared))
    }

    /// The list has this version.
    pub(super) fn is(&self, version: Version) {
        let mut last = self.0.lock();
        last.number += 1;
        last.version = Some(version);
        self.0.woken.notify_all();
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.woken.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version of a reading after that one, and its number. `None` if there will be none.
    fn after(&self, number: u64) -> Option<(u64, Version)> {
        let last = self.lock();
        let is_old = |last: &mut Last| last.number == number && !last.closed;
        let last = self.woken.wait_while(last, is_old).unwrap_or_else(PoisonError::into_inner);
        let version = last.version.clone().filter(|_| !last.closed)?;
        Some((last.number, version))
    }

    /// Whether there has been another reading.
    fn is_after(&self, number: u64) -> bool {
        let last = self.lock();
        last.number != number || last.closed
    }

    /// Waits that long, or until there is another reading.
    fn pause(&self, number: u64, wait: Duration) {
        let is_old = |last: &mut Last| last.number == number && !last.closed;
        drop(self.woken.wait_timeout_while(self.lock(), wait, is_old));
    }
}

fn run(shared: &Shared, stores: &Stores, place: usize, events: &Sender<Event>) {
    let (mut number, mut failures) = (0, 0);
    // Waits for each version once: the next wait begins when the change has been read.
    while let Some((next, version)) = shared.after(number) {
        number = next;
        while !shared.is_after(number) {
            match stores.wait(&version, BASE, SLICE) {
                Ok(true) => {
                    failures = 0;
                    if events.send(Event::Changed(place)).is_err() {
                        return;
                    }
                    break;
                }
                Ok(false) => failures = 0,
                Err(_) => {
                    failures += 1;
                    shared.pause(number, back_off(failures, BASE, LONGEST, fastrand::f64()));
                }
            }
        }
    }
}
