//! A stretch of the history, and the account of what a file would have gone through in it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use jiff::Timestamp;

use super::SKEW;
use crate::output::limits::{Counts, Refusal};
use crate::store::{Before, Moment, Step, Visitor};

/// The most versions to replay: their records are in memory.
pub const MOST_STEPS: usize = 200_000;

/// An end of a stretch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// The newest version.
    Newest,
    /// The last version that is not younger.
    Time(Timestamp),
    /// This version.
    Moment(Moment),
}

/// Collects the steps of a stretch.
///
/// A version without a change of the list is no step. The last step that is not younger stands for it.
#[derive(Debug, Clone)]
pub struct Stretch {
    from: Bound,
    to: Bound,
    most: usize,
    /// The steps after the first version, newest first. The records before each step are left out.
    pub steps: Vec<Step>,
    /// The first version; `None` if all known versions are younger than the stretch.
    pub first: Option<Moment>,
    /// Whether the known history begins later than the stretch.
    pub is_cut: bool,
    /// Whether the history begins with an empty list, later than the stretch.
    pub was_empty: bool,
    /// Whether the stretch has too many steps.
    pub is_too_long: bool,
}

impl Stretch {
    /// An empty stretch.
    pub fn new(from: Bound, to: Bound) -> Stretch {
        Stretch {
            from,
            to,
            most: MOST_STEPS,
            steps: Vec::new(),
            first: None,
            is_cut: false,
            was_empty: false,
            is_too_long: false,
        }
    }

    /// The last version.
    pub fn last(&self) -> Option<&Moment> {
        self.steps.first().map(|step| &step.moment).or(self.first.as_ref())
    }

    /// Whether the stretch has begun with this step. Clocks differ, so that a version may come later than its
    /// time says.
    fn has_begun(&self, moment: &Moment) -> bool {
        match &self.to {
            _ if !self.steps.is_empty() => true,
            Bound::Newest => true,
            Bound::Time(end) => moment.time <= *end,
            Bound::Moment(end) => moment.time.duration_since(end.time) <= SKEW,
        }
    }

    fn has_ended(&self, moment: &Moment) -> bool {
        match &self.from {
            Bound::Newest => true,
            Bound::Time(begin) => moment.time <= *begin,
            Bound::Moment(begin) => {
                begin.commit == moment.commit || begin.time.duration_since(moment.time) > SKEW
            }
        }
    }

    /// Leaves out what was collected outside the stretch. `oldest` is what is known of the time before the oldest
    /// step.
    fn settle(&mut self, oldest: Before) {
        if let Bound::Moment(end) = &self.to
            && !self.steps.iter().any(|step| step.moment.commit == end.commit)
        {
            let younger = self.steps.iter().take_while(|step| step.moment.time > end.time).count();
            self.steps.drain(..younger);
        }
        let begin = match &self.from {
            Bound::Newest => Some(0),
            Bound::Time(_) => self.steps.iter().rposition(|step| self.has_ended(&step.moment)),
            Bound::Moment(begin) => {
                let exact = self.steps.iter().position(|step| step.moment.commit == begin.commit);
                exact.or_else(|| self.steps.iter().position(|step| step.moment.time <= begin.time))
            }
        };
        let was_empty = oldest == Before::Nothing && matches!(self.from, Bound::Time(_));
        self.was_empty = begin.is_none() && was_empty;
        self.is_cut = begin.is_none() && !was_empty;
        let begin = begin.unwrap_or_else(|| self.steps.len().saturating_sub(1));
        self.first = self.steps.get(begin).map(|step| step.moment.clone());
        self.steps.truncate(begin);
    }
}

impl Visitor for Stretch {
    fn visit(&mut self, mut step: Step) -> ControlFlow<()> {
        let before = step.before;
        if matches!(&self.to, Bound::Moment(end) if end.commit == step.moment.commit) {
            // What was collected is younger, whatever its clocks say.
            self.steps.clear();
        }
        let is_in = self.has_begun(&step.moment);
        let has_ended = is_in && self.has_ended(&step.moment);
        if is_in {
            step.nodes.iter_mut().for_each(|node| node.before = None);
            self.steps.push(step);
        }
        if has_ended || before != Before::Step {
            self.settle(before);
            return ControlFlow::Break(());
        }
        if self.steps.len() > self.most {
            self.is_too_long = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// What a template made of one version of the list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Whether the file has other bytes than before.
    pub changed: bool,
    /// Why the change needs a reload, if it does.
    pub reload: Option<String>,
    /// What the safety limits refuse.
    pub refused: Vec<Refusal>,
    /// The number of nodes that they hold in the file. `None` if the whole file stays as it is.
    pub held: Option<usize>,
    /// Why the template could not be rendered. The file stays as it is.
    pub failed: Option<String>,
}

/// A version with which the file changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// The version.
    pub moment: Moment,
    /// Why it needs a reload, if it does.
    pub reload: Option<String>,
}

/// The fewest and the most active nodes that a file had for a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Extent {
    /// The fewest active nodes.
    pub fewest: u64,
    /// The first version with so few.
    pub at: Moment,
    /// The most active nodes.
    pub most: u64,
}

