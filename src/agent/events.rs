//! The agent's events: signals, answers of health checks and of stores.

use std::io;
use std::sync::mpsc::Sender;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::core::Event;
use crate::beat::announce::Answer;
use crate::config::Health;
use crate::health;

/// Sends an event for each signal. A second stop signal exits at once: every file is complete at every
/// moment.
pub(super) fn listen_to_signals(sender: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGTERM, SIGINT])?;
    std::thread::spawn(move || {
        let mut stopping = false;
        for signal in signals.forever() {
            let event = match signal {
                SIGHUP => Event::Now,
                _ if stopping => std::process::exit(1),
                SIGTERM => Event::Stop("SIGTERM"),
                _ => Event::Stop("SIGINT"),
            };
            stopping |= matches!(event, Event::Stop(_));
            // If this fails, the agent has ended, and the process is about to.
            let _ = sender.send(event);
        }
    });
    Ok(())
}

/// Runs each health check at its interval, in a thread of its own that is abandoned at the end.
pub(super) fn ask_health_for_ever(healths: &[Health], sender: &Sender<Event>) {
    for health in healths.iter().cloned() {
        let sender = sender.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(health.interval);
                let answer = Answer { name: health.name.clone(), answer: health::ask(&health) };
                if sender.send(Event::Health(answer)).is_err() {
                    return;
                }
            }
        });
    }
}
