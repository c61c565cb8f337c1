//! Runs an operation at several stores in parallel, within a time limit for each.
//!
//! Each store has its own thread. Waits inside it respect the deadline, but a hanging file system does not.
//! So the last resort is here: a thread that has not answered in time is abandoned.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::answer::{self, Answer};
use super::{StoreError, StoreErrorKind};
use crate::deadline::Deadline;

/// Extra time after the deadline, so that a store can report what it waited for.
const MARGIN: Duration = Duration::from_secs(2);

/// An operation at one store.
pub(super) struct Task<S> {
    /// The URL without secrets.
    pub(super) url: String,
    pub(super) store: S,
    pub(super) deadline: Deadline,
    /// Whether the store may use its whole time even if another one has answered.
    pub(super) alone: bool,
}

/// Runs `act` at each store. The results are in the order of the tasks. After the first success, the other
/// stores get at most `more` time.
pub(super) fn ask<S: Send + 'static, T: Answer + Send + 'static>(
    tasks: Vec<Task<S>>,
    more: Duration,
    act: impl Fn(S, Deadline) -> Result<T, StoreError> + Send + Sync + 'static,
) -> Vec<Result<T, StoreError>> {
    let act = Arc::new(act);
    let asked = Instant::now();
    let (sender, receiver) = mpsc::channel();
    let mut waiting = Vec::with_capacity(tasks.len());
    for (place, task) in tasks.into_iter().enumerate() {
        let Task { url, store, deadline, alone } = task;
        answer::log_request(T::OPERATION, &url, deadline);
        let (act, sender) = (act.clone(), sender.clone());
        waiting.push(Waiting { url, deadline, alone, shortened: None });
        std::thread::spawn(move || {
            let done = catch_unwind(AssertUnwindSafe(|| act(store, deadline)));
            // Fails if the caller has stopped waiting.
            let _ = sender.send((place, done));
        });
    }
    drop(sender);
    let mut results: Vec<Option<Result<T, StoreError>>> = waiting.iter().map(|_| None).collect();
    loop {
        let open = waiting.iter().zip(&results).filter(|(_, result)| result.is_none());
        let Some(left) = open.map(|(waiting, _)| waiting.left()).max() else { break };
        match receiver.recv_timeout(left) {
            Ok((place, Ok(result))) => {
                if result.is_ok() {
                    waiting.iter_mut().for_each(|waiting| waiting.hurry(more));
                }
                answer::log_answer(&waiting[place].url, asked, &result);
                results[place] = Some(result);
            }
            // A defect of presence, already printed. The other stores are unaffected.
            Ok((place, Err(_))) => {
                let url = waiting[place].url.clone();
                let result = Err(StoreError { url, kind: StoreErrorKind::Panicked });
                answer::log_answer(&waiting[place].url, asked, &result);
                results[place] = Some(result);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    let late = |waiting: Waiting| {
        let url = waiting.url.clone();
        let result = Err(waiting.late());
        answer::log_answer(&url, asked, &result);
        result
    };
    results
        .into_iter()
        .zip(waiting)
        .map(|(result, waiting)| result.unwrap_or_else(|| late(waiting)))
        .collect()
}

/// A store that has not answered yet.
struct Waiting {
    url: String,
    deadline: Deadline,
    alone: bool,
    /// The moment until which it must answer because another store has, and the time that this left it.
    shortened: Option<(Instant, Duration)>,
}

impl Waiting {
    fn left(&self) -> Duration {
        let left = self.deadline.left() + MARGIN;
        match self.shortened {
            Some((end, _)) => left.min(end.saturating_duration_since(Instant::now())),
            None => left,
        }
    }

    /// Shortens the wait because another store has answered.
    fn hurry(&mut self, more: Duration) {
        if !self.alone && self.shortened.is_none() {
            self.shortened = Some((Instant::now() + more, more));
        }
    }

    fn late(self) -> StoreError {
        let kind = match self.shortened {
            Some((_, more)) if !self.deadline.is_over() => StoreErrorKind::Behind { seconds: more.as_secs() },
            _ => StoreErrorKind::late(self.deadline),
        };
        StoreError { url: self.url, kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::Limit;

    const LONG: Duration = Duration::from_secs(600);

    impl Answer for Duration {
        const OPERATION: &'static str = "wait";

        fn brief(&self) -> String {
            format!("after {} ms", self.as_millis())
        }
    }

    /// A store that answers after that time.
    fn task(after: Duration, within: Duration) -> Task<Duration> {
        let url = format!("{} ms", after.as_millis());
        Task { url, store: after, deadline: Deadline::new(Limit::Read, within), alone: false }
    }

    fn answers(tasks: Vec<Task<Duration>>, more: Duration) -> Vec<Result<Duration, String>> {
        let started = Instant::now();
        let results = ask(tasks, more, |after, _| {
            std::thread::sleep(after);
            match after.is_zero() {
                true => Err(StoreError { url: "none".into(), kind: StoreErrorKind::NotYet }),
                false => Ok(after),
            }
        });
        assert!(started.elapsed() < LONG / 10);
        results.into_iter().map(|result| result.map_err(|error| crate::errors::chain(&error))).collect()
    }

    #[test]
    fn a_store_that_does_not_answer_is_left_behind() {
        let hung = answers(vec![task(LONG, Duration::from_millis(10))], LONG);
        assert_eq!(hung, [Err("store `600000 ms`: has not answered within 0 s".to_owned())]);
    }

    #[test]
    fn once_one_has_answered_the_others_must_hurry() {
        let soon = Duration::from_millis(5);
        let results = answers(vec![task(LONG, LONG), task(soon, LONG)], Duration::from_millis(50));
        let late = "store `600000 ms`: has not answered within 0 s of another store's answer".to_owned();
        assert_eq!(results, [Err(late), Ok(soon)]);
    }

    #[test]
    fn a_panic_is_the_error_of_its_store() {
        let soon = Duration::from_millis(5);
        let results = ask(vec![task(soon, LONG), task(soon, LONG)], LONG, {
            let first = std::sync::atomic::AtomicBool::new(true);
            move |after, _| match first.swap(false, std::sync::atomic::Ordering::Relaxed) {
                true => panic!("on purpose"),
                false => Ok(after),
            }
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        let failed = results.into_iter().find_map(Result::err).map(|error| crate::errors::chain(&error));
        assert_eq!(failed.as_deref(), Some("store `5 ms`: presence crashed while it used this store"));
    }

    #[test]
    fn a_failure_hurries_nobody_and_one_may_be_left_its_time() {
        let (soon, later) = (Duration::from_millis(5), Duration::from_millis(300));
        let results = answers(vec![task(later, LONG), task(Duration::ZERO, LONG)], Duration::ZERO);
        assert!(results[0] == Ok(later) && results[1].is_err());
        let alone = Task { alone: true, ..task(later, LONG) };
        assert_eq!(answers(vec![alone, task(soon, LONG)], Duration::ZERO), [Ok(later), Ok(soon)]);
    }
}
