//! Samples the balancers twice a second: which servers are in the file, and which get requests.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::balancer::View;

const PAUSE: Duration = Duration::from_millis(500);

pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Sample>>>,
}

/// One sample of one balancer.
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) listed: BTreeSet<String>,
    pub(crate) up: BTreeSet<String>,
}

impl Watch {
    pub(crate) fn start(views: Vec<View>) -> Watch {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut samples = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                let look = |view: &View| Sample { at: Instant::now(), listed: view.listed(), up: view.up() };
                samples.extend(views.iter().map(look));
                std::thread::sleep(PAUSE);
            }
            samples
        });
        Watch { stop, thread: Some(thread) }
    }

    pub(crate) fn finish(mut self) -> Vec<Sample> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// How the minimum over all balancers developed: `15`, or `15 → 13 (24 s) → 15 (31 s)`, or the range if it
/// changed often.
pub(crate) fn series(samples: &[Sample], begin: Instant, of: impl Fn(&Sample) -> usize) -> String {
    const MOST: usize = 7;
    // Both balancers are sampled together.
    let mut steps: Vec<(usize, u64)> = Vec::new();
    for pair in samples.chunks(2) {
        let least = pair.iter().map(&of).min().unwrap_or(0);
        if steps.last().is_none_or(|(last, _)| *last != least) {
            steps.push((least, pair[0].at.saturating_duration_since(begin).as_secs()));
        }
    }
    let (least, most) = (steps.iter().min(), steps.iter().max());
    match (steps.as_slice(), least, most) {
        ([], ..) => "–".into(),
        (steps, Some((least, _)), Some((most, _))) if steps.len() > MOST => {
            format!("{least} to {most}, {} changes", steps.len() - 1)
        }
        ([first, rest @ ..], ..) => {
            let rest = rest.iter().map(|(count, second)| format!(" → {count} ({second} s)"));
            format!("{}{}", first.0, rest.collect::<String>())
        }
    }
}
