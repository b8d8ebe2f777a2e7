//! Mounting, with errors that name the place.

use std::io;

use nix::mount::{MsFlags, mount};

const NONE: Option<&str> = None;

pub(super) fn mount_at(
    fstype: &str,
    target: &str,
    flags: MsFlags,
    data: Option<&str>,
) -> io::Result<()> {
    mount(Some(fstype), target, Some(fstype), flags, data)
        .map_err(|e| io::Error::other(format!("mounting {fstype} at {target}: {}", e.desc())))
}

/// Nothing that is mounted here is seen elsewhere, nor the other way round.
pub(super) fn make_private() -> io::Result<()> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .map_err(|e| io::Error::other(format!("making the mounts private: {}", e.desc())))
}

/// `source`, a file or directory, seen at `target` too.
pub(super) fn bind(source: &str, target: &str) -> io::Result<()> {
    mount(Some(source), target, NONE, MsFlags::MS_BIND, NONE)
        .map_err(|e| io::Error::other(format!("binding {source} to {target}: {}", e.desc())))
}

/// `path` can be read and no longer be written to.
pub(super) fn read_only(path: &str) -> io::Result<()> {
    bind(path, path)?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(NONE, path, NONE, flags, NONE)
        .map_err(|e| io::Error::other(format!("making {path} read-only: {}", e.desc())))
}

/// The agent's own file systems in a microVM.
pub(super) fn machine() -> io::Result<()> {
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    for dir in ["/dev", "/proc", "/sys", "/run"] {
        match std::fs::create_dir(dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
    }
    mount_at("devtmpfs", "/dev", MsFlags::MS_NOSUID, None).or_else(already_there)?;
    mount_at("proc", "/proc", quiet, None)?;
    mount_at("sysfs", "/sys", quiet, None)?;
    mount_at("tmpfs", "/run", quiet, Some("mode=0700"))?;
    // A kernel without it still boots; commands then have no cgroups. No
    // nsdelegate: it refuses to let a spawner, whose thread is in the workload's
    // namespace and whose own cgroup is not, give birth in the workload's.
    let _ = mount_at("cgroup2", "/sys/fs/cgroup", quiet, None);
    std::fs::create_dir("/run/postern")
}

/// CONFIG_DEVTMPFS_MOUNT may have done it.
fn already_there(e: io::Error) -> io::Result<()> {
    if std::path::Path::new("/dev/null").exists() { Ok(()) } else { Err(e) }
}
