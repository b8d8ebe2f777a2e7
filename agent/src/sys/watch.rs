//! Descriptors in the runtime's epoll(7).

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdRegisterError};

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
