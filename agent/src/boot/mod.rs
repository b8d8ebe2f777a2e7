//! From the kernel's hand-over to a guest that serves.
//!
//! ```text
//! init (PID 1) ──fork──► serve           what speaks to the host
//!      └───────fork──► workload init   PID 1 of the workload's own namespaces
//! ```
//!
//! init is synchronous and has one thread: it boots, keeps what must survive
//! its children, reaps, and shuts down in order. The same steps make a microVM
//! and, after [`sandbox`] has made the namespaces, a process sandbox.

mod cgroups;
mod devices;
mod disk;
mod modules;
mod mounts;
mod overlay;
mod params;
mod roots;
mod sandbox;
mod supervise;
mod workload;

use std::io;
use std::os::fd::OwnedFd;

use nix::sys::signal::SigSet;

pub use overlay::check as check_overlay;
pub use params::{SandboxArgs, SandboxRoot};
pub use sandbox::enter as sandbox;

use cgroups::Cgroups;
use params::Params;
use supervise::Supervisor;
use workload::Workload;

use crate::console::Console;
use crate::sys::process::{boottime_us, random_id, set_name, set_undumpable};

/// Where this init finds itself.
#[derive(Debug)]
pub(crate) enum Place {
    /// PID 1 of a kernel.
    Machine,
    /// PID 1 of a process sandbox, with the listener it was given.
    Sandbox {
        /// Listening on the host's side.
        listener: OwnedFd,
        /// From the command line.
        args: SandboxArgs,
        /// The sandbox's own directory of the cgroup v2 tree.
        cgroup: Option<OwnedFd>,
    },
}

/// What a started guest consists of; lives as long as PID 1.
#[derive(Debug)]
pub(crate) struct Guest {
    listener: OwnedFd,
    root: OwnedFd,
    workload: Workload,
    cgroups: Option<Cgroups>,
    params: Params,
    boot_id: String,
    reset_oom: bool,
    init_start_us: u64,
    console: Console,
}

/// PID 1 of a microVM.
pub fn machine() -> io::Result<()> {
    let console = Console::default();
    let result = boot(Place::Machine, console).and_then(|guest| Supervisor::new(guest)?.run());
    if let Err(e) = &result {
        console.line(format_args!("PID 1 gives up: {e}"));
    }
    // Returning would be a kernel panic; this says the same in less time.
    supervise::power_off(console);
    result
}

/// PID 1 of a process sandbox: its return ends the sandbox.
pub(crate) fn in_sandbox(place: Place) -> io::Result<()> {
    let guest = boot(place, Console::default())?;
    Supervisor::new(guest)?.run()
}

/// The boot list.
fn boot(place: Place, console: Console) -> io::Result<Guest> {
    let init_start_us = boottime_us();
    set_name(c"postern-init");
    // Signals are waited for, never handled: none may get lost in between.
    SigSet::all().thread_block()?;
    crate::sys::process::reset_signals();
    let step = |what: &'static str, result: io::Result<()>| {
        result.map_err(|e| io::Error::new(e.kind(), format!("{what}: {e}")))
    };
    let is_machine = matches!(place, Place::Machine);
    if is_machine {
        step("mounting the agent's file systems", mounts::machine())?;
    }
    let params = Params::read(&place)?;
    if is_machine {
        step("loading modules", modules::load_all(console))?;
        step("emptying the initramfs", roots::empty_initramfs())?;
    }
    let (listener, cgroup) = match place {
        Place::Machine => (crate::sys::net::vsock_listener(params.port)?, None),
        Place::Sandbox { listener, cgroup, .. } => (listener, cgroup),
    };
    let wanted = !params.no_cgroups;
    let cgroups = wanted.then(|| Cgroups::make(is_machine, cgroup, console)).flatten();
    params.apply(console);
    let reset_oom = is_machine && roots::spare_from_oom(console);
    if let Err(errno) = crate::sys::net::loopback_up() {
        console.line(format_args!("lo stays down: {}", errno.desc()));
    }
    let root = match &params.root_disk {
        Some(serial) => disk::mount_root(serial)?,
        None => roots::workload_root(&params)?,
    };
    let workload = Workload::start(cgroups.as_ref())?;
    if let Some(cgroups) = &cgroups {
        cgroups.enable_controllers();
    }
    step("hiding the agent's memory", set_undumpable().map_err(Into::into))?;
    let boot_id = random_id()?;
    Ok(Guest {
        listener,
        root,
        workload,
        cgroups,
        params,
        boot_id,
        reset_oom,
        init_start_us,
        console,
    })
}
