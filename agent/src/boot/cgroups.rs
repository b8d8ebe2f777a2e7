//! The cgroup v2 tree of a guest.
//!
//! ```text
//! /            (a sandbox: its own directory of the host's tree)
//! ├── agent    init and serve, with memory that is not taken from them
//! └── bounds   what the workload may use in all: out of its own root's reach
//!     └── workload  the root of the workload's cgroup namespace
//!         ├── init
//!         └── cmds
//!             └── N  one for each command
//! ```

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};

use crate::console::Console;

/// Where the tree is mounted in a microVM.
const MOUNT: &str = "/sys/fs/cgroup";

/// What the kernel shall account for.
const CONTROLLERS: [&str; 3] = ["+memory", "+pids", "+cpu"];

/// Memory that is not reclaimed from the agent, bytes: what it takes with
/// nothing to do (2.5 MB), and the buffers of a few transfers. Of a guest that
/// has little, a sixteenth.
const AGENT_MEMORY: u64 = 16 << 20;

/// Beyond this many processes and threads a workload is a fork bomb; it is half
/// of what a kernel has numbers for by default.
const MAX_PIDS: u64 = 16 << 10;

/// The directories that others work in.
#[derive(Debug)]
pub(super) struct Cgroups {
    top: OwnedFd,
    agent: OwnedFd,
    bounds: OwnedFd,
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
        let bounds = directory(&top, "bounds")?;
        let workload = directory(&bounds, "workload")?;
        let init = directory(&workload, "init")?;
        let commands = directory(&workload, "cmds")?;
        Ok(Self { top, agent, bounds, workload, init, commands })
    }

    /// Has the kernel account for each command, and keep some memory and some
    /// processes for the agent, once no process is left in the inner
    /// directories. What it does not have is done without.
    pub(super) fn enable_controllers(&self) {
        for dir in [&self.top, &self.bounds, &self.workload, &self.commands] {
            for controller in CONTROLLERS {
                let _ = write(dir, "cgroup.subtree_control", controller);
            }
        }
        let (total, _) = crate::sys::process::memory();
        let memory = AGENT_MEMORY.min(total / 16);
        let _ = write(&self.agent, "memory.min", &memory.to_string());
        // The kernel has as many numbers as its memory has room for threads;
        // half of them are left for the agent, the kernel and whoever looks.
        if let Some(threads) = number("/proc/sys/kernel/threads-max") {
            let _ = write(&self.bounds, "pids.max", &(threads / 2).min(MAX_PIDS).to_string());
        }
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim_end().parse().ok()
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
