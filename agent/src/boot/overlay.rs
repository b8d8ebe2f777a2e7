//! The root of a process sandbox where it is made on the host: an image that
//! many share, unpacked once, below what one of them changes.
//!
//! ```text
//! DIR/merged    overlay, bound into the sandbox as the workload's root
//!   changes     tmpfs of the sandbox's own, its size the root's
//!   lower       the unpacked image, never written to
//! ```
//!
//! Mounted before the sandbox has its user namespace: within one, the kernel lets
//! an overlay keep its marks only in `user.` attributes, which tmpfs does not
//! have everywhere. The mounts are in a namespace of their own and end with it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;

use super::mounts::{make_private, mount_at};
use super::params::{SandboxArgs, SandboxRoot};

/// What is to be the workload's root; None: the sandbox makes it itself.
pub(super) fn prepare(args: &SandboxArgs) -> io::Result<Option<PathBuf>> {
    match &args.root {
        SandboxRoot::Memory => Ok(None),
        SandboxRoot::Directory(dir) => Ok(Some(dir.clone())),
        SandboxRoot::Over(lower) => over(&args.dir, lower, args.root_mb).map(Some),
    }
}

/// Whether this host can have such a root, tried in a directory made for it.
pub fn check(dir: &Path) -> io::Result<()> {
    let lower = dir.join("lower");
    fs::create_dir_all(&lower)?;
    let merged = over(dir, &lower, Some(1))?;
    // What a file system cannot do shows when something is changed.
    fs::write(merged.join("file"), "x")?;
    fs::remove_file(merged.join("file"))
}

fn over(dir: &Path, lower: &Path, mb: Option<u64>) -> io::Result<PathBuf> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    make_private()?;
    let (changes, merged) = (dir.join("changes"), dir.join("merged"));
    for dir in [&changes, &merged] {
        fs::create_dir_all(dir)?;
    }
    let size = mb.map_or(String::new(), |mb| format!(",size={mb}m"));
    let options = format!("mode=0700,nr_inodes=0{size}");
    mount_at("tmpfs", text(&changes)?, MsFlags::MS_NODEV, Some(&options))?;
    fs::create_dir(changes.join("work"))?;
    make_upper(&changes.join("upper"), lower)?;
    // By descriptors: a path may hold what ends an option.
    let (lower, changes) = (hold(lower)?, hold(&changes)?);
    let (low, own) = (lower.as_raw_fd(), changes.as_raw_fd());
    let options = format!(
        "lowerdir=/proc/self/fd/{low},upperdir=/proc/self/fd/{own}/upper,\
         workdir=/proc/self/fd/{own}/work,redirect_dir=on"
    );
    mount_at("overlay", text(&merged)?, MsFlags::MS_NODEV, Some(&options))?;
    Ok(merged)
}

/// The merged root has the owner, mode and times of the upper directory.
fn make_upper(upper: &Path, lower: &Path) -> io::Result<()> {
    let like = fs::metadata(lower)?;
    fs::create_dir(upper)?;
    chown(upper, Some(like.uid()), Some(like.gid()))?;
    fs::set_permissions(upper, like.permissions())?;
    let times = fs::FileTimes::new().set_modified(like.modified()?);
    File::open(upper)?.set_times(times)
}

fn hold(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(open(dir, flags, Mode::empty())?)
}

fn text(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::Error::other("the directory is not UTF-8"))
}
