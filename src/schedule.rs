//! Decides when to do what: pure, with the time as an argument. Times count from any fixed moment.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// The moment in the interval at which a node beats. It depends only on the node's id. So a fleet is spread
/// over the splay, and stays so however often its agents start.
pub fn phase(id: &str, splay: Duration) -> Duration {
    let mut hash = fnv::FnvHasher::default();
    hash.write(id.as_bytes());
    // The last multiplication of FNV leaves the high bits of short names alike.
    let mixed = hash.finish().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let share = mixed as f64 / (1u64 << 53) as f64;
    splay.mul_f64(share)
}

/// The time from `now` to the next moment of that phase; never zero.
pub fn until_beat(now: Duration, interval: Duration, phase: Duration) -> Duration {
    let (now, interval, phase) = (now.as_nanos(), interval.as_nanos().max(1), phase.as_nanos());
    let since = (now + interval - phase % interval) % interval;
    // An interval is far below the 584 years that fit.
    Duration::from_nanos(u64::try_from(interval - since).unwrap_or(u64::MAX))
}

/// Waits for quiet: ten changes cause one render, and endless changes do not delay it for ever.
#[derive(Debug, Clone, Copy)]
pub struct Quiet {
    min: Duration,
    max: Duration,
    /// The first and the last change that wait.
    waiting: Option<(Duration, Duration)>,
}

impl Quiet {
    /// Quiet is `min` without a change. After `max`, the render no longer waits for it.
    pub fn new(min: Duration, max: Duration) -> Quiet {
        Quiet { min, max, waiting: None }
    }

    /// Records a change.
    pub fn changed(&mut self, now: Duration) {
        let first = self.waiting.map_or(now, |(first, _)| first);
        self.waiting = Some((first, now));
    }

    /// When to render the changes that wait.
    pub fn due(&self) -> Option<Duration> {
        self.waiting.map(|(first, last)| (last + self.min).min(first + self.max))
    }

    /// Forgets the changes: all were rendered.
    pub fn done(&mut self) {
        self.waiting = None;
    }
}

/// A limit of reloads per minute: otherwise, old processes of HAProxy pile up.
#[derive(Debug, Clone)]
pub struct Budget {
    per_minute: u32,
    spent: VecDeque<Duration>,
}

impl Budget {
    /// A budget with nothing spent.
    pub fn new(per_minute: u32) -> Budget {
        Budget { per_minute, spent: VecDeque::new() }
    }

    /// When the next reload is allowed; in the past if it is allowed now.
    pub fn next(&self) -> Duration {
        let before = self.spent.len().checked_sub(self.per_minute.max(1) as usize);
        before.and_then(|index| self.spent.get(index)).map_or(Duration::ZERO, |time| *time + MINUTE)
    }

    /// Whether a reload is allowed now.
    pub fn allows(&self, now: Duration) -> bool {
        self.next() <= now
    }

    /// Records a reload.
    pub fn spend(&mut self, now: Duration) {
        self.spent.push_back(now);
        while self.spent.len() > self.per_minute.max(1) as usize {
            self.spent.pop_front();
        }
    }
}

/// The wait after so many failures in a row: twice as long each time, up to a limit. `jitter` (0 to 1)
/// spreads nodes that failed together over the second half of the wait.
pub fn back_off(failures: u32, base: Duration, limit: Duration, jitter: f64) -> Duration {
    if failures == 0 {
        return base;
    }
    let wait = base.saturating_mul(1 << failures.min(16)).min(limit.max(base));
    wait.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0).max(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_fleet_is_spread_over_its_interval_and_stays_so() {
        let splay = Duration::from_secs(60);
        let mut tenths = [0; 10];
        for node in 0..1_000 {
            let phase = phase(&format!("i-{node:08x}"), splay);
            assert!(phase < splay);
            tenths[usize::try_from(phase.as_secs() / 6).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (60..150).contains(count)), "{tenths:?}");
        assert_eq!(phase("i-1", splay), phase("i-1", splay));
        assert_eq!(phase("i-1", Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn the_next_beat_is_at_the_phase() {
        for (now, interval, phase, expect) in
            [(0, 60, 0, 60), (0, 60, 5, 5), (5, 60, 5, 60), (59, 60, 5, 6), (600, 60, 59, 59), (1, 60, 0, 59)]
        {
            assert_eq!(until_beat(ms(now), ms(interval), ms(phase)), ms(expect), "{now} {interval} {phase}");
        }
    }

    #[test]
    fn ten_changes_make_one_render_and_endless_ones_are_not_put_off() {
        let mut quiet = Quiet::new(ms(100), ms(1_000));
        assert_eq!(quiet.due(), None);
        for change in 0..10 {
            quiet.changed(ms(change * 50));
            assert!(quiet.due().unwrap() > ms(change * 50));
        }
        assert_eq!(quiet.due(), Some(ms(550)));
        for change in 10..40 {
            quiet.changed(ms(change * 50));
        }
        assert_eq!(quiet.due(), Some(ms(1_000)));
        quiet.done();
        assert_eq!(quiet.due(), None);
    }

    #[test]
    fn reloads_have_a_budget() {
        let mut budget = Budget::new(2);
        let at = Duration::from_secs;
        assert!(budget.allows(at(0)));
        budget.spend(at(0));
        assert!(budget.allows(at(10)));
        budget.spend(at(10));
        assert!(!budget.allows(at(59)));
        assert_eq!(budget.next(), at(60));
        assert!(budget.allows(at(60)));
        budget.spend(at(60));
        assert_eq!(budget.next(), at(70));
    }

    #[test]
    fn who_fails_waits_longer_each_time_up_to_a_limit() {
        for (failures, jitter, expect) in [
            (0, 1.0, 1_000),
            (1, 1.0, 2_000),
            (1, 0.0, 1_000),
            (3, 1.0, 8_000),
            (40, 1.0, 60_000),
            (40, 0.0, 30_000),
        ] {
            assert_eq!(back_off(failures, ms(1_000), ms(60_000), jitter), ms(expect), "{failures} {jitter}");
        }
        assert_eq!(back_off(5, ms(1_000), ms(500), 1.0), ms(1_000));
    }
}
