//! Whether one who left an update, and looks after it, merges what waits: decided by what it sees, look by look.

use std::time::Duration;

use crate::name::Name;
use crate::store::git::contention::MANY;
use crate::store::git::inbox::WaitingUpdate;

/// To so many who come first one yields: one of them might have been killed.
const MERGERS: usize = 3;

/// How often in that more may have come before what waits is merged all the same.
const MAX_UNREST: i32 = 4;

/// The waits from look to look: so many times longer than the server took to answer, from, to, and how they grow while
/// the server is busy.
const PACE: u32 = 3;
const MIN_PACE: Duration = Duration::from_millis(20);
const MAX_PACE: Duration = Duration::from_secs(2);
const GROWTH: f64 = 1.5;

/// What to do after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Merge what waits.
    Merge,
    /// Look again later.
    Wait,
    /// Nothing is left to be done, or somebody else does it.
    Leave,
}

/// What one who looks has seen so far.
pub(super) struct Election<'a> {
    /// The node whose update is looked after, if it is one.
    own: Option<&'a Name>,
    /// How many waited at the last look.
    known: usize,
    /// How often in a row more had come.
    unrest: i32,
    /// How often it was left to those who come first.
    yielded: usize,
    /// The update that had waited for the longest at the last look.
    oldest: Option<String>,
    /// Whether we have merged before: then we go on until nothing waits.
    merges: bool,
}

impl Election<'_> {
    /// Before the first look; `known` were seen to wait when the update was left.
    pub(super) fn new(own: Option<&Name>, known: usize) -> Election<'_> {
        Election { own, known, unrest: 0, yielded: 0, oldest: None, merges: false }
    }

    /// Before the next look of one who has just merged: the others leave what comes after to it.
    pub(super) fn after_merge() -> Election<'static> {
        Election { merges: true, ..Election::new(None, 0) }
    }

    /// How long to wait for the next look, at a server that took `answer` to say what waits.
    pub(super) fn pause(&self, answer: Duration) -> Duration {
        let pace = (answer * PACE).clamp(MIN_PACE, MAX_PACE);
        pace.mul_f64(GROWTH.powi(self.unrest) * (0.5 + fastrand::f64()))
    }

    /// What to do, if this waits now.
    ///
    /// Of those who look, the one whose update has waited for the longest merges. The others yield to it, and leave as
    /// soon as they see that somebody merges. While more and more come, the crowd shall get into one commit; but not for
    /// ever, since each that waits costs every push of the others.
    pub(super) fn next(&mut self, waiting: &[WaitingUpdate]) -> Next {
        let oldest = waiting.first().map(WaitingUpdate::name);
        let others_merge = !self.merges && self.oldest.is_some() && self.oldest != oldest;
        if waiting.is_empty() || others_merge {
            return Next::Leave;
        }
        self.oldest = oldest;
        let comes = waiting.len() > self.known && self.unrest < MAX_UNREST && waiting.len() < MANY;
        let yields = !self.merges && self.yielded < self.first_in_turn(waiting);
        if !comes && !yields {
            return Next::Merge;
        }
        self.known = waiting.len();
        match comes {
            true => self.unrest += 1,
            false => self.yielded += 1,
        }
        Next::Wait
    }

    /// What waited was merged by us.
    pub(super) fn has_merged(&mut self) {
        (self.merges, self.known, self.unrest) = (true, 0, 0);
    }

    /// How many look who come first, because their updates have waited for longer than ours. No more than [`MERGERS`],
    /// since they may all have been killed.
    fn first_in_turn(&self, waiting: &[WaitingUpdate]) -> usize {
        let before = waiting.iter().take_while(|entry| Some(&entry.id) != self.own);
        before.filter(|entry| entry.looked_after).count().min(MERGERS)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use git2::Oid;

    use super::*;
    use crate::store::git::inbox;

    /// Updates of these nodes, the first has waited for the longest; with a `+`, its node looks after it.
    fn waiting(nodes: &[&str]) -> Vec<WaitingUpdate> {
        let name = |(age, node): (usize, &&str)| {
            let id = Name::parse(node.trim_end_matches('+')).unwrap();
            // Far in the future, so that the clock adds nothing.
            inbox::next(&id, Some((1 << 60) + age as u64), node.ends_with('+'), None)
        };
        let refs: BTreeMap<_, _> =
            nodes.iter().enumerate().map(name).map(|name| (name, Oid::ZERO_SHA1)).collect();
        inbox::entries(&refs)
    }

    #[test]
    fn the_one_that_waits_for_the_longest_merges_and_the_others_leave() {
        let (first, second) = (Name::parse("a").unwrap(), Name::parse("b").unwrap());
        let crowd = waiting(&["x", "a+", "y", "b+"]);
        let mut of_first = Election::new(Some(&first), 4);
        let mut of_second = Election::new(Some(&second), 4);
        assert_eq!(of_first.next(&crowd), Next::Merge);
        assert_eq!(of_second.next(&crowd), Next::Wait);
        assert_eq!(of_second.next(&waiting(&["z"])), Next::Leave);
        of_first.has_merged();
        assert_eq!(of_first.next(&waiting(&["z"])), Next::Wait, "it comes");
        assert_eq!(of_first.next(&waiting(&["z"])), Next::Merge);
        assert_eq!(of_first.next(&[]), Next::Leave);
    }

    #[test]
    fn who_was_killed_is_yielded_to_once_and_no_more_than_three_are() {
        let own = Name::parse("own").unwrap();
        let crowd = waiting(&["a+", "b+", "c+", "d+", "own+"]);
        let mut election = Election::new(Some(&own), crowd.len());
        let looks: Vec<Next> = (0..4).map(|_| election.next(&crowd)).collect();
        assert_eq!(looks, [Next::Wait, Next::Wait, Next::Wait, Next::Merge]);
        let crowd = waiting(&["a", "b", "own+"]);
        assert_eq!(Election::new(Some(&own), 3).next(&crowd), Next::Merge, "they do not look");
        assert_eq!(Election::new(None, 3).next(&waiting(&["a", "b"])), Next::Merge, "nobody looks");
    }

    #[test]
    fn a_crowd_that_comes_is_waited_for_but_not_for_ever() {
        let mut election = Election::new(None, 1);
        let names: Vec<String> = (0..MANY).map(|node| format!("i-{node:02}")).collect();
        let crowd = waiting(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let calm = election.pause(Duration::from_millis(100));
        for come in 2..6 {
            assert_eq!(election.next(&crowd[..come]), Next::Wait);
        }
        assert!(election.pause(Duration::from_millis(100)) > calm, "it looks more rarely");
        assert_eq!(election.next(&crowd[..6]), Next::Merge);
        assert_eq!(Election::new(None, 1).next(&crowd), Next::Merge, "so many");
    }

    #[test]
    fn a_pause_has_its_limits() {
        let election = Election::new(None, 0);
        assert!(election.pause(Duration::ZERO) >= MIN_PACE / 2);
        assert!(election.pause(Duration::from_secs(60)) <= MAX_PACE * 2);
    }
}
