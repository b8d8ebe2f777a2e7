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
    /// Processor time in programs and in the kernel, microseconds: its own and
    /// that of the children it waited for.
    pub cpu_us: (u64, u64),
}

/// Waits for a child and reaps it. Blocks only while the child lives.
pub fn wait(pidfd: &OwnedFd) -> Result<Status, Errno> {
    // SAFETY: all zeros is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: all zeros is a valid rusage.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        let (info, used) = (&raw mut info, &raw mut used);
        let (kind, flags) = (libc::P_PIDFD, libc::WEXITED);
        // libc's own waitid(2) hides the fifth argument.
        // SAFETY: the kernel writes one siginfo_t and one rusage.
        let result =
            unsafe { libc::syscall(libc::SYS_waitid, kind, pidfd.as_raw_fd(), info, flags, used) };
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
    Ok(Status { status, core_dumped, cpu_us: (us(used.ru_utime), us(used.ru_stime)) })
}

fn us(time: libc::timeval) -> u64 {
    time.tv_sec.cast_unsigned() * 1_000_000 + time.tv_usec.cast_unsigned()
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
