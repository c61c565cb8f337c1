//! How far a long operation has come, for the command that waits for it. One process has one such operation.

use std::sync::atomic::{AtomicUsize, Ordering};

static OPERATION: AtomicUsize = AtomicUsize::new(0);
static DONE: AtomicUsize = AtomicUsize::new(0);
static ALL: AtomicUsize = AtomicUsize::new(0);

/// A long operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The server prepares objects, and they arrive.
    Fetch,
    /// Objects that have arrived are made usable.
    Unpack,
    /// The history is read, commit by commit.
    Walk,
    /// Versions of the list go through a template.
    Replay,
}

/// All operations. `OPERATION` holds the number of one of these, from 1, or 0 without an operation.
const OPERATIONS: [Operation; 4] = [Operation::Fetch, Operation::Unpack, Operation::Walk, Operation::Replay];

/// Notes how much of the operation is done, and of how much. `all` is 0 if that is not known.
pub fn note(operation: Operation, done: usize, all: usize) {
    let number = OPERATIONS.iter().position(|other| *other == operation).map_or(0, |at| at + 1);
    OPERATION.store(number, Ordering::Relaxed);
    DONE.store(done, Ordering::Relaxed);
    ALL.store(all, Ordering::Relaxed);
}

/// What was noted last; `None` if nothing was.
pub fn noted() -> Option<(Operation, usize, usize)> {
    let operation = *OPERATIONS.get(OPERATION.load(Ordering::Relaxed).checked_sub(1)?)?;
    Some((operation, DONE.load(Ordering::Relaxed), ALL.load(Ordering::Relaxed)))
}
