//! Waiting a little longer each time.

use std::time::Duration;

/// Growing waits between two bounds.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
    first: Duration,
    max: Duration,
    /// Each wait is longer than the last by this part of it.
    growth: f64,
}

impl Backoff {
    fn new(first: Duration, max: Duration, growth: f64) -> Self {
        Self { next: first, first, max, growth }
    }

    /// For a sandbox that is starting: one of namespaces is ready in some
    /// milliseconds and must not wait for a clumsy step (a wait is a quarter of
    /// what has passed), a VM takes seconds and must not be hammered.
    pub(crate) fn booting() -> Self {
        Self::new(Duration::from_millis(1), Duration::from_millis(50), 0.25)
    }

    /// For a link that broke: the other side is mostly still there.
    pub(crate) fn broken_link() -> Self {
        Self::new(Duration::from_millis(2), Duration::from_secs(1), 1.0)
    }

    pub(crate) fn step(&mut self) -> Duration {
        let step = self.next;
        self.next = step.mul_f64(1.0 + self.growth).min(self.max);
        step
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}
