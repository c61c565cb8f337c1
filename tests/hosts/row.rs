//! One row of the table: a fault, its effects, and which of them are wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use crate::fleet::Fleet;
use crate::load::{Count, Load};
use crate::watch::{Sample, Watch, series};

/// By then, the effects of a fault are gone, or will never go.
const CONVERGE_LIMIT: Duration = Duration::from_secs(90);
/// More lines of the same wording during one fault are a flood.
const SAME_LINES: usize = 3;

/// A fault under observation.
pub(crate) struct Trial {
    name: String,
    watch: Watch,
    load: Load,
    begin: Instant,
    reloads: usize,
    /// The length of the agents' logs when the fault began.
    logs: Vec<usize>,
    problems: Vec<String>,
}

impl Trial {
    /// Waits until the fleet is whole, and begins to observe it.
    pub(crate) fn begin(fleet: &Fleet, name: impl Into<String>) -> Trial {
        // Meanwhile the heartbeats of all nodes and the first verdicts of the checks arrive.
        let whole = fleet.settle(fleet.plan.interval + Duration::from_secs(1), CONVERGE_LIMIT);
        let problems = if whole { Vec::new() } else { vec!["the fleet was not whole before".to_owned()] };
        Trial {
            name: name.into(),
            watch: Watch::start(fleet.views()),
            load: fleet.load(),
            begin: Instant::now(),
            reloads: reloads(fleet),
            logs: fleet.balancers.iter().map(|balancer| balancer.host.log().len()).collect(),
            problems,
        }
    }

    /// A condition that must hold, and the message if it does not.
    pub(crate) fn must(&mut self, holds: bool, otherwise: impl Into<String>) {
        if !holds {
            self.problems.push(otherwise.into());
        }
    }

    /// Ends the fault: waits until the fleet has been whole again for some time, and computes the row.
    pub(crate) fn end(self, fleet: &Fleet) -> Row {
        let end = Instant::now();
        let log: Vec<String> = fleet
            .balancers
            .iter()
            .zip(&self.logs)
            .map(|(balancer, offset)| balancer.host.log()[*offset..].to_owned())
            .collect();
        // Later effects belong to it, such as servers that are dropped when heartbeats return.
        fleet.settle(fleet.plan.interval * 2, CONVERGE_LIMIT);
        let samples = self.watch.finish();
        let ids = fleet.ids();
        let bad = |sample: &&Sample| sample.listed != ids || sample.up != ids;
        let last = samples.iter().map(|sample| sample.at).max().unwrap_or(end);
        let converged = match samples.iter().filter(bad).map(|sample| sample.at).max() {
            Some(bad) if last - bad < Duration::from_millis(400) => None,
            Some(bad) => Some(bad.saturating_duration_since(end)),
            None => Some(Duration::ZERO),
        };
        let mut row = Row {
            name: self.name,
            listed: series(&samples, self.begin, |sample| sample.listed.len()),
            up: series(&samples, self.begin, |sample| sample.up.len()),
            count: self.load.finish(),
            reloads: reloads(fleet) - self.reloads,
            converged,
            log_lines: log[0].lines().count(),
            problems: self.problems,
            begin: self.begin,
            samples,
            measured: None,
        };
        for (lines, text) in flood(&log[0]) {
            row.problems.push(format!("the agent said {lines} times: {text}"));
        }
        if converged.is_none() {
            row.problems.push("it did not become whole again".into());
        }
        row
    }
}

fn reloads(fleet: &Fleet) -> usize {
    fleet.balancers.iter().map(|balancer| balancer.reloads()).sum()
}

/// Wordings that occur too often. Words that begin with a digit, such as ages, are ignored in the comparison.
fn flood(log: &str) -> Vec<(usize, String)> {
    let mut counts: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for line in log.lines() {
        let counts_up = |word: &&str| word.starts_with(|char: char| char.is_ascii_digit());
        let wording: Vec<&str> = line.split(' ').filter(|word| !counts_up(word)).collect();
        let wording = wording.join(" ");
        counts.entry(wording).or_insert_with(|| (0, line.chars().take(100).collect())).0 += 1;
    }
    counts.into_values().filter(|(count, _)| *count > SAME_LINES).collect()
}

/// The observations.
pub(crate) struct Row {
    name: String,
    listed: String,
    up: String,
    count: Count,
    reloads: usize,
    converged: Option<Duration>,
    log_lines: usize,
    problems: Vec<String>,
    begin: Instant,
    samples: Vec<Sample>,
    /// An additional measurement, in words.
    measured: Option<String>,
}

impl Row {
    /// These servers must have been in every balancer's file all the time.
    pub(crate) fn keeps(mut self, ids: &BTreeSet<String>) -> Row {
        let lost = |sample: &Sample| ids.difference(&sample.listed).count();
        if let Some(worst) = self.samples.iter().max_by_key(|sample| lost(sample)).filter(|s| lost(s) > 0) {
            let second = (worst.at - self.begin).as_secs();
            self.problems.push(format!("{} of {} servers dropped (at {second} s)", lost(worst), ids.len()));
        }
        self
    }

    /// These servers must have received requests all the time.
    pub(crate) fn keeps_up(mut self, ids: &BTreeSet<String>) -> Row {
        let lost = self.samples.iter().map(|sample| ids.difference(&sample.up).count()).max().unwrap_or(0);
        if lost > 0 {
            self.problems.push(format!("{lost} of {} servers got no requests", ids.len()));
        }
        self
    }

    /// No request may have failed.
    pub(crate) fn serves_all(mut self) -> Row {
        if self.count.failed() > 0 {
            let (failed, all) = (self.count.failed(), self.count.requests);
            self.problems.push(format!("{failed} of {all} requests failed: {:?}", self.count.failures));
        }
        self
    }

    /// The conditions that do not hold.
    pub(crate) fn wrongs(&self) -> Vec<String> {
        self.problems.iter().map(|problem| format!("{}: {problem}", self.name)).collect()
    }

    /// Adds a measurement.
    pub(crate) fn measured(mut self, text: impl Into<String>) -> Row {
        self.measured = Some(text.into());
        self
    }
}

/// The table's head.
pub(crate) const HEAD: &str = "\
| fault | servers in the file | servers that get requests | failed requests | reloads | whole again after | log lines | |
|---|---|---|---|---|---|---|---|";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} | {} | ", self.name, self.listed, self.up)?;
        write!(f, "{} of {} ", self.count.failed(), self.count.requests)?;
        for (failure, count) in &self.count.failures {
            write!(f, "({failure}: {count}) ")?;
        }
        match self.converged {
            Some(time) => write!(f, "| {} | {:.1} s ", self.reloads, time.as_secs_f64())?,
            None => write!(f, "| {} | never ", self.reloads)?,
        }
        write!(f, "| {} | {} |", self.log_lines, self.measured.as_deref().unwrap_or_default())
    }
}
