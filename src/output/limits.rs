//! Whether a new output may replace the last good one: no outage, typo or bad record may empty a balancer.
//!
//! If the nodes of the last good output are remembered, their losses are judged ([`judge_losses`]), otherwise
//! only the numbers ([`judge`]).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of nodes in the answer to each question of a template.
pub type Counts = BTreeMap<String, Count>;

/// The nodes in the answer to one question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The active nodes.
    pub active: u64,
    /// Nodes that are still on the list with a state that forbids their use: draining, drained, wedged.
    pub leaving: u64,
}

/// The limits of one target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Fewer active nodes are refused. `None` means 1, and only if the last good output had any.
    pub min_nodes: Option<u64>,
    /// A larger loss of active nodes is refused, in percent of those of the last good output.
    pub max_shrink: u8,
}

/// The nodes that a question had in the last good output and lacks now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    /// The active nodes of the last good output.
    pub before: u64,
    /// Those of `before` that have not left in order.
    pub base: u64,
    /// Those of `base` that are not active any more.
    pub lost: u64,
    /// Those of `lost` that are on the list with a state that forbids their use.
    pub leaving: u64,
    /// Those of `base` that have been in the output for a long time.
    pub settled: u64,
    /// Those of `settled` that are not active any more.
    pub settled_lost: u64,
}

/// The default of [`Limits::max_shrink`].
pub const DEFAULT_MAX_SHRINK: u8 = 50;

impl Default for Limits {
    fn default() -> Limits {
        Limits { min_nodes: None, max_shrink: DEFAULT_MAX_SHRINK }
    }
}

/// Why an output is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The question with too few nodes.
    pub question: String,
    /// Active nodes in the last good output, if there is one.
    pub before: Option<u64>,
    /// Active nodes now.
    pub now: u64,
    /// The limit that was crossed.
    pub limit: Crossed,
}

/// The limit that was crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crossed {
    /// `--min-nodes`, in nodes.
    MinNodes(u64),
    /// `--max-shrink`, in percent.
    MaxShrink(u8),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.now == 1 { "" } else { "s" };
        write!(f, "`{}` has {} active node{plural}", self.question, self.now)?;
        if let Some(before) = self.before {
            write!(f, " where the last good output had {before}")?;
        }
        match self.limit {
            Crossed::MinNodes(least) => write!(f, "; --min-nodes asks for {least}"),
            Crossed::MaxShrink(percent) => write!(f, "; --max-shrink allows a loss of {percent}%"),
        }
    }
}

/// Compares the current counts of a template with those of its last good output.
///
/// A single node that says it is leaving is no outage, however few nodes there are. So drains and
/// decommissions, one at a time, never meet a limit, unless the user asked for a number of nodes.
///
/// A question inside another (`app*/app2`) that is no longer asked, because no node plays that part now, has
/// lost all its nodes.
pub fn judge(limits: Limits, last: Option<&Counts>, now: &Counts) -> Vec<Refusal> {
    let vanished = last.into_iter().flat_map(Counts::keys).filter(|question| {
        let outer = question.split_once('/').map(|(outer, _)| outer);
        !now.contains_key(*question) && outer.is_some_and(|outer| now.contains_key(outer))
    });
    let nobody = Count::default();
    now.iter()
        .chain(vanished.map(|question| (question, &nobody)))
        .filter_map(|(question, count)| {
            let before = last.and_then(|last| last.get(question));
            crossed(limits, before, count).map(|limit| Refusal {
                question: question.clone(),
                before: before.map(|count| count.active),
                now: count.active,
                limit,
            })
        })
        .collect()
}