/// A refusal of a safety limit, from its beginning to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// The first version that was refused.
    pub since: Moment,
    /// The version with which it ended; `None` if it lasted until the end.
    pub until: Option<Moment>,
    /// What was refused first.
    pub refusal: Refusal,
    /// The number of nodes held in the file, at first. `None` if the whole file stayed as it was.
    pub held: Option<usize>,
}

/// A time in which the template could not be rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// The first such version.
    pub since: Moment,
    /// The version with which it ended; `None` if it lasted until the end.
    pub until: Option<Moment>,
    /// The first reason.
    pub reason: String,
}

/// What a file would have gone through.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    /// The number of versions, without the first one.
    pub versions: usize,
    /// The versions with which the bytes of the file would have changed.
    pub changes: Vec<Changed>,
    /// The refusals of safety limits, by their beginning. One that lasts over many versions is one.
    pub refusals: Vec<Refused>,
    /// The times without a rendering.
    pub failures: Vec<Failed>,
    /// For each question, how many active nodes the file had.
    pub extents: BTreeMap<String, Extent>,
    /// The refusals that last, by question: indexes into `refusals`.
    open: BTreeMap<String, usize>,
    fails: bool,
}

impl Replay {
    /// An account that begins with the first version, and the numbers of nodes in the file then.
    pub fn begin(moment: &Moment, outcome: &Outcome, counts: &Counts) -> Replay {
        let mut replay = Replay::default();
        replay.note(moment, outcome, counts);
        replay
    }

    /// Adds the next version, and the numbers of nodes in the file with it.
    pub fn add(&mut self, moment: &Moment, outcome: Outcome, counts: &Counts) {
        self.versions += 1;
        self.note(moment, &outcome, counts);
        if outcome.changed {
            self.changes.push(Changed { moment: moment.clone(), reload: outcome.reload });
        }
    }

    /// How often the file would have needed a reload.
    pub fn reloads(&self) -> usize {
        self.changes.iter().filter(|change| change.reload.is_some()).count()
    }

    fn note(&mut self, moment: &Moment, outcome: &Outcome, counts: &Counts) {
        self.note_failure(moment, outcome.failed.as_deref());
        if outcome.failed.is_none() {
            self.note_refusals(moment, outcome);
        }
        for (question, count) in counts {
            if !self.extents.contains_key(question) {
                let extent = Extent { fewest: count.active, at: moment.clone(), most: count.active };
                self.extents.insert(question.clone(), extent);
            }
        }
        for (question, extent) in &mut self.extents {
            // A question inside another one that is not asked any more has no nodes.
            let active = counts.get(question).map_or(0, |count| count.active);
            extent.most = extent.most.max(active);
            if active < extent.fewest {
                (extent.fewest, extent.at) = (active, moment.clone());
            }
        }
    }

    fn note_refusals(&mut self, moment: &Moment, outcome: &Outcome) {
        let is_refused = |question: &str| outcome.refused.iter().any(|refusal| refusal.question == question);
        let refusals = &mut self.refusals;
        self.open.retain(|question, at| {
            let lasts = is_refused(question);
            if !lasts && let Some(refused) = refusals.get_mut(*at) {
                refused.until = Some(moment.clone());
            }
            lasts
        });
        for refusal in &outcome.refused {
            if !self.open.contains_key(&refusal.question) {
                self.open.insert(refusal.question.clone(), self.refusals.len());
                let (since, refusal) = (moment.clone(), refusal.clone());
                self.refusals.push(Refused { since, until: None, refusal, held: outcome.held });
            }
        }
    }

    fn note_failure(&mut self, moment: &Moment, failed: Option<&str>) {
        match (failed, self.failures.last_mut().filter(|_| self.fails)) {
            (Some(reason), None) => {
                let (since, reason) = (moment.clone(), reason.to_owned());
                self.failures.push(Failed { since, until: None, reason });
            }
            (None, Some(last)) => last.until = Some(moment.clone()),
            (Some(_), Some(_)) | (None, None) => {}
        }
        self.fails = failed.is_some();
    }
}
