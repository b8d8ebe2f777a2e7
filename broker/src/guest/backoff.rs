//! Waiting a little longer each time.

use std::time::Duration;

/// Doubling waits between two bounds.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
    first: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        Self { next: first, first, max }
    }

    /// For a sandbox that is starting: one of namespaces is ready in some
    /// milliseconds and must not wait for a clumsy step, a VM takes seconds and
    /// must not be hammered.
    pub(crate) fn booting() -> Self {
        Self::new(Duration::from_millis(1), Duration::from_millis(50))
    }

    /// For a link that broke: the other side is mostly still there.
    pub(crate) fn broken_link() -> Self {
        Self::new(Duration::from_millis(2), Duration::from_secs(1))
    }

    pub(crate) fn step(&mut self) -> Duration {
        let step = self.next;
        self.next = (self.next * 2).min(self.max);
        step
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}
