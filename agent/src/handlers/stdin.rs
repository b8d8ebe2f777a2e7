//! A stdin stream: a flow of bytes for a process, at that process's pace.
//!
//! Nothing is queued: what the process has no room for stays in the one buffer
//! of the stream, and behind it in the socket. So a process that never reads
//! costs that much and stalls nobody, and bytes are counted as taken when they
//! are in the pipe.

mod input;

use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use postern_proto::{Error, StdinOpen, StdinState, StreamEnd, StreamEvent, StreamReply};
use tokio::time::Instant;

use self::input::{Input, Next};
use super::refuse;
use crate::command::{Command, until_room};
use crate::guest::State;
use crate::link::{Conn, ConnError};

/// The host is told how far stdin came after so many bytes,
const TELL_BYTES: u64 = 256 << 10;

/// or after this when fewer were taken: it keeps what it has not heard of.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// A host that has been told of the end closes. One that does not in this time,
/// and goes on sending, is not waited for.
const LAST_WORD: Duration = Duration::from_secs(30);

pub(super) async fn serve(conn: Conn, open: StdinOpen, state: &Rc<State>) -> Result<(), ConnError> {
    let command = match state.commands.table.get(&open.command_id) {
        Ok(command) => command,
        Err(e) => return refuse(&conn, e.into()).await,
    };
    // One that is being born has its stdin in a moment.
    command.until(|c| !c.is_starting()).await;
    let mut frame = BytesMut::new();
    let stands = state_of(&command, 0);
    StreamReply::Stdin(stands).encode(&mut frame)?;
    conn.write_all(&frame).await?;
    let (told, told_at) = (stands.offset, Instant::now());
    let feed = Feed { command, conn, taken: 0, told, told_at, out: BytesMut::new() };
    feed.run(!open.keep_open).await
}

/// Where a command's stdin stands: `eof` when it takes no more, for whatever
/// reason.
fn state_of(command: &Command, accepted: u64) -> StdinState {
    let stdin = command.stdin.borrow();
    StdinState { accepted, offset: stdin.offset(), eof: !stdin.is_open() }
}

/// One stream.
struct Feed {
    command: Rc<Command>,
    conn: Conn,
    /// Bytes of this stream that are with the process, also by another way.
    taken: u64,
    /// The last offset that the host heard of, and when.
    told: u64,
    told_at: Instant,
    /// Telling waits for nobody: what the socket did not take at once.
    out: BytesMut,
}

/// Why a feed is over.
enum Over {
    /// The host said so: with the end of stdin or without.
    Host { eof: bool },
    /// The process takes no more.
    Process,
    /// The host sent what cannot be.
    Fault(Error),
}

impl Feed {
    async fn run(mut self, ends: bool) -> Result<(), ConnError> {
        let mut input = Input::new(&std::mem::take(self.conn.ahead()));
        let over = self.feed(&mut input, ends).await?;
        if let Over::Host { eof: true } = over {
            self.command.stdin.borrow_mut().finish();
            self.command.stdin_changed.notify_waiters();
        }
        let end = match over {
            Over::Fault(error) => StreamEnd::Error(error),
            _ => StreamEnd::Stdin(state_of(&self.command, self.taken)),
        };
        end.encode(&mut self.out)?;
        let last_word = async {
            self.conn.write_all(&self.out).await?;
            // Closing with unread bytes would reset the connection, and the host
            // might lose this end with them: it closes first.
            while input.discard(&self.conn).await? {}
            Ok(())
        };
        tokio::time::timeout(LAST_WORD, last_word).await.unwrap_or(Ok(()))
    }

    async fn feed(&mut self, input: &mut Input, ends: bool) -> Result<Over, ConnError> {
        loop {
            let command = Rc::clone(&self.command);
            let changed = command.stdin_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !command.stdin.borrow().is_open() {
                return Ok(Over::Process);
            }
            let next = input.next()?;
            let full = match next {
                Next::Data { offset, bytes } => {
                    let fed = command.stdin.borrow_mut().feed(offset, bytes);
                    match fed {
                        Ok(0) => true,
                        Ok(n) => {
                            input.took(n);
                            self.took(n)?;
                            // Everything else on this thread has its turn.
                            tokio::task::yield_now().await;
                            continue;
                        }
                        Err(e) => return Ok(self.refused(e.into())),
                    }
                }
                Next::End { whole } => return Ok(Over::Host { eof: ends && whole }),
                Next::More => false,
            };
            let tell_at = self.tell_at();
            let tell = tokio::time::sleep_until(tell_at.unwrap_or(self.told_at));
            tokio::select! {
                biased;
                more = input.read(&self.conn), if !full => if more? == 0 { return Err(broken()) },
                () = until_room(&command), if full => {}
                () = self.conn.hung_up(), if full => return Err(broken()),
                () = changed => {}
                () = tell, if tell_at.is_some() => self.tell()?,
            }
        }
    }

    /// Bytes that the process does not take, or that do not fit.
    fn refused(&self, error: Error) -> Over {
        self.command.stdin_changed.notify_waiters();
        match self.command.stdin.borrow().is_open() {
            true => Over::Fault(error),
            false => Over::Process,
        }
    }

    fn took(&mut self, n: usize) -> Result<(), ConnError> {
        self.taken += n as u64;
        let ahead = self.command.stdin.borrow().offset() - self.told;
        if ahead >= TELL_BYTES || self.tell_at().is_some_and(|at| at <= Instant::now()) {
            self.tell()?;
        }
        Ok(())
    }

    /// When the host has to hear of what was taken; None: it has.
    fn tell_at(&self) -> Option<Instant> {
        let ahead = self.command.stdin.borrow().offset() > self.told || !self.out.is_empty();
        ahead.then(|| self.told_at + TELL_AFTER)
    }

    fn tell(&mut self) -> Result<(), ConnError> {
        self.told_at = Instant::now();
        // One word at a time: a host that does not read hears the last of them.
        if self.out.is_empty() {
            let stands = state_of(&self.command, self.taken);
            self.told = stands.offset;
            StreamEvent::Stdin(stands).encode(&mut self.out)?;
        }
        Ok(self.conn.write_some(&mut self.out)?)
    }
}

fn broken() -> ConnError {
    std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()
}
