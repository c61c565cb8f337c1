//! Work in as many threads as pay off.

use std::ops::Range;
use std::sync::LazyLock;
use std::thread;

/// More threads than this only wait for memory and for the kernel's locks.
const MAX: usize = 4;

/// How many threads run at once. Computed once, since std reads files of the cgroup for it each time.
static AT_ONCE: LazyLock<usize> =
    LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from).min(MAX));

/// Calls `act` for parts of `0..count`, one in each thread. A part is no smaller than `least`, since a thread
/// has a cost. The results are in the order of the parts.
pub(crate) fn in_parts<T: Send>(
    count: usize,
    least: usize,
    act: impl Fn(Range<usize>) -> T + Sync,
) -> Vec<T> {
    let threads = match count / least {
        // The number of processors is not needed.
        0 | 1 => 1,
        paying => (*AT_ONCE).min(paying),
    };
    let share = count.div_ceil(threads).max(1);
    let part = |number: usize| (number * share).min(count)..((number + 1) * share).min(count);
    if threads == 1 {
        return vec![act(part(0))];
    }
    thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> = (0..threads).map(|number| scope.spawn(move || act(part(number)))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once_and_in_order() {
        for (count, least) in [(0, 1), (1, 1), (5, 2), (7, 100), (1_001, 10)] {
            let parts = in_parts(count, least, |part| part.collect::<Vec<_>>());
            assert_eq!(parts.concat(), (0..count).collect::<Vec<_>>(), "{count}");
            assert!(parts.len() == 1 || parts.iter().all(|part| part.len() >= least / 2), "{parts:?}");
        }
    }
}
