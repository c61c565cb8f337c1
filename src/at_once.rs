//! Runs a core of the program: `async` code that decides what to do next, over a port that does it.
//!
//! The compiler makes a core a state machine: it stops at each call of its port, and goes on with the answer.
//! In the program a port answers before it returns, so a core ends at once. The simulation answers later, in
//! virtual time and in any order, or never: a process that was killed.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// The result of a core over a port that answers before it returns.
///
/// # Panics
/// If the core waits for anything else.
pub(crate) fn at_once<T>(core: impl Future<Output = T>) -> T {
    match pin!(core).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("a port of the program answers before it returns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_ends_at_once_however_often_it_asks() {
        async fn answer(of: u32) -> u32 {
            of + 1
        }
        assert_eq!(at_once(async { answer(answer(1).await).await }), 3);
    }
}
