//! A stream with a thread of its own: blocking reads and writes, no copies
//! beyond the kernel's.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use postern_proto::limits::{MAX_STREAM_DATA, MAX_STREAM_MESSAGE, STREAM_HEADER};
use postern_proto::{
    Code, DecodeError, Error, StreamEnd, StreamEvent, StreamHeader, StreamKind, StreamReply,
};

use super::conn::{Conn, ConnError};

/// A peer that neither reads nor writes for so long is gone; a broken vsock
/// link does not always tell.
const IDLE: Duration = Duration::from_secs(300);

/// A transfer's thread keeps one buffer, on the heap.
const THREAD_STACK: usize = 256 << 10;

/// A stream connection in blocking form. As [`Read`] it gives the peer's data;
/// its end is the peer's `StreamEnd::Done`, and anything else is an error.
#[derive(Debug)]
pub struct Transfer {
    socket: File,
    ahead: BytesMut,
    /// Of the data frame that is being read.
    left: usize,
    offset: u64,
    ended: bool,
}

impl Transfer {
    /// Runs `work` with the connection in a thread of its own.
    pub fn spawn(
        conn: Conn,
        work: impl FnOnce(Self) -> io::Result<()> + Send + 'static,
    ) -> Result<(), ConnError> {
        let (socket, ahead) = conn.into_blocking()?;
        let idle = TimeVal::new(IDLE.as_secs().cast_signed(), 0);
        setsockopt(&socket, sockopt::ReceiveTimeout, &idle).map_err(io::Error::from)?;
        setsockopt(&socket, sockopt::SendTimeout, &idle).map_err(io::Error::from)?;
        let transfer = Self { socket, ahead, left: 0, offset: 0, ended: false };
        let thread = std::thread::Builder::new().stack_size(THREAD_STACK);
        // What fails in there ends the connection, which is all the peer can be told.
        thread.spawn(move || drop(work(transfer)))?;
        Ok(())
    }

    /// Answers the opening.
    pub fn reply(&mut self, reply: &StreamReply) -> io::Result<()> {
        let mut frame = BytesMut::new();
        reply.encode(&mut frame).map_err(io::Error::other)?;
        self.socket.write_all(&frame)
    }

    /// Sends news beside the data.
    pub fn tell(&mut self, event: &StreamEvent) -> io::Result<()> {
        let mut frame = BytesMut::new();
        event.encode(&mut frame).map_err(io::Error::other)?;
        self.socket.write_all(&frame)
    }

    /// Sends one data frame, at most [`MAX_STREAM_DATA`] bytes.
    pub fn send(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let len = u32::try_from(data.len()).map_err(io::Error::other)?;
        let header = StreamHeader { kind: StreamKind::Data(None), len, offset, aux: 0 }.encode();
        let total = STREAM_HEADER + data.len();
        let mut sent = 0;
        while sent < total {
            let slices = [
                IoSlice::new(header.get(sent..).unwrap_or_default()),
                IoSlice::new(&data[sent.saturating_sub(STREAM_HEADER)..]),
            ];
            match self.socket.write_vectored(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => sent += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Ends this direction, and with it the stream.
    pub fn finish(mut self, end: &StreamEnd) -> io::Result<()> {
        let mut frame = BytesMut::new();
        end.encode(&mut frame).map_err(io::Error::other)?;
        self.socket.write_all(&frame)?;
        // Closing with unread bytes would reset the connection, and the host
        // might lose this end with them: it closes first.
        self.skim();
        Ok(())
    }

    fn skim(&mut self) {
        let mut scrap = [0; 4096];
        // A host that goes on sending has not read the end yet.
        while self.socket.read(&mut scrap).is_ok_and(|n| n > 0) {}
    }

    /// Makes sure of `n` bytes read ahead; false at the end of the connection.
    fn fill(&mut self, n: usize) -> io::Result<bool> {
        while self.ahead.len() < n {
            let start = self.ahead.len();
            self.ahead.resize(start + n.max(STREAM_HEADER), 0);
            let result = self.socket.read(&mut self.ahead[start..]);
            self.ahead.truncate(start + *result.as_ref().unwrap_or(&0));
            match result {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// The next header, with the whole payload read ahead if it is not data.
    fn next_frame(&mut self) -> io::Result<()> {
        let broken = || io::Error::new(io::ErrorKind::UnexpectedEof, "the stream broke off");
        let bad = |e: DecodeError| io::Error::new(io::ErrorKind::InvalidData, e);
        if !self.fill(STREAM_HEADER)? {
            return Err(broken());
        }
        let head = self.ahead.first_chunk().ok_or_else(broken)?;
        let header = StreamHeader::decode(head).map_err(bad)?;
        let len = usize::try_from(header.len).map_err(io::Error::other)?;
        self.ahead.advance(STREAM_HEADER);
        match header.kind {
            StreamKind::Data(_) if header.offset == self.offset => {
                self.left = len;
                self.offset += len as u64;
                Ok(())
            }
            StreamKind::Data(_) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("data at offset {} where {} is due", header.offset, self.offset),
            )),
            StreamKind::Gap => Err(io::Error::new(io::ErrorKind::InvalidData, "a gap")),
            StreamKind::Message | StreamKind::End => {
                debug_assert!(len <= MAX_STREAM_MESSAGE);
                if !self.fill(len)? {
                    return Err(broken());
                }
                let payload = self.ahead.split_to(len).freeze();
                if header.kind == StreamKind::Message {
                    return Ok(());
                }
                match StreamEnd::decode(payload).map_err(bad)? {
                    StreamEnd::Error(e) => Err(io::Error::other(e.message)),
                    _ => {
                        self.ended = true;
                        Ok(())
                    }
                }
            }
        }
    }
}

impl Read for Transfer {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            if self.ended {
                return Ok(0);
            }
            self.next_frame()?;
        }
        let want = buf.len().min(self.left);
        let n = if self.ahead.is_empty() {
            self.socket.read(&mut buf[..want])?
        } else {
            let n = want.min(self.ahead.len());
            self.ahead.copy_to_slice(&mut buf[..n]);
            n
        };
        if n == 0 && want > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream broke off"));
        }
        self.left -= n;
        Ok(n)
    }
}

/// A buffer of the size that transfers read and write with.
pub fn buffer() -> Box<[u8]> {
    vec![0; MAX_STREAM_DATA].into_boxed_slice()
}

/// How a failure of the transfer itself is told to the peer.
pub fn error_of(doing: &str, e: &io::Error) -> Error {
    let code = match e.kind() {
        io::ErrorKind::InvalidData => Code::InvalidArgument,
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Code::DeadlineExceeded,
        io::ErrorKind::UnexpectedEof => Code::Unavailable,
        _ => Code::Internal,
    };
    Error::new(code, format!("{doing}: {e}")).with_errno(e.raw_os_error().unwrap_or(0))
}
