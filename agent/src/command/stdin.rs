//! A command's stdin: exactly once, whatever the caller repeats.
//!
//! ```text
//! WriteStdin ──► write ──► queue ──► drain (WriteToChild) ──► sink
//!                  └──────────── nothing waits ────────────────▲
//! stdin stream ──► feed ───────── nothing waits ────────────────┘
//! ```
//!
//! Whoever changes something wakes all others by `Command::stdin_changed`.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use postern_proto::{Code, Error, StdinState};

use super::record::Command;
use super::sink::{Refused, Sink};

#[cfg(test)]
mod tests;

/// What is accepted and not yet read by the process. Beyond it a write is
/// answered with how much was taken, so that a process which never reads costs
/// this much and stalls nobody.
const MAX_BUFFERED: usize = 1 << 20;

/// Pieces below this are copied together: a byte must not keep the frame alive
/// in which it came.
const SMALL: usize = 16 << 10;

/// Why bytes are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StdinError {
    /// A hole between what was applied and what is offered.
    #[error("stdin expects offset {expected}, not {given}")]
    Beyond {
        /// The next offset.
        expected: u64,
        /// The one that was given.
        given: u64,
    },
    /// It never was open, or its end was set.
    #[error("stdin is at its end (offset {0})")]
    Ended(u64),
    /// The process has closed it or is dead.
    #[error("the process has closed its stdin (offset {0})")]
    Closed(u64),
}

impl From<StdinError> for Error {
    fn from(e: StdinError) -> Self {
        match e {
            StdinError::Beyond { expected, .. } => Self {
                first_available: Some(expected),
                field: Some("offset".to_owned()),
                ..Self::new(Code::OutOfRange, e.to_string())
            },
            StdinError::Ended(_) => Self::new(Code::FailedPrecondition, e.to_string()),
            StdinError::Closed(_) => {
                Self::new(Code::FailedPrecondition, e.to_string()).with_errno(libc::EPIPE)
            }
        }
    }
}

/// Bytes on their way to the process, under offsets.
#[derive(Debug, Default)]
pub struct Stdin {
    pieces: VecDeque<Bytes>,
    /// After the pieces: small ones, together.
    tail: BytesMut,
    buffered: usize,
    next: u64,
    eof: bool,
    closed: bool,
    /// From the start of the process until there is nothing more to say.
    sink: Option<Rc<Sink>>,
}

/// How a [`Stdin::drain`] ended.
#[derive(Debug)]
enum Drained {
    /// The sink is full.
    Full(Rc<Sink>),
    /// Nothing waits.
    Idle(Rc<Sink>),
    /// All was said, or nobody reads.
    Over,
}

impl Stdin {
    /// With the bytes that came with the request to start.
    pub fn new(initial: &Bytes, open: bool) -> Self {
        let mut stdin = Self::default();
        stdin.push(initial.clone());
        stdin.eof = !open;
        stdin
    }

    /// More bytes, and perhaps the end. See [`postern_proto::WriteStdin`].
    pub fn write(
        &mut self,
        offset: Option<u64>,
        data: &Bytes,
        eof: bool,
    ) -> Result<StdinState, StdinError> {
        let applied = self.applied(offset.unwrap_or(self.next), data.len())?;
        let fresh = data.len() - applied;
        let repeats_the_end = self.eof && eof && fresh == 0;
        if self.eof && !repeats_the_end && (fresh > 0 || eof) {
            return Err(StdinError::Ended(self.next));
        }
        if self.closed && fresh > 0 {
            return Err(StdinError::Closed(self.next));
        }
        let at_once = self.at_once(data.get(applied..).unwrap_or_default())?;
        let begin = applied + at_once;
        let queued = (fresh - at_once).min(MAX_BUFFERED.saturating_sub(self.buffered));
        self.push(data.slice(begin..begin + queued));
        if at_once + queued == fresh && eof && !self.eof {
            self.eof = true;
            // What is to be said at the end may not fit; then it waits.
            let _ = self.drain();
        }
        let accepted = (begin + queued) as u64;
        Ok(StdinState { accepted, offset: self.next, eof: self.eof })
    }

    /// Of bytes at `offset`, those that were applied before and those that the
    /// process has room for at once; nothing is kept. 0 says: wait for room.
    pub fn feed(&mut self, offset: u64, data: &[u8]) -> Result<usize, StdinError> {
        let applied = self.applied(offset, data.len())?;
        let fresh = data.get(applied..).unwrap_or_default();
        if fresh.is_empty() {
            return Ok(applied);
        }
        if self.eof {
            return Err(StdinError::Ended(self.next));
        }
        if self.closed {
            return Err(StdinError::Closed(self.next));
        }
        Ok(applied + self.at_once(fresh)?)
    }

