//! A command's stdin: exactly once, whatever the caller repeats.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bytes::{Buf, Bytes};
use nix::errno::Errno;
use postern_proto::{Code, Error, StdinState};
use tokio::io::unix::AsyncFd;

use super::record::Command;

/// What is accepted and not yet read by the process. Beyond it a write is
/// answered with how much was taken, so that a process which never reads costs
/// this much and stalls nobody.
const MAX_BUFFERED: usize = 1 << 20;

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
    buffered: usize,
    next: u64,
    eof: bool,
    closed: bool,
}

impl Stdin {
    /// With the bytes that came with the request to start.
    pub fn new(initial: Bytes, open: bool) -> Self {
        let mut stdin = Self::default();
        stdin.push(initial);
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
        let offset = offset.unwrap_or(self.next);
        let Some(applied) = self.next.checked_sub(offset) else {
            return Err(StdinError::Beyond { expected: self.next, given: offset });
        };
        let applied = usize::try_from(applied).unwrap_or(usize::MAX).min(data.len());
        let fresh = data.len() - applied;
        let repeats_the_end = self.eof && eof && fresh == 0;
        if self.eof && !repeats_the_end && (fresh > 0 || eof) {
            return Err(StdinError::Ended(self.next));
        }
        if self.closed && fresh > 0 {
            return Err(StdinError::Closed(self.next));
        }
        let taken = fresh.min(MAX_BUFFERED.saturating_sub(self.buffered));
        self.push(data.slice(applied..applied + taken));
        if taken == fresh {
            self.eof |= eof;
        }
        Ok(StdinState { accepted: (applied + taken) as u64, offset: self.next, eof: self.eof })
    }

    fn push(&mut self, piece: Bytes) {
        self.next += piece.len() as u64;
        self.buffered += piece.len();
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// The next offset that is expected.
    pub fn offset(&self) -> u64 {
        self.next
    }

    /// It takes more.
    pub fn is_open(&self) -> bool {
        !self.eof && !self.closed
    }

    fn front(&self) -> Option<Bytes> {
        self.pieces.front().cloned()
    }

    fn written(&mut self, n: usize) {
        self.buffered -= n;
        if let Some(front) = self.pieces.front_mut() {
            front.advance(n);
            if front.is_empty() {
                self.pieces.pop_front();
            }
        }
    }

    /// Nobody will read any more.
    pub fn close(&mut self) {
        self.closed = true;
        self.pieces.clear();
        self.buffered = 0;
    }
}

/// Carries a command's stdin into its pipe until the end or until nobody reads.
#[derive(Debug)]
pub(super) struct WriteToChild {
    pipe: AsyncFd<OwnedFd>,
}

impl WriteToChild {
    pub(super) fn new(pipe: OwnedFd) -> std::io::Result<Self> {
        let interest = tokio::io::Interest::WRITABLE;
        Ok(Self { pipe: crate::sys::watch::watch(pipe, interest)? })
    }

    pub(super) async fn run(self, command: Rc<Command>) {
        loop {
            let front = command.stdin.borrow().front();
            let Some(piece) = front else {
                if !command.stdin.borrow().is_open() {
                    return;
                }
                command.stdin_changed.notified().await;
                continue;
            };
            let Ok(mut ready) = self.pipe.writable().await else {
                break;
            };
            match ready.try_io(|fd| Ok(nix::unistd::write(fd, &piece)?)) {
                Ok(Ok(n)) => command.stdin.borrow_mut().written(n),
                Ok(Err(e)) if e.raw_os_error() == Some(Errno::EINTR as i32) => {}
                // EPIPE: the process does not want it.
                Ok(Err(_)) => break,
                Err(_would_block) => {}
            }
        }
        command.stdin.borrow_mut().close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(accepted: u64, offset: u64, eof: bool) -> StdinState {
        StdinState { accepted, offset, eof }
    }

    #[test]
    fn a_repeated_write_is_applied_once() {
        let mut stdin = Stdin::new(Bytes::new(), true);
        assert_eq!(stdin.write(Some(0), &Bytes::from("abc"), false), Ok(state(3, 3, false)));
        assert_eq!(stdin.write(Some(0), &Bytes::from("abc"), false), Ok(state(3, 3, false)));
        assert_eq!(stdin.write(Some(1), &Bytes::from("bcd"), true), Ok(state(3, 4, true)));
        assert_eq!(stdin.write(Some(1), &Bytes::from("bcd"), true), Ok(state(3, 4, true)));
        let all: Vec<u8> = stdin.pieces.iter().flatten().copied().collect();
        assert_eq!(all, b"abcd");
    }

    #[test]
    fn a_hole_is_refused_and_nothing_changes() {
        let mut stdin = Stdin::new(Bytes::from("ab"), true);
        let beyond = StdinError::Beyond { expected: 2, given: 3 };
        assert_eq!(stdin.write(Some(3), &Bytes::from("x"), true), Err(beyond));
        assert_eq!(stdin.offset(), 2);
        assert!(stdin.is_open());
    }

    #[test]
    fn a_full_buffer_takes_a_part_and_no_end() {
        let mut stdin = Stdin::new(Bytes::new(), true);
        let big = Bytes::from(vec![1; MAX_BUFFERED + 10]);
        let max = MAX_BUFFERED as u64;
        assert_eq!(stdin.write(Some(0), &big, true), Ok(state(max, max, false)));
        stdin.written(MAX_BUFFERED);
        assert_eq!(stdin.write(Some(0), &big, true), Ok(state(max + 10, max + 10, true)));
    }

    #[test]
    fn after_the_end_nothing_is_taken() {
        let mut stdin = Stdin::new(Bytes::from("x"), false);
        assert_eq!(stdin.write(None, &Bytes::from("y"), false), Err(StdinError::Ended(1)));
        let mut stdin = Stdin::new(Bytes::new(), true);
        stdin.close();
        assert_eq!(stdin.write(None, &Bytes::from("y"), false), Err(StdinError::Closed(0)));
    }
}
