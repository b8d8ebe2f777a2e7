//! After the host slept, or a snapshot was restored: guests learn what time it is.
//!
//! A host that is suspended takes its guests along, and their clocks stand still
//! with them. Linux counts the time of a suspend in CLOCK_BOOTTIME and not in
//! CLOCK_MONOTONIC, so the difference of the two grows by each sleep and by
//! nothing else.

use std::sync::Weak;
use std::time::Duration;

use futures_util::future::join_all;
use nix::time::{ClockId, clock_gettime};

use super::broker::Inner;
use super::{Result, Session, SessionStatus};

/// How often is looked: a guest is wrong for at most this long.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Shorter sleeps are left to the guests' own time keeping. The two clocks are
/// read one after the other, which alone can make some microseconds.
const SLEPT: Duration = Duration::from_secs(1);

impl Session {
    /// Sets the guest's wall clock to the host's, and mixes fresh entropy into
    /// its random numbers: after its machine was restored from a snapshot, or
    /// stood still with its host. The broker does it by itself when it sees that
    /// the host slept.
    pub async fn resume(&self) -> Result<()> {
        Ok(self.guest()?.resume().await?)
    }
}

/// Resumes every session when the host has slept; ends with the broker.
pub(super) async fn after_sleep(broker: Weak<Inner>) {
    let mut sleep = Sleep::at(asleep());
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(inner) = broker.upgrade() else { return };
        let Some(slept) = sleep.grew_to(asleep()) else { continue };
        let running = inner.running();
        drop(inner);
        tracing::info!(seconds = slept.as_secs(), sessions = running.len(), "the host slept");
        join_all(running.iter().map(|session| async {
            if let Err(error) = session.resume().await {
                tracing::warn!(session = session.id(), error = error.private(), "not resumed");
            }
        }))
        .await;
    }
}

impl Inner {
    fn running(&self) -> Vec<Session> {
        let is_running = |s: &&Session| s.status() == SessionStatus::Running;
        self.sessions_now().live().filter(is_running).cloned().collect()
    }
}

/// How long this host has slept since its boot.
fn asleep() -> Duration {
    let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
    read(ClockId::CLOCK_BOOTTIME).saturating_sub(read(ClockId::CLOCK_MONOTONIC))
}

/// What was known of the host's sleep.
#[derive(Debug)]
struct Sleep {
    total: Duration,
}

impl Sleep {
    fn at(total: Duration) -> Self {
        Self { total }
    }

    /// How long it was, if it was a sleep.
    fn grew_to(&mut self, total: Duration) -> Option<Duration> {
        let slept = total.saturating_sub(self.total);
        if slept < SLEPT {
            return None;
        }
        self.total = total;
        Some(slept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_seen_once_and_noise_is_none() {
        let mut sleep = Sleep::at(Duration::from_secs(100));
        assert_eq!(sleep.grew_to(Duration::from_secs(100)), None);
        assert_eq!(sleep.grew_to(Duration::from_micros(100_000_400)), None);
        assert_eq!(sleep.grew_to(Duration::from_micros(99_999_600)), None);
        assert_eq!(sleep.grew_to(Duration::from_secs(400)), Some(Duration::from_secs(300)));
        assert_eq!(sleep.grew_to(Duration::from_secs(400)), None, "told twice");
    }

    #[test]
    fn many_short_naps_are_a_sleep() {
        let mut sleep = Sleep::at(Duration::ZERO);
        let told = (1..=10).filter(|n| sleep.grew_to(SLEPT * *n / 4).is_some());
        assert_eq!(told.count(), 2);
    }
}
