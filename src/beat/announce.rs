//! What this node announces: its health first, then its record and a heartbeat.

use std::fmt;

use jiff::Timestamp;

use super::node::{self, NodeError};
use crate::config::{Config, Health};
use crate::errors::PathError;
use crate::health::{self, HealthMemory, Judgement};
use crate::name::Name;
use crate::record::MAX_REASON;

/// The state of this node could not be adapted to its health.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The facts of this node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The memory of verdicts.
    #[error(transparent)]
    Memory(#[from] PathError),
}

impl HealthError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            HealthError::Node(error) => error.hint(),
            HealthError::Memory(error) => error.hint(),
        }
    }
}

/// The answer of one health check.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The name of the check.
    pub name: String,
    /// Success, or the reason of the failure.
    pub answer: Result<(), String>,
}

/// Runs all health checks once, at the same time.
pub fn ask_health(healths: &[Health]) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            healths.iter().map(|health| (health, scope.spawn(|| health::ask(health)))).collect();
        threads
            .into_iter()
            .map(|(health, thread)| Answer {
                name: health.name.clone(),
                answer: thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            })
            .collect()
    })
}

/// The effect of answers to health checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// Nothing new.
    Nothing,
    /// This node has entered that state; if it is ill, with the reason.
    Entered(Name, Option<String>),
    /// All checks succeed again, but this node failed often: it stays `wedged` until then.
    Held(Timestamp),
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Judged::Nothing => f.write_str("the state of this node does not change"),
            Judged::Entered(state, None) => write!(f, "its health checks set this node to `{state}`"),
            Judged::Entered(state, Some(reason)) => {
                write!(f, "its health checks set this node to `{state}`: {reason}")
            }
            Judged::Held(until) => write!(
                f,
                "the health checks pass again, but failed repeatedly: this node stays `{}` at least until {}",
                health::WEDGED,
                until.strftime("%FT%TZ")
            ),
        }
    }
}

/// Includes the answers in the verdicts, and writes the resulting state into nodeinfo.
pub fn judge_health(config: &Config, answers: &[Answer]) -> Result<Judged, HealthError> {
    if config.healths.is_empty() {
        return Ok(Judged::Nothing);
    }
    let before = HealthMemory::load(&config.state_dir);
    let mut memory = before.clone();
    // If a check of that name comes back, its old verdict must not apply.
    memory.pulses.retain(|name, _| config.healths.iter().any(|health| health.name == *name));
    for answer in answers {
        if let Some(health) = config.healths.iter().find(|health| health.name == answer.name) {
            memory.hear(health, answer.answer.is_ok());
        }
    }
    let facts = node::facts(&config.nodeinfo)?;
    let state = facts.get("state").and_then(|state| state.as_str()).filter(|state| !state.is_empty());
    let judgement = memory.judge(&config.healths, state, &config.states, node::now()?);
    // Saved before the state is written: if the process were killed in between, `wedged` would look like the
    // operator's for ever.
    if memory != before {
        memory.save(&config.state_dir)?;
    }
    match judgement {
        Judgement::Stay => Ok(Judged::Nothing),
        Judgement::Hold(until) => Ok(Judged::Held(until)),
        Judgement::Enter(state) => {
            let Ok(state) = Name::parse(state) else { return Ok(Judged::Nothing) };
            let reason =
                (state.as_str() == health::WEDGED).then(|| reason(&config.healths, &memory, answers));
            node::enter_state(&config.nodeinfo, &state, reason.as_deref())?;
            Ok(Judged::Entered(state, reason))
        }
    }
}

/// Why this node is ill: the failing checks, with their answers in this round.
fn reason(healths: &[Health], memory: &HealthMemory, answers: &[Answer]) -> String {
    let told = memory.ill(healths).map(|health| {
        let heard = answers.iter().find(|answer| answer.name == health.name);
        match heard.and_then(|answer| answer.answer.as_ref().err()) {
            Some(reason) => format!("{}: {reason}", health.name),
            None => health.name.clone(),
        }
    });
    crate::sanitize::said(&told.collect::<Vec<_>>().join("; "), MAX_REASON)
}
