//! Accepting, and who may come in.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{SockaddrLike, SockaddrStorage, getpeername};
use postern_proto::limits::HOST_CID;
use tokio::io::unix::AsyncFd;

/// Out of descriptors or memory: others must give back some first.
const PAUSE: Duration = Duration::from_millis(50);

/// The listening socket that init made.
#[derive(Debug)]
pub(super) struct Listener {
    socket: AsyncFd<OwnedFd>,
}

impl Listener {
    /// Takes a listening, non-blocking socket, vsock or Unix.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let interest = tokio::io::Interest::READABLE;
        Ok(Self { socket: crate::sys::watch::watch(socket, interest)? })
    }

    /// The next connection of the host, non-blocking.
    pub(super) async fn accept(&self) -> io::Result<OwnedFd> {
        loop {
            let mut ready = self.socket.readable().await?;
            match crate::sys::net::accept(self.socket.get_ref()) {
                Ok(fd) if is_host(&fd) => return Ok(fd),
                Ok(_stranger) => {}
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS) => {
                    tokio::time::sleep(PAUSE).await;
                }
                // The peer is gone already.
                Err(Errno::ECONNABORTED | Errno::EINTR | Errno::EPROTO) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// On vsock only the host may come in: a process of the guest would come with
/// the guest's own CID or with the loopback's. A Unix socket is guarded by the
/// permissions of its directory.
fn is_host(fd: &OwnedFd) -> bool {
    match getpeername::<SockaddrStorage>(fd.as_raw_fd()) {
        Ok(peer) => match peer.as_vsock_addr() {
            Some(vsock) => vsock.cid() == HOST_CID,
            None => peer.family().is_some_and(|f| f == nix::sys::socket::AddressFamily::Unix),
        },
        Err(_) => false,
    }
}
