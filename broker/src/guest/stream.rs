//! One stream connection: its opening, and frames both ways.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use postern_proto::limits::MAX_OPEN_FRAME;
use postern_proto::{Purpose, StreamEnd, StreamHeader, StreamKind, StreamOpen, StreamReply};
use tokio::io::{Interest, Ready};

use super::client::Guest;
use super::error::{Fault, GuestError};
use super::hello::{greet, read_frame};
use crate::transport::Stream;

/// From the dial to the agent's answer to the opening.
pub(crate) const OPEN_DEADLINE: Duration = Duration::from_secs(15);

/// A read's size on a stream that carries little; an idle stream keeps no buffer.
const MIN_READ: usize = 8 << 10;

/// And on one that carries much: some frames at once, so that the cost of a
/// call is spread, and still no question of memory.
const MAX_READ: usize = 1 << 20;

/// How long a peer may take no bytes, or send none that are due. A guest may
/// stand still for seconds while it writes back or unpacks; past this it hangs.
pub(crate) const STALL: Duration = Duration::from_secs(120);

/// How long a stream that is left may go on sending.
const FAREWELL: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct StreamConn {
    stream: Stream,
    buf: BytesMut,
    /// The size of the next read: grows while reads come back full.
    read_size: usize,
}

/// What a write met.
pub(crate) enum Written {
    All,
    /// The agent has ended its direction already.
    Ended(StreamEnd),
}

impl StreamConn {
    /// Dials, greets and opens in one go; the agent's refusal is an error.
    pub(crate) async fn open(
        guest: &Guest,
        open: &StreamOpen,
        doing: &'static str,
    ) -> Result<(Self, StreamReply), GuestError> {
        let opened = tokio::time::timeout(OPEN_DEADLINE, Self::open_now(guest, open, doing)).await;
        let result = opened.unwrap_or(Err(GuestError::Deadline { doing, after: OPEN_DEADLINE }));
        result.inspect_err(|error| guest.count_fault(error))
    }

    async fn open_now(
        guest: &Guest,
        open: &StreamOpen,
        doing: &'static str,
    ) -> Result<(Self, StreamReply), GuestError> {
        let mut stream = guest.inner.dial.dial().await.map_err(GuestError::Dial)?;
        let mut buf = BytesMut::new();
        let opening = |out: &mut BytesMut| open.encode(out).map_err(GuestError::Unsendable);
        greet(&mut stream, Purpose::Stream, guest.inner.epoch, opening, &mut buf).await?;
        let frame = read_frame(&mut stream, &mut buf, MAX_OPEN_FRAME, doing).await?;
        match StreamReply::decode(frame).map_err(|e| GuestError::fault(doing, e))? {
            StreamReply::Error(error) => Err(GuestError::Agent(error)),
            reply => Ok((Self { stream, buf, read_size: MIN_READ }, reply)),
        }
    }

    /// The next frame, however long it takes; the caller bounds the time.
    /// Safe to cancel: nothing is taken from the socket without being kept.
    pub(crate) async fn next(
        &mut self,
        doing: &'static str,
    ) -> Result<(StreamHeader, Bytes), GuestError> {
        loop {
            if let Some(frame) = self.take(doing)? {
                return Ok(frame);
            }
            self.release_when_idle();
            self.stream.readable().await.map_err(|e| GuestError::lost(doing, e))?;
            self.fill(doing)?;
        }
    }

    /// A frame that was read already.
    pub(crate) fn take(
        &mut self,
        doing: &'static str,
    ) -> Result<Option<(StreamHeader, Bytes)>, GuestError> {
        StreamHeader::take(&mut self.buf).map_err(|e| GuestError::fault(doing, e))
    }

    /// 10,000 idle streams must not each sit on the buffer of their last burst.
    fn release_when_idle(&mut self) {
        if self.buf.is_empty() && self.buf.capacity() > 0 {
            self.buf = BytesMut::new();
        }
    }

