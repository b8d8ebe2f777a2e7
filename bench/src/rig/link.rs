//! A stream of the agent's protocol, read and written without copies: what is
//! measured should be the agent.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use bytes::{Buf, BytesMut};
use postern_proto::limits::{MAX_HELLO_FRAME, MAX_OPEN_FRAME, MAX_STREAM_DATA, STREAM_HEADER};
use postern_proto::{
    Hello, Purpose, StreamEnd, StreamHeader, StreamKind, StreamOpen, StreamReply, take_frame,
};
use postern_tests::raw::Address;

/// Room for a whole data frame and the next header.
const BUFFER: usize = MAX_STREAM_DATA + 4096;

#[derive(Debug)]
pub(crate) struct Link {
    socket: UnixStream,
    buffer: Vec<u8>,
    /// `buffer[start..end]` is read and not yet looked at.
    start: usize,
    end: usize,
}

impl Link {
    /// Connects, opens the stream, and sees it accepted.
    pub(crate) fn open(address: &Address, open: &StreamOpen) -> io::Result<Self> {
        let mut socket = address.dial()?;
        let mut out = BytesMut::new();
        let hello = Hello::host(Purpose::Stream, 0, "postern-bench");
        hello.encode(&mut out).map_err(io::Error::other)?;
        open.encode(&mut out).map_err(io::Error::other)?;
        socket.write_all(&out)?;
        let mut ahead = BytesMut::new();
        let hello = frame(&mut socket, &mut ahead, MAX_HELLO_FRAME)?;
        if let Some(refusal) = Hello::decode(hello).map_err(io::Error::other)?.refusal {
            return Err(io::Error::other(refusal.message));
        }
        let reply = frame(&mut socket, &mut ahead, MAX_OPEN_FRAME)?;
        if let StreamReply::Error(e) = StreamReply::decode(reply).map_err(io::Error::other)? {
            return Err(io::Error::other(e.message));
        }
        let mut buffer = vec![0; BUFFER];
        let end = ahead.len();
        ahead.copy_to_slice(&mut buffer[..end]);
        Ok(Self { socket, buffer, start: 0, end })
    }

    /// Reads to the end frame: the bytes that came, and how it ended. Offsets
    /// must follow one another.
    pub(crate) fn drain(&mut self) -> io::Result<(u64, StreamEnd)> {
        let mut got = 0;
        loop {
            let header = self.header()?;
            let len = header.len as usize;
            match header.kind {
                StreamKind::Data(_) if header.offset == got => {
                    self.skip(len)?;
                    got += len as u64;
                }
                StreamKind::Data(_) | StreamKind::Gap => {
                    return Err(io::Error::other(format!("{header:?} where {got} is due")));
                }
                StreamKind::Message => self.skip(len)?,
                StreamKind::End => {
                    self.fill(len)?;
                    let message = self.buffer[self.start..self.start + len].to_vec();
                    let end = StreamEnd::decode(message.into()).map_err(io::Error::other)?;
                    return Ok((got, end));
                }
            }
        }
    }

    /// Sends `size` bytes and the end, and waits for the agent's end.
    pub(crate) fn send(&mut self, size: u64) -> io::Result<StreamEnd> {
        let mut piece = vec![b'x'; STREAM_HEADER + MAX_STREAM_DATA];
        let mut offset = 0;
        while offset < size {
            let n = (size - offset).min(MAX_STREAM_DATA as u64);
            let len = u32::try_from(n).map_err(io::Error::other)?;
            let header = StreamHeader { kind: StreamKind::Data(None), len, offset, aux: 0 };
            piece[..STREAM_HEADER].copy_from_slice(&header.encode());
            self.socket.write_all(&piece[..STREAM_HEADER + len as usize])?;
            offset += n;
        }
        let mut end = BytesMut::new();
        StreamEnd::Done.encode(&mut end).map_err(io::Error::other)?;
        self.socket.write_all(&end)?;
        self.drain().map(|(_, end)| end)
    }

    fn header(&mut self) -> io::Result<StreamHeader> {
        self.fill(STREAM_HEADER)?;
        let head = self.buffer[self.start..self.end].first_chunk();
        let head = head.ok_or_else(|| io::Error::other("the buffer is too small"))?;
        let header = StreamHeader::decode(head).map_err(io::Error::other)?;
        self.start += STREAM_HEADER;
        Ok(header)
    }

    /// Makes sure that `n` bytes are there to be looked at.
    fn fill(&mut self, n: usize) -> io::Result<()> {
        if self.start + n > self.buffer.len() || self.start == self.end {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < n {
            match self.socket.read(&mut self.buffer[self.end..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.end += read,
            }
        }
        Ok(())
    }

    fn skip(&mut self, mut len: usize) -> io::Result<()> {
        while len > 0 {
            self.fill(1)?;
            let step = len.min(self.end - self.start);
            self.start += step;
            len -= step;
        }
        Ok(())
    }
}

fn frame(socket: &mut UnixStream, ahead: &mut BytesMut, max: usize) -> io::Result<bytes::Bytes> {
    loop {
        if let Some(frame) = take_frame(ahead, max).map_err(io::Error::other)? {
            return Ok(frame);
        }
        let mut piece = [0; 4096];
        match socket.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => ahead.extend_from_slice(&piece[..n]),
        }
    }
}
