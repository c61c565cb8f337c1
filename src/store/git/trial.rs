//! A trial of a local repository: another process reads it first, and its result is discarded.
//!
//! libgit2 maps packs and their indexes into memory. A damaged or malicious one may crash the process that
//! reads it, and the process cannot prevent that. So if the files that libgit2 maps or parses changed since
//! the last successful trial, presence starts itself to look and read. If a signal kills that process, the
//! store has an error, and this process survives. Loose objects and loose refs need no trial: libgit2 does
//! not map them, and each publish adds some.
//!
//! A file that is damaged between the trial and the reading, or during the reading, still crashes the
//! process.

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
use crate::store::git::GitError;
use crate::store::{Options, StoreErrorKind};
use crate::{children, limits, program, state};

/// The first argument of a trial process. The store, the folder and the branch follow.
pub const WORD: &str = "trial-read";

/// The name of the memory's file in the store's place in the state directory.
const FILE: &str = "tried";

/// The path of the running program; unset in processes other than presence, which then read without a trial.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// The states in which repositories passed a trial, by path. Without a writable state directory, this is the
/// only memory.
static PASSED: Mutex<Option<HashMap<PathBuf, String>>> = Mutex::new(None);

/// Declares that this process is the program `presence`, which can start itself for a trial.
pub fn run_this_program() {
    // Not the program's path, which may lead to a newer build by now.
    PROGRAM.get_or_init(|| PathBuf::from("/proc/self/exe"));
}

/// Has another process read the repository first, unless its state passed a trial before. `place` is the
/// store's directory in the state directory.
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
        // If this fails, the next process repeats the trial.
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
    command.arg(WORD).arg(path).arg(options.folder.as_ref()).args(&options.git.branch);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    // If no process can be started, the repository is read without a trial.
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

/// Judges the repository by the end of the trial. If the trial ended with an ordinary error, the reading will
/// find it again.
fn judge(path: &Path, status: ExitStatus) -> Result<(), StoreErrorKind> {
    match status.signal() {
        Some(signal) => Err(StoreErrorKind::Git(GitError::Crashed { path: path.to_owned(), signal })),
        None => Ok(()),
    }
}

/// Identifies this build and the state of all files of the repository that libgit2 maps or parses. `None` if
/// there are no such files.
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
    Some(format!("{digest:032x} {} {:?} {build}\n", options.folder, options.git.branch))
}

/// Everything that changes when a file does, except its content.
fn state_of(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    let (inode, size) = ((found.dev(), found.ino()), found.size());
    let times = (found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
    Some(format!("{path:?} {inode:?} {size} {times:?}\n"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn options() -> Arc<Options> {
        crate::store::tests::options(Path::new(""))
    }

    #[test]
    fn only_a_signal_says_that_a_repository_is_damaged() {
        let judged = |raw| judge(Path::new("/x"), ExitStatus::from_raw(raw));
        assert!(matches!(judged(11), Err(StoreErrorKind::Git(GitError::Crashed { signal: 11, .. }))));
        assert!(matches!(judged(7 | 0x80), Err(StoreErrorKind::Git(GitError::Crashed { signal: 7, .. }))));
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
        // No program is set: this process is not `presence`.
        pass(&path, &place, &options(), deadline).unwrap();
        assert!(!place.exists());
    }
}
