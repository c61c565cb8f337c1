//! Runs worlds: from seeds, in threads, or through all choices.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::chance::Chance;
use crate::scheduler::{Finished, Simulation};
use crate::tally::Tally;
use crate::trace::Trace;

/// Something to simulate.
pub(crate) struct World {
    pub(crate) name: &'static str,
    /// What it contains.
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
}

/// One run of a world. An error is a violation of an invariant, as a sentence. A panic is one, too.
pub(crate) type Run = fn(&Simulation) -> Result<(), String>;

/// How a world is run.
pub(crate) enum Kind {
    /// Once for each seed. If nobody asks for others: so many, and these, which find what the first ones do not.
    Seeds(u64, &'static [u64], Run),
    /// Once for each sequence of choices, as long as a run reaches states that are not known. This many runs
    /// at most.
    Search(u64, Run),
    /// The same, however long it takes, and only if it is asked for by name.
    LongSearch(Run),
}

impl World {
    /// Whether it runs if nobody asks for it by name.
    pub(crate) fn is_usual(&self) -> bool {
        !matches!(self.kind, Kind::LongSearch(_))
    }
}

/// A broken invariant.
pub(crate) struct Violation {
    /// The number of the run: the seed, or the number of runs of a search.
    pub(crate) number: u64,
    /// The report for people.
    pub(crate) text: String,
}

/// The result of a world.
pub(crate) struct Outcome {
    /// The number of runs.
    pub(crate) runs: u64,
    pub(crate) tally: Tally,
    /// The number of states, of a search.
    pub(crate) states: Option<usize>,
    /// Whether a search went through all choices.
    pub(crate) is_complete: bool,
    pub(crate) violation: Option<Violation>,
}

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Makes panics of worlds part of the report, instead of output at any time.
pub(crate) fn catch_panics() {
    panic::set_hook(Box::new(|info| PANIC.with(|text| *text.borrow_mut() = info.to_string())));
}

/// Runs a world as the arguments ask for.
pub(crate) fn run(world: &World, arguments: &Arguments, time: Option<Duration>) -> Outcome {
    match world.kind {
        Kind::Seeds(seeds, more, run) => of_seeds(world, (seeds, more), run, arguments, time),
        Kind::Search(most, run) => search(most, run),
        Kind::LongSearch(run) => search_for(time, run),
    }
}

/// One run with these decisions. Returns the violation, if any, and what is left.
fn once(
    chance: Chance,
    only: Option<&BTreeSet<u64>>,
    recording: bool,
    known: HashSet<u64>,
    run: Run,
) -> (Option<String>, u64, Finished) {
    let simulation = Simulation::new(chance, only, recording).knowing(known);
    let result = panic::catch_unwind(AssertUnwindSafe(|| run(&simulation)));
    let violation = match result {
        Ok(result) => result.err(),
        Err(_) => Some(PANIC.with(|text| text.borrow().clone())),
    };
    let faults = simulation.faults();
    let finished = simulation.finish();
    let kept = finished.is_kept.then(|| "a value of a task, such as a lock, outlives the run".to_owned());
    (violation.or(kept), faults, finished)
}

fn of_seed(
    seed: u64,
    only: Option<&BTreeSet<u64>>,
    recording: bool,
    run: Run,
) -> (Option<String>, u64, Trace, Tally) {
    let (violation, faults, finished) = once(Chance::seeded(seed), only, recording, HashSet::new(), run);
    (violation, faults, finished.trace, finished.tally)
}

fn of_seeds(
    world: &World,
    (seeds, more): (u64, &[u64]),
    run: Run,
    arguments: &Arguments,
    time: Option<Duration>,
) -> Outcome {
    let started = Instant::now();
    let first = arguments.seed.or(arguments.from).unwrap_or(1);
    let (count, more): (u64, &[u64]) = match (arguments.seed, time, arguments.seeds) {
        (Some(_), ..) => (1, &[]),
        (None, Some(_), _) => (u64::MAX - first, &[]),
        (None, None, Some(seeds)) => (seeds, &[]),
        (None, None, None) => (seeds, more),
    };
    let seed_of = |place: u64| match place.checked_sub(count) {
        None => Some(first + place),
        Some(place) => more.get(usize::try_from(place).unwrap_or(usize::MAX)).copied(),
    };
    let only = arguments.only.as_ref();
    let next = AtomicU64::new(0);
    // The tally, and the first seed with a violation.
    let shared: Mutex<(Tally, u64, Option<u64>)> = Mutex::default();
    let work = || {
        loop {
            let seed = seed_of(next.fetch_add(1, Ordering::Relaxed));
            let late = time.is_some_and(|time| started.elapsed() >= time);
            let Some(seed) = seed.filter(|_| !late) else { return };
            let (violation, _, trace, tally) = of_seed(seed, only, arguments.trace, run);
            if arguments.trace {
                println!("{} {seed}:\n{}", world.name, trace.text());
            }
            let Ok(mut shared) = shared.lock() else { return };
            let (sum, runs, failed) = &mut *shared;
            sum.add(&tally);
            *runs += 1;
            if violation.is_some() {
                *failed = Some(failed.map_or(seed, |failed: u64| failed.min(seed)));
            }
            if failed.is_some() {
                return;
            }
        }
    };
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 1..arguments.threads.unwrap_or(cpus) {
            scope.spawn(work);
        }
        work();
    });
    let (tally, runs, failed) = shared.into_inner().unwrap_or_default();
    let violation = failed
        .map(|seed| Violation { number: seed, text: report(world, seed, only, run) })
        .or_else(|| check_determinism(first, run));
    Outcome { runs, tally, states: None, is_complete: true, violation }
}

