//! What happens to the agent: signals, answers of health checks and of stores.

use std::io;
use std::sync::mpsc::Sender;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::workers;
use crate::beat::announce::Answer;
use crate::config::Config;
use crate::health;

/// Something that does not wait for the next beat.
#[derive(Debug)]
pub(super) enum AgentEvent {
    /// Beat now.
    Now,
    /// End; the signal's name.
    Stop(&'static str),
    /// A health check was answered.
    Health(Answer),
    /// What came of a job at the store of that place.
    Answer(usize, Box<workers::JobResult>),
}

/// Sends an event for each signal. A second one that asks to end does not wait for what runs: every file is whole at
/// every moment.
pub(super) fn listen_to_signals(sender: Sender<AgentEvent>) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGTERM, SIGINT])?;
    std::thread::spawn(move || {
        let mut stopping = false;
        for signal in signals.forever() {
            let event = match signal {
                SIGHUP => AgentEvent::Now,
                _ if stopping => std::process::exit(1),
                SIGTERM => AgentEvent::Stop("SIGTERM"),
                _ => AgentEvent::Stop("SIGINT"),
            };
            stopping |= matches!(event, AgentEvent::Stop(_));
            // The agent is gone, and the process about to.
            let _ = sender.send(event);
        }
    });
    Ok(())
}

/// Asks each health check at its interval, in a thread of its own that is left behind at the end.
pub(super) fn ask_health_for_ever(config: &Config, sender: &Sender<AgentEvent>) {
    for health in config.healths.clone() {
        let sender = sender.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(health.interval);
                let answer = Answer { name: health.name.clone(), answer: health::ask(&health) };
                if sender.send(AgentEvent::Health(answer)).is_err() {
                    return;
                }
            }
        });
    }
}
