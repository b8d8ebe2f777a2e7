//! What goes to a command's stdin, from however many writers.
//!
//! ```text
//! write_stdin ─────────┐
//! StdinFeed (HTTP) ────┼──► gate ──► flow (a task) ──► StdinStream ──► agent
//! StdinFeed (terminal) ┘       └───► one request, while there is no flow
//! ```
//!
//! The agent knows bytes by their offset, so of two writers that do not know of
//! each other one would be skipped. All of this broker's writers to one command
//! pass its gate: while a flow is open, everything goes through it, in order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use postern_proto::limits::MAX_STDIN_WRITE;
use postern_proto::{Code, StdinState, WriteStdin};

use super::stdin_flow::{Flow, FlowWatch, Gate};
use super::{Error, Result, Session, StdinWrite};
use crate::guest::{Guest, StdinStream};

/// How long a single write with `eof` waits for a flow that is ahead of it; then
/// it is answered that the end is not set. A request is answered soon.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// The gates of one session's commands; those that nobody uses are gone.
#[derive(Debug, Default)]
pub(super) struct Gates {
    by_command: Mutex<HashMap<String, Weak<Gate>>>,
}

impl Gates {
    fn of(&self, command_id: &str) -> Arc<Gate> {
        let mut gates = self.by_command.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(command_id).and_then(Weak::upgrade) {
            return gate;
        }
        gates.retain(|_, gate| gate.strong_count() > 0);
        let gate = Arc::<Gate>::default();
        gates.insert(command_id.to_owned(), Arc::downgrade(&gate));
        gate
    }
}

impl Session {
    /// Bytes for stdin; the answer says how many were taken: what a full buffer
    /// did not take is sent again at the offset in the answer.
    pub async fn write_stdin(&self, command_id: &str, write: StdinWrite) -> Result<StdinState> {
        let guest = self.guest()?;
        let gate = self.gates().of(command_id);
        let pass = gate.lock().await;
        if let Some(flow) = pass.live() {
            drop(pass);
            return self.write_through(command_id, &guest, &flow, write).await;
        }
        let StdinWrite { mut offset, mut data, eof } = write;
        let mut accepted = 0;
        loop {
            let piece = data.split_to(data.len().min(MAX_STDIN_WRITE));
            let sent = piece.len() as u64;
            let write = WriteStdin {
                command_id: command_id.to_owned(),
                offset,
                data: piece,
                eof: eof && data.is_empty(),
            };
            let state = self.explain(command_id, &guest, guest.write_stdin(write).await)?;
            accepted += state.accepted;
            if data.is_empty() || state.accepted < sent {
                return Ok(StdinState { accepted, ..state });
            }
            offset = Some(state.offset);
        }
    }

