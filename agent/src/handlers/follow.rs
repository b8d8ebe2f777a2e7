//! `Follow`: a command's output as it comes.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Instant;

use bytes::BytesMut;
use postern_proto::limits::STREAM_HEADER;
use postern_proto::{
    Code, Error, Follow, StreamEnd, StreamEvent, StreamHeader, StreamKind, StreamReply,
};

use super::refuse;
use crate::command::{Command, READER_GRACE};
use crate::output::{Cursor, HoldId, Log, Next};
use crate::serve::{Conn, ConnError, State};

/// Pieces below this are gathered and written together.
const SMALL: usize = 8 << 10;

/// So much is gathered at most before it is written.
const GATHER: usize = 64 << 10;

pub(super) async fn serve(conn: Conn, follow: Follow, state: &Rc<State>) -> Result<(), ConnError> {
    let command = match state.table.get(&follow.command_id) {
        Ok(command) => command,
        Err(e) => return refuse(&conn, e.into()).await,
    };
    let cursor = command.log.borrow().cursor(follow.from, follow.only);
    let Some(cursor) = cursor else {
        return refuse(&conn, beyond(&command, &follow)).await;
    };
    let mut frame = BytesMut::new();
    StreamReply::Follow(Box::new(command.info())).encode(&mut frame)?;
    let hold = Hold::new(&command, follow.lossless.then_some(cursor.offset()));
    let reader = Reader { command: &command, follow: &follow, cursor, hold, told_exit: false };
    reader.run(conn, frame).await
}

fn beyond(command: &Command, follow: &Follow) -> Error {
    let log = command.log.borrow();
    let (first, end) = match follow.only {
        None => (log.first(), log.end()),
        Some(stream) => (log.stream_first(stream), log.stream_end(stream)),
    };
    let message = format!("offset {} is beyond the end, {end}", follow.from);
    Error {
        first_available: Some(first),
        field: Some("from".to_owned()),
        ..Error::new(Code::OutOfRange, message)
    }
}

/// A lossless reader's hold on the log; dropped without a word, the link broke.
pub(super) struct Hold<'a> {
    command: &'a Command,
    id: Option<HoldId>,
}

impl<'a> Hold<'a> {
    pub(super) fn new(command: &'a Command, position: Option<u64>) -> Self {
        let id = position.map(|p| command.log.borrow_mut().attach(p));
        Self { command, id }
    }

    fn served(&self, position: u64) {
        let Some(id) = self.id else { return };
        if self.command.log.borrow_mut().served(id, position) {
            self.command.room.notify_waiters();
        }
    }

    pub(super) fn release(&mut self) {
        if let Some(id) = self.id.take() {
            self.command.log.borrow_mut().release(id);
            self.command.room.notify_waiters();
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.command.log.borrow_mut().broke_off(id, Instant::now() + READER_GRACE);
            // The pumps must learn of the new deadline.
            self.command.room.notify_waiters();
        }
    }
}

struct Reader<'a> {
    command: &'a Rc<Command>,
    follow: &'a Follow,
    cursor: Cursor,
    hold: Hold<'a>,
    told_exit: bool,
}

/// What to do after a look at the log.
enum Step {
    /// Frames were gathered, or a large piece was written.
    More,
    /// The socket is full.
    Blocked,
    /// Nothing to send now.
    Wait,
    /// The end frame is gathered.
    Over,
}

