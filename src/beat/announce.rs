//! What this node says of itself: its health first, then its record and a heartbeat.

use super::node::{self, NodeError};
use crate::config::Config;
use crate::errors::PathError;
use crate::health::{self, Memory};
use crate::name::Name;

/// The state of this node could not be made to agree with its health.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// Its facts.
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

/// What was heard from one health check.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The check.
    pub name: String,
    /// Good, or why not.
    pub answer: Result<(), String>,
}

/// Asks all health checks once, at the same time.
pub fn ask_health(config: &Config) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            config.healths.iter().map(|health| (health, scope.spawn(|| health::ask(health)))).collect();
        threads
            .into_iter()
            .map(|(health, thread)| Answer {
                name: health.name.clone(),
                answer: thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            })
            .collect()
    })
}

/// Counts the answers in, and writes the state that follows into nodeinfo. Gives the state if it is a new one.
pub fn judge_health(config: &Config, answers: &[Answer]) -> Result<Option<Name>, HealthError> {
    if config.healths.is_empty() {
        return Ok(None);
    }
    let before = Memory::load(&config.state_dir);
    let mut memory = before.clone();
    // Another check of that name is gone; a verdict of old must not count when it comes back.
    memory.pulses.retain(|name, _| config.healths.iter().any(|health| health.name == *name));
    for answer in answers {
        let Some(health) = config.healths.iter().find(|health| health.name == answer.name) else { continue };
        let pulse = memory.pulses.entry(answer.name.clone()).or_default();
        *pulse = pulse.after(answer.answer.is_ok(), health.rise, health.fall);
    }
    let facts = node::facts(config)?;
    let state = facts.get("state").and_then(|state| state.as_str()).filter(|state| !state.is_empty());
    if state != Some(health::WEDGED) {
        memory.wedged = false;
    }
    let verdict = memory.healthy(&config.healths);
    let next = health::decide(state, verdict, memory.wedged, &config.states);
    if next == Some(health::WEDGED) {
        // Remembered before it is said: killed in between, it would look like an operator's word for ever.
        memory.wedged = true;
    }
    if memory != before {
        memory.save(&config.state_dir)?;
    }
    let Some(next) = next.and_then(|state| Name::parse(state).ok()) else { return Ok(None) };
    node::enter_state(config, &next)?;
    Ok(Some(next))
}