    /// A flow into a command's stdin, of any length. With `from` its first byte
    /// has that offset, and what was applied before is skipped; without it bytes
    /// go wherever stdin stands, after those of other writers.
    ///
    /// A feed that is dropped leaves stdin open, and what it has written goes on.
    pub async fn feed_stdin(&self, command_id: &str, from: Option<u64>) -> Result<StdinFeed> {
        let guest = self.guest()?;
        let gate = self.gates().of(command_id);
        let mut pass = gate.lock().await;
        let target = match pass.live() {
            Some(flow) => Target::Open(flow),
            None => {
                let stream = StdinStream::open(guest.clone(), command_id).await;
                match self.explain(command_id, &guest, stream) {
                    Ok(stream) if stream.is_closed() => Target::Ended { at: stream.taken() },
                    Ok(stream) => Target::Open(pass.start(stream)),
                    // A writer that repeats itself may not know that all was taken.
                    Err(error) if error.code == Code::FailedPrecondition && from.is_some() => {
                        Target::Ended { at: self.command(command_id).await?.stdin_offset }
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        drop(pass);
        let stands = target.taken();
        if let Target::Ended { at } = target
            && from.is_none_or(|from| from > at)
        {
            return Err(ended(at));
        }
        if from.is_some_and(|from| from > target.end()) {
            return Err(beyond(from.unwrap_or_default(), target.end()));
        }
        let next = from.or_else(|| matches!(target, Target::Ended { .. }).then_some(stands));
        let command_id = command_id.to_owned();
        Ok(StdinFeed { session: self.clone(), guest, command_id, target, next })
    }

    /// A single write while a flow is open.
    async fn write_through(
        &self,
        command_id: &str,
        guest: &Guest,
        flow: &Flow,
        write: StdinWrite,
    ) -> Result<StdinState> {
        let StdinWrite { offset, mut data, eof } = write;
        let asked = data.len();
        data.truncate(flow.room());
        let given = data.len();
        let mut end = flow.end();
        if given > 0 {
            end = flow.write(offset, data).await?;
        }
        let mut state = StdinState { accepted: given as u64, offset: end, eof: false };
        if eof && given == asked {
            // Whether the end came in time or not, the answer tells.
            if let Ok(flushed) = tokio::time::timeout(END_PATIENCE, flow.flush()).await {
                state.offset = flushed?;
                state.eof = self.end_stdin(command_id, guest, state.offset).await?.eof;
            }
        }
        Ok(state)
    }

    async fn end_stdin(&self, command_id: &str, guest: &Guest, at: u64) -> Result<StdinState> {
        let command = command_id.to_owned();
        let end =
            WriteStdin { command_id: command, offset: Some(at), data: Bytes::new(), eof: true };
        self.explain(command_id, guest, guest.write_stdin(end).await)
    }
}

/// A writer of one command's stdin.
#[derive(Debug)]
pub struct StdinFeed {
    session: Session,
    guest: Guest,
    command_id: String,
    target: Target,
    /// The offset of the next byte, for a writer that counts.
    next: Option<u64>,
}

#[derive(Debug)]
enum Target {
    Open(Flow),
    /// stdin has ended; a writer that repeats itself may not know it yet.
    Ended {
        at: u64,
    },
}

impl Target {
    fn taken(&self) -> u64 {
        match self {
            Self::Open(flow) => flow.taken(),
            Self::Ended { at } => *at,
        }
    }

    fn end(&self) -> u64 {
        match self {
            Self::Open(flow) => flow.end(),
            Self::Ended { at } => *at,
        }
    }
}

impl StdinFeed {
    /// Up to where the agent has it all: nothing before this has to be sent again.
    pub fn taken(&self) -> u64 {
        self.target.taken()
    }

    /// Where a writer that does not count writes on.
    pub fn end(&self) -> u64 {
        self.target.end()
    }

    /// Skips what the agent has already; gives the offset of the byte to come next.
    pub fn resume(&mut self) -> u64 {
        let taken = self.taken();
        match &mut self.next {
            Some(next) => {
                *next = taken.max(*next);
                *next
            }
            None => self.end(),
        }
    }

    /// Watches how far stdin was taken.
    pub fn progress(&self) -> StdinWatch {
        match &self.target {
            Target::Open(flow) => StdinWatch { flow: Some(flow.watch()), told: flow.taken() },
            Target::Ended { at } => StdinWatch { flow: None, told: *at },
        }
    }

    /// Gives bytes on; waits while the process is slower, however long that
    /// takes. Cancelled, some of them may have been written.
    pub async fn write(&mut self, data: Bytes) -> Result<()> {
        let len = data.len() as u64;
        match &self.target {
            Target::Open(flow) => {
                flow.write(self.next, data).await?;
            }
            Target::Ended { at } => {
                let end = self.next.unwrap_or(*at).saturating_add(len);
                if end > *at {
                    return Err(ended(*at));
                }
            }
        }
        self.next = self.next.map(|next| next + len);
        Ok(())
    }

    /// Waits until the agent has everything, and ends stdin if that is asked.
    pub async fn finish(&mut self, eof: bool) -> Result<StdinState> {
        let at = match &self.target {
            Target::Open(flow) => flow.flush().await?,
            Target::Ended { at } => *at,
        };
        if !eof {
            return Ok(StdinState { accepted: 0, offset: at, eof: false });
        }
        if self.next.is_some_and(|next| next < at) {
            let message = format!("stdin is at offset {at} already: no end at an earlier one");
            return Err(offset_error(Code::FailedPrecondition, message, at, Some("eof")));
        }
        let ended = self.session.end_stdin(&self.command_id, &self.guest, at).await;
        match (ended, &self.target) {
            // The process is gone: nothing will ever come after these bytes.
            (Err(error), Target::Ended { .. }) if error.code == Code::FailedPrecondition => {
                Ok(StdinState { accepted: 0, offset: at, eof: true })
            }
            (ended, _) => ended,
        }
    }
}

/// Tells how far stdin was taken.
#[derive(Debug)]
pub struct StdinWatch {
    flow: Option<FlowWatch>,
    told: u64,
}

impl StdinWatch {
    /// The next offset that is further than the last one told; for ever when
    /// there will be none.
    pub async fn next(&mut self) -> u64 {
        match &mut self.flow {
            Some(flow) => {
                self.told = flow.taken_beyond(self.told).await;
                self.told
            }
            None => std::future::pending().await,
        }
    }
}

/// stdin takes no more.
pub(super) fn ended(at: u64) -> Error {
    let message = format!("stdin takes no more (it ended at offset {at})");
    offset_error(Code::FailedPrecondition, message, at, None)
}

/// A hole between what was applied and what is offered.
pub(super) fn beyond(given: u64, expected: u64) -> Error {
    let message = format!("stdin expects offset {expected}, not {given}");
    offset_error(Code::OutOfRange, message, expected, Some("offset"))
}

/// With where stdin stands.
fn offset_error(code: Code, message: String, at: u64, field: Option<&str>) -> Error {
    let mut error = Error::new(code, message);
    error.first_available = Some(at);
    error.field = field.map(str::to_owned);
    error
}