    /// Reads what is there, without waiting.
    pub(crate) fn fill(&mut self, doing: &'static str) -> Result<(), GuestError> {
        // A part of a frame at the end of a full buffer is moved to a new one
        // once; with room left the buffer is filled on.
        if self.buf.capacity() - self.buf.len() < MIN_READ {
            self.buf.reserve(self.read_size);
        }
        let room = self.buf.capacity() - self.buf.len();
        match self.stream.try_read_buf(&mut self.buf) {
            Ok(0) => Err(GuestError::lost(doing, io::ErrorKind::UnexpectedEof.into())),
            Ok(read) => {
                if read >= room {
                    self.read_size = (self.read_size * 2).min(MAX_READ);
                } else if read < self.read_size / 8 {
                    self.read_size = (self.read_size / 2).max(MIN_READ);
                }
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(e) => Err(GuestError::lost(doing, e)),
        }
    }

    /// Resolves when the socket can do something that is of interest. Safe to cancel.
    pub(crate) async fn ready(
        &mut self,
        interest: Interest,
        doing: &'static str,
    ) -> Result<Ready, GuestError> {
        self.release_when_idle();
        self.stream.ready(interest).await.map_err(|e| GuestError::lost(doing, e))
    }

    /// Writes what the socket takes of a frame, without waiting.
    pub(crate) fn try_send(
        &mut self,
        head: &mut Bytes,
        payload: &mut Bytes,
        doing: &'static str,
    ) -> Result<(), GuestError> {
        match self.stream.try_write_vectored(&[IoSlice::new(head), IoSlice::new(payload)]) {
            Ok(written) => {
                let of_head = written.min(head.len());
                head.advance(of_head);
                payload.advance(written - of_head);
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(e) => Err(GuestError::lost(doing, e)),
        }
    }

    /// Sends one frame, and notices an early end from the agent.
    pub(crate) async fn send(
        &mut self,
        header: StreamHeader,
        payload: Bytes,
        doing: &'static str,
    ) -> Result<Written, GuestError> {
        let mut head = Bytes::copy_from_slice(&header.encode());
        let mut payload = payload;
        // It may have come along with the answer to the opening.
        if let Some(end) = self.early_end(doing)? {
            return Ok(Written::Ended(end));
        }
        while head.has_remaining() || payload.has_remaining() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            let ready = tokio::time::timeout(STALL, self.stream.ready(interest))
                .await
                .map_err(|_| GuestError::Deadline { doing, after: STALL })?
                .map_err(|e| GuestError::lost(doing, e))?;
            if ready.is_readable() {
                self.fill(doing)?;
                if let Some(end) = self.early_end(doing)? {
                    return Ok(Written::Ended(end));
                }
            }
            if !ready.is_writable() {
                continue;
            }
            match self.stream.try_write_vectored(&[IoSlice::new(&head), IoSlice::new(&payload)]) {
                Ok(written) => {
                    let of_head = written.min(head.len());
                    head.advance(of_head);
                    payload.advance(written - of_head);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return self.after_broken_write(e, doing),
            }
        }
        Ok(Written::All)
    }

    /// The agent may have said why before it hung up.
    fn after_broken_write(
        &mut self,
        e: io::Error,
        doing: &'static str,
    ) -> Result<Written, GuestError> {
        // The first read may report the reset itself; what was queued comes after it.
        let _ = self.fill(doing);
        let _ = self.fill(doing);
        match self.early_end(doing)? {
            Some(end) => Ok(Written::Ended(end)),
            None => Err(GuestError::lost(doing, e)),
        }
    }

    fn early_end(&mut self, doing: &'static str) -> Result<Option<StreamEnd>, GuestError> {
        match self.take(doing)? {
            None => Ok(None),
            Some((header, payload)) => end_of(header, payload, doing).map(Some),
        }
    }

    /// The agent's last word, within the stall deadline.
    pub(crate) async fn read_end(&mut self, doing: &'static str) -> Result<StreamEnd, GuestError> {
        let frame = tokio::time::timeout(STALL, self.next(doing)).await;
        let (header, payload) =
            frame.map_err(|_| GuestError::Deadline { doing, after: STALL })??;
        end_of(header, payload, doing)
    }

    /// Says how this side ends, and reads away what is on its way until the agent
    /// has heard it. A close with bytes unread would look to the agent like a
    /// link that broke, or like nothing: vhost-device-vsock does not tell the
    /// guest of it while the guest waits for room.
    pub(crate) async fn say(self, end: StreamEnd) {
        let mut frame = BytesMut::new();
        if end.encode(&mut frame).is_err() || self.stream.try_write(&frame).is_err() {
            // A peer that cannot take these few bytes learns it from the close.
            return;
        }
        let away = async {
            let mut waste = vec![0; MIN_READ * 8];
            loop {
                self.stream.readable().await?;
                match self.stream.try_read(&mut waste) {
                    Ok(0) => return Ok(()),
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) => return Err(e),
                }
            }
        };
        // However it ends, the close that follows says the same.
        let _: Result<io::Result<()>, _> = tokio::time::timeout(FAREWELL, away).await;
    }
}

fn end_of(
    header: StreamHeader,
    payload: Bytes,
    doing: &'static str,
) -> Result<StreamEnd, GuestError> {
    if header.kind != StreamKind::End {
        return Err(GuestError::fault(doing, Fault::WrongFrame("only an end was due")));
    }
    StreamEnd::decode(payload).map_err(|e| GuestError::fault(doing, e))
}
