//! Processes that this one started, and those that it inherited.
//!
//! The first process of a container (pid 1) becomes the parent of every process whose own parent has ended.
//! An example is a process that a reload command leaves behind. Each stays a zombie until its new parent
//! waits for it (`pid_namespaces(7)`), and in the end no process can be started any more.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, kill_process_group, waitid};
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::Signals;

/// The processes that a thread of this program waits for.
static OWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn own() -> MutexGuard<'static, BTreeSet<u32>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process for which only the owner of this value waits.
#[derive(Debug)]
pub(crate) struct Started(Child);

/// Starts a process. Every process must be started here: otherwise, its exit status could be taken from the
/// thread that waits for it.
pub(crate) fn start(command: &mut Command) -> io::Result<Started> {
    // Locked until the process is recorded, so that it is not mistaken for an inherited one.
    let mut own = own();
    let child = command.spawn()?;
    own.insert(child.id());
    Ok(Started(child))
}

impl Started {
    /// Kills a process with its own process group, and waits for its end.
    pub(crate) fn kill_group(&mut self) {
        // It may have just ended; then there is nothing to kill.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

impl Deref for Started {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Started {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        own().remove(&self.0.id());
    }
}

/// Kills the processes that a thread still waits for, with their groups: nothing would end them later.
pub(crate) fn kill_all() {
    for pid in own().iter().filter_map(|id| Pid::from_raw(id.cast_signed())) {
        // It may have no group of its own, or may have just ended.
        let _ = kill_process_group(pid, Signal::KILL).or_else(|_| kill_process(pid, Signal::KILL));
    }
}

/// From now on, waits for inherited processes, if this is the first process of its container.
pub(crate) fn wait_for_those_left_here() -> io::Result<()> {
    if getpid().as_raw_nonzero().get() != 1 {
        return Ok(());
    }
    let mut signals = Signals::new([SIGCHLD])?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            reap();
        }
    });
    Ok(())
}

fn reap() {
    let own = own();
    let Ok(entries) = fs::read_dir("/proc") else { return };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for number in numbers.filter(|number| !own.contains(number)) {
        let ended =
            fs::read_to_string(format!("/proc/{number}/stat")).is_ok_and(|stat| is_zombie_of_first(&stat));
        if let (true, Some(pid)) = (ended, Pid::from_raw(number.cast_signed())) {
            // The exit status does not matter.
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}

/// Whether a line of `/proc/PID/stat` (proc_pid_stat(5)) belongs to a zombie whose parent is pid 1. The
/// program's name, in parentheses, may contain blanks and parentheses.
fn is_zombie_of_first(stat: &str) -> bool {
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    after_name.starts_with("Z 1 ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_left_is_told_from_the_line_of_its_state() {
        assert!(is_zombie_of_first("12 (sleep) Z 1 12 12 0 -1 4227084 "));
        assert!(is_zombie_of_first("12 (a) S 7 (b) Z 1 12 12 "));
        assert!(!is_zombie_of_first("12 (sleep) S 1 12 12 "));
        assert!(!is_zombie_of_first("12 (sleep) Z 17 12 12 "));
        assert!(!is_zombie_of_first("12 () Z 1 ) S 4 "));
        assert!(!is_zombie_of_first(""));
    }

    /// The sources, without this file.
    fn sources(dir: &std::path::Path) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => all.extend(sources(&path)),
                false if path.ends_with("src/children.rs") => {}
                false => all.push((path.display().to_string(), fs::read_to_string(&path).unwrap())),
            }
        }
        all
    }

    #[test]
    fn every_process_is_started_here() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let sources = [sources(&root.join("src")), sources(&root.join("crates"))].concat();
        assert!(sources.len() > 100);
        for (path, text) in sources.into_iter().filter(|(path, _)| !path.ends_with("tests.rs")) {
            // The ways to start a command without `start`. The spawn of a thread has an argument.
            for start in [".spawn()", ".output()"] {
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                assert!(!code.contains(start), "{path}: {start} instead of children::start");
            }
        }
    }

    #[test]
    fn a_process_is_known_as_long_as_somebody_waits_for_it() {
        let mut child = start(&mut Command::new("true")).unwrap();
        let id = child.id();
        assert!(own().contains(&id));
        assert!(child.wait().unwrap().success());
        drop(child);
        assert!(!own().contains(&id));
    }
}
