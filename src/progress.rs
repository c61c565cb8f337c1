//! How far a long operation has come, for the command that waits for it. One process has one such operation.

use std::sync::atomic::{AtomicUsize, Ordering};

static DONE: AtomicUsize = AtomicUsize::new(0);
static ALL: AtomicUsize = AtomicUsize::new(0);

/// Notes how many objects of a history have arrived, and how many will.
pub fn note(done: usize, all: usize) {
    DONE.store(done, Ordering::Relaxed);
    ALL.store(all, Ordering::Relaxed);
}

/// What was noted last; `None` if nothing was.
pub fn noted() -> Option<(usize, usize)> {
    let (done, all) = (DONE.load(Ordering::Relaxed), ALL.load(Ordering::Relaxed));
    (all > 0).then_some((done, all))
}
