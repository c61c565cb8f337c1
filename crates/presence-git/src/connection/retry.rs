//! Retries connections. When many nodes connect at once, a server refuses some of them: `git daemon` when its
//! listen backlog is full or it has too many children, sshd above its MaxStartups. Each node retries after a
//! random wait.

use std::time::{Duration, Instant};

use crate::{Deadline, TransportError};

/// The most attempts for one connection.
const TRIES: u32 = 6;

/// The upper bound of the first wait; it doubles with each attempt.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Calls `attempt`, with the moment of its end, until it succeeds, fails for good, or `limit` has passed.
///
/// Only for operations that change nothing: an attempt must end before the first byte of a push is sent.
pub(super) fn connecting<T>(
    limit: Duration,
    deadline: Deadline,
    mut attempt: impl FnMut(Instant) -> Result<T, TransportError>,
) -> Result<T, TransportError> {
    let end = Instant::now() + deadline.at_most(limit);
    let mut tries = 0;
    loop {
        let error = match attempt(end) {
            Err(error) if error.is_passing() => error,
            result => return result,
        };
        tries += 1;
        let wait = longest_wait(tries).mul_f64(fastrand::f64());
        if tries == TRIES || Instant::now() + wait >= end {
            return Err(error);
        }
        std::thread::sleep(wait);
    }
}

/// Full jitter: of all schemes, it separates colliding clients with the fewest attempts
/// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
fn longest_wait(tries: u32) -> Duration {
    FIRST_WAIT * 2u32.pow(tries.saturating_sub(1).min(TRIES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    fn far() -> Deadline {
        Deadline::new("publish", Duration::from_secs(600))
    }

    fn failing(kind: ErrorKind, limit: Duration) -> u32 {
        let mut calls = 0;
        let result: Result<(), _> = connecting(limit, far(), |_| {
            calls += 1;
            Err(TransportError::Connect { peer: "h".into(), source: kind.into() })
        });
        assert!(result.is_err());
        calls
    }

    #[test]
    fn what_passes_is_tried_again_until_the_time_is_over() {
        assert_eq!(failing(ErrorKind::ConnectionRefused, Duration::from_secs(60)), TRIES);
        assert_eq!(failing(ErrorKind::ConnectionRefused, Duration::ZERO), 1);
        assert_eq!(failing(ErrorKind::PermissionDenied, Duration::from_secs(60)), 1);
    }

    #[test]
    fn a_success_ends_it() {
        let mut calls = 0;
        let result = connecting(Duration::from_secs(60), far(), |_| {
            calls += 1;
            if calls < 3 { Err(TransportError::Closed { peer: "h".into() }) } else { Ok(calls) }
        });
        assert_eq!(result.unwrap(), 3);
    }

    #[test]
    fn waits_double() {
        assert_eq!(longest_wait(1), FIRST_WAIT);
        assert_eq!(longest_wait(4), FIRST_WAIT * 8);
    }
}
