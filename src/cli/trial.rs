//! Reads a store for another process, which discards the result (see `store::git::trial`). Not a subcommand
//! for users.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

use crate::deadline::{Deadline, Limit};
use crate::store::git::{self, trial};
use crate::store::{self, At, Folder, Layout, Options};

/// If another process started this one for a trial, reads and returns the exit code. Otherwise makes this
/// program the one that runs its own trials.
pub(super) fn run(mut words: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if words.nth(1).is_none_or(|word| word != trial::WORD) {
        trial::run_this_program();
        return None;
    }
    // Neither its core dump nor its result is of use once the other process has ended.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    Some(read(words).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS))
}

/// Looks and reads. The waiting process will find ordinary errors by itself.
fn read(mut words: impl Iterator<Item = OsString>) -> Option<()> {
    let mut word = || words.next().and_then(|word| word.into_string().ok());
    let (store, folder, branch) = (word()?, word()?, word());
    // The waiting process enforces the deadline.
    let hour = Duration::from_secs(3600);
    let options = Options {
        folder: Folder::parse(&folder).ok()?,
        layout: Layout::default(),
        // A path that does not exist and cannot be created.
        state_dir: PathBuf::from("/dev/null/state"),
        publishing: hour,
        reading: hour,
        looking_back: hour,
        connect: hour,
        git: git::Options {
            branch,
            create_branch: false,
            beat_shards: 1,
            recheck: Duration::ZERO,
            network: presence_git::Timeouts::default(),
            credentials: Vec::new(),
        },
        #[cfg(feature = "etcd")]
        etcd: crate::store::etcd::Options::default(),
    };
    let deadline = Deadline::new(Limit::Read, hour);
    let look = store::open(&store, &Arc::new(options)).look(&At::Latest, true, deadline).ok()?;
    look.read(deadline).ok().map(drop)
}
