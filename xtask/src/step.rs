//! One printed line before a step and one after it, with the time it took.

use std::time::{Duration, Instant};

use crate::error::Error;

/// Runs one step and prints its name, its outcome and its time.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    println!("==> {name}");
    let start = Instant::now();
    let result = work();
    let outcome = if result.is_ok() { "done" } else { "FAILED" };
    println!("    {name}: {outcome} in {}", seconds(start.elapsed()));
    result
}

/// What is already there and need not be done again.
pub(crate) fn up_to_date(name: &str, what: &str) {
    println!("==> {name}: up to date ({what})");
}

/// Milliseconds while they mean something to a person, then seconds.
pub(crate) fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// Bytes as people compare them.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 2] = [("MB", 1_000_000), ("kB", 1_000)];
    for (unit, size) in UNITS {
        if count >= size {
            return format!("{}.{} {unit}", count / size, count % size * 10 / size);
        }
    }
    format!("{count} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(78_587_922), "78.5 MB");
        assert_eq!(seconds(Duration::from_millis(980)), "980 ms");
        assert_eq!(seconds(Duration::from_millis(1_250)), "1.2 s");
    }
}
