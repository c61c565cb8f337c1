//! What this node announces: its health first, then its record and a heartbeat.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;

use super::node::{self, NodeError};
use crate::config::{Config, Health};
use crate::errors::PathError;
use crate::health::{self, HealthMemory, Judgement};
use crate::name::Name;
use crate::record::{MAX_REASON, SERVICES};

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
    /// The same for one of its services.
    Service(Name, Box<Judged>),
    /// Several of these.
    Several(Vec<Judged>),
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Judged::Several(all) => {
                let told: Vec<String> = all.iter().map(ToString::to_string).collect();
                f.write_str(&told.join("; "))
            }
            Judged::Service(service, judged) => match &**judged {
                Judged::Entered(state, None) => {
                    write!(f, "the health checks of the service `{service}` set it to `{state}`")
                }
                Judged::Entered(state, Some(reason)) => {
                    write!(f, "the health checks of the service `{service}` set it to `{state}`: {reason}")
                }
                other => write!(f, "service `{service}`: {other}"),
            },
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

/// Includes the answers in the verdicts, and writes the resulting states into nodeinfo: that of this node, and those of
/// its services that have checks of their own.
pub fn judge_health(config: &Config, answers: &[Answer]) -> Result<Judged, HealthError> {
    if config.healths.is_empty() {
        return Ok(Judged::Nothing);
    }
    let before = HealthMemory::load(&config.state_dir);
    let mut memory = before.clone();
    let facts = node::facts(&config.nodeinfo)?;
    let now = node::now()?;
    let services: BTreeSet<&Name> =
        config.healths.iter().filter_map(|health| health.service.as_ref()).collect();
    memory.services.retain(|name, _| services.iter().any(|service| service.as_str() == name));
    let mut judged = Vec::new();
    for service in std::iter::once(None).chain(services.into_iter().map(Some)) {
        let checks: Vec<&Health> =
            config.healths.iter().filter(|health| health.service.as_ref() == service).collect();
        if checks.is_empty() {
            continue;
        }
        let of = match service {
            None => &mut memory,
            Some(service) => memory.services.entry(service.to_string()).or_default(),
        };
        let state = match service {
            None => facts.get("state"),
            Some(service) => facts.get(SERVICES).and_then(|all| all.get(service.as_str())?.get("state")),
        };
        let state = state.and_then(|state| state.as_str()).filter(|state| !state.is_empty());
        let judgement = judge(of, &checks, answers, state, config, now);
        let why = reason(&checks, of, answers);
        judged.push((service, judgement, why));
    }
    // Saved before the states are written: if the process were killed in between, `wedged` would look like the
    // operator's for ever.
    if memory != before {
        memory.save(&config.state_dir)?;
    }
    let mut told = Vec::new();
    for (service, judgement, why) in judged {
        let outcome = match judgement {
            Judgement::Stay => continue,
            Judgement::Hold(until) => Judged::Held(until),
            Judgement::Enter(state) => {
                let Ok(state) = Name::parse(state) else { continue };
                let reason = (state.as_str() == health::WEDGED).then_some(why);
                match service {
                    None => node::enter_state(&config.nodeinfo, &state, reason.as_deref())?,
                    Some(service) => {
                        node::enter_state_of(&config.nodeinfo, service, &state, reason.as_deref())?
                    }
                };
                Judged::Entered(state, reason)
            }
        };
        told.push(match service {
            None => outcome,
            Some(service) => Judged::Service(service.clone(), Box::new(outcome)),
        });
    }
    Ok(match told.len() {
        0 => Judged::Nothing,
        1 => told.remove(0),
        _ => Judged::Several(told),
    })
}

/// What follows from the answers of the checks of this node, or of one of its services, in that state.
fn judge(
    memory: &mut HealthMemory,
    checks: &[&Health],
    answers: &[Answer],
    state: Option<&str>,
    config: &Config,
    now: Timestamp,
) -> Judgement {
    // If a check of that name comes back, its old verdict must not apply.
    memory.pulses.retain(|name, _| checks.iter().any(|health| health.name == *name));
    for answer in answers {
        if let Some(health) = checks.iter().find(|health| health.name == answer.name) {
            memory.hear(health, answer.answer.is_ok());
        }
    }
    memory.judge(checks, state, &config.states, now)
}

/// Why this node, or a service, is ill: the failing checks, with their answers in this round.
fn reason(healths: &[&Health], memory: &HealthMemory, answers: &[Answer]) -> String {
    let told = memory.ill(healths).map(|health| {
        let heard = answers.iter().find(|answer| answer.name == health.name);
        match heard.and_then(|answer| answer.answer.as_ref().err()) {
            Some(reason) => format!("{}: {reason}", health.name),
            None => health.name.clone(),
        }
    });
    crate::sanitize::said(&told.collect::<Vec<_>>().join("; "), MAX_REASON)
}
