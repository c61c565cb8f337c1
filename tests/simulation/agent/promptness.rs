//! Whether an agent looks in time, and renders in time what it has read.

use std::collections::VecDeque;
use std::time::Duration;

use presence::beat::turn::{Turn, TurnError};
use presence::output::Done;
use presence::store::Reading;

use super::list::{List, Mood};
use super::world::Balancer;

/// The longest time between two looks at a store that is away.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What else may delay a look or a rendering: other stores that hang, and slow reloads.
const DELAYS: Duration = Duration::from_secs(60);

/// What one agent has read, and what its files have of it.
pub(super) struct Promptness {
    started: Duration,
    stores: Vec<Read>,
    /// Since when a store answers without a break; `None` if none answers.
    heard: Option<Duration>,
    /// For each file and store, the versions that were read and are not in the file, and when they were read.
    owed: Vec<Vec<VecDeque<(usize, Duration)>>>,
    /// Of each file, the turns in a row that failed or reloaded, and when the last one ended; `None` if that did
    /// not fail.
    failing: Vec<(u32, Option<Duration>)>,
}

/// What was read of one store.
#[derive(Default, Clone)]
struct Read {
    version: usize,
    answers: bool,
    /// When it last failed.
    failed: Duration,
}

impl Promptness {
    pub(super) fn new(stores: usize, files: usize) -> Promptness {
        Promptness {
            started: Duration::ZERO,
            stores: vec![Read::default(); stores],
            heard: None,
            owed: vec![vec![VecDeque::new(); stores]; files],
            failing: vec![(0, None); files],
        }
    }

    /// A new agent starts. It owes what the last one owed.
    pub(super) fn begins(&mut self, now: Duration) {
        (self.started, self.heard) = (now, None);
        self.stores.iter_mut().for_each(|store| store.answers = false);
        self.failing.fill((0, None));
    }

    /// A store has answered with that version, or failed. True if the version is new.
    pub(super) fn read(&mut self, store: usize, version: Option<usize>, now: Duration) -> bool {
        let is_new = version.is_some_and(|version| version > self.stores[store].version);
        let read = &mut self.stores[store];
        read.answers = version.is_some();
        match version {
            None => read.failed = now,
            Some(version) if version > read.version => {
                read.version = version;
                for file in &mut self.owed {
                    file[store].push_back((version, now));
                }
            }
            Some(_) => {}
        }
        let hears = self.stores.iter().any(|read| read.answers);
        self.heard = hears.then(|| self.heard.unwrap_or(now));
        is_new
    }

    /// A file had its turn with these readings.
    pub(super) fn rendered(&mut self, file: usize, readings: &[Reading]) {
        if readings.iter().all(|reading| reading.error.is_some()) {
            return;
        }
        for (reading, owed) in readings.iter().zip(&mut self.owed[file]) {
            let version = reading.snapshot.as_ref().map_or(0, List::number);
            while owed.front().is_some_and(|(owed, _)| *owed <= version) {
                owed.pop_front();
            }
        }
    }

    /// A turn of a file has ended with this result.
    pub(super) fn ended(&mut self, file: usize, turn: &Turn, now: Duration) {
        let (turns, _) = self.failing[file];
        self.failing[file] = match (&turn.result, turn.done()) {
            (_, Some(Done::Reloaded | Done::ReloadedFor(_))) => (turns + 1, None),
            (_, Some(_)) => (0, None),
            (
                Err(TurnError::Unreachable { .. } | TurnError::NotMade { .. } | TurnError::Refused { .. }),
                _,
            ) => (turns + 1, None),
            (Err(_), _) => (turns + 1, Some(now)),
            (Ok(_), None) => unreachable!("what succeeded was done"),
        };
    }

    /// What an agent has not done in time, as a sentence.
    pub(super) fn late(
        &self,
        balancer: &Balancer,
        store: usize,
        list: &List,
        now: Duration,
    ) -> Option<String> {
        let agent = &balancer.config.agent;
        if balancer.stopping.get().is_some() || balancer.tasks.borrow().is_empty() {
            return None;
        }
        let name = &balancer.name;
        let read = &self.stores[store];
        let slowness = match list.mood() {
            Mood::Up | Mood::Refuses => Some(Duration::ZERO),
            Mood::Slow => Some(DELAYS),
            Mood::Away | Mood::Hangs => None,
        };
        if let (Some(slowness), Some(changed)) = (slowness, list.next(read.version)) {
            let from = [changed, list.since, read.failed, self.started].into_iter().max()?;
            let wait = agent.poll.max(agent.interval.min(LONGEST_WAIT));
            if now > from + wait + slowness + DELAYS {
                return Some(format!("{name} has not looked at store {} since {from:?}", store + 1));
            }
        }
        for (file, (turns, failed)) in self.failing.iter().enumerate() {
            // The waits grow with each failure, up to the interval.
            let wait =
                (agent.poll * 2_u32.saturating_pow(*turns).min(1 << 16)).min(agent.interval.max(agent.poll));
            if failed.is_some_and(|failed| now > failed + wait + DELAYS) {
                let path = balancer.config.renders[file].target.path.display();
                return Some(format!("{name} has not tried {path} again since {failed:?}"));
            }
        }
        let heard = self.heard?.max(self.started);
        let late = |(file, owed): (usize, &Vec<VecDeque<(usize, Duration)>>)| {
            let (version, read) = owed[store].front()?;
            let from = heard.max(*read);
            let path = balancer.config.renders[file].target.path.display();
            let is_late = now > from + agent.quiet_max + DELAYS;
            is_late.then(|| {
                format!("{name} has had version {version} of store {} since {from:?}, and has not rendered {path}", store + 1)
            })
        };
        self.owed.iter().enumerate().find_map(late)
    }
}
