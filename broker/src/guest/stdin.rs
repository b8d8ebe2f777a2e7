//! A command's stdin as a flow, over as many connections as it takes.
//!
//! ```text
//!   taken by the agent   on its way            not sent yet
//! ─────────────────────┬─────────────────────┬──────────────┬─ ─
//!                    taken                  sent           end
//! ```
//!
//! What lies between `taken` and `end` is kept here, at most [`MAX_UNTAKEN`]:
//! after a break the agent says how far it came, and the rest is sent again.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use postern_proto::limits::MAX_STREAM_DATA;
use postern_proto::{
    Code, StdinOpen, StdinState, StreamEnd, StreamEvent, StreamHeader, StreamKind, StreamOpen,
    StreamReply,
};
use tokio::io::Interest;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::client::{Guest, LinkState};
use super::error::{Fault, GuestError};
use super::follow::{RESUME_DEADLINE, link_is_down};
use super::stream::StreamConn;

const DOING: &str = "sending stdin";

/// The most that is kept because the agent has not taken it yet. Enough for a
/// fast link; a process that never reads costs this much.
pub const MAX_UNTAKEN: usize = 1 << 20;

/// Pieces are joined below this size: keystrokes that wait must not cost a
/// buffer each.
const SMALL: usize = 4 << 10;

/// What became of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdinProgress {
    /// The agent took some.
    Taken,
    /// What was given before [`StdinStream::flush`] is taken.
    Flushed,
    /// The process takes no more; what is not taken never will be.
    Closed,
}

type Opening = BoxFuture<'static, Result<(StreamConn, StdinState), GuestError>>;

/// The writing end of one command's stdin. There must be one only at a time, since
/// bytes are known by their offset.
pub struct StdinStream {
    guest: Guest,
    command_id: String,
    conn: Option<StreamConn>,
    opening: Option<Opening>,
    /// The frame that the socket has taken a part of, perhaps.
    out: Option<(Bytes, Bytes)>,
    /// From `taken` to `end`.
    kept: VecDeque<Bytes>,
    taken: u64,
    sent: u64,
    end: u64,
    flush: Flush,
    closed: bool,
    links: watch::Receiver<LinkState>,
    broken_since: Option<Instant>,
    backoff: Backoff,
}

/// Whether the agent is asked for its last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    No,
    Wanted,
    /// Our end is on its way on this connection, after this offset. What is
    /// given later waits for the next one.
    Said(u64),
}