/// Judges what each question has lost, by the nodes themselves. It refuses only what [`judge`] refuses too:
/// nodes that left in order, and young nodes that are gone again, are no outage.
pub fn judge_losses(limits: Limits, losses: &BTreeMap<String, Loss>, now: &Counts) -> Vec<Refusal> {
    let unknown = now.keys().filter(|question| !losses.contains_key(*question));
    unknown
        .map(|question| (question, Loss::default()))
        .chain(losses.iter().map(|(question, loss)| (question, *loss)))
        .filter_map(|(question, loss)| {
            let active = now.get(question).map(|count| count.active);
            let limit = crossed_by(limits, loss, active)?;
            let before = losses.contains_key(question).then_some(loss.before);
            Some(Refusal { question: question.clone(), before, now: active.unwrap_or_default(), limit })
        })
        .collect()
}

/// `active` is `None` for a question that is no longer asked.
fn crossed_by(limits: Limits, loss: Loss, active: Option<u64>) -> Option<Crossed> {
    let lost = loss.lost.min(loss.base.saturating_sub(active.unwrap_or_default()));
    if let Some(least) = limits.min_nodes
        && active.map_or(lost > 0 && least > 0, |active| active < least)
    {
        return Some(Crossed::MinNodes(least));
    }
    if lost == 0 || (lost == 1 && loss.leaving > 0) {
        return None;
    }
    if limits.min_nodes.is_none() && active.unwrap_or_default() == 0 {
        return Some(Crossed::MinNodes(1));
    }
    let too_many = |lost: u64, of: u64| lost * 100 > u64::from(limits.max_shrink) * of;
    // If all nodes are young, there is nothing else to go by.
    let settled = loss.settled == 0 || too_many(loss.settled_lost, loss.settled);
    (settled && too_many(lost, loss.base)).then_some(Crossed::MaxShrink(limits.max_shrink))
}

