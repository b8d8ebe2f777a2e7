//! The cgroup v2 tree of a guest.
//!
//! ```text
//! /            (a sandbox: its own directory of the host's tree)
//! ├── agent    init and serve
//! └── workload the root of the workload's cgroup namespace
//!     ├── init
//!     └── cmds
//!         └── N  one for each command
//! ```

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};

use crate::console::Console;

/// Where the tree is mounted in a microVM.
const MOUNT: &str = "/sys/fs/cgroup";

/// The directories that others work in.
#[derive(Debug)]
pub(super) struct Cgroups {
    top: OwnedFd,
    pub(super) workload: OwnedFd,
    pub(super) init: OwnedFd,
    pub(super) commands: OwnedFd,
}

impl Cgroups {
    /// None where there is no cgroup v2; commands then have none.
    pub(super) fn make(is_machine: bool, given: Option<OwnedFd>, console: Console) -> Option<Self> {
        let top = match given {
            Some(fd) => Ok(fd),
            None if is_machine && fs::exists(format!("{MOUNT}/cgroup.procs")).unwrap_or(false) => {
                fs::File::open(MOUNT).map(OwnedFd::from)
            }
            None => return None,
        };
        let made = top.and_then(Self::below);
        made.inspect_err(|e| console.line(format_args!("no cgroups for commands: {e}"))).ok()
    }

    fn below(top: OwnedFd) -> io::Result<Self> {
        let agent = directory(&top, "agent")?;
        join(&agent)?;
        let workload = directory(&top, "workload")?;
        let init = directory(&workload, "init")?;
        let commands = directory(&workload, "cmds")?;
        Ok(Self { top, workload, init, commands })
    }

    /// Has the kernel account for each command, once no process is left in the
    /// inner directories. What it does not have is done without.
    pub(super) fn enable_controllers(&self) {
        for dir in [&self.top, &self.workload, &self.commands] {
            for controller in ["+memory", "+pids"] {
                let _ = write(dir, "cgroup.subtree_control", controller);
            }
        }
    }
}

fn directory(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match mkdirat(parent, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Moves the calling process into a cgroup.
pub(super) fn join(cgroup: &OwnedFd) -> io::Result<()> {
    write(cgroup, "cgroup.procs", "0")
}

pub(super) fn write(cgroup: &OwnedFd, file: &str, value: &str) -> io::Result<()> {
    let fd = openat(cgroup, file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    nix::unistd::write(&fd, value.as_bytes())?;
    debug_assert!(fd.as_raw_fd() > 2);
    Ok(())
}
