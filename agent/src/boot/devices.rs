//! What the workload finds in /dev.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;

use nix::mount::MsFlags;

use super::mounts::{bind, mount_at};

/// Device nodes that every program may expect (see the Linux allocated devices
/// list); those that the kernel does not have are left out.
pub(super) const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Of use to some programs in a machine of their own.
pub(super) const EXTRA: [&str; 2] = ["fuse", "net/tun"];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// An empty /dev.
pub(super) fn mount(dev: &str) -> io::Result<()> {
    mount_at("tmpfs", dev, MsFlags::MS_NOSUID, Some("mode=0755,size=64k"))
}

/// Fills `dev`, the workload's /dev, from the agent's own.
pub(super) fn fill(dev: &str) -> io::Result<()> {
    for node in NODES.iter().chain(&EXTRA) {
        let (source, target) = (format!("/dev/{node}"), format!("{dev}/{node}"));
        if fs::metadata(&source).is_err() {
            continue;
        }
        if let Some((dir, _)) = node.rsplit_once('/') {
            fs::create_dir_all(format!("{dev}/{dir}"))?;
        }
        File::create(&target)?;
        bind(&source, &target)?;
    }
    for (target, name) in LINKS {
        symlink(target, format!("{dev}/{name}"))?;
    }
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let pts = format!("{dev}/pts");
    fs::create_dir(&pts)?;
    mount_at("devpts", &pts, quiet, Some("newinstance,ptmxmode=0666,mode=0620,gid=5"))
        // Without the group tty mapped, terminals belong to their users alone.
        .or_else(|_| mount_at("devpts", &pts, quiet, Some("newinstance,ptmxmode=0666")))?;
    let shm = format!("{dev}/shm");
    fs::create_dir(&shm)?;
    mount_at("tmpfs", &shm, quiet | MsFlags::MS_NODEV, Some("mode=1777"))?;
    let mqueue = format!("{dev}/mqueue");
    fs::create_dir(&mqueue)?;
    // A kernel without POSIX message queues is no reason to stop.
    let _ = mount_at("mqueue", &mqueue, quiet | MsFlags::MS_NODEV, None);
    Ok(())
}
