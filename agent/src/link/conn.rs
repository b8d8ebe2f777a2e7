//! One accepted connection.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use nix::errno::Errno;
use postern_proto::{DecodeError, take_frame};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::watch::{until_hung_up, until_writable, watch};

/// What one read asks for. Control messages are small; bulk goes elsewhere.
const READ_STEP: usize = 4 << 10;

/// Why a connection ends before its time.
#[derive(Debug, thiserror::Error)]
pub enum ConnError {
    /// The peer sent what is not of the protocol.
    #[error("the peer broke the protocol")]
    Protocol(#[from] DecodeError),
    /// The socket failed.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// The peer did not say what it had to in time.
    #[error("the peer was silent while {0}")]
    Deadline(&'static str),
    /// The peer does not read its answers.
    #[error("the peer does not read")]
    NotReading,
}

/// A non-blocking stream socket and what was read ahead of it.
#[derive(Debug)]
pub struct Conn {
    socket: Rc<AsyncFd<OwnedFd>>,
    ahead: BytesMut,
}

impl Conn {
    /// Takes a connected, non-blocking socket.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: Rc::new(watch(socket, Interest::READABLE | Interest::WRITABLE)?),
            ahead: BytesMut::new(),
        })
    }

    /// Two ends of the same socket: what was read ahead stays with the first.
    pub fn split(self) -> (Self, Self) {
        let second = Self { socket: Rc::clone(&self.socket), ahead: BytesMut::new() };
        (self, second)
    }

    /// Two ends for waiting on both at once; what the first reads ahead comes
    /// back by [`Self::keep`].
    pub fn halves(&mut self) -> (Self, Self) {
        let ahead = std::mem::take(&mut self.ahead);
        let end = |ahead| Self { socket: Rc::clone(&self.socket), ahead };
        (end(ahead), end(BytesMut::new()))
    }

    /// See [`Self::halves`].
    pub fn keep(&mut self, reader: Self) {
        self.ahead = reader.ahead;
    }

    /// The next length-prefixed frame; `None` when the peer has ended.
    ///
    /// Cancel-safe: what was read is kept.
    pub async fn read_frame(&mut self, max: usize) -> Result<Option<Bytes>, ConnError> {
        loop {
            if let Some(frame) = take_frame(&mut self.ahead, max)? {
                return Ok(Some(frame));
            }
            if !self.fill().await? {
                return match self.ahead.is_empty() {
                    true => Ok(None),
                    false => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                };
            }
        }
    }

    /// Reads on; false at the end.
    async fn fill(&mut self) -> io::Result<bool> {
        loop {
            let mut ready = self.socket.readable().await?;
            let mut scratch = [0; READ_STEP];
            let result = ready.try_io(|fd| Ok(nix::unistd::read(fd, &mut scratch)?));
            match result {
                Ok(Ok(n)) => {
                    if n < READ_STEP {
                        // A short read says that nothing is left; the kernel
                        // tells when there is more (epoll(7), question 9).
                        ready.clear_ready();
                    }
                    self.ahead.extend_from_slice(&scratch[..n]);
                    return Ok(n > 0);
                }
                Ok(Err(e)) if e.raw_os_error() == Some(Errno::EINTR as i32) => {}
                Ok(Err(e)) => return Err(e),
                Err(_would_block) => {}
            }
        }
    }

    /// Returns when the peer has sent something or has ended.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await.map(|mut ready| ready.retain_ready())
    }

    /// Takes and throws away what is there; false when the peer has ended.
    pub async fn skim(&mut self) -> io::Result<bool> {
        self.fill().await
    }

    /// Bytes read ahead that no frame was made of yet.
    pub fn ahead(&mut self) -> &mut BytesMut {
        &mut self.ahead
    }

    /// Writes all of it.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(&[IoSlice::new(bytes)]) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes what goes at once, and leaves the rest.
    pub fn write_some(&self, out: &mut BytesMut) -> io::Result<()> {
        while !out.is_empty() {
            match self.try_write(&[IoSlice::new(out)]) {
                Ok(n) => out.advance(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes what goes at once.
    pub fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            match nix::sys::uio::writev(self.socket.get_ref(), slices) {
                Ok(n) => return Ok(n),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Reads on into a buffer of the caller's; 0 at the end.
    ///
    /// Cancel-safe: bytes are read when this returns, and not before.
    pub async fn read_into(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(n) = self.try_read(buffer)? {
                return Ok(n);
            }
            let mut ready = self.socket.readable().await?;
            // Nothing comes between this look and what it makes of it.
            match self.try_read(buffer)? {
                Some(n) => return Ok(n),
                None => ready.clear_ready(),
            }
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match nix::unistd::read(self.socket.get_ref(), buffer) {
                Ok(n) => return Ok(Some(n)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Until the peer has closed, also when there is something to read. To be
    /// followed by [`Self::read_into`] only.
    pub async fn hung_up(&self) {
        until_hung_up(&self.socket).await;
    }

    /// Waits until a write may go on; to be called after `WouldBlock`.
    pub async fn writable(&self) -> io::Result<()> {
        until_writable(&self.socket).await
    }

    /// Out of the runtime: a blocking socket for a thread of its own, and what
    /// was read ahead.
    pub fn into_blocking(self) -> io::Result<(File, BytesMut)> {
        let shared = |_| io::Error::other("the connection is still in use");
        let socket = Rc::try_unwrap(self.socket).map_err(shared)?.into_inner();
        let flags = nix::fcntl::OFlag::from_bits_retain(nix::fcntl::fcntl(
            &socket,
            nix::fcntl::FcntlArg::F_GETFL,
        )?);
        let blocking = flags & !nix::fcntl::OFlag::O_NONBLOCK;
        nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_SETFL(blocking))?;
        Ok((File::from(socket), self.ahead))
    }
}
