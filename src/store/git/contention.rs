//! Estimates how many nodes use a server at the same time, from its usual speed and its present one.
//!
//! This is only a hint. Nodes that publish at the same time use it to decide how many of them merge, and when
//! each one pushes. A wrong hint costs a connection or a wait, or leaves an update to the next publisher.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::state;

/// The memory of one store.
pub(super) struct Contention {
    place: PathBuf,
}

/// The load of a server, estimated from one connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadEstimate {
    /// The number of nodes, including this one.
    pub size: f64,
    /// How much longer than usual the server's answer took; zero if it is no longer busy.
    pub queue: Duration,
    /// The server's response time on the established connection.
    pub answer: Duration,
}

/// A server whose response takes this many times the usual is busy.
const BUSY: f64 = 16.0;

/// A server whose response takes less than this many times the usual serves nobody else.
const CALM: f64 = 3.0;

/// Of the nodes that leave updates at the same time, about this many check afterwards whether somebody merges
/// them.
const LOOKERS: f64 = 3.0;

/// At least this share of the nodes checks, so that merging begins while others still push.
const LOOKERS_AT_LEAST: f64 = 1.0 / 16.0;

/// At this number, updates are merged even if more may come. Each waiting update slows down every other push,
/// and a merge costs as much as a few pushes.
pub(super) const MANY: usize = 48;

/// Of [`MANY`] nodes that find this many updates waiting, about this many merge them at once, together with
/// their own.
const AT_ONCE: f64 = 3.0;

/// A node that queued longer than this does not push at once.
const LONG_QUEUE: Duration = Duration::from_secs(1);

impl LoadEstimate {
    /// Raises the estimate to the number of nodes seen, if that is larger.
    pub(super) fn of(self, seen: usize) -> LoadEstimate {
        LoadEstimate { size: self.size.max(seen as f64), ..self }
    }

    /// Decides by `chance`, at least 0 and below 1, whether this node checks on the updates that all leave.
    pub(super) fn falls_to_one(self, chance: f64) -> bool {
        chance < (LOOKERS / self.size).max(LOOKERS_AT_LEAST)
    }

    /// Decides by `chance` whether a node that sees so many waiting updates merges them instead of adding one
    /// more.
    pub(super) fn merges_at_once(self, waiting: usize, chance: f64) -> bool {
        waiting >= MANY && chance < AT_ONCE / MANY as f64
    }

    /// The time over which the nodes spread their pushes, at most `most`; zero if they are few. While all
    /// push at the same time, nothing can be merged, and waiting updates slow down every later push.
    pub(super) fn window(self, most: Duration) -> Duration {
        if self.queue < LONG_QUEUE { Duration::ZERO } else { self.queue.min(most) }
    }
}

/// The longest response time that is taken as usual for an unknown server.
const UNKNOWN: Duration = Duration::from_secs(1);

/// The name of the memory's file.
const FILE: &str = "usual-pace";

impl Contention {
    pub(super) fn new(place: &Path) -> Contention {
        Contention { place: place.to_owned() }
    }

    /// Estimates the load. `now` is the time until the server's answer, `answer` the part of it after the
    /// connection was established. The ratio to the usual time is the number of nodes. The usual time is the
    /// fastest answer, which is forgotten slowly.
    pub(super) fn guess(&self, now: Duration, answer: Duration) -> LoadEstimate {
        let micros = |time: Duration| time.as_micros().max(1) as f64;
        let known = state::load_text(&self.place, FILE).and_then(|text| text.trim().parse::<f64>().ok());
        let known = known.filter(|usual| usual.is_finite() && *usual >= 1.0);
        let usual = known.unwrap_or_else(|| micros(now.min(UNKNOWN)));
        let now = micros(now);
        // If this fails, the next connection measures anew.
        let _ = state::save_text(&self.place, FILE, &format!("{:.0}\n", now.min(usual * 1.1)));
        let slower = micros(answer) / usual;
        let queue = if slower < BUSY { 0.0 } else { (now - usual).max(0.0) };
        // A node that queued for long and is then answered at once is among the last.
        let here = if slower < CALM { micros(answer) } else { now };
        LoadEstimate { size: (here / usual).max(1.0), queue: Duration::from_micros(queue as u64), answer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_usual_is_the_fastest_and_is_forgotten_slowly() {
        let dir = tempfile::tempdir().unwrap();
        let contention = Contention::new(dir.path());
        let guess =
            |millis| contention.guess(Duration::from_millis(millis), Duration::from_millis(millis)).size;
        assert_eq!(guess(20), 1.0);
        assert_eq!(guess(400), 20.0);
        assert!(guess(400) < 20.0);
        assert_eq!(guess(10), 1.0);
        assert_eq!(guess(30), 3.0);
        let queue = |answer| {
            fs::write(dir.path().join("usual-pace"), "10000").unwrap();
            contention.guess(Duration::from_millis(1_010), Duration::from_millis(answer)).queue
        };
        assert_eq!([queue(150), queue(170)], [Duration::ZERO, Duration::from_secs(1)]);
        let size = |answer| {
            fs::write(dir.path().join("usual-pace"), "10000").unwrap();
            contention.guess(Duration::from_secs(1), Duration::from_millis(answer)).size
        };
        assert_eq!(
            [size(20), size(40)],
            [2.0, 100.0],
            "the last of a crowd does not take the queue for load"
        );
        fs::write(dir.path().join("usual-pace"), "garbage").unwrap();
        assert_eq!(guess(30), 1.0);
        fs::write(dir.path().join("usual-pace"), "garbage").unwrap();
        assert_eq!(guess(5_000), 5.0);
    }

    #[test]
    fn few_do_not_wait_for_each_other() {
        let most = Duration::from_secs(20);
        let load =
            |millis| LoadEstimate { size: 1.0, queue: Duration::from_millis(millis), answer: Duration::ZERO };
        assert_eq!(load(900).window(most), Duration::ZERO);
        assert_eq!(load(2_000).window(most), Duration::from_secs(2));
        assert_eq!(load(60_000).window(most), most);
        assert!(load(0).falls_to_one(0.99) && load(0).of(2).falls_to_one(0.99));
        assert!(!load(0).merges_at_once(MANY - 1, 0.0));
        assert!(load(0).merges_at_once(MANY, 0.0) && !load(0).merges_at_once(MANY, 0.1));
    }
}
