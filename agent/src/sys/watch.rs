//! Descriptors in the runtime's epoll(7).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::unix::{AsyncFd, AsyncFdRegisterError};
use tokio::io::{Interest, Ready};

/// Registers a non-blocking descriptor with the runtime.
pub fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    watch_or_return(fd, interest).map_err(|(_fd, e)| e)
}

/// The same for a descriptor that is still wanted when it fails.
pub fn watch_or_return(
    fd: OwnedFd,
    interest: Interest,
) -> Result<AsyncFd<OwnedFd>, (OwnedFd, io::Error)> {
    // SAFETY: an OwnedFd is open and stays the same one until it is dropped,
    // and only the AsyncFd has it from here on.
    let result = unsafe { AsyncFd::register_with_interest(fd, interest) };
    result.map_err(AsyncFdRegisterError::into_parts)
}

/// Until a write may go on; to be called after one that would have blocked. An
/// error when nobody will read it: a full terminal that nobody has open refuses
/// every write as one that would block.
pub async fn until_writable(fd: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let mut ready = fd.writable().await?;
        // The readiness may be of before the last write: forget it then, and
        // wait for the kernel's next word.
        let now = writability(fd.get_ref());
        if ready.ready().is_write_closed()
            || now.intersects(PollFlags::POLLERR | PollFlags::POLLHUP)
        {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if now.contains(PollFlags::POLLOUT) {
            return Ok(());
        }
        ready.clear_ready();
    }
}

/// Until there is nobody at the other end of a pipe that is written to, or of a
/// terminal. Takes readiness away: whoever waits for it must have tried before.
pub async fn until_closed(fd: &AsyncFd<OwnedFd>) {
    until_gone(fd, Interest::WRITABLE, Ready::WRITABLE, Ready::is_write_closed).await;
}

/// Until the peer of a socket has closed, whatever it sent before and nobody
/// has read. As for [`until_closed`].
pub async fn until_hung_up(fd: &AsyncFd<OwnedFd>) {
    until_gone(fd, Interest::READABLE, Ready::READABLE, Ready::is_read_closed).await;
}

async fn until_gone(
    fd: &AsyncFd<OwnedFd>,
    interest: Interest,
    passing: Ready,
    is_closed: fn(Ready) -> bool,
) {
    // An error is that of a runtime which is ending.
    while let Ok(mut ready) = fd.ready(interest).await {
        if is_closed(ready.ready()) {
            return;
        }
        ready.clear_ready_matching(passing);
    }
}

fn writability(fd: &OwnedFd) -> PollFlags {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(_) => fds[0].revents().unwrap_or(PollFlags::empty()),
        Err(_) => PollFlags::empty(),
    }
}