impl StdinStream {
    /// Opens the flow; a command whose stdin takes nothing is an error now.
    pub async fn open(guest: Guest, command_id: &str) -> Result<Self, GuestError> {
        let mut links = guest.inner.state.subscribe();
        links.mark_unchanged();
        let (conn, state) = open(guest.clone(), command_id.to_owned()).await?;
        guest.inner.watchers.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            guest,
            command_id: command_id.to_owned(),
            conn: Some(conn),
            opening: None,
            out: None,
            kept: VecDeque::new(),
            taken: state.offset,
            sent: state.offset,
            end: state.offset,
            flush: Flush::No,
            closed: state.eof,
            links,
            broken_since: None,
            backoff: Backoff::broken_link(),
        })
    }

    /// The offset up to which the agent has it all.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// The offset after the last byte that was given here.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The process takes no more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// How many bytes [`StdinStream::push`] takes now.
    pub fn room(&self) -> usize {
        let kept = usize::try_from(self.end - self.taken).unwrap_or(usize::MAX);
        MAX_UNTAKEN.saturating_sub(kept)
    }

    /// Takes the front of `data`, as much as there is room for; it is sent by
    /// [`StdinStream::progress`].
    pub fn push(&mut self, data: &mut Bytes) {
        let piece = data.split_to(data.len().min(self.room()));
        if piece.is_empty() {
            return;
        }
        self.end += piece.len() as u64;
        match self.kept.back_mut() {
            // Which bytes are sent is known by offset, so pieces may be joined.
            Some(last) if last.len() + piece.len() <= SMALL => {
                *last = Bytes::from([&last[..], &piece[..]].concat());
            }
            _ if piece.len() <= SMALL => self.kept.push_back(Bytes::copy_from_slice(&piece)),
            _ => self.kept.push_back(piece),
        }
    }

    /// Asks for the agent's word that all of it was taken. The connection ends
    /// with that, and the next bytes open another.
    pub fn flush(&mut self) {
        if self.flush == Flush::No {
            self.flush = Flush::Wanted;
        }
    }

    /// Sends and listens until there is news; for ever while there is nothing to
    /// do. A broken link is resumed; an error is final. Safe to cancel.
    pub async fn progress(&mut self) -> Result<StdinProgress, GuestError> {
        loop {
            match self.step().await {
                Ok(None) => {}
                Ok(Some(news)) => return Ok(news),
                Err(e) if e.is_link_trouble() || self.conn.is_none() && e.is_silence() => {
                    self.broke(e)?;
                }
                Err(e) => {
                    self.guest.count_fault(&e);
                    self.conn = None;
                    return Err(e);
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Option<StdinProgress>, GuestError> {
        if self.closed {
            return Ok(Some(StdinProgress::Closed));
        }
        if self.conn.is_none() {
            return self.connect().await;
        }
        self.next_frame()?;
        let Some(conn) = &mut self.conn else { return Ok(None) };
        if let Some((header, payload)) = conn.take(DOING)? {
            return self.accept(header, payload);
        }
        let interest = match self.out {
            Some(_) => Interest::READABLE | Interest::WRITABLE,
            None => Interest::READABLE,
        };
        let ready = tokio::select! {
            biased;
            ready = conn.ready(interest, DOING) => ready?,
            down = link_is_down(&mut self.links) => {
                self.drop_conn();
                return down.map(|()| None);
            }
        };
        if ready.is_readable() {
            conn.fill(DOING)?;
        }
        if ready.is_writable()
            && let Some((head, payload)) = &mut self.out
        {
            conn.try_send(head, payload, DOING)?;
            if !head.has_remaining() && !payload.has_remaining() {
                self.out = None;
            }
        }
        Ok(None)
    }

    /// Puts the next frame in front of the socket, if there is one.
    fn next_frame(&mut self) -> Result<(), GuestError> {
        if self.out.is_some() || matches!(self.flush, Flush::Said(_)) {
            return Ok(());
        }
        if let Some(payload) = self.unsent() {
            let header = StreamHeader {
                kind: StreamKind::Data(None),
                len: u32::try_from(payload.len()).unwrap_or(u32::MAX),
                offset: self.sent,
                aux: 0,
            };
            self.sent += payload.len() as u64;
            self.out = Some((Bytes::copy_from_slice(&header.encode()), payload));
        } else if self.flush == Flush::Wanted {
            let mut frame = BytesMut::new();
            StreamEnd::Done.encode(&mut frame).map_err(GuestError::Unsendable)?;
            self.out = Some((frame.freeze(), Bytes::new()));
            self.flush = Flush::Said(self.sent);
        }
        Ok(())
    }

    /// The next bytes to send, a frame's worth at the most.
    fn unsent(&self) -> Option<Bytes> {
        let mut skip = usize::try_from(self.sent - self.taken).unwrap_or(usize::MAX);
        for piece in &self.kept {
            if skip < piece.len() {
                let to = piece.len().min(skip + MAX_STREAM_DATA);
                return Some(piece.slice(skip..to));
            }
            skip -= piece.len();
        }
        None
    }

    fn accept(
        &mut self,
        header: StreamHeader,
        payload: Bytes,
    ) -> Result<Option<StdinProgress>, GuestError> {
        let decoded = |e| GuestError::fault(DOING, e);
        match header.kind {
            StreamKind::Message => match StreamEvent::decode(payload).map_err(decoded)? {
                StreamEvent::Stdin(state) => {
                    self.advance(state.offset)?;
                    Ok(Some(StdinProgress::Taken))
                }
                StreamEvent::Unknown => Ok(None),
                StreamEvent::Exited(_) | StreamEvent::LayerRead { .. } => {
                    Err(GuestError::fault(DOING, Fault::WrongFrame("not of a stdin stream")))
                }
            },
            StreamKind::End => match StreamEnd::decode(payload).map_err(decoded)? {
                StreamEnd::Stdin(state) => {
                    self.advance(state.offset)?;
                    let all = self.flush == Flush::Said(self.taken);
                    self.drop_conn();
                    self.flush = Flush::No;
                    self.closed = !all;
                    Ok(Some(if all { StdinProgress::Flushed } else { StdinProgress::Closed }))
                }
                StreamEnd::Error(error) => Err(GuestError::Agent(error)),
                _ => Err(GuestError::fault(DOING, Fault::WrongFrame("an end of another kind"))),
            },
            _ => Err(GuestError::fault(DOING, Fault::WrongFrame("data on a stdin stream"))),
        }
    }

    /// The agent has everything before `offset`.
    fn advance(&mut self, offset: u64) -> Result<(), GuestError> {
        if offset < self.taken || offset > self.sent {
            let fault = Fault::OffsetJump { expected: self.sent, got: offset };
            return Err(GuestError::fault(DOING, fault));
        }
        let mut gone = usize::try_from(offset - self.taken).unwrap_or(usize::MAX);
        while let Some(piece) = self.kept.front_mut().filter(|_| gone > 0) {
            let part = gone.min(piece.len());
            piece.advance(part);
            gone -= part;
            if piece.is_empty() {
                self.kept.pop_front();
            }
        }
        self.taken = offset;
        self.broken_since = None;
        self.backoff.reset();
        Ok(())
    }

    /// Opens another connection, once there is something to say on it.
    async fn connect(&mut self) -> Result<Option<StdinProgress>, GuestError> {
        if self.taken == self.end && self.flush == Flush::No {
            return std::future::pending().await;
        }
        if self.flush == Flush::Wanted && self.taken == self.end && self.opening.is_none() {
            self.flush = Flush::No;
            return Ok(Some(StdinProgress::Flushed));
        }
        let opening = self.opening.get_or_insert_with(|| {
            let wait = self.broken_since.map(|_| self.backoff.step()).unwrap_or_default();
            Box::pin(reopen(self.guest.clone(), self.command_id.clone(), wait))
        });
        let opened = opening.await;
        self.opening = None;
        let (conn, state) = match opened {
            Ok(opened) => opened,
            // It was there: the serving process that kept it is not.
            Err(GuestError::Agent(e)) if e.code == Code::NotFound => {
                return Err(GuestError::Restarted);
            }
            Err(GuestError::Agent(e)) if e.code == Code::FailedPrecondition => {
                self.closed = true;
                return Ok(Some(StdinProgress::Closed));
            }
            Err(e) => return Err(e),
        };
        self.links.mark_unchanged();
        // Bytes of the last connection may have been taken after it broke.
        self.sent = self.end;
        self.advance(state.offset)?;
        self.sent = self.taken;
        self.conn = Some(conn);
        self.closed = state.eof;
        Ok(Some(StdinProgress::Taken))
    }

    fn drop_conn(&mut self) {
        self.conn = None;
        self.out = None;
        if matches!(self.flush, Flush::Said(_)) {
            self.flush = Flush::Wanted;
        }
    }

    fn broke(&mut self, why: GuestError) -> Result<(), GuestError> {
        self.drop_conn();
        let since = *self.broken_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= RESUME_DEADLINE {
            return Err(why);
        }
        tracing::debug!(error = %why, offset = self.taken, "stdin lost its stream");
        Ok(())
    }
}

impl std::fmt::Debug for StdinStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StdinStream")
            .field("command_id", &self.command_id)
            .field("taken", &self.taken)
            .field("end", &self.end)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl Drop for StdinStream {
    fn drop(&mut self) {
        self.guest.inner.watchers.fetch_sub(1, Ordering::Relaxed);
        // In the midst of a frame the close alone has to say it.
        if let (Some(conn), None, Ok(runtime)) =
            (self.conn.take(), &self.out, Handle::try_current())
        {
            runtime.spawn(conn.say(StreamEnd::Done));
        }
    }
}

/// Always `keep_open`: the end of file is a write of its own, by offset, which
/// can be repeated; so no break and no early leave can be taken for one.
async fn open(guest: Guest, command_id: String) -> Result<(StreamConn, StdinState), GuestError> {
    let opening = StreamOpen::Stdin(StdinOpen { command_id, keep_open: true });
    match StreamConn::open(&guest, &opening, DOING).await? {
        (conn, StreamReply::Stdin(state)) => Ok((conn, state)),
        _ => Err(guest.wrong(DOING, Fault::WrongReply("stdin"))),
    }
}

async fn reopen(
    guest: Guest,
    command_id: String,
    wait: Duration,
) -> Result<(StreamConn, StdinState), GuestError> {
    tokio::time::sleep(wait).await;
    // Whoever is fenced or whose sandbox has ended hears it here.
    drop(guest.link(Instant::now() + RESUME_DEADLINE).await?);
    open(guest, command_id).await
}
