//! Beats for ever: phase, quiet time, signals, back-off.
//!
//! When to do what is decided in [`crate::schedule`]; here it is done. Whatever goes wrong is said, counted and tried again:
//! nothing but a signal ends the agent, and what is served stays as it is while stores are away.

mod event_loop;
mod events;
mod lock;
mod metrics;
mod report;
mod systemd;
mod workers;

use std::path::PathBuf;
use std::sync::mpsc;

use crate::children;
use crate::config::Config;
use crate::errors::PathError;
pub use report::Report;

/// The agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// There is one already.
    #[error("another agent (pid {pid}) runs with the state directory `{}`", state_dir.display())]
    Another {
        /// Its process.
        pid: String,
        /// What it holds.
        state_dir: PathBuf,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    Io(#[from] PathError),
    /// Signals cannot be listened to.
    #[error("cannot listen to signals")]
    Signals(#[source] std::io::Error),
}

impl AgentError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            AgentError::Another { .. } => {
                Some("end that one first, or name another directory with --state-dir".to_owned())
            }
            AgentError::Io(error) => error.hint(),
            AgentError::Signals(_) => None,
        }
    }
}

/// Beats until it is told to stop: SIGHUP beats at once, SIGTERM and SIGINT end.
pub fn run(config: &Config, say: &dyn Fn(Report)) -> Result<(), AgentError> {
    let _lock = lock::take(&config.state_dir)?;
    let (sender, events) = mpsc::channel();
    events::listen_to_signals(sender.clone()).map_err(AgentError::Signals)?;
    children::wait_for_those_left_here().map_err(AgentError::Signals)?;
    events::ask_health_for_ever(config, &sender);
    event_loop::EventLoop::new(config, say, &sender, events).run();
    // Checks and notifications that have not ended by themselves.
    children::kill_all();
    Ok(())
}
