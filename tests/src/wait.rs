//! Waiting for conditions. Nothing here waits for a time to win a race.

use std::time::{Duration, Instant};

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How much longer than on the machine that this was written on things may
/// take: the environment's `TEST_PATIENCE`, 1 when it is not set.
pub fn patience() -> f64 {
    let text = std::env::var("TEST_PATIENCE").unwrap_or_default();
    text.parse().ok().filter(|factor: &f64| *factor > 0.0).unwrap_or(1.0)
}

/// `seconds`, scaled.
pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds).mul_f64(patience())
}

/// Looks until there is something to see, and panics with `what` when it took
/// longer than `limit` (which is scaled already, see [`seconds`]).
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        pause(LOOK_EVERY);
    }
}

/// Lets time go by: between two looks, and for a peer that stalls on purpose.
#[allow(clippy::disallowed_methods, reason = "the one place in which the rig lets time go by")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
