//! QEMU's command line.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use postern_proto::limits::DOORBELL_PORT;
use tokio::process::Command;

use super::Parts;
use super::accel::Accel;
use super::vsock::{PORT, Vsock};
use crate::driver::SandboxSpec;

/// Where QEMU listens, for whichever broker is there.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) qmp: PathBuf,
    pub(super) console: PathBuf,
}

impl Sockets {
    pub(super) fn of(dir: &Path) -> Self {
        Self { qmp: dir.join("qmp.sock"), console: dir.join("console.sock") }
    }

    /// Where a broker writes what it reads from the console.
    pub(super) fn log(dir: &Path) -> PathBuf {
        dir.join("console.log")
    }
}

/// The whole machine: processors, memory, a console, entropy, vsock.
pub(super) fn qemu(
    parts: &Parts,
    accel: Accel,
    vsock: &Vsock,
    sockets: &Sockets,
    spec: &SandboxSpec,
) -> Command {
    let mut command = Command::new(&parts.qemu);
    command
        .args(["-name", &spec.id])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        // What a guest that breaks out of QEMU's devices may still ask of the host.
        .args([
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        ])
        .args(["-machine", "q35,memory-backend=mem"])
        .args(accel_args(accel))
        .args(["-smp", &spec.cpus.to_string()])
        .args(["-m", &spec.memory_mb.to_string()])
        .args([
            "-object",
            &format!("memory-backend-memfd,id=mem,size={}M,share=on", spec.memory_mb),
        ])
        .args(["-chardev", &socket("console", &sockets.console), "-serial", "chardev:console"])
        .args(["-chardev", &socket("qmp", &sockets.qmp), "-mon", "chardev=qmp,mode=control"])
        .args(["-device", "virtio-rng-pci"])
        // Behind a root port vsock can be unplugged and plugged again: QEMU
        // does not reconnect a vhost-user socket by itself.
        .args(["-device", &format!("pcie-root-port,id={PORT},chassis=1,slot=1")])
        .args(vsock.args())
        .args(["-append", &kernel_command_line(spec)])
        .arg("-kernel")
        .arg(&parts.kernel)
        .arg("-initrd")
        .arg(&parts.initramfs)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Read for as long as this broker lives; QEMU ignores SIGPIPE.
        .stderr(Stdio::piped());
    if spec.network {
        command.args(["-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0"]);
    }
    command
}

fn socket(id: &str, path: &Path) -> String {
    format!("socket,id={id},path={},server=on,wait=off", escaped(path))
}

fn accel_args(accel: Accel) -> [&'static str; 4] {
    match accel {
        Accel::Kvm => ["-accel", "kvm", "-cpu", "host"],
        Accel::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
    }
}

/// Without a check of the timer interrupt: it panics when its ticks do not come
/// within some tens of milliseconds, and on a busy host QEMU is not run that soon.
/// Under KVM kernels leave it out by themselves.
const CONSOLE_AND_END: &str = if cfg!(target_arch = "x86_64") {
    "console=ttyS0 quiet loglevel=3 panic=-1 reboot=t no_timer_check"
} else {
    "console=ttyS0 quiet loglevel=3 panic=-1 reboot=t"
};

fn kernel_command_line(spec: &SandboxSpec) -> String {
    format!("{CONSOLE_AND_END} postern.root_mb={} postern.doorbell={DOORBELL_PORT}", spec.root_mb)
}

/// A comma ends an option of QEMU's; two are one.
pub(super) fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "IO-APIC + timer doesn't work!" ended 2 of 40 boots beside ten builds.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_busy_host_does_not_fail_the_guests_check_of_its_timer() {
        let words: Vec<&str> = CONSOLE_AND_END.split(' ').collect();
        assert!(words.contains(&"no_timer_check"), "{words:?}");
    }
}
