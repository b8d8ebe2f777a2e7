//! The agent's root and the workload's.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, umount2};
use nix::unistd::{chdir, pivot_root};

use super::mounts::{bind, mount_at};
use super::params::Params;
use crate::console::Console;

/// Where the workload's root is mounted in the agent's view.
pub(super) const WORKLOAD_ROOT: &str = "/workload";

/// The agent's program and the modules are done with: their memory comes back,
/// and a workload that should get to see this file system finds it empty.
pub(super) fn empty_initramfs() -> io::Result<()> {
    for gone in ["/init", "/modules"] {
        let path = Path::new(gone);
        let result = match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(e) => Err(e),
        };
        match result {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// The file system for the image: what is mounted for it already, or memory.
pub(super) fn workload_root(params: &Params) -> io::Result<OwnedFd> {
    if !params.root_is_made {
        fs::create_dir_all(WORKLOAD_ROOT)?;
        let size = match params.root_bytes {
            // Left to tmpfs(5).
            0 => "mode=0755".to_owned(),
            // A file of an image takes a page at least, and an inode.
            bytes => format!("mode=0755,size={bytes},nr_inodes=0"),
        };
        mount_at("tmpfs", WORKLOAD_ROOT, MsFlags::empty(), Some(&size))?;
    }
    Ok(File::open(WORKLOAD_ROOT)?.into())
}

/// A root of the sandbox's own with nothing of the host in it but the devices
/// that every program needs, and the workload's root if that is made already.
pub(super) fn make_sandbox_root(
    at: &Path,
    devices: &[&str],
    workload: Option<&Path>,
) -> io::Result<()> {
    let not_utf8 = || io::Error::other("the directory is not UTF-8");
    let at_text = at.to_str().ok_or_else(not_utf8)?;
    mount_at("tmpfs", at_text, MsFlags::MS_NOSUID, Some("mode=0755,size=16m"))?;
    for dir in ["dev", "proc", "sys", "run", "old"] {
        fs::create_dir(at.join(dir))?;
    }
    // Of its own, so that the workload's namespace can do without it.
    mount_at("tmpfs", &format!("{at_text}/run"), MsFlags::MS_NOSUID, Some("mode=0700,size=4m"))?;
    fs::create_dir(at.join("run/postern"))?;
    for device in devices {
        let target = format!("{at_text}/dev/{device}");
        File::create(&target)?;
        bind(&format!("/dev/{device}"), &target)?;
    }
    if let Some(made) = workload {
        let target = format!("{at_text}{WORKLOAD_ROOT}");
        fs::create_dir(&target)?;
        bind(made.to_str().ok_or_else(not_utf8)?, &target)?;
    }
    chdir(at)?;
    mount_at("proc", "proc", MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, None)?;
    // Needs a network namespace of its own, and is missed by few. Both before the
    // host's are out of sight: the kernel wants to see one to allow another.
    let quiet = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let _ = mount_at("sysfs", "sys", quiet, None);
    pivot_root(".", "old")?;
    chdir("/")?;
    umount2("/old", MntFlags::MNT_DETACH)?;
    fs::remove_dir("/old")?;
    Ok(())
}

/// When memory runs out the workload goes first. False where it is not allowed.
pub(super) fn spare_from_oom(console: Console) -> bool {
    fs::write("/proc/self/oom_score_adj", "-1000")
        .inspect_err(|e| console.line(format_args!("oom_score_adj stays: {e}")))
        .is_ok()
}
