//! How far a long operation has come, for the command that waits for it. One process has one such operation.

use std::sync::atomic::{AtomicUsize, Ordering};

static OPERATION: AtomicUsize = AtomicUsize::new(0);
static DONE: AtomicUsize = AtomicUsize::new(0);
static ALL: AtomicUsize = AtomicUsize::new(0);

/// A long operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The objects of a history arrive.
    Fetch,
    /// Versions of the list go through a template.
    Replay,
}

/// Notes how much of the operation is done, and of how much.
pub fn note(operation: Operation, done: usize, all: usize) {
    OPERATION.store(operation as usize, Ordering::Relaxed);
    DONE.store(done, Ordering::Relaxed);
    ALL.store(all, Ordering::Relaxed);
}

/// What was noted last; `None` if nothing was.
pub fn noted() -> Option<(Operation, usize, usize)> {
    let (done, all) = (DONE.load(Ordering::Relaxed), ALL.load(Ordering::Relaxed));
    let is_replay = OPERATION.load(Ordering::Relaxed) == Operation::Replay as usize;
    let operation = if is_replay { Operation::Replay } else { Operation::Fetch };
    (all > 0).then_some((operation, done, all))
}
