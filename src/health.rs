//! Health before announcement: the answers of this node's own service decide whether it publishes `done` or
//! `wedged`.
//!
//! A verdict changes after several answers in a row (rise, fall), and survives restarts. Only an active state
//! becomes `wedged`, and only a `wedged` that was set here becomes `done` again. Setup, draining and a state
//! that an operator set stay.

mod damping;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{Check, Health};
use crate::errors::{PathError, chain};
use crate::probe::{self, Silence};
use crate::roster::{Availability, States};
use crate::state;
pub use damping::Failures;
use damping::Turn;

/// The state of an ill node.
pub const WEDGED: &str = "wedged";

/// The state of a node that is healthy again.
pub const DONE: &str = "done";

/// What is known of one check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// The verdict; `None` before the first answer.
    pub healthy: Option<bool>,
    /// How many answers in a row have contradicted it.
    pub doubts: u32,
}

impl Pulse {
    /// The pulse after one more answer. The first answer decides: a node that starts ill is not announced as
    /// healthy.
    pub fn after(self, good: bool, rise: u32, fall: u32) -> Pulse {
        let Some(healthy) = self.healthy else { return Pulse { healthy: Some(good), doubts: 0 } };
        if good == healthy {
            return Pulse { doubts: 0, ..self };
        }
        let doubts = self.doubts + 1;
        match doubts >= if good { rise } else { fall } {
            true => Pulse { healthy: Some(good), doubts: 0 },
            false => Pulse { doubts, ..self },
        }
    }
}

/// What is known of all checks. It survives restarts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthMemory {
    /// By the names of the checks.
    pub pulses: BTreeMap<String, Pulse>,
    /// Whether the checks set `wedged`, and not an operator.
    pub wedged: bool,
    /// The recent failures, which delay the return.
    pub failures: Failures,
    /// What is known of the checks of each service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, HealthMemory>,
}

/// What follows from the verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The state of this node stays.
    Stay,
    /// This node enters that state.
    Enter(&'static str),
    /// All checks succeed again, but this node failed often: it enters [`DONE`] at that time if they still
    /// succeed. Returned once, when the hold begins.
    Hold(Timestamp),
}

/// The file of the memory.
const FILE: &str = "health.json";

impl HealthMemory {
    /// Loads the memory. An unreadable one is treated as empty.
    pub fn load(state_dir: &Path) -> HealthMemory {
        state::load(state_dir, FILE).unwrap_or_default()
    }

    /// Saves the memory.
    pub fn save(&self, state_dir: &Path) -> Result<(), PathError> {
        state::save(state_dir, FILE, self)
    }

    /// Whether all checks find this node healthy; `None` until each has answered.
    pub fn healthy(&self, checks: &[&Health]) -> Option<bool> {
        let verdicts: Option<Vec<bool>> =
            checks.iter().map(|check| self.pulses.get(&check.name)?.healthy).collect();
        verdicts.filter(|verdicts| !verdicts.is_empty()).map(|verdicts| verdicts.into_iter().all(|good| good))
    }

    /// The checks that find this node ill.
    pub fn ill<'c>(&self, checks: &[&'c Health]) -> impl Iterator<Item = &'c Health> {
        checks
            .iter()
            .copied()
            .filter(|check| self.pulses.get(&check.name).is_some_and(|pulse| pulse.healthy == Some(false)))
    }

    /// Whether the last answer of a check contradicted its verdict.
    fn is_in_doubt(&self) -> bool {
        self.pulses.values().any(|pulse| pulse.doubts > 0)
    }

    /// Includes one answer of a check.
    pub fn hear(&mut self, check: &Health, good: bool) {
        let pulse = self.pulses.entry(check.name.clone()).or_default();
        *pulse = pulse.after(good, check.rise, check.fall);
    }

    /// What follows for a node that is in this state now.
    pub fn judge(
        &mut self,
        checks: &[&Health],
        state: Option<&str>,
        states: &States,
        now: Timestamp,
    ) -> Judgement {
        if state != Some(WEDGED) {
            self.wedged = false;
        }
        let longest = checks.iter().map(|check| check.damp).max().unwrap_or(Duration::ZERO);
        let healthy = self.healthy(checks);
        let turn = healthy.map_or(Turn::None, |healthy| self.failures.note(healthy, now));
        match decide(state, healthy, self.wedged, states) {
            Some(WEDGED) => {
                self.wedged = true;
                if turn == Turn::Bad {
                    self.failures.add(longest);
                }
                Judgement::Enter(WEDGED)
            }
            Some(state) => match self.failures.returns_at(longest) {
                Some(time) if now < time && turn == Turn::Good => Judgement::Hold(time),
                Some(time) if now < time => Judgement::Stay,
                // It may be about to fail again.
                Some(_) if turn == Turn::None && self.is_in_doubt() => Judgement::Stay,
                _ => Judgement::Enter(state),
            },
            None => Judgement::Stay,
        }
    }
}

