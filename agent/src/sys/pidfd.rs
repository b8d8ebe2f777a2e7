//! Processes by descriptor: pidfd_open(2), pidfd_send_signal(2), waitid(2).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use postern_proto::ExitStatus;

/// How a process ended, and whether it dumped core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Code or signal.
    pub status: ExitStatus,
    /// CLD_DUMPED.
    pub core_dumped: bool,
}

/// Waits for a child and reaps it. Blocks only while the child lives.
pub fn wait(pidfd: &OwnedFd) -> Result<Status, Errno> {
    // SAFETY: all zeros is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        let id = pidfd.as_raw_fd().cast_unsigned();
        // SAFETY: the kernel writes one siginfo_t.
        let result = unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED) };
        match Errno::result(result) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    // SAFETY: after a successful waitid the child's fields are set.
    let value = unsafe { info.si_status() };
    let byte = u8::try_from(value & 0xff).unwrap_or(u8::MAX);
    let (status, core_dumped) = match info.si_code {
        libc::CLD_EXITED => (ExitStatus::Code(byte), false),
        libc::CLD_DUMPED => (ExitStatus::Signal(byte), true),
        _ => (ExitStatus::Signal(byte), false),
    };
    Ok(Status { status, core_dumped })
}

/// A signal for the process, which cannot be a successor with the same pid.
pub fn send_signal(pidfd: &OwnedFd, signal: i32) -> Result<(), Errno> {
    send_signal_raw(pidfd.as_raw_fd(), signal)
}

pub(super) fn send_signal_raw(fd: RawFd, signal: i32) -> Result<(), Errno> {
    const NO_INFO: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a stale descriptor gives EBADF; no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, NO_INFO, 0) };
    Errno::result(result).map(drop)
}

/// A descriptor for a process that is known by its pid.
pub fn open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: no memory is passed.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just made it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
