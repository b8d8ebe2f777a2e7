//! A process sandbox: the namespaces that a microVM would be, on a host.
//!
//! ```text
//! postern-agent --sandbox      stays on the host: makes, waits, tidies up
//!      └── init                PID 1 of its own user, pid, mount, uts, ipc, net
//!                              and cgroup namespaces; boots as in a microVM
//! ```
//!
//! For development and tests. It is no security boundary: the kernel is the
//! host's.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, geteuid, getgid, getuid, setgroups, setresgid, setresuid, setsid};

use super::mounts::{make_private, mount_at};
use super::{Place, SandboxArgs, cgroups, devices, in_sandbox, overlay, roots};
use crate::sys::clone::{Fork, fork_into};
use crate::sys::process::{die_with_parent, exit_now, set_name, wait_signal};

/// Everything but the memory and the kernel is the sandbox's own. The cgroup
/// namespace follows once the process is in its cgroup.
const NAMESPACES: [CloneFlags; 6] = [
    CloneFlags::CLONE_NEWUSER,
    CloneFlags::CLONE_NEWPID,
    CloneFlags::CLONE_NEWNS,
    CloneFlags::CLONE_NEWUTS,
    CloneFlags::CLONE_NEWIPC,
    CloneFlags::CLONE_NEWNET,
];

/// Makes the sandbox, and returns when it is over.
pub fn enter(args: SandboxArgs) -> io::Result<()> {
    let doing = |what: String| move |e: io::Error| io::Error::new(e.kind(), format!("{what}: {e}"));
    set_name(c"postern-sandbox");
    // A session of its own: a terminal's signals are for whoever started us.
    let _ = setsid();
    SigSet::all().thread_block()?;
    let socket = args.dir.join("agent.sock");
    let listener = listen(&socket).map_err(doing(format!("listening on {}", socket.display())))?;
    let root = args.dir.join("root");
    fs::create_dir_all(&root).map_err(doing(format!("making {}", root.display())))?;
    let cgroup = if args.no_cgroups { None } else { HostCgroup::make(&args.dir) };
    let workload = overlay::prepare(&args).map_err(doing("making the workload's root".into()))?;
    let (go, wait_for_go) = UnixStream::pair()?;
    let flags = NAMESPACES.into_iter().fold(CloneFlags::empty(), |all, flag| all | flag);
    let forked = fork_into(flags).map_err(|e| doing("making the namespaces".into())(e.into()))?;
    match forked {
        Fork::Child => {
            drop(go);
            let place = Place::Sandbox { listener, args, cgroup: cgroup.map(|c| c.fd) };
            let result = become_init(wait_for_go, &root, workload.as_deref())
                .and_then(|()| in_sandbox(place));
            if let Err(e) = &result {
                let _ = writeln!(io::stderr(), "postern-agent: {e}");
            }
            exit_now(i32::from(result.is_err()))
        }
        Fork::Parent(pid) => {
            drop((wait_for_go, listener));
            let result = let_go(pid, cgroup.as_ref(), go).and_then(|()| wait_for(pid));
            let _ = fs::remove_file(&socket);
            if let Some(cgroup) = cgroup {
                cgroup.remove();
            }
            result
        }
    }
}

fn listen(path: &Path) -> io::Result<OwnedFd> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener.into())
}

/// In the parent: identities and the cgroup can only be given from outside.
fn let_go(pid: Pid, cgroup: Option<&HostCgroup>, mut go: UnixStream) -> io::Result<()> {
    if geteuid().is_root() {
        // The same ids inside as outside, so that every owner of an image exists.
        fs::write(format!("/proc/{pid}/uid_map"), "0 0 4294967295")?;
        fs::write(format!("/proc/{pid}/gid_map"), "0 0 4294967295")?;
    } else {
        fs::write(format!("/proc/{pid}/uid_map"), format!("0 {} 1", getuid()))?;
        fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
        fs::write(format!("/proc/{pid}/gid_map"), format!("0 {} 1", getgid()))?;
    }
    if let Some(cgroup) = cgroup {
        cgroups::write(&cgroup.fd, "cgroup.procs", &pid.to_string())?;
    }
    go.write_all(b"\n")
}

/// In the child, PID 1 already.
fn become_init(
    mut wait_for_go: UnixStream,
    root: &Path,
    workload: Option<&Path>,
) -> io::Result<()> {
    die_with_parent(libc::SIGKILL)?;
    wait_for_go.read_exact(&mut [0])?;
    setresgid(0.into(), 0.into(), 0.into())?;
    setresuid(0.into(), 0.into(), 0.into())?;
    // Refused where only one id is mapped, and then there are none to lose.
    let _ = setgroups(&[]);
    unshare(CloneFlags::CLONE_NEWCGROUP)?;
    make_private()?;
    let nodes: Vec<&str> = devices::NODES.into_iter().filter(|n| exists(n)).collect();
    roots::make_sandbox_root(root, &nodes, workload)
}

fn exists(node: &str) -> bool {
    fs::metadata(format!("/dev/{node}")).is_ok()
}

/// Passes requests to end on, and reaps.
#[allow(clippy::disallowed_methods, reason = "the only child is the sandbox")]
fn wait_for(pid: Pid) -> io::Result<()> {
    let set = SigSet::all();
    loop {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::StillAlive => {}
            WaitStatus::Exited(_, 0) => return Ok(()),
            other => return Err(io::Error::other(format!("the sandbox ended: {other:?}"))),
        }
        let Some(caught) = wait_signal(&set, None)? else {
            continue;
        };
        if [libc::SIGTERM, libc::SIGINT].contains(&caught.signal) {
            let _ = kill(pid, Signal::SIGTERM);
        }
    }
}

/// The sandbox's directory in the host's cgroup v2 tree.
struct HostCgroup {
    fd: OwnedFd,
    path: PathBuf,
}

impl HostCgroup {
    /// None where it cannot be had; commands then have no cgroups.
    fn make(dir: &Path) -> Option<Self> {
        let made = Self::try_make(dir);
        made.inspect_err(|e| {
            let _ = writeln!(io::stderr(), "postern-agent: no cgroup v2: {e}");
        })
        .ok()
    }

    fn try_make(dir: &Path) -> io::Result<Self> {
        // Mounted where nobody else sees it: the host's own may be hybrid, or
        // read-only in a container.
        let mount = dir.join("cgroup");
        fs::create_dir_all(&mount)?;
        unshare(CloneFlags::CLONE_NEWNS)?;
        make_private()?;
        let target = mount.to_str().ok_or_else(|| io::Error::other("not UTF-8"))?;
        mount_at("cgroup2", target, MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, None)?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|l| l.strip_prefix("0::/")).unwrap_or("").to_owned();
        let path = mount.join(own).join(format!("postern-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self { fd: File::open(&path)?.into(), path })
    }

    /// Everything in it is dead: the pid namespace has ended.
    fn remove(self) {
        let _ = cgroups::write(&self.fd, "cgroup.kill", "1");
        remove_tree(&self.path);
    }
}

fn remove_tree(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // What does not go now is empty, and costs a few hundred bytes.
    let _ = fs::remove_dir(path);
}
