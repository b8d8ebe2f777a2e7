//! AF_VSOCK of this host's kernel.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use futures_util::future::BoxFuture;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket};

use super::{Dial, DialError, Stream, within};

/// A guest that is reached by its context id.
#[derive(Debug, Clone, Copy)]
pub struct Vsock {
    /// The guest's context id.
    pub cid: u32,
    /// The agent's port.
    pub port: u32,
}

impl Dial for Vsock {
    fn dial(&self) -> BoxFuture<'_, Result<Stream, DialError>> {
        let target = format!("vsock:{}:{}", self.cid, self.port);
        Box::pin(within(target, "connecting", connect_vsock(*self)))
    }
}

async fn connect_vsock(to: Vsock) -> io::Result<Stream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Vsock, SockType::Stream, flags, None)?;
    let under_way = match connect(fd.as_raw_fd(), &VsockAddr::new(to.cid, to.port)) {
        Ok(()) => false,
        Err(Errno::EINPROGRESS) => true,
        Err(e) => return Err(e.into()),
    };
    let stream = as_stream(fd)?;
    if under_way {
        stream.writable().await?;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
    }
    Ok(stream)
}

/// Only calls that every stream socket has are made on it: read, write, poll,
/// SO_ERROR and close. Its addresses, which would be wrong, are never asked for.
fn as_stream(fd: OwnedFd) -> io::Result<Stream> {
    Stream::from_std(UnixStream::from(fd))
}
