//! The agent's events: signals, answers of health checks and of stores.

use std::io;
use std::sync::mpsc::Sender;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::jobs::JobResult;
use crate::beat::announce::Answer;
use crate::config::Health;
use crate::health;

/// An event that does not wait for the next beat.
#[derive(Debug)]
pub(super) enum AgentEvent {
    /// Beat now.
    Now,
    /// Stop; with the name of the signal.
    Stop(&'static str),
    /// A health check was answered.
    Health(Answer),
    /// The result of a job, with the index of its worker.
    Answer(usize, Box<JobResult>),
}

/// Sends an event for each signal. A second stop signal exits at once: every file is complete at every
/// moment.
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
            // If this fails, the agent has ended, and the process is about to.
            let _ = sender.send(event);
        }
    });
    Ok(())
}

/// Runs each health check at its interval, in a thread of its own that is abandoned at the end.
pub(super) fn ask_health_for_ever(healths: &[Health], sender: &Sender<AgentEvent>) {
    for health in healths.iter().cloned() {
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