/// One seed, run twice: both runs must be the same.
fn check_determinism(seed: u64, run: Run) -> Option<Violation> {
    let (_, _, first, tally) = of_seed(seed, None, true, run);
    let (_, _, second, again) = of_seed(seed, None, true, run);
    if first.digest() == second.digest() && tally == again {
        return None;
    }
    let (first, second) = (first.text(), second.text());
    let differs = first.lines().zip(second.lines()).find(|(first, second)| first != second);
    let text = format!("seed {seed} does not run the same way twice, first at {differs:?}");
    Some(Violation { number: seed, text })
}

/// The most runs for the shrinking of one violation, and the most time.
const SHRINKING: (u32, Duration) = (400, Duration::from_secs(20));

/// Repeats a failing seed with as few of its faults as suffice for a violation, and words the report.
fn report(world: &World, seed: u64, only: Option<&BTreeSet<u64>>, run: Run) -> String {
    let (_, faults, ..) = of_seed(seed, only, false, run);
    let all: Vec<u64> = (0..faults).filter(|fault| only.is_none_or(|only| only.contains(fault))).collect();
    let kept = shrink(all, |kept| of_seed(seed, Some(kept), false, run).0.is_some());
    let (violation, _, trace, _) = of_seed(seed, Some(&kept), true, run);
    let kept: Vec<String> = kept.iter().map(u64::to_string).collect();
    let violation = violation.unwrap_or_else(|| "it does not run the same way twice".to_owned());
    let only = if kept.len() as u64 == faults {
        String::new()
    } else {
        format!(" --only-faults {}", kept.join(","))
    };
    format!(
        "{violation}\nThe last events, with {} of {faults} faults, which suffice for a violation:\n{}\n{violation}\nRun again \
         with\n  cargo test --test simulation -- --world {} --seed {seed}{only}",
        kept.len(),
        trace.text(),
        world.name,
    )
}

/// Leaves out parts of `all`, smaller and smaller ones, as long as the rest still fails.
fn shrink(all: Vec<u64>, fails: impl Fn(&BTreeSet<u64>) -> bool) -> BTreeSet<u64> {
    let started = Instant::now();
    let mut runs = 0;
    let mut kept = all;
    let mut part = kept.len();
    while part > 0 {
        let mut at = 0;
        while at < kept.len() {
            if runs == SHRINKING.0 || started.elapsed() > SHRINKING.1 {
                return kept.into_iter().collect();
            }
            runs += 1;
            let end = (at + part).min(kept.len());
            let less: BTreeSet<u64> = kept[..at].iter().chain(&kept[end..]).copied().collect();
            match fails(&less) {
                true => kept = less.into_iter().collect(),
                false => at = end,
            }
        }
        part /= 2;
    }
    kept.into_iter().collect()
}

/// Goes through all choices, however many there are; with `time`, at most for so long.
fn search_for(time: Option<Duration>, run: Run) -> Outcome {
    let started = Instant::now();
    search_until(|_| time.is_some_and(|time| started.elapsed() > time), run)
}

/// Goes through all choices. It is a violation if they take more runs.
pub(crate) fn search(most: u64, run: Run) -> Outcome {
    let mut outcome = search_until(|runs| runs == most, run);
    if !outcome.is_complete && outcome.violation.is_none() {
        let text = format!("the search does not end within {most} runs");
        outcome.violation = Some(Violation { number: most, text });
    }
    outcome
}

/// Goes through all choices, depth first.
fn search_until(is_over: impl Fn(u64) -> bool, run: Run) -> Outcome {
    let mut outcome =
        Outcome { runs: 0, tally: Tally::default(), states: Some(0), is_complete: true, violation: None };
    let (mut chance, mut known) = (Some(Chance::scripted()), HashSet::new());
    while let Some(now) = chance {
        let (violation, _, finished) = once(now, None, false, known, run);
        outcome.runs += 1;
        outcome.tally.add(&finished.tally);
        known = finished.known;
        outcome.states = Some(known.len());
        let text = match violation {
            Some(violation) => {
                let choices = finished.chance.choices();
                let (_, _, again) = once(finished.chance.again(), None, true, HashSet::new(), run);
                format!("{violation}\nThe choices: {choices:?}\n{}", again.trace.text())
            }
            None if is_over(outcome.runs) => return Outcome { is_complete: false, ..outcome },
            None => {
                chance = finished.chance.next();
                continue;
            }
        };
        outcome.violation = Some(Violation { number: outcome.runs, text });
        break;
    }
    outcome
}
