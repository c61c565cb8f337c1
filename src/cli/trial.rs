//! Reads a store for another process, which throws the result away: see `store::git::trial`. It is no subcommand for users.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

use crate::deadline::{Deadline, Limit};
use crate::store::git::{transport, trial};
use crate::store::{self, Folder, Layout, Options};

/// If this process was started to read for another, it reads, and ends with this code. Else its own trials are made by
/// this program.
pub(super) fn run(mut words: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if words.nth(1).is_none_or(|word| word != trial::WORD) {
        trial::run_this_program();
        return None;
    }
    // Nobody needs its core, or what it would read for a process that has ended.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    Some(read(words).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS))
}

/// Looks and reads. What fails in order, the process that waits for this one will find too.
fn read(mut words: impl Iterator<Item = OsString>) -> Option<()> {
    let mut word = || words.next().and_then(|word| word.into_string().ok());
    let (store, folder, branch) = (word()?, word()?, word());
    // The process that waits has the deadline.
    let hour = Duration::from_secs(3600);
    let options = Options {
        folder: Folder::parse(&folder).ok()?,
        layout: Layout::default(),
        // There is nothing, and nothing can be made.
        state_dir: PathBuf::from("/dev/null/state"),
        branch,
        create_branch: false,
        author: String::new(),
        patience: hour,
        reading: hour,
        recheck: Duration::ZERO,
        beats: true,
        beat_shards: 1,
        limits: transport::Limits::default(),
    };
    let deadline = Deadline::new(Limit::Read, hour);
    let look = store::open(&store, &options).ok()?.look(deadline).ok()?;
    look.read(deadline).ok().map(drop)
}