fn crossed(limits: Limits, before: Option<&Count>, now: &Count) -> Option<Crossed> {
    if let Some(least) = limits.min_nodes
        && now.active < least
    {
        return Some(Crossed::MinNodes(least));
    }
    let before = before?;
    let lost = before.active.saturating_sub(now.active);
    if lost == 0 || (lost == 1 && now.leaving > before.leaving) {
        return None;
    }
    if limits.min_nodes.is_none() && now.active == 0 {
        return Some(Crossed::MinNodes(1));
    }
    (lost * 100 > u64::from(limits.max_shrink) * before.active)
        .then_some(Crossed::MaxShrink(limits.max_shrink))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        min: Option<u64>,
        shrink: u8,
        before: Option<(u64, u64)>,
        now: (u64, u64),
        expect: Option<Crossed>,
    ) {
        let counts = |(active, leaving)| Counts::from([("app*".to_owned(), Count { active, leaving })]);
        let limits = Limits { min_nodes: min, max_shrink: shrink };
        let refusals = judge(limits, before.map(counts).as_ref(), &counts(now));
        let seen = refusals.first().map(|refusal| refusal.limit);
        assert_eq!(seen, expect, "min {min:?} shrink {shrink} {before:?} -> {now:?}");
    }

    #[test]
    fn an_outage_is_refused_and_growth_is_not() {
        check(None, 50, None, (0, 0), None);
        check(None, 50, Some((0, 0)), (0, 0), None);
        check(None, 50, Some((3, 0)), (0, 0), Some(Crossed::MinNodes(1)));
        check(None, 50, Some((10, 0)), (5, 0), None);
        check(None, 50, Some((10, 0)), (4, 0), Some(Crossed::MaxShrink(50)));
        check(None, 50, Some((10, 0)), (20, 0), None);
        check(None, 100, Some((10, 0)), (1, 0), None);
        check(None, 100, Some((10, 0)), (0, 0), Some(Crossed::MinNodes(1)));
        check(None, 0, Some((10, 0)), (9, 0), Some(Crossed::MaxShrink(0)));
    }

    #[test]
    fn a_number_that_was_asked_for_holds_always() {
        check(Some(2), 50, None, (1, 0), Some(Crossed::MinNodes(2)));
        check(Some(2), 50, Some((2, 0)), (1, 1), Some(Crossed::MinNodes(2)));
        check(Some(0), 100, Some((3, 0)), (0, 0), None);
    }

    #[test]
    fn one_node_that_leaves_in_order_is_no_outage() {
        check(None, 50, Some((1, 0)), (0, 1), None);
        check(None, 0, Some((3, 0)), (2, 1), None);
        check(None, 50, Some((2, 0)), (0, 2), Some(Crossed::MinNodes(1)));
        check(None, 50, Some((1, 1)), (0, 1), Some(Crossed::MinNodes(1)));
        check(None, 50, Some((0, 1)), (0, 0), None);
    }

    #[test]
    fn a_part_that_nobody_plays_any_more_has_lost_all() {
        let counts = |questions: &[(&str, u64)]| -> Counts {
            questions
                .iter()
                .map(|(name, active)| ((*name).to_owned(), Count { active: *active, leaving: 0 }))
                .collect()
        };
        let before = counts(&[("app*", 10), ("app*/app1", 8), ("app*/app2", 2)]);
        let check = |now: &[(&str, u64)], expect: &[&str]| {
            let refusals = judge(Limits::default(), Some(&before), &counts(now));
            assert_eq!(refusals.iter().map(|refusal| refusal.question.as_str()).collect::<Vec<_>>(), expect);
        };
        check(&[("app*", 8), ("app*/app1", 8)], &["app*/app2"]);
        check(&[("web*", 8), ("web*/web1", 8)], &[]); // the template has another question now
    }

    #[test]
    fn losses_are_judged_by_the_nodes_and_not_by_numbers_alone() {
        let check = |loss: Loss, active: Option<u64>, expect: Option<Crossed>| {
            assert_eq!(crossed_by(Limits::default(), loss, active), expect, "{loss:?} {active:?}");
        };
        let old = |before, lost| Loss {
            before,
            base: before,
            lost,
            leaving: 0,
            settled: before,
            settled_lost: lost,
        };
        check(old(10, 5), Some(5), None);
        check(old(10, 6), Some(4), Some(Crossed::MaxShrink(50)));
        check(old(3, 3), Some(0), Some(Crossed::MinNodes(1)));
        check(old(3, 3), None, Some(Crossed::MinNodes(1)));
        // Others have taken their place.
        check(old(3, 3), Some(3), None);
        // Twenty young nodes are gone again.
        let fake = Loss { settled: 10, settled_lost: 0, ..old(30, 20) };
        check(fake, Some(10), None);
        check(Loss { settled_lost: 6, ..old(30, 26) }, Some(4), None);
        check(Loss { settled: 10, settled_lost: 6, ..old(30, 26) }, Some(4), Some(Crossed::MaxShrink(50)));
        // All are young.
        check(Loss { settled: 0, settled_lost: 0, ..old(10, 8) }, Some(2), Some(Crossed::MaxShrink(50)));
        // However young they are: never down to nothing.
        check(Loss { settled: 0, settled_lost: 0, ..old(10, 10) }, Some(0), Some(Crossed::MinNodes(1)));
        // The last node drains, or has left in order.
        check(Loss { leaving: 1, ..old(1, 1) }, Some(0), None);
        check(Loss { before: 1, ..Loss::default() }, None, None);
        let asked = Limits { min_nodes: Some(2), max_shrink: 50 };
        assert_eq!(crossed_by(asked, Loss { before: 1, ..Loss::default() }, None), None);
        assert_eq!(crossed_by(asked, old(2, 1), Some(1)), Some(Crossed::MinNodes(2)));
    }

    #[test]
    fn a_refusal_says_what_it_counted() {
        let refusal =
            Refusal { question: "app*".into(), before: Some(9), now: 1, limit: Crossed::MaxShrink(50) };
        assert_eq!(
            refusal.to_string(),
            "`app*` has 1 active node where the last good output had 9; --max-shrink allows a loss of 50%"
        );
    }
}