/// The state that this node's health calls for, if any, without damping. `ours`: the checks set `wedged`.
pub fn decide(
    state: Option<&str>,
    healthy: Option<bool>,
    ours: bool,
    states: &States,
) -> Option<&'static str> {
    match (state, healthy?) {
        (Some(WEDGED), true) if ours => Some(DONE),
        (Some(WEDGED), _) => None,
        (state, false) if states.of(state) == Availability::Active => Some(WEDGED),
        _ => None,
    }
}

/// Runs a check once. The error is the reason for a bad answer.
pub fn ask(health: &Health) -> Result<(), String> {
    match &health.check {
        Check::Command(command) => command.run(Path::new(""), health.timeout).map_err(|error| chain(&error)),
        Check::Answers(address, question) => {
            probe::ask(*address, question, health.timeout).map(drop).map_err(|silence| match silence {
                // Readers see it far from the check, in a record or a chat.
                Silence::Status(status) => format!("http status {status}"),
                silence => silence.to_string(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_needs_several_answers_in_a_row() {
        let check = |answers: &str, expect: Option<bool>| {
            let pulse =
                answers.chars().fold(Pulse::default(), |pulse, answer| pulse.after(answer == '+', 2, 3));
            assert_eq!(pulse.healthy, expect, "{answers}");
        };
        check("", None);
        check("+", Some(true));
        check("-", Some(false));
        check("+--", Some(true));
        check("+---", Some(false));
        check("+--+--", Some(true));
        check("-+", Some(false));
        check("-++", Some(true));
        check("-+-+", Some(false));
    }

    #[test]
    fn only_what_says_use_me_is_taken_back() {
        let states = States::default();
        let check = |state: Option<&str>, healthy: Option<bool>, ours: bool, expect: Option<&str>| {
            assert_eq!(decide(state, healthy, ours, &states), expect, "{state:?} {healthy:?} {ours}");
        };
        for state in [None, Some("initdone"), Some("done"), Some("running")] {
            check(state, Some(false), false, Some("wedged"));
            check(state, Some(true), false, None);
            check(state, None, false, None);
        }
        for state in ["presetup", "setup", "draining", "drained", "decommissioned", "whatever"] {
            check(Some(state), Some(false), true, None);
            check(Some(state), Some(true), true, None);
        }
        check(Some("wedged"), Some(true), true, Some("done"));
        check(Some("wedged"), Some(true), false, None);
        check(Some("wedged"), Some(false), true, None);
        check(Some("wedged"), None, true, None);
    }

    #[test]
    fn all_checks_must_agree() {
        let named = |name: &str| Health {
            name: name.into(),
            service: None,
            check: Check::Answers(([127, 0, 0, 1], 1).into(), probe::Question::Connect),
            rise: 1,
            fall: 1,
            timeout: std::time::Duration::ZERO,
            interval: std::time::Duration::ZERO,
            damp: std::time::Duration::ZERO,
        };
        let checks = [named("a"), named("b")];
        let checks: Vec<&Health> = checks.iter().collect();
        let mut memory = HealthMemory::default();
        assert_eq!(memory.healthy(&checks), None);
        memory.pulses.insert("a".into(), Pulse { healthy: Some(true), doubts: 0 });
        assert_eq!(memory.healthy(&checks), None);
        memory.pulses.insert("b".into(), Pulse { healthy: Some(false), doubts: 0 });
        assert_eq!(memory.healthy(&checks), Some(false));
        assert_eq!(memory.healthy(&[]), None);
        let dir = tempfile::tempdir().unwrap();
        memory.save(dir.path()).unwrap();
        assert_eq!(HealthMemory::load(dir.path()), memory);
    }

    const LONGEST: Duration = Duration::from_secs(15 * 60);

    /// A node with one check, and an adjustable clock.
    struct Node {
        check: [Health; 1],
        memory: HealthMemory,
        state: &'static str,
        now: Timestamp,
        states: States,
        /// How often it entered a state.
        changes: usize,
        /// How often a hold was reported.
        holds: usize,
    }

    impl Node {
        fn new(rise: u32, fall: u32, damp: Duration) -> Node {
            let check = Health {
                name: "web".into(),
                service: None,
                check: Check::Answers(([127, 0, 0, 1], 1).into(), probe::Question::Connect),
                rise,
                fall,
                timeout: Duration::ZERO,
                interval: Duration::ZERO,
                damp,
            };
            Node {
                check: [check],
                memory: HealthMemory::default(),
                state: DONE,
                now: "2026-01-02T03:04:05Z".parse().unwrap(),
                states: States::default(),
                changes: 0,
                holds: 0,
            }
        }

        fn hear(&mut self, good: bool) {
            self.memory.hear(&self.check[0], good);
            match self.memory.judge(&[&self.check[0]], Some(self.state), &self.states, self.now) {
                Judgement::Stay => {}
                Judgement::Hold(_) => self.holds += 1,
                Judgement::Enter(state) => {
                    assert_ne!(state, self.state);
                    self.state = state;
                    self.changes += 1;
                }
            }
        }

        /// One answer every so many seconds.
        fn hear_all(&mut self, every_s: i64, answers: impl IntoIterator<Item = bool>) {
            for good in answers {
                self.move_clock(every_s);
                self.hear(good);
            }
        }

        fn move_clock(&mut self, seconds: i64) {
            self.now += jiff::SignedDuration::from_secs(seconds);
        }

        /// Answers that change as often as the node's state can: bad while it is `done`, and good until it is
        /// again.
        fn hear_the_worst(&mut self, every_s: i64, seconds: i64) {
            for _ in 0..seconds / every_s {
                let good = self.state == WEDGED;
                self.hear_all(every_s, [good]);
            }
        }
    }

    #[test]
    fn going_out_is_prompt_and_coming_back_is_damped() {
        let mut node = Node::new(2, 3, LONGEST);
        node.hear_all(5, [true; 10]);
        for (failure, minutes) in [0, 1, 2, 4, 8, 15, 15].into_iter().enumerate() {
            node.hear_all(5, [false, false]);
            assert_eq!(node.state, DONE);
            node.hear_all(5, [false]);
            assert_eq!(node.state, WEDGED, "failure {failure}");
            node.hear_all(5, [true]);
            node.hear_all(5, vec![true; minutes * 12]);
            assert_eq!((node.state, node.holds), (WEDGED, failure), "failure {failure}");
            node.hear_all(5, [true]);
            assert_eq!(node.state, DONE, "failure {failure}");
        }
        // A failure during the hold restarts it, and is not counted again.
        node.hear_all(5, [false; 3]);
        node.hear_all(5, [true; 170]);
        node.hear_all(5, [false; 3]);
        node.hear_all(5, [true; 181]);
        assert_eq!((node.state, node.memory.failures.count), (WEDGED, 6));
        node.hear_all(5, [true]);
        assert_eq!(node.state, DONE);
        // Six hours later all is forgotten.
        node.hear_all(60, [true; 360]);
        node.hear_all(5, [false, false, false, true, true]);
        assert_eq!(node.state, DONE);
    }

    #[test]
    fn flapping_answers_of_an_hour_make_few_changes() {
        let changes = |damp: Duration, flap: &dyn Fn(&mut Node)| {
            let mut node = Node::new(2, 3, damp);
            node.hear(true);
            flap(&mut node);
            node.changes
        };
        // Without damping, and with it.
        let check = |flap: &dyn Fn(&mut Node), expect: (usize, usize)| {
            assert_eq!((changes(Duration::ZERO, flap), changes(LONGEST, flap)), expect);
        };
        let periodic = |good: usize, bad: usize| {
            move |node: &mut Node| {
                let one = (0..bad).map(|_| false).chain((0..good).map(|_| true));
                node.hear_all(5, one.cycle().take(720));
            }
        };
        check(&periodic(2, 3), (288, 3));
        // Two minutes up, one down.
        check(&periodic(24, 12), (40, 5));
        check(&|node| node.hear_the_worst(5, 3600), (288, 15));
        // Each answer counts, and one comes every second.
        check(
            &|node| {
                (node.check[0].rise, node.check[0].fall) = (1, 1);
                node.hear_the_worst(1, 3600);
            },
            (3600, 15),
        );
    }

    #[test]
    fn an_operator_ends_the_hold() {
        let mut node = Node::new(1, 1, LONGEST);
        node.hear_all(5, [true, false, true, false, true]);
        assert_eq!((node.state, node.holds), (WEDGED, 1));
        node.state = DONE;
        node.hear_all(5, [true; 3]);
        assert_eq!(node.state, DONE);
        node.hear_all(5, [false]);
        assert_eq!(node.state, WEDGED);
    }

    #[test]
    fn a_memory_from_before_damping_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let old = r#"{"pulses":{"web":{"healthy":false,"doubts":1}},"wedged":true}"#;
        std::fs::write(dir.path().join(FILE), old).unwrap();
        let mut node = Node::new(2, 3, LONGEST);
        node.memory = HealthMemory::load(dir.path());
        assert!(node.memory.wedged);
        node.state = WEDGED;
        node.hear_all(5, [true]);
        assert_eq!(node.state, DONE);
    }

    proptest::proptest! {
        /// Eight failures and the returns from them fit into an hour: the holds before the ninth add up to an
        /// hour.
        #[test]
        fn an_hour_of_any_answers_makes_sixteen_changes_at_most(
            answers in proptest::collection::vec(proptest::bool::weighted(0.7), 720),
            (rise, fall) in (1u32..4, 1u32..4),
        ) {
            let mut node = Node::new(rise, fall, LONGEST);
            node.hear_all(5, answers);
            assert!(node.changes <= 16, "{}", node.changes);
        }

        /// With any history and any setting of the clock: a node that is healthy for the longest hold is
        /// `done`.
        #[test]
        fn no_node_is_held_for_ever(
            stretches in proptest::collection::vec((1usize..200, proptest::bool::ANY), 0..40),
            jump in -1_000_000i64..1_000_000,
            (rise, fall) in (1u32..4, 1u32..4),
        ) {
            let mut node = Node::new(rise, fall, LONGEST);
            for (length, good) in stretches {
                node.hear_all(5, vec![good; length]);
            }
            node.move_clock(jump);
            node.hear_all(5, vec![true; rise as usize + 15 * 12]);
            assert_eq!(node.state, DONE);
        }
    }
}
