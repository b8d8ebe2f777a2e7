//! Waiting for a condition, with a deadline.

use std::io;
use std::time::{Duration, Instant};

/// Between two looks. Nothing that is measured waits here.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Until `ready` gives something.
pub(crate) fn until<T>(
    what: &str,
    deadline: Duration,
    mut ready: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if begun.elapsed() > deadline {
            let message = format!("{what}: nothing after {} s", deadline.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        pause();
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one pause between looks of a wait with a deadline"
)]
fn pause() {
    std::thread::sleep(LOOK_EVERY);
}
