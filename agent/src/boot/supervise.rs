//! What PID 1 does after the boot: it keeps `serve` running, reaps, and ends
//! everything in order.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::reboot::{RebootMode, reboot, set_cad_enabled};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};

use super::{Guest, disk};
use crate::console::Console;
use crate::guest::Inherited;
use crate::serve;
use crate::sys::process::{exit_now, fork_single, set_name, wait_signal};

/// From the request to end to the end, whatever hangs.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(90);

/// A `serve` that dies again sooner than this is started with a pause.
const TOO_SOON: Duration = Duration::from_secs(1);

/// The pause.
const PAUSE: Duration = Duration::from_millis(500);

/// PID 1's loop and what it holds.
pub(super) struct Supervisor {
    guest: Guest,
    serve: Pid,
    /// A byte here asks `serve` to end everything.
    orders: UnixStream,
    started: Instant,
    deadline: Option<Instant>,
}

/// Whether to go on.
enum Verdict {
    Go,
    End,
}

impl Supervisor {
    pub(super) fn new(guest: Guest) -> io::Result<Self> {
        // Ctrl-Alt-Del as a signal to us (reboot(2)); a sandbox may not ask.
        let _ = set_cad_enabled(false);
        let (serve, orders) = start(&guest)?;
        Ok(Self { guest, serve, orders, started: Instant::now(), deadline: None })
    }

    /// Returns when the guest is to end.
    pub(super) fn run(mut self) -> io::Result<()> {
        let set = SigSet::all();
        crate::sys::process::forget_text();
        loop {
            let left = self.deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                self.guest.console.line(format_args!("the shutdown took too long"));
                return Ok(());
            }
            let Some(caught) = wait_signal(&set, left)? else {
                continue;
            };
            let verdict = match Signal::try_from(caught.signal) {
                Ok(Signal::SIGCHLD) => self.reap()?,
                Ok(Signal::SIGTERM | Signal::SIGINT | Signal::SIGPWR) => self.stop(),
                _ => Verdict::Go,
            };
            if matches!(verdict, Verdict::End) {
                return Ok(());
            }
        }
    }

    fn stop(&mut self) -> Verdict {
        use io::Write;
        if self.deadline.is_none() {
            self.deadline = Some(Instant::now() + SHUTDOWN_DEADLINE);
            // If it is not there to read it, its death ends the guest.
            let _ = self.orders.write_all(b"\n");
        }
        Verdict::Go
    }

    #[allow(clippy::disallowed_methods, reason = "PID 1 is the reaper")]
    fn reap(&mut self) -> io::Result<Verdict> {
        loop {
            let status = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => {
                    return Ok(Verdict::Go);
                }
                Ok(status) => status,
                Err(errno) => return Err(errno.into()),
            };
            let Some(pid) = status.pid() else { continue };
            if pid == self.guest.workload.pid {
                self.guest.console.line(format_args!("the workload's init is gone: {status:?}"));
                return Ok(Verdict::End);
            }
            if pid != self.serve {
                continue;
            }
            let orderly = matches!(status, WaitStatus::Exited(_, 0));
            if orderly || self.deadline.is_some() {
                return Ok(Verdict::End);
            }
            self.restart(status)?;
        }
    }

    /// Its commands have lost their keeper: they end with it, and are never
    /// reported as anything but lost.
    fn restart(&mut self, status: WaitStatus) -> io::Result<()> {
        self.guest.console.line(format_args!("serve died, and is started again: {status:?}"));
        if let Some(cgroups) = &self.guest.cgroups {
            let _ = super::cgroups::write(&cgroups.commands, "cgroup.kill", "1");
        }
        let _ = self.guest.workload.kill_all();
        if self.started.elapsed() < TOO_SOON {
            // Waits in the only way PID 1 has; what comes meanwhile is not lost.
            let none = SigSet::empty();
            let _ = wait_signal(&none, Some(PAUSE));
        }
        (self.serve, self.orders) = start(&self.guest)?;
        self.started = Instant::now();
        Ok(())
    }
}

/// Forks `serve`.
fn start(guest: &Guest) -> io::Result<(Pid, UnixStream)> {
    let (orders, theirs) = UnixStream::pair()?;
    match fork_single()? {
        ForkResult::Parent { child } => Ok((child, orders)),
        ForkResult::Child => {
            drop(orders);
            let code = match inherit(guest, theirs).and_then(serve::run) {
                Ok(()) => 0,
                Err(e) => {
                    guest.console.line(format_args!("serve: {e}"));
                    1
                }
            };
            exit_now(code)
        }
    }
}

/// In the child: descriptors of its own for everything that it works with.
fn inherit(guest: &Guest, orders: UnixStream) -> io::Result<Inherited> {
    set_name(c"postern-serve");
    // Without its init the serving process has nobody to serve.
    crate::sys::process::die_with_parent(libc::SIGKILL)?;
    let commands = guest.cgroups.as_ref().map(|c| c.commands.try_clone()).transpose()?;
    Ok(Inherited {
        listener: guest.listener.try_clone()?,
        root: guest.root.try_clone()?,
        workload: guest.workload.socket.try_clone()?,
        namespaces: guest.workload.namespaces()?,
        cgroups: commands,
        memory: PathBuf::from("/run/postern"),
        orders,
        boot_id: guest.boot_id.clone(),
        reset_oom: guest.reset_oom,
        init_start_us: guest.init_start_us,
        doorbell: guest.params.doorbell,
        console: guest.console,
    })
}

/// The end of a machine: nothing is left to lose, and it is switched off.
pub(super) fn power_off(console: Console) {
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    disk::seal_root(console);
    nix::unistd::sync();
    let Err(errno) = reboot(RebootMode::RB_POWER_OFF);
    console.line(format_args!("cannot power off: {}", errno.desc()));
}
