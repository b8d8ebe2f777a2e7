//! From a command's log to one connection, at that connection's pace.

use std::io::{self, IoSlice};
use std::rc::Rc;

use bytes::{Buf, BytesMut};
use postern_proto::{Follow, StreamEnd, StreamEvent, StreamHeader, StreamKind};

use super::hold::Hold;
use crate::command::Command;
use crate::link::{Conn, ConnError};
use crate::output::{Cursor, Log, Next};

/// Pieces below this are gathered and written together.
const SMALL: usize = 8 << 10;

/// So much is gathered at most before it is written.
const GATHER: usize = 64 << 10;

/// One follower. What is to be written next is `out`, and after it the `body`
/// bytes of the log at the cursor: large pieces go out from where they lie.
pub(super) struct Reader<'a> {
    command: &'a Rc<Command>,
    follow: &'a Follow,
    cursor: Cursor,
    hold: Hold<'a>,
    out: BytesMut,
    body: usize,
    /// For a reader that came after the exit: all that was there by then comes
    /// before the exit is told.
    late_end: u64,
    told_exit: bool,
    over: bool,
}

/// What comes after what was gathered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// More of the log.
    More,
    /// Nothing for now.
    Wait,
}

impl<'a> Reader<'a> {
    /// `out` is what goes before the log: the answer to the opening.
    pub(super) fn new(
        command: &'a Rc<Command>,
        follow: &'a Follow,
        cursor: Cursor,
        out: BytesMut,
    ) -> Self {
        let hold = Hold::new(command, follow.lossless.then_some(cursor.offset()), follow.reader);
        let late_end = command.exit_end().map_or(0, |_| command.log.borrow().end());
        Self {
            command,
            follow,
            cursor,
            hold,
            out,
            body: 0,
            late_end,
            told_exit: false,
            over: false,
        }
    }

    /// Serves until the end, or until the host wants no more. A broken link is
    /// an error, and leaves the hold with its grace.
    pub(super) async fn run(mut self, mut conn: Conn) -> Result<(), ConnError> {
        loop {
            let changed = self.command.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let then = self.gather()?;
            let written = self.write(&conn)?;
            if written && self.over {
                self.hold.release();
                return Ok(());
            }
            let ended = if !written {
                let (mut reader, writer) = conn.halves();
                // The host first: a command that never pauses must not keep its
                // word from being heard.
                let ended = tokio::select! {
                    biased;
                    host = host_ended(&mut reader) => host?,
                    room = writer.writable() => room.map(|()| false)?,
                };
                conn.keep(reader);
                ended
            } else if then == Then::Wait {
                tokio::select! {
                    biased;
                    host = host_ended(&mut conn) => host?,
                    () = changed => false,
                }
            } else {
                // A socket that takes everything must not starve the pumps.
                tokio::task::yield_now().await;
                false
            };
            if ended {
                self.hold.release();
                return Ok(());
            }
        }
    }

    /// Puts together what goes out next.
    fn gather(&mut self) -> Result<Then, ConnError> {
        while self.body == 0 && self.out.len() < GATHER && !self.over {
            let before_exit = self.left_before_exit();
            if before_exit == Some(0) {
                self.told_exit = true;
                StreamEvent::Exited(Box::new(self.command.info())).encode(&mut self.out)?;
                if self.follow.until_exit {
                    self.end()?;
                }
                continue;
            }
            let max = before_exit.unwrap_or(usize::MAX).min(Log::MAX_PIECE);
            let log = self.command.log.borrow();
            match log.next(&mut self.cursor, max) {
                Next::Data { stream, offset, stream_offset, bytes } => {
                    let header = StreamHeader {
                        kind: StreamKind::Data(Some(stream)),
                        len: u32::try_from(bytes.len()).unwrap_or(0),
                        offset,
                        aux: stream_offset,
                    };
                    self.out.extend_from_slice(&header.encode());
                    if bytes.len() < SMALL {
                        self.out.extend_from_slice(bytes);
                        log.advance(&mut self.cursor, bytes.len());
                    } else {
                        self.body = bytes.len();
                    }
                }
                Next::Gap { from, to } => {
                    log.skip_gap(&mut self.cursor);
                    let gap = StreamHeader { kind: StreamKind::Gap, len: 0, offset: from, aux: to };
                    self.out.extend_from_slice(&gap.encode());
                }
                Next::Pending if !self.follow.no_wait => return Ok(Then::Wait),
                Next::Pending | Next::End => {
                    drop(log);
                    self.end()?;
                }
            }
        }
        Ok(Then::More)
    }

    /// Writes what was gathered; false when the socket is full.
    fn write(&mut self, conn: &Conn) -> io::Result<bool> {
        while !self.out.is_empty() || self.body > 0 {
            let log = self.command.log.borrow();
            let body = log.piece(&self.cursor, self.body);
            match conn.try_write(&[IoSlice::new(&self.out), IoSlice::new(body)]) {
                Ok(n) => {
                    let of_out = n.min(self.out.len());
                    self.out.advance(of_out);
                    log.advance(&mut self.cursor, n - of_out);
                    self.body -= n - of_out;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if !self.hold.is_held() {
                        // By the time there is room the log may have dropped it.
                        self.out.extend_from_slice(body);
                        log.advance(&mut self.cursor, body.len());
                        self.body = 0;
                    }
                    drop(log);
                    self.hold.served(self.cursor.offset());
                    return Ok(false);
                }
                Err(e) => return Err(e),
            }
        }
        self.hold.served(self.cursor.offset());
        Ok(true)
    }

    /// How many bytes there are until the exit, as far as it is known. The exit
    /// is told after all that was read before it.
    fn left_before_exit(&self) -> Option<usize> {
        if self.told_exit {
            return None;
        }
        let end = self.command.exit_end()?.max(self.late_end);
        let position = self.command.log.borrow().settled(&self.cursor);
        Some(usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX))
    }

    fn end(&mut self) -> Result<(), ConnError> {
        self.over = true;
        Ok(StreamEnd::Output(Box::new(self.command.info())).encode(&mut self.out)?)
    }
}

/// True when the host has said that it wants no more. An end without that word
/// is a broken link, and so is the word that whoever read is gone.
async fn host_ended(conn: &mut Conn) -> Result<bool, ConnError> {
    loop {
        if let Some((header, payload)) = StreamHeader::take(conn.ahead())? {
            if header.kind != StreamKind::End {
                continue;
            }
            return match StreamEnd::decode(payload)? {
                StreamEnd::Error(why) => Err(io::Error::other(why.message).into()),
                _ => Ok(true),
            };
        }
        if !conn.skim().await? {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}