    /// The end, from whoever fed it.
    pub fn finish(&mut self) {
        if self.is_open() {
            self.eof = true;
            let _ = self.drain();
        }
    }

    /// How many of the bytes offered were applied before.
    fn applied(&self, offset: u64, len: usize) -> Result<usize, StdinError> {
        match self.next.checked_sub(offset) {
            Some(applied) => Ok(usize::try_from(applied).unwrap_or(usize::MAX).min(len)),
            None => Err(StdinError::Beyond { expected: self.next, given: offset }),
        }
    }

    /// Into the sink, if nothing waits before it.
    fn at_once(&mut self, data: &[u8]) -> Result<usize, StdinError> {
        let Some(sink) = self.sink.as_ref().filter(|_| self.buffered == 0 && !data.is_empty())
        else {
            return Ok(0);
        };
        match sink.write(data) {
            Ok(n) => {
                self.next += n as u64;
                Ok(n)
            }
            Err(Refused::Full) => Ok(0),
            Err(Refused::Gone) => {
                self.close();
                Err(StdinError::Closed(self.next))
            }
        }
    }

    fn push(&mut self, piece: Bytes) {
        self.next += piece.len() as u64;
        self.enqueue(piece);
    }

    fn enqueue(&mut self, piece: Bytes) {
        self.buffered += piece.len();
        if piece.len() < SMALL {
            self.tail.extend_from_slice(&piece);
            return;
        }
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
        self.pieces.push_back(piece);
    }

    /// The process is there to be written to.
    pub(super) fn connect(&mut self, sink: Sink) {
        if !self.closed {
            self.sink = Some(Rc::new(sink));
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.sink.is_some()
    }

    /// The next offset that is expected.
    pub fn offset(&self) -> u64 {
        self.next
    }

    /// It takes more.
    pub fn is_open(&self) -> bool {
        !self.eof && !self.closed
    }

    /// What waits, until the sink is full; and the end, once nothing waits.
    fn drain(&mut self) -> Drained {
        while let Some(sink) = self.sink.clone() {
            if self.pieces.is_empty() && !self.tail.is_empty() {
                self.pieces.push_back(self.tail.split().freeze());
            }
            let Some(front) = self.pieces.front_mut() else {
                if !self.eof {
                    return Drained::Idle(sink);
                }
                let end = if self.closed { Vec::new() } else { sink.end() };
                // Said once: from here on nothing is expected.
                self.closed = true;
                match end.is_empty() {
                    true => self.sink = None,
                    false => self.enqueue(end.into()),
                }
                continue;
            };
            match sink.write(front) {
                Ok(n) => {
                    self.buffered -= n;
                    front.advance(n);
                    if front.is_empty() {
                        self.pieces.pop_front();
                    }
                }
                Err(Refused::Full) => return Drained::Full(sink),
                Err(Refused::Gone) => self.close(),
            }
        }
        Drained::Over
    }

    /// Where it can be waited for room, when nothing else is before the bytes.
    pub(crate) fn is_queued(&self) -> bool {
        self.buffered > 0
    }

    /// Nobody will read any more.
    pub fn close(&mut self) {
        self.closed = true;
        self.pieces.clear();
        self.tail.clear();
        self.buffered = 0;
        self.sink = None;
    }
}

/// Until [`Stdin::feed`] may take more, or never will.
pub(crate) async fn until_room(command: &Command) {
    let changed = command.stdin_changed.notified();
    tokio::pin!(changed);
    changed.as_mut().enable();
    let sink = {
        let stdin = command.stdin.borrow();
        if !stdin.is_open() {
            return;
        }
        stdin.sink.clone().filter(|_| !stdin.is_queued())
    };
    match sink {
        None => changed.await,
        Some(sink) => tokio::select! {
            () = changed => {}
            // Without a reader there is none: the writer closes it.
            Ok(()) = sink.room() => {}
        },
    }
}

/// Carries what waits to the process, until the end or until nobody reads.
#[derive(Debug)]
pub(super) struct WriteToChild;

impl WriteToChild {
    pub(super) async fn run(command: Rc<Command>) {
        loop {
            let changed = command.stdin_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let had_queue = command.stdin.borrow().is_queued();
            let drained = command.stdin.borrow_mut().drain();
            let has_queue = command.stdin.borrow().is_queued();
            match drained {
                Drained::Over => break,
                _ if had_queue && !has_queue => command.stdin_changed.notify_waiters(),
                Drained::Full(sink) => tokio::select! {
                    () = changed => {}
                    room = sink.room() => if room.is_err() {
                        command.stdin.borrow_mut().close();
                    },
                },
                Drained::Idle(sink) => tokio::select! {
                    () = changed => {}
                    () = sink.gone() => command.stdin.borrow_mut().close(),
                },
            }
        }
        command.stdin_changed.notify_waiters();
        command.changed.notify_waiters();
    }
}
