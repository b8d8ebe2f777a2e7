//! The host's frames, read into one buffer and handed on from where they lie.

use std::io;

use bytes::{Bytes, BytesMut};
use postern_proto::limits::{MAX_STREAM_MESSAGE, STREAM_HEADER};
use postern_proto::{DecodeError, StreamEnd, StreamHeader, StreamKind};

use crate::link::{Conn, ConnError};

/// What one read asks for at most. Larger than any frame that must be whole, and
/// about what a socket holds; pages that no flow has filled cost nothing.
const BUFFER: usize = 256 << 10;

const _: () = assert!(BUFFER >= STREAM_HEADER + MAX_STREAM_MESSAGE);

/// What was read of the host's frames and not handed on yet.
pub(super) struct Input {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Of the data frame at `start`, and its offset.
    left: usize,
    offset: u64,
}

/// What is there.
pub(super) enum Next<'a> {
    /// Bytes of stdin, not none.
    Data { offset: u64, bytes: &'a [u8] },
    /// The host has ended; `whole` unless it said that it lost its own source.
    End { whole: bool },
    /// Nothing whole.
    More,
}

impl Input {
    /// `ahead` came with the opening.
    pub(super) fn new(ahead: &BytesMut) -> Self {
        let mut buffer = vec![0; BUFFER.max(ahead.len())].into_boxed_slice();
        let end = ahead.len();
        buffer[..end].copy_from_slice(ahead);
        Self { buffer, start: 0, end, left: 0, offset: 0 }
    }

    /// What comes next; the same data again until [`Self::took`].
    pub(super) fn next(&mut self) -> Result<Next<'_>, ConnError> {
        while self.left == 0 {
            let unread = &self.buffer[self.start..self.end];
            let Some(head) = unread.first_chunk::<STREAM_HEADER>() else {
                return Ok(Next::More);
            };
            let header = StreamHeader::decode(head)?;
            let len = usize::try_from(header.len).unwrap_or(usize::MAX);
            let Some(payload) = unread.get(STREAM_HEADER..) else { return Ok(Next::More) };
            match header.kind {
                StreamKind::Data(_) => {
                    self.start += STREAM_HEADER;
                    (self.left, self.offset) = (len, header.offset);
                }
                StreamKind::Gap => {
                    let field = "the kind of a frame of stdin";
                    return Err(DecodeError::BadValue { field, value: 2 }.into());
                }
                StreamKind::Message | StreamKind::End => {
                    let Some(payload) = payload.get(..len) else { return Ok(Next::More) };
                    let payload = Bytes::copy_from_slice(payload);
                    self.start += STREAM_HEADER + len;
                    if header.kind == StreamKind::End {
                        let end = StreamEnd::decode(payload)?;
                        return Ok(Next::End { whole: !matches!(end, StreamEnd::Error(_)) });
                    }
                }
            }
        }
        let there = (self.end - self.start).min(self.left);
        match there {
            0 => Ok(Next::More),
            n => Ok(Next::Data {
                offset: self.offset,
                bytes: &self.buffer[self.start..self.start + n],
            }),
        }
    }

    /// So much of the data was handed on.
    pub(super) fn took(&mut self, n: usize) {
        self.start += n;
        self.left -= n;
        self.offset += n as u64;
    }

    /// Reads on; 0 at the end of the connection. Cancel-safe.
    pub(super) async fn read(&mut self, conn: &Conn) -> io::Result<usize> {
        // A piece of a frame at most: there is always room behind it.
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let n = conn.read_into(&mut self.buffer[self.end..]).await?;
        self.end += n;
        Ok(n)
    }

    /// Reads and throws away; false at the end of the connection.
    pub(super) async fn discard(&mut self, conn: &Conn) -> io::Result<bool> {
        (self.start, self.end, self.left) = (0, 0, 0);
        Ok(self.read(conn).await? > 0)
    }
}
