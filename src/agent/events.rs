//! What happens to the agent from outside: signals, and answers of health checks.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::Scope;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::beat::announce::Answer;
use crate::config::Config;
use crate::health;

/// Something that does not wait for the next beat.
#[derive(Debug)]
pub(super) enum Event {
    /// Beat now.
    Now,
    /// End; the signal's name.
    Stop(&'static str),
    /// A health check was answered.
    Health(Answer),
}

/// Sends an event for each signal. A second one that asks to end does not wait for the beat that runs: every file is
/// whole at every moment.
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
            // The agent is gone, and the process about to.
            let _ = sender.send(event);
        }
    });
    Ok(())
}

/// Asks each health check at its interval, for as long as what this returns is kept.
pub(super) fn ask_health_for_ever<'scope>(
    scope: &'scope Scope<'scope, '_>,
    config: &'scope Config,
    sender: &Sender<Event>,
) -> Vec<Sender<()>> {
    let ask = |health: &'scope crate::config::Health| {
        let (kept, dropped) = mpsc::channel::<()>();
        let sender = sender.clone();
        scope.spawn(move || {
            while dropped.recv_timeout(health.interval) == Err(RecvTimeoutError::Timeout) {
                let answer = Answer { name: health.name.clone(), answer: health::ask(health) };
                if sender.send(Event::Health(answer)).is_err() {
                    return;
                }
            }
        });
        kept
    };
    config.healths.iter().map(ask).collect()
}
