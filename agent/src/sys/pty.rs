//! Pseudo-terminals of the workload's own devpts, pts(4).
//!
//! portable-pty is not used: it opens `/dev/ptmx` of the calling process, and
//! cannot be given a master that was opened elsewhere. The agent's own root has
//! no devpts, and a terminal of another instance has no name in the workload.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{fstat, major, minor};
use nix::sys::statfs::{DEVPTS_SUPER_MAGIC, fstatfs};
use nix::sys::termios::{
    InputFlags, LocalFlags, SetArg, SpecialCharacterIndices, tcgetattr, tcsetattr,
};
use nix::unistd::{Uid, fchown};
use postern_proto::TtySize;

/// Major and minor of a ptmx, see the Linux allocated devices list.
const PTMX: (u64, u64) = (5, 2);

/// An instance of devpts, held open: whatever is mounted over its place later,
/// terminals come from this one.
#[derive(Debug)]
pub struct Devpts(OwnedFd);

/// Both ends of a new terminal.
#[derive(Debug)]
pub struct Pair {
    /// The agent's, non-blocking.
    pub master: OwnedFd,
    /// The command's.
    pub slave: OwnedFd,
}

impl Devpts {
    /// The one at `/dev/pts` as the calling thread sees it.
    pub fn open() -> io::Result<Self> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        let dir = openat2(AT_FDCWD, "/dev/pts", how)?;
        if fstatfs(&dir)?.filesystem_type() != DEVPTS_SUPER_MAGIC {
            return Err(io::Error::other("/dev/pts is no devpts"));
        }
        Ok(Self(dir))
    }

    /// A new terminal for `owner`, of this size from the start.
    pub fn terminal(&self, size: TtySize, owner: u32) -> Result<Pair, Errno> {
        let master = self.master()?;
        unlock(&master)?;
        let slave = peer(&master)?;
        set_size(&master, size)?;
        // So that the user can open it by its name; the group is the mount's.
        fchown(&slave, Some(Uid::from_raw(owner)), None)?;
        let mut settings = tcgetattr(&slave)?;
        // Erasing a character in a line takes all of its bytes.
        settings.input_flags |= InputFlags::IUTF8;
        tcsetattr(&slave, SetArg::TCSANOW, &settings)?;
        Ok(Pair { master, slave })
    }

    fn master(&self) -> Result<OwnedFd, Errno> {
        // Nothing can be made or removed in a devpts, but mounted upon.
        let how = OpenHow::new()
            .flags(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let master = openat2(&self.0, "ptmx", how)?;
        let device = fstat(&master)?.st_rdev;
        if (major(device), minor(device)) != PTMX {
            return Err(Errno::ENODEV);
        }
        Ok(master)
    }
}

/// `TIOCSPTLCK`: a new terminal is locked until its owner is set, of old.
fn unlock(master: &OwnedFd) -> Result<(), Errno> {
    let off: libc::c_int = 0;
    // SAFETY: reads one int.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK as _, &raw const off) };
    Errno::result(result).map(drop)
}

/// `TIOCGPTPEER`: the other end by its master, whatever its name leads to.
fn peer(master: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: takes flags, and no memory.
    let fd = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER as _, flags) };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `TIOCSWINSZ`: the kernel sends SIGWINCH to the foreground when it changes.
pub fn set_size(terminal: &impl AsRawFd, size: TtySize) -> Result<(), Errno> {
    let winsize =
        libc::winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: reads one winsize.
    let result =
        unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ as _, &raw const winsize) };
    Errno::result(result).map(drop)
}

/// `TIOCGWINSZ`.
pub fn size(terminal: &impl AsRawFd) -> Result<TtySize, Errno> {
    let mut winsize = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: writes one winsize.
    let result =
        unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ as _, &raw mut winsize) };
    Errno::result(result)?;
    Ok(TtySize { rows: winsize.ws_row, cols: winsize.ws_col })
}

/// The character that ends the input (termios(3), VEOF) as it is set now, and
/// whether lines are collected (ICANON). None where there is no such character.
pub fn end_of_input(master: impl AsFd) -> Option<(u8, bool)> {
    let settings = tcgetattr(master).ok()?;
    let veof = settings.control_chars[SpecialCharacterIndices::VEOF as usize];
    let canonical = settings.local_flags.contains(LocalFlags::ICANON);
    (veof != DISABLED).then_some((veof, canonical))
}

/// `_POSIX_VDISABLE` of Linux.
const DISABLED: u8 = 0;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_terminal_has_its_size_and_owner_from_the_start() {
        let Ok(devpts) = Devpts::open() else {
            println!("SKIPPED a_terminal_has_its_size: no /dev/pts; enable: mount -t devpts");
            return;
        };
        let wanted = TtySize { rows: 7, cols: 65_535 };
        let owner = nix::unistd::geteuid().as_raw();
        let pair = devpts.terminal(wanted, owner).unwrap();
        assert_eq!(size(&pair.slave), Ok(wanted));
        assert_eq!(fstat(&pair.slave).unwrap().st_uid, owner);
        assert_eq!(end_of_input(&pair.master), Some((4, true)));
        let (mut master, mut slave) =
            (std::fs::File::from(pair.master), std::fs::File::from(pair.slave));
        master.write_all(b"ab\n").unwrap();
        let mut line = [0; 8];
        assert_eq!(slave.read(&mut line).unwrap(), 3);
        drop(slave);
        // The echo first, then the end as an error.
        let mut echo = [0; 8];
        assert_eq!(master.read(&mut echo).unwrap(), 4);
        let end = master.read(&mut echo).unwrap_err();
        assert_eq!(end.raw_os_error(), Some(libc::EIO));
    }
}
