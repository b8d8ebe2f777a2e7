//! The workload's root on a disk: from the device to a mount, and its end.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::statfs::{EXT4_SUPER_MAGIC, statfs};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::roots::WORKLOAD_ROOT;
use crate::console::Console;
use crate::disk;
use crate::sys::process::wait_signal;

/// A disk that is there at boot is there as soon as its driver is loaded, which
/// has happened; the rest is room for a VMM that plugs it in a little later.
const DISK_DEADLINE: Duration = Duration::from_secs(10);

/// For killed processes to let go of their files, and the disk to be written.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The file is new, so the inode tables are zero already and the kernel need not
/// write them; after an error of the disk nothing more is written to it.
const OPTIONS: &str = "noinit_itable,errors=remount-ro";

/// Mounts the ext4 file system of the disk with that serial for the image. Flags
/// are those of a root in memory: root of a workload can make device nodes in
/// either, and needs to when it makes a root of its own.
pub(super) fn mount_root(serial: &str) -> io::Result<OwnedFd> {
    let device = wait_for(serial)?;
    fs::create_dir_all(WORKLOAD_ROOT)?;
    let none = MsFlags::empty();
    mount(Some(&device), WORKLOAD_ROOT, Some("ext4"), none, Some(OPTIONS)).map_err(|e| {
        io::Error::other(format!("mounting {} ({serial}) as the root: {e}", device.display()))
    })?;
    // Of mkfs's; nobody will check a disk that goes with its session.
    match fs::remove_dir(Path::new(WORKLOAD_ROOT).join("lost+found")) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    Ok(File::open(WORKLOAD_ROOT)?.into())
}

fn wait_for(serial: &str) -> io::Result<PathBuf> {
    let deadline = Instant::now() + DISK_DEADLINE;
    loop {
        if let Some(device) = disk::find(serial)? {
            return Ok(device);
        }
        if Instant::now() >= deadline {
            let seconds = DISK_DEADLINE.as_secs();
            let message = format!("no disk with the serial {serial} after {seconds} s");
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        pause(&SigSet::empty());
    }
}

/// In the only way that PID 1 has; a signal of the set ends it early.
fn pause(until: &SigSet) {
    let _ = wait_signal(until, Some(LOOK_EVERY));
}

/// After everything was killed: what was written is on the disk, and its file
/// system says that it is whole. Without a disk there is nothing to do.
pub(super) fn seal_root(console: Console) {
    let is_disk = statfs(WORKLOAD_ROOT).is_ok_and(|s| s.filesystem_type() == EXT4_SUPER_MAGIC);
    if !is_disk {
        return;
    }
    let deadline = Instant::now() + END_DEADLINE;
    reap_all(deadline);
    let none: Option<&str> = None;
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    loop {
        // Of the file system, whatever namespaces still have it mounted.
        match mount(none, WORKLOAD_ROOT, none, flags, none) {
            Err(Errno::EBUSY) if Instant::now() < deadline => pause(&SigSet::empty()),
            Err(errno) => {
                console.line(format_args!("the root stays writable: {}", errno.desc()));
                return;
            }
            Ok(()) => return,
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "PID 1 is the reaper, and nobody else is left")]
fn reap_all(deadline: Instant) {
    let mut child = SigSet::empty();
    child.add(Signal::SIGCHLD);
    while Instant::now() < deadline {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => pause(&child),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}
