//! A running agent, killed when it is dropped.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::fixture::machine::Machine;

/// Much longer than any step takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub(crate) fn start(machine: &Machine) -> Daemon {
        Daemon::start_with(machine, |_| {})
    }

    /// Starts it with a changed environment.
    pub(crate) fn start_with(machine: &Machine, more: impl FnOnce(&mut Command)) -> Daemon {
        let log = machine.path("agent.log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = machine.command(&["agent"]);
        // Its clock runs, so that ages and heartbeats are real.
        command.env_remove("PRESENCE_NOW").stdout(file.try_clone().unwrap()).stderr(file);
        more(&mut command);
        Daemon { child: command.spawn().unwrap(), log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_raw(self.pid().cast_signed()).unwrap(), signal).unwrap();
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, condition: impl FnMut() -> bool) {
        wait(what, || self.log(), condition);
    }

    /// Ends it with a signal, and returns its exit code and log.
    #[track_caller]
    pub(crate) fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        self.signal(signal);
        let mut code = None;
        wait(
            "its end",
            || std::fs::read_to_string(&self.log).unwrap(),
            || {
                code = self.child.try_wait().unwrap();
                code.is_some()
            },
        );
        (code.and_then(|status| status.code()), self.log())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a condition.
#[track_caller]
pub(crate) fn wait(what: &str, log: impl Fn() -> String, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}\n{}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
}
