//! The first process of the workload's own namespaces.
//!
//! It waits for the word that the image is there, makes the image's root its
//! own, and from then on does nothing but reap. It holds nothing of the agent's.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, chdir, chroot};

use super::cgroups::{Cgroups, join};
use super::devices;
use super::mounts::{make_private, mount_at, read_only};
use super::roots::WORKLOAD_ROOT;
use crate::command::Namespaces;
use crate::sys::process::{set_name, wait_signal};

/// From init: end every process of the workload. Signals from inside of the
/// workload's namespace come with a sender and are ignored.
pub(super) const KILL_ALL: Signal = Signal::SIGUSR1;

/// The workload's init, as PID 1 sees it.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) pid: Pid,
    /// Answers the word that the root is there.
    pub(super) socket: UnixStream,
}

impl Workload {
    /// Forks it. Must be called while there is one thread only.
    pub(super) fn start(cgroups: Option<&Cgroups>) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let own_pids = fs::File::open("/proc/self/ns/pid")?;
        // Only the next children are affected; serve must not be among them.
        unshare(CloneFlags::CLONE_NEWPID)?;
        match crate::sys::process::fork_single() {
            Ok(ForkResult::Parent { child }) => {
                setns(&own_pids, CloneFlags::CLONE_NEWPID)?;
                drop(theirs);
                // Before it has said so, its namespaces are still ours.
                (&socket).read_exact(&mut [0])?;
                Ok(Self { pid: child, socket })
            }
            Err(errno) => Err(errno.into()),
            Ok(ForkResult::Child) => {
                drop((socket, own_pids));
                let code = match run(cgroups, theirs) {
                    Ok(never) => match never {},
                    Err(_) => 1,
                };
                crate::sys::process::exit_now(code)
            }
        }
    }

    /// What the spawners enter.
    pub(super) fn namespaces(&self) -> io::Result<Namespaces> {
        Namespaces::of(self.pid.as_raw(), &["cgroup", "pid", "mnt"])
    }

    /// Ends every process of the workload but this one.
    pub(super) fn kill_all(&self) -> nix::Result<()> {
        kill(self.pid, KILL_ALL)
    }
}

enum Never {}

fn run(cgroups: Option<&Cgroups>, socket: UnixStream) -> io::Result<Never> {
    set_name(c"init");
    if let Some(cgroups) = cgroups {
        // The namespace's root is where the process is when it is made.
        join(&cgroups.workload)?;
    }
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP)?;
    if let Some(cgroups) = cgroups {
        join(&cgroups.init)?;
    }
    make_private()?;
    (&socket).write_all(b"\n")?;
    let mut word = String::new();
    if BufReader::new(&socket).read_line(&mut word)? == 0 {
        // The guest ended before it had an image.
        crate::sys::process::exit_now(0);
    }
    match enter(cgroups.is_some()) {
        Ok(()) => writeln!(&socket, "ok")?,
        Err(e) => {
            writeln!(&socket, "{e}")?;
            return Err(e);
        }
    }
    drop(socket);
    crate::sys::process::forget_text();
    crate::sys::process::forget_arguments();
    close_all();
    reap()
}

/// Mounts what a root needs and makes it `/`.
fn enter(with_cgroups: bool) -> io::Result<()> {
    // Opened anew: a descriptor of before is of the agent's mount namespace.
    let root = &OwnedFd::from(fs::File::open(WORKLOAD_ROOT)?);
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    let proc = Target::open(root, "proc")?;
    let sys = Target::open(root, "sys")?;
    let dev = Target::open(root, "dev")?;
    devices::mount(&dev.path())?;
    // Opened anew: the first descriptor is of what lies below the mount.
    devices::fill(&Target::open(root, "dev")?.path())?;
    if mount_at("sysfs", &sys.path(), quiet | MsFlags::MS_RDONLY, None).is_ok() && with_cgroups {
        let sys = Target::open(root, "sys/fs/cgroup")?;
        mount_at("cgroup2", &sys.path(), quiet, None)?;
    }
    // The last: the paths above lead through the agent's /proc.
    mount_at("proc", &proc.path(), quiet, None)?;
    // Root of the workload may end its commands, but not switch the guest off;
    // a kernel without the file has nothing to guard.
    let proc = Target::open(root, "proc")?;
    let _ = read_only(&format!("{}/sysrq-trigger", proc.path()));
    // What lies below the new root is empty from here on: root of the workload
    // can take the new one away and enter this namespace again.
    for gone in ["/proc", "/sys", "/run", "/dev"] {
        match umount2(gone, MntFlags::MNT_DETACH) {
            // In a process sandbox /dev is a directory with devices bound into it.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    nix::unistd::fchdir(root.as_fd())?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    chroot(".")?;
    chdir("/")?;
    Ok(())
}

/// A directory of the image to mount on. It is reached without following any
/// link, so that an image cannot have something mounted elsewhere.
struct Target(OwnedFd);

impl Target {
    fn open(root: &OwnedFd, path: &str) -> io::Result<Self> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .mode(Mode::empty())
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let open = || openat2(root, path, how);
        let opened = match open() {
            Err(Errno::ENOENT) => {
                nix::sys::stat::mkdirat(root, path, Mode::from_bits_truncate(0o755))?;
                open()
            }
            other => other,
        };
        let why =
            |e: Errno| io::Error::other(format!("/{path} cannot be mounted on: {}", e.desc()));
        opened.map(Self).map_err(why)
    }

    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}

/// Nothing of the agent's stays open in a process that the workload's root can
/// look into; not even the console.
fn close_all() {
    crate::sys::process::close_from(0);
}

#[allow(clippy::disallowed_methods, reason = "the reaper of the workload's orphans")]
fn reap() -> io::Result<Never> {
    let set = SigSet::all();
    loop {
        while let Ok(status) = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
        match wait_signal(&set, None) {
            Ok(Some(caught)) if caught.signal == KILL_ALL as i32 && caught.sender == 0 => {
                let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
            }
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
