//! Repeated beats: phase, quiet time, signals, back-off.
//!
//! [`core`] decides when to do what; the driver does it. Every failure is reported, counted and tried again.
//! Only a signal ends the agent, and the files stay as they are while stores are away.

pub mod core;
mod driver;
mod events;
mod lock;
mod pages;
mod systemd;
mod watching;
mod workers;

use std::path::PathBuf;
use std::sync::mpsc;

use self::core::Agent;
pub use self::core::Report;
use crate::at_once::at_once;
use crate::beat::fleet::FleetStores;
use crate::children;
use crate::config::Config;
use crate::errors::PathError;
use driver::Driver;

/// The agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Another agent runs already.
    #[error("another agent (pid {pid}) uses the state directory `{}`", state_dir.display())]
    Another {
        /// Its process id.
        pid: String,
        /// The state directory that it has locked.
        state_dir: PathBuf,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    Io(#[from] PathError),
    /// Signal handlers cannot be installed.
    #[error("cannot install signal handlers")]
    Signals(#[source] std::io::Error),
}

impl AgentError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            AgentError::Another { .. } => {
                Some("stop that agent first, or name another directory with --state-dir".to_owned())
            }
            AgentError::Io(error) => error.hint(),
            AgentError::Signals(_) => None,
        }
    }
}

/// Runs the agent until SIGTERM or SIGINT. SIGHUP causes a beat at once.
pub fn run(config: &Config, stores: &FleetStores, say: &dyn Fn(Report)) -> Result<(), AgentError> {
    let _lock = lock::take(&config.state_dir)?;
    let (sender, events) = mpsc::channel();
    events::listen_to_signals(sender.clone()).map_err(AgentError::Signals)?;
    children::wait_for_those_left_here().map_err(AgentError::Signals)?;
    events::ask_health_for_ever(&config.healths, &sender);
    let driver = Driver::new(config, stores, &sender, events);
    at_once(Agent::new(config, driver, say).run());
    // Checks and notifications may still run.
    children::kill_all();
    Ok(())
}
