//! Bytes to frames and back. Nothing here reads, writes or blocks.
//!
//! Two shapes exist. A *length-prefixed frame* (control connections, and the
//! opening of any connection) is a big-endian `u32` and that many bytes of
//! protobuf. A *stream frame* has a fixed header of 24 bytes, see
//! [`StreamHeader`], and its payload goes by without a copy through protobuf.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::DecodeError;
use crate::exec::OutputStream;
use crate::limits::{MAX_STREAM_DATA, MAX_STREAM_MESSAGE, STREAM_HEADER};

const PREFIX: usize = 4;

/// Takes one length-prefixed frame off the front of `buf`.
///
/// `Ok(None)` means that the frame is not complete yet. The claimed length is
/// checked against `max` as soon as the prefix is there, before any growth.
pub fn take_frame(buf: &mut BytesMut, max: usize) -> Result<Option<Bytes>, DecodeError> {
    let Some(prefix) = buf.first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let claimed = u32::from_be_bytes(*prefix);
    let len = usize::try_from(claimed).unwrap_or(usize::MAX);
    if len > max {
        return Err(DecodeError::TooLong { len: claimed.into(), max });
    }
    if buf.len() - PREFIX < len {
        return Ok(None);
    }
    buf.advance(PREFIX);
    Ok(Some(buf.split_to(len).freeze()))
}

/// Appends one message as a length-prefixed frame, refusing one over `max`.
///
/// On an error nothing was appended.
pub(crate) fn put_frame<M: prost::Message>(
    dst: &mut BytesMut,
    message: &M,
    max: usize,
) -> Result<(), DecodeError> {
    let len = message.encoded_len();
    let prefix = u32::try_from(len).ok().filter(|_| len <= max);
    let Some(prefix) = prefix else {
        return Err(DecodeError::TooLong { len: len as u64, max });
    };
    dst.reserve(PREFIX + len);
    dst.put_u32(prefix);
    message.encode_raw(dst);
    Ok(())
}

pub(crate) fn parse<M: prost::Message + Default>(
    what: &'static str,
    frame: Bytes,
) -> Result<M, DecodeError> {
    M::decode(frame).map_err(|e| DecodeError::Protobuf { what, cause: e.to_string() })
}

/// What a stream frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Bytes of the flow. `offset` is that of the first byte; for output, `aux`
    /// is its offset within its own stream and the tag tells which.
    Data(Option<OutputStream>),
    /// Output that was dropped: `[offset, aux)` is gone. No payload.
    Gap,
    /// A [`crate::stream::StreamEvent`].
    Message,
    /// A [`crate::stream::StreamEnd`]: the last frame in its direction.
    End,
}

/// The header of a stream frame: `kind:u8, tag:u8, 0:u16, len:u32, offset:u64,
/// aux:u64`, big-endian. The two zero bytes are ignored by a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamHeader {
    /// What follows.
    pub kind: StreamKind,
    /// Bytes of payload.
    pub len: u32,
    /// See [`StreamKind`].
    pub offset: u64,
    /// See [`StreamKind`].
    pub aux: u64,
}

const KIND_DATA: u8 = 1;
const KIND_GAP: u8 = 2;
const KIND_MESSAGE: u8 = 3;
const KIND_END: u8 = 4;

impl StreamHeader {
    /// The bytes of the header.
    pub fn encode(&self) -> [u8; STREAM_HEADER] {
        let (kind, tag) = match self.kind {
            StreamKind::Data(tag) => (KIND_DATA, tag.map_or(0, OutputStream::tag)),
            StreamKind::Gap => (KIND_GAP, 0),
            StreamKind::Message => (KIND_MESSAGE, 0),
            StreamKind::End => (KIND_END, 0),
        };
        let mut out = [0; STREAM_HEADER];
        let mut dst = &mut out[..];
        dst.put_u8(kind);
        dst.put_u8(tag);
        dst.put_u16(0);
        dst.put_u32(self.len);
        dst.put_u64(self.offset);
        dst.put_u64(self.aux);
        out
    }

    /// Reads a header; the payload's length is checked against its cap here, so
    /// that nobody allocates by a claim.
    pub fn decode(bytes: &[u8; STREAM_HEADER]) -> Result<Self, DecodeError> {
        let mut src = &bytes[..];
        let (kind, tag) = (src.get_u8(), src.get_u8());
        src.advance(2);
        let (len, offset, aux) = (src.get_u32(), src.get_u64(), src.get_u64());
        let (kind, max) = match kind {
            KIND_DATA => (StreamKind::Data(OutputStream::from_tag(tag)?), MAX_STREAM_DATA),
            KIND_GAP => (StreamKind::Gap, 0),
            KIND_MESSAGE => (StreamKind::Message, MAX_STREAM_MESSAGE),
            KIND_END => (StreamKind::End, MAX_STREAM_MESSAGE),
            other => {
                return Err(DecodeError::BadValue {
                    field: "stream frame kind",
                    value: other.into(),
                });
            }
        };
        if usize::try_from(len).unwrap_or(usize::MAX) > max {
            return Err(DecodeError::TooLong { len: len.into(), max });
        }
        Ok(Self { kind, len, offset, aux })
    }

    /// Takes one whole stream frame off the front of `buf`, or `None` while it
    /// is not complete.
    pub fn take(buf: &mut BytesMut) -> Result<Option<(Self, Bytes)>, DecodeError> {
        let Some(head) = buf.first_chunk::<STREAM_HEADER>() else {
            return Ok(None);
        };
        let header = Self::decode(head)?;
        let len = usize::try_from(header.len).unwrap_or(usize::MAX);
        if buf.len() - STREAM_HEADER < len {
            return Ok(None);
        }
        buf.advance(STREAM_HEADER);
        Ok(Some((header, buf.split_to(len).freeze())))
    }
}
