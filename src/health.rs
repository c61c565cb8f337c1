//! Health before announcement: whether this node's own service answers decides whether it publishes `done` or `wedged`.
//!
//! Verdicts need several answers in a row (rise, fall), and are kept over restarts. Only a state that says "use me" is
//! taken back, and only a `wedged` that was set here is lifted again: setup, draining and what an operator said stand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Check, Health};
use crate::errors::{AtPath, PathError, chain};
use crate::probe;
use crate::roster::{Availability, States};

/// What an ill node says.
pub const WEDGED: &str = "wedged";

/// What a node says that was ill and is well again.
pub const DONE: &str = "done";

/// What is known of one check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// The verdict; none before the first answer.
    pub healthy: Option<bool>,
    /// How many answers in a row have contradicted it.
    pub doubts: u32,
}

impl Pulse {
    /// The pulse after one more answer. The first one decides: a node that starts ill is not announced as well.
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

/// What is known of all checks, kept over restarts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// By the names of the checks.
    pub pulses: BTreeMap<String, Pulse>,
    /// Whether `wedged` was said here, and not by an operator.
    pub wedged: bool,
}

impl Memory {
    /// The file of the memory.
    pub fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("health.json")
    }

    /// What is remembered. A memory that cannot be read counts as none.
    pub fn load(state_dir: &Path) -> Memory {
        let text = std::fs::read(Memory::path(state_dir)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Remembers it.
    pub fn save(&self, state_dir: &Path) -> Result<(), PathError> {
        let path = Memory::path(state_dir);
        std::fs::create_dir_all(state_dir).at("make", state_dir)?;
        let text = serde_json::to_vec(self).map_err(std::io::Error::from).at("write", &path)?;
        let staged = tempfile::NamedTempFile::new_in(state_dir).at("write a file in", state_dir)?;
        std::fs::write(staged.path(), text).at("write", &path)?;
        staged.persist(&path).map_err(|error| error.error).at("replace", &path)?;
        Ok(())
    }

    /// Whether all checks find this node healthy; none as long as one has not answered.
    pub fn healthy(&self, checks: &[Health]) -> Option<bool> {
        let verdicts: Option<Vec<bool>> =
            checks.iter().map(|check| self.pulses.get(&check.name)?.healthy).collect();
        verdicts.filter(|verdicts| !verdicts.is_empty()).map(|verdicts| verdicts.into_iter().all(|good| good))
    }
}

/// The state that this node is to enter, if its health calls for one. `ours`: `wedged` was said here.
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

/// Asks once. The error is why the answer is a bad one.
pub fn ask(health: &Health) -> Result<(), String> {
    match &health.check {
        Check::Command(command) => command.run(Path::new(""), health.timeout).map_err(|error| chain(&error)),
        Check::Answers(address, question) => {
            probe::ask(*address, question, health.timeout).map(drop).map_err(|silence| silence.to_string())
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
            check: Check::Answers(([127, 0, 0, 1], 1).into(), probe::Question::Connect),
            rise: 1,
            fall: 1,
            timeout: std::time::Duration::ZERO,
            interval: std::time::Duration::ZERO,
        };
        let checks = [named("a"), named("b")];
        let mut memory = Memory::default();
        assert_eq!(memory.healthy(&checks), None);
        memory.pulses.insert("a".into(), Pulse { healthy: Some(true), doubts: 0 });
        assert_eq!(memory.healthy(&checks), None);
        memory.pulses.insert("b".into(), Pulse { healthy: Some(false), doubts: 0 });
        assert_eq!(memory.healthy(&checks), Some(false));
        assert_eq!(memory.healthy(&[]), None);
        let dir = tempfile::tempdir().unwrap();
        memory.save(dir.path()).unwrap();
        assert_eq!(Memory::load(dir.path()), memory);
    }
}