impl Reader<'_> {
    async fn run(mut self, mut conn: Conn, mut out: BytesMut) -> Result<(), ConnError> {
        loop {
            let changed = self.command.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.step(&conn, &mut out)? {
                Step::More => {}
                Step::Blocked => {
                    if self.flush_or_end(&mut conn, &mut out).await? {
                        return Ok(());
                    }
                    // A socket that takes everything must not starve the pumps.
                    tokio::task::yield_now().await;
                }
                Step::Over => {
                    self.flush(&mut conn, &mut out).await?;
                    self.hold.release();
                    return Ok(());
                }
                Step::Wait => {
                    self.flush(&mut conn, &mut out).await?;
                    self.hold.served(self.cursor.offset());
                    // The host first: a command that never pauses must not
                    // keep its word from being heard.
                    let ended = tokio::select! {
                        biased;
                        host = host_ended(&mut conn) => host?,
                        () = changed => false,
                    };
                    if ended {
                        self.hold.release();
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Writes what is gathered, or hears that the host wants no more: then true.
    async fn flush_or_end(
        &mut self,
        conn: &mut Conn,
        out: &mut BytesMut,
    ) -> Result<bool, ConnError> {
        let (mut reader, writer) = conn.halves();
        let ended = tokio::select! {
            biased;
            host = host_ended(&mut reader) => host?,
            written = writer.write_all(out) => {
                written?;
                false
            }
        };
        conn.keep(reader);
        out.clear();
        match ended {
            true => self.hold.release(),
            false => self.hold.served(self.cursor.offset()),
        }
        Ok(ended)
    }

    /// Writes what is gathered.
    async fn flush(&mut self, conn: &mut Conn, out: &mut BytesMut) -> io::Result<()> {
        conn.write_all(out).await?;
        out.clear();
        self.hold.served(self.cursor.offset());
        Ok(())
    }

    fn step(&mut self, conn: &Conn, out: &mut BytesMut) -> Result<Step, ConnError> {
        if out.len() >= GATHER {
            return Ok(Step::Blocked);
        }
        if self.exit_is_due() {
            self.told_exit = true;
            let info = Box::new(self.command.info());
            StreamEvent::Exited(info).encode(out)?;
            if self.follow.until_exit {
                return self.over(out);
            }
        }
        let log = self.command.log.borrow();
        match log.next(&mut self.cursor, Log::MAX_PIECE) {
            Next::Data { stream, offset, stream_offset, bytes } => {
                let mut len = bytes.len();
                if let Some(left) = self.left_before_exit() {
                    len = len.min(left);
                }
                let bytes = &bytes[..len];
                let header = StreamHeader {
                    kind: StreamKind::Data(Some(stream)),
                    len: u32::try_from(len).unwrap_or(0),
                    offset,
                    aux: stream_offset,
                }
                .encode();
                let blocked = if len < SMALL {
                    out.extend_from_slice(&header);
                    out.extend_from_slice(bytes);
                    false
                } else {
                    write_large(conn, out, &header, bytes)?
                };
                log.advance(&mut self.cursor, len);
                drop(log);
                if out.is_empty() {
                    self.hold.served(self.cursor.offset());
                }
                Ok(if blocked { Step::Blocked } else { Step::More })
            }
            Next::Gap { from, to } => {
                log.skip_gap(&mut self.cursor);
                let gap = StreamHeader { kind: StreamKind::Gap, len: 0, offset: from, aux: to };
                out.extend_from_slice(&gap.encode());
                Ok(Step::More)
            }
            Next::Pending if !self.follow.no_wait => Ok(Step::Wait),
            Next::Pending | Next::End => {
                drop(log);
                self.over(out)
            }
        }
    }

    /// The exit is told after all that was read before it.
    fn exit_is_due(&self) -> bool {
        !self.told_exit && self.left_before_exit() == Some(0)
    }

    /// How many bytes there are until the exit, as far as it is known.
    fn left_before_exit(&self) -> Option<usize> {
        if self.told_exit {
            return None;
        }
        let end = self.command.exit_end()?;
        let position = self.command.log.borrow().settled(&self.cursor);
        Some(usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX))
    }

    fn over(&self, out: &mut BytesMut) -> Result<Step, ConnError> {
        StreamEnd::Output(Box::new(self.command.info())).encode(out)?;
        Ok(Step::Over)
    }
}

/// True when the host has said that it wants no more; an end without that
/// word is a broken link.
async fn host_ended(conn: &mut Conn) -> Result<bool, ConnError> {
    loop {
        if let Some((header, _)) = StreamHeader::take(conn.ahead())? {
            if header.kind == StreamKind::End {
                return Ok(true);
            }
            continue;
        }
        if !conn.skim().await? {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// Writes a large piece from where it lies. What the socket does not take is
/// copied, since the log may drop it before the socket has room; then true.
fn write_large(
    conn: &Conn,
    out: &mut BytesMut,
    header: &[u8; STREAM_HEADER],
    bytes: &[u8],
) -> io::Result<bool> {
    let before = out.len();
    let slices = [IoSlice::new(out), IoSlice::new(header), IoSlice::new(bytes)];
    let n = match conn.try_write(&slices) {
        Ok(n) => n,
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
        Err(e) => return Err(e),
    };
    let total = before + STREAM_HEADER + bytes.len();
    if n == total {
        out.clear();
        return Ok(false);
    }
    out.extend_from_slice(header);
    out.extend_from_slice(bytes);
    bytes::Buf::advance(out, n);
    Ok(true)
}
