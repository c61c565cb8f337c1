//! A trial before a repository on this machine is read: another process reads it first, and its result is thrown away.
//!
//! libgit2 maps packs and their indexes into memory. One that is damaged, or was made to do harm, may end the process that
//! reads it, and nothing in the process can prevent that. So where the files that libgit2 maps and parses are not as they
//! were when a trial was passed, this program runs itself to look and read. If that process is ended by a signal, the
//! store has an error, and this process lives on. Loose objects and loose refs are read without a trial: libgit2 maps
//! nothing of them, and each publishing makes some.
//!
//! A file that is damaged between trial and reading, or while it is read, still ends the process.

use std::collections::HashMap;
use std::fs;
use std::hash::Hasher;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use wait_timeout::ChildExt;

use super::opening::Parts;
use crate::deadline::Deadline;
use crate::store::{Options, StoreErrorKind};
use crate::{children, limits, program, state};

/// The first word of the command line of a process that reads for another. The store, the folder and the branch follow.
pub const WORD: &str = "trial-read";

/// The name of the memory in the store's place in the state directory.
const FILE: &str = "tried";

/// How this process runs itself; none in a process that is not this program, which then reads without a trial.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// The states of repositories in which they have passed a trial, by their paths: where the state directory cannot be
/// written, this is all there is.
static PASSED: Mutex<Option<HashMap<PathBuf, String>>> = Mutex::new(None);

/// Says that this process is the program `presence`, which can read for itself.
pub fn run_this_program() {
    // Not the path: it may name a newer build by now.
    PROGRAM.get_or_init(|| PathBuf::from("/proc/self/exe"));
}

/// Has the repository read by another process first, unless it is as it was when that went well. `place` is the store's
/// part of the state directory.
pub(super) fn pass(
    path: &Path,
    place: &Path,
    options: &Options,
    deadline: Deadline,
) -> Result<(), StoreErrorKind> {
    let Some(program) = PROGRAM.get() else { return Ok(()) };
    let Some(key) = key(path, options) else { return Ok(()) };
    if passed(path).as_deref() == Some(&key) {
        return Ok(());
    }
    if state::load_text(place, FILE).as_deref() != Some(&key) {
        run(program, path, options, deadline)?;
        // Where it cannot be kept, the next process tries again.
        let _ = state::save_text(place, FILE, &key);
    }
    let mut all = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    all.get_or_insert_default().insert(path.to_owned(), key);
    Ok(())
}

fn passed(path: &Path) -> Option<String> {
    PASSED.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.get(path).cloned()
}

fn run(program: &Path, path: &Path, options: &Options, deadline: Deadline) -> Result<(), StoreErrorKind> {
    let mut command = Command::new(program);
    command.arg(WORD).arg(path).arg(options.folder.as_ref()).args(&options.branch);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    // Where no process can be started, the repository is read as it is.
    let Ok(mut child) = children::start(&mut command) else { return Ok(()) };
    match child.wait_timeout(deadline.left()) {
        Ok(Some(status)) => judge(path, status),
        Ok(None) => {
            child.kill_group();
            Err(StoreErrorKind::late(deadline))
        }
        Err(_) => Ok(()),
    }
}

/// What the end of the trial says of the repository. An error that was found in order is found again.
fn judge(path: &Path, status: ExitStatus) -> Result<(), StoreErrorKind> {
    match status.signal() {
        Some(signal) => Err(StoreErrorKind::Crashed { path: path.to_owned(), signal }),
        None => Ok(()),
    }
}

/// Names the state of all files of the repository that libgit2 maps or parses, and this build. None if there are none of
/// them.
fn key(path: &Path, options: &Options) -> Option<String> {
    let parts = Parts::of(path);
    let mut found: Vec<String> = Vec::new();
    for dir in parts.objects() {
        for inner in ["pack", "info"] {
            let entries = fs::read_dir(dir.join(inner)).into_iter().flatten().flatten();
            found.extend(entries.take(limits::get().entries).filter_map(|entry| state_of(&entry.path())));
        }
    }
    if found.is_empty() {
        return None;
    }
    found.extend(parts.files().iter().filter_map(|(path, _)| state_of(path)));
    found.sort_unstable();
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for state in &found {
        hash.write(state.as_bytes());
    }
    let (build, digest) = (program::build().unwrap_or_default(), hash.digest128());
    Some(format!("{digest:032x} {} {:?} {build}\n", options.folder, options.branch))
}

/// Everything that changes with a file, but its content.
fn state_of(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    let (inode, size) = ((found.dev(), found.ino()), found.size());
    let times = (found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
    Some(format!("{path:?} {inode:?} {size} {times:?}\n"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::{Folder, Layout, git::transport};

    fn options() -> Options {
        let hour = Duration::from_secs(3600);
        Options {
            folder: Folder::parse("it").unwrap(),
            layout: Layout::default(),
            state_dir: PathBuf::new(),
            branch: None,
            create_branch: false,
            author: String::new(),
            patience: hour,
            reading: hour,
            recheck: hour,
            beats: false,
            beat_shards: 1,
            limits: transport::Limits::default(),
        }
    }

    #[test]
    fn only_a_signal_says_that_a_repository_is_damaged() {
        let judged = |raw| judge(Path::new("/x"), ExitStatus::from_raw(raw));
        assert!(matches!(judged(11), Err(StoreErrorKind::Crashed { signal: 11, .. })));
        assert!(matches!(judged(7 | 0x80), Err(StoreErrorKind::Crashed { signal: 7, .. })));
        assert!(judged(0).is_ok() && judged(101 << 8).is_ok());
    }

    #[test]
    fn whatever_libgit2_maps_or_parses_makes_another_trial_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let (path, lent) = (dir.path().join("list.git"), dir.path().join("lent.git"));
        for path in [&path, &lent] {
            git2::Repository::init_bare(path).unwrap();
        }
        let key = || key(&path, &options());
        assert_eq!(key(), None, "no packs");
        fs::write(lent.join("objects/pack/pack-1.idx"), "x").unwrap();
        fs::write(path.join("objects/info/alternates"), "../../lent.git/objects\n").unwrap();
        let mut last = key();
        assert!(last.is_some());
        fs::create_dir(path.join("objects/17")).unwrap();
        fs::write(path.join("objects/17/1234"), "x").unwrap();
        fs::write(path.join("refs/heads/main"), "x").unwrap();
        assert_eq!(key(), last);
        for file in [
            "list.git/objects/pack/pack-2.pack",
            "list.git/objects/info/commit-graph",
            "list.git/config",
            "list.git/packed-refs",
            "list.git/shallow",
            "lent.git/objects/pack/pack-1.idx",
        ] {
            fs::write(dir.path().join(file), format!("a new {file}")).unwrap();
            let now = key();
            assert_ne!(now, last, "{file}");
            last = now;
        }
    }

    #[test]
    fn a_trial_that_was_passed_is_not_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, place) = (dir.path().join("list.git"), dir.path().join("state"));
        git2::Repository::init_bare(&path).unwrap();
        fs::write(path.join("objects/pack/pack-1.idx"), "x").unwrap();
        let deadline = Deadline::new(crate::deadline::Limit::Read, Duration::from_secs(60));
        let run = |program: &str| run(Path::new(program), &path, &options(), deadline);
        assert!(run("true").is_ok() && run("false").is_ok());
        assert!(run("/does/not/exist").is_ok(), "read without");
        // No program: this is no `presence`.
        pass(&path, &place, &options(), deadline).unwrap();
        assert!(!place.exists());
    }
}
