//! Decides after each look whether a node that looks after its update merges the waiting updates.

use std::time::Duration;

use crate::name::Name;
use crate::store::git::contention::MANY;
use crate::store::git::inbox::WaitingUpdate;

/// The most nodes to yield to, since each of them may have been killed.
const MERGERS: usize = 3;

/// How many times in a row more updates may arrive before they are merged anyway.
const MAX_UNREST: i32 = 4;

/// The wait between looks: the multiple of the server's response time, its bounds, and its growth while more
/// updates arrive.
const PACE: u32 = 3;
const MIN_PACE: Duration = Duration::from_millis(20);
const MAX_PACE: Duration = Duration::from_secs(2);
const GROWTH: f64 = 1.5;

/// What to do after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Merge the waiting updates.
    Merge,
    /// Look again later.
    Wait,
    /// Nothing is left to do, or another node does it.
    Leave,
}

/// What one node has seen so far.
pub(super) struct Election<'a> {
    /// The node whose update it looks after, if any.
    own: Option<&'a Name>,
    /// The number of updates waiting at the last look.
    known: usize,
    /// How many times in a row more had arrived.
    unrest: i32,
    /// How many times it yielded to nodes with older updates.
    yielded: usize,
    /// The oldest waiting update at the last look.
    oldest: Option<String>,
    /// Whether this node has merged before: then it continues until nothing waits.
    merges: bool,
}

impl Election<'_> {
    /// The state before the first look; `known` updates waited when this node left its own.
    pub(super) fn new(own: Option<&Name>, known: usize) -> Election<'_> {
        Election { own, known, unrest: 0, yielded: 0, oldest: None, merges: false }
    }

    /// The state after a merge: the other nodes leave later updates to this one.
    pub(super) fn after_merge() -> Election<'static> {
        Election { merges: true, ..Election::new(None, 0) }
    }

    /// The wait before the next look, for a server with that response time. `chance`, at least 0 and below 1,
    /// spreads the nodes that look.
    pub(super) fn pause(&self, answer: Duration, chance: f64) -> Duration {
        let pace = (answer * PACE).clamp(MIN_PACE, MAX_PACE);
        pace.mul_f64(GROWTH.powi(self.unrest) * (0.5 + chance))
    }

    /// Decides what to do with these waiting updates.
    ///
    /// Among the nodes that look, the one with the oldest update merges. The others yield to it, and stop as
    /// soon as they see that somebody merges. While more updates arrive, merging waits, so that one commit
    /// has them all. The wait is limited, since each waiting update slows down every other push.
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

    /// Records that this node merged the waiting updates.
    pub(super) fn has_merged(&mut self) {
        (self.merges, self.known, self.unrest) = (true, 0, 0);
    }

    /// The number of looking nodes with older updates, at most [`MERGERS`], since they may all have been
    /// killed.
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

    /// Waiting updates of these nodes, oldest first. A `+` means that the node looks after its update.
    fn waiting(nodes: &[&str]) -> Vec<WaitingUpdate> {
        let name = |(age, node): (usize, &&str)| {
            let id = Name::parse(node.trim_end_matches('+')).unwrap();
            inbox::next(&id, (age as u64, 0), None, node.ends_with('+'), None)
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
        let calm = election.pause(Duration::from_millis(100), 0.5);
        for come in 2..6 {
            assert_eq!(election.next(&crowd[..come]), Next::Wait);
        }
        assert!(election.pause(Duration::from_millis(100), 0.5) > calm, "it looks more rarely");
        assert_eq!(election.next(&crowd[..6]), Next::Merge);
        assert_eq!(Election::new(None, 1).next(&crowd), Next::Merge, "so many");
    }

    #[test]
    fn a_pause_has_its_limits() {
        let election = Election::new(None, 0);
        assert!(election.pause(Duration::ZERO, 0.0) >= MIN_PACE / 2);
        assert!(election.pause(Duration::from_secs(60), 0.99) <= MAX_PACE * 2);
    }
}
