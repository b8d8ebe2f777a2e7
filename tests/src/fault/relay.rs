//! One connection through the proxy: two directions, each with its faults.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::time::{sleep, timeout};

use super::Shared;
use super::plan::{Act, Close, Fault, Plan};

/// What is carried at once.
const BUFFER: usize = 64 << 10;

/// A reset needs a byte that was sent and not read; who sends none by then is
/// cut off without one.
const RESET_PATIENCE: Duration = Duration::from_millis(200);

/// For the other direction once one cannot go on.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Carries bytes both ways until the plan or one of the sides ends it. Both
/// sockets are closed when this returns, whatever is unread in them.
pub(super) async fn relay(
    shared: Arc<Shared>,
    number: u64,
    plan: Plan,
    mut host: UnixStream,
    mut agent: UnixStream,
) {
    let (from_host, to_host) = host.split();
    let (from_agent, to_agent) = agent.split();
    let up = Direction::new(&shared, number, from_host, to_agent, &plan.up).run();
    let down = Direction::new(&shared, number, from_agent, to_host, &plan.down).run();
    tokio::pin!(up, down);
    // Who does not take bytes any more may have sent some that are still to come.
    let ended = tokio::select! {
        ended = &mut up => match ended {
            Err(_) => timeout(LAST_WORDS, down).await.unwrap_or(Ok(By::Plan)),
            ended => ended,
        },
        ended = &mut down => match ended {
            Err(_) => timeout(LAST_WORDS, up).await.unwrap_or(Ok(By::Plan)),
            ended => ended,
        },
    };
    if ended.is_ok_and(|by| by == By::Peer) {
        sleep(plan.late_end).await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum By {
    Peer,
    Plan,
}

struct Direction<'a> {
    shared: &'a Shared,
    number: u64,
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    faults: &'a [Fault],
    /// Bytes that have gone through.
    at: u64,
    /// While there are bytes to split: how many, and into what.
    split: (u64, usize),
}

impl<'a> Direction<'a> {
    fn new(
        shared: &'a Shared,
        number: u64,
        from: ReadHalf<'a>,
        to: WriteHalf<'a>,
        faults: &'a [Fault],
    ) -> Self {
        Self { shared, number, from, to, faults, at: 0, split: (0, BUFFER) }
    }

    async fn run(mut self) -> io::Result<By> {
        let mut buffer = vec![0; BUFFER];
        loop {
            if let Some((fault, rest)) = self.faults.split_first()
                && fault.at <= self.at
            {
                self.faults = rest;
                if !self.shared.is_calm() && self.strike(fault.act).await {
                    return Ok(By::Plan);
                }
                continue;
            }
            let to_fault = self.faults.first().map_or(u64::MAX, |fault| fault.at - self.at);
            let most = usize::try_from(to_fault).unwrap_or(BUFFER).min(BUFFER);
            let n = self.from.read(&mut buffer[..most]).await?;
            self.shared.wait_for_others(self.number).await;
            if n == 0 {
                return Ok(By::Peer);
            }
            self.write(&buffer[..n]).await?;
            self.at += n as u64;
        }
    }

    async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (left, piece) = self.split;
            let size = if left > 0 { piece.min(bytes.len()) } else { bytes.len() };
            let (now, later) = bytes.split_at(size);
            self.to.write_all(now).await?;
            if left > 0 {
                self.split.0 = left.saturating_sub(size as u64);
                // So that the reader has a chance to see it alone.
                tokio::task::yield_now().await;
            }
            bytes = later;
        }
        Ok(())
    }

    /// True when the connection is over.
    async fn strike(&mut self, act: Act) -> bool {
        let tally = &self.shared.tally;
        match act {
            Act::Split { bytes, piece } => {
                tally.splits.fetch_add(1, Ordering::Relaxed);
                self.split = (bytes, piece);
                false
            }
            Act::Stall(time) => {
                tally.stalls.fetch_add(1, Ordering::Relaxed);
                sleep(time).await;
                false
            }
            Act::HalfOpen(time) => {
                tally.half_open.fetch_add(1, Ordering::Relaxed);
                sleep(time).await;
                true
            }
            Act::Cut(how) => {
                tally.cuts.fetch_add(1, Ordering::Relaxed);
                match how {
                    Close::Clean => self.drain(),
                    Close::Reset => {
                        let more = self.from.readable();
                        let _ = timeout(RESET_PATIENCE, more).await;
                    }
                    Close::Ahead(time) => self.shared.hold_others(self.number, time),
                }
                true
            }
        }
    }

    /// What was sent and not read would make a reset of the close.
    fn drain(&mut self) {
        let mut buffer = [0; 4096];
        while self.from.try_read(&mut buffer).is_ok_and(|n| n > 0) {}
    }
}
