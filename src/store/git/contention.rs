//! How fast a server usually answers: if it is many times slower now, many others are there.
//!
//! Only a hint, by which the members of a crowd decide how many of them do what one must do, and when each comes. Wrong, it
//! costs a connection or a wait, or leaves an update to the next one who comes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::state;

/// The memory of one store.
pub(super) struct Contention {
    place: PathBuf,
}

/// Who is there, as far as a connection tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LoadEstimate {
    /// How many there are, ourselves included.
    pub(super) size: f64,
    /// How much longer than usual it took to get an answer from the server; nothing if it has time again.
    pub(super) queue: Duration,
    /// How long the server took to answer, once there was a connection.
    pub(super) answer: Duration,
}

/// A server that answers so many times slower than usual, once there is a connection, is busy.
const BUSY: f64 = 16.0;

/// A server that answers less than so many times slower than usual has nobody else to answer.
const CALM: f64 = 3.0;

/// Of a crowd that leaves updates at once, about this many look afterwards whether somebody merges them.
const LOOKERS: f64 = 3.0;

/// At least this share of a crowd looks: a large one is merged while it still comes.
const LOOKERS_AT_LEAST: f64 = 1.0 / 16.0;

/// What waits is merged at this number although more may come: each that waits costs every push of the others, and a merge
/// costs as much as a few pushes.
pub(super) const MANY: usize = 48;

/// Of as many as [`MANY`] who come when so many wait, about this many merge at once, together with their own updates.
const AT_ONCE: f64 = 3.0;

/// Who had to queue for longer than this does not push at once.
const LONG_QUEUE: Duration = Duration::from_secs(1);

impl LoadEstimate {
    /// As many as are seen, if more are seen than were guessed.
    pub(super) fn of(self, seen: usize) -> LoadEstimate {
        LoadEstimate { size: self.size.max(seen as f64), ..self }
    }

    /// Whether one of these looks after what they leave.
    pub(super) fn falls_to_one(self) -> bool {
        fastrand::f64() < (LOOKERS / self.size).max(LOOKERS_AT_LEAST)
    }

    /// Whether one of these, who sees that so many wait, merges them before it leaves one more.
    pub(super) fn merges_at_once(self, waiting: usize) -> bool {
        waiting >= MANY && fastrand::f64() < AT_ONCE / MANY as f64
    }

    /// Over which time they spread their pushes, `most` at most; none if they are few. While a server does all at the same
    /// time nothing can be merged, and what waits costs every push that comes after.
    pub(super) fn window(self, most: Duration) -> Duration {
        if self.queue < LONG_QUEUE { Duration::ZERO } else { self.queue.min(most) }
    }
}

/// A server of which nothing is known answers within this time if nobody else is there.
const UNKNOWN: Duration = Duration::from_secs(1);

/// The file of the memory.
const FILE: &str = "usual-pace";

impl Contention {
    pub(super) fn new(place: &Path) -> Contention {
        Contention { place: place.to_owned() }
    }

    /// Who is there if the server's answer came after `now`, and `answer` after there was a connection: as many as it was
    /// slower than usual. Remembers the usual: the fastest answer, which is forgotten slowly.
    pub(super) fn guess(&self, now: Duration, answer: Duration) -> LoadEstimate {
        let micros = |time: Duration| time.as_micros().max(1) as f64;
        let known = state::load_text(&self.place, FILE).and_then(|text| text.trim().parse::<f64>().ok());
        let known = known.filter(|usual| usual.is_finite() && *usual >= 1.0);
        let usual = known.unwrap_or_else(|| micros(now.min(UNKNOWN)));
        let now = micros(now);
        // A hint that cannot be kept is asked for again.
        let _ = state::save_text(&self.place, FILE, &format!("{:.0}\n", now.min(usual * 1.1)));
        let slower = micros(answer) / usual;
        let queue = if slower < BUSY { 0.0 } else { (now - usual).max(0.0) };
        // Who queued for long, and is answered at once, is among the last.
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
        assert!(load(0).falls_to_one() && load(0).of(2).falls_to_one());
        assert!((0..1_000).all(|_| !load(0).merges_at_once(MANY - 1)));
        assert!((0..1_000).any(|_| load(0).merges_at_once(MANY)));
    }
}
