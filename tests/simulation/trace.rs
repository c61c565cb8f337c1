//! What happened in a run, for people. It is recorded only in a run that somebody reads.

use std::collections::VecDeque;
use std::fmt::Write;
use std::hash::Hasher;
use std::time::Duration;

/// The most events that are kept: the last ones.
const MOST: usize = 600;

/// The events of one run.
pub(crate) struct Trace {
    recording: bool,
    lines: VecDeque<String>,
    count: u64,
    /// A digest of all events, also of those that are no longer kept.
    digest: fnv::FnvHasher,
}

impl Trace {
    pub(crate) fn new(recording: bool) -> Trace {
        Trace { recording, lines: VecDeque::new(), count: 0, digest: fnv::FnvHasher::default() }
    }

    /// Records an event at that time, if anything is recorded.
    pub(crate) fn event(&mut self, now: Duration, what: impl FnOnce() -> String) {
        if !self.recording {
            return;
        }
        let line = format!("{:>12.6} {}", now.as_secs_f64(), what());
        self.digest.write(line.as_bytes());
        self.count += 1;
        if self.lines.len() == MOST {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// The number of all events, and their digest.
    pub(crate) fn digest(&self) -> (u64, u64) {
        (self.count, self.digest.finish())
    }

    /// The last events, a line for each.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let missing = self.count - self.lines.len() as u64;
        if missing > 0 {
            let _ = writeln!(text, "      ({missing} earlier events)");
        }
        for line in &self.lines {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}
