//! QEMU's command line.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use postern_proto::limits::DOORBELL_PORT;
use tokio::process::Command;

use super::Parts;
use super::accel::Accel;
use super::disk;
use super::vsock::{PORT, Vsock};
use crate::arch::GuestArch;
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
        .args(["-machine", &format!("{},memory-backend=mem", machine(parts.arch))])
        .args(accel_args(parts.arch, accel))
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
        .args(["-append", &kernel_command_line(parts.arch, spec)])
        .arg("-kernel")
        .arg(&parts.kernel)
        .arg("-initrd")
        .arg(&parts.initramfs)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Read for as long as this broker lives; QEMU ignores SIGPIPE.
        .stderr(Stdio::piped());
    if spec.disk_mb.is_some() {
        command.args(disk::root_args(&spec.dir));
    }
    if let Some(path) = &spec.image_disk {
        command.args(disk::image_args(path));
    }
    if spec.network {
        command.args(["-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0"]);
    }
    command
}

fn socket(id: &str, path: &Path) -> String {
    format!("socket,id={id},path={},server=on,wait=off", escaped(path))
}

/// A board with PCI Express, whose slots vsock is plugged into.
pub(super) fn machine(arch: GuestArch) -> &'static str {
    match arch {
        GuestArch::X86_64 => "q35",
        // The interrupt controller is the host's under KVM; QEMU knows which.
        GuestArch::Aarch64 => "virt,gic-version=max",
    }
}

fn accel_args(arch: GuestArch, accel: Accel) -> [&'static str; 4] {
    match (accel, arch) {
        (Accel::Kvm, _) => ["-accel", "kvm", "-cpu", "host"],
        (Accel::Tcg, GuestArch::X86_64) => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        // Pointer authentication by the architecture's own cipher is most of what
        // an emulated boot takes; the guest cannot tell which cipher it is.
        (Accel::Tcg, GuestArch::Aarch64) => {
            ["-accel", "tcg,thread=multi", "-cpu", "max,pauth-impdef=on"]
        }
    }
}

/// The console, and how a panic ends the machine. Without a check of the timer
/// interrupt, which panics when its ticks do not come within some tens of
/// milliseconds: on a busy host QEMU is not run that soon. Under KVM kernels
/// leave it out by themselves.
pub(super) fn console(arch: GuestArch) -> &'static str {
    match arch {
        GuestArch::X86_64 => "console=ttyS0 panic=-1 reboot=t no_timer_check",
        GuestArch::Aarch64 => "console=ttyAMA0 panic=-1",
    }
}

fn kernel_command_line(arch: GuestArch, spec: &SandboxSpec) -> String {
    let console = console(arch);
    let root = match spec.disk_mb {
        Some(_) => format!("postern.root_disk={}", disk::ROOT_SERIAL),
        None => format!("postern.root_mb={}", spec.root_mb),
    };
    format!("{console} quiet loglevel=3 {root} postern.doorbell={DOORBELL_PORT}")
}

/// A comma ends an option of QEMU's; two are one.
pub(super) fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::SandboxRoot;

    fn spec(disk_mb: Option<u32>) -> SandboxSpec {
        SandboxSpec {
            id: "sess_x".to_owned(),
            dir: "/d".into(),
            hostname: "h".to_owned(),
            memory_mb: 512,
            cpus: 1,
            root_mb: 256,
            root: SandboxRoot::Memory,
            disk_mb,
            image_disk: None,
            network: false,
        }
    }

    #[test]
    fn the_root_is_in_memory_or_on_a_disk() {
        let line = kernel_command_line(GuestArch::X86_64, &spec(None));
        assert!(line.contains(" postern.root_mb=256 ") && !line.contains("root_disk"), "{line}");
        let line = kernel_command_line(GuestArch::X86_64, &spec(Some(64)));
        assert!(line.contains(" postern.root_disk=postern-root "), "{line}");
        assert!(!line.contains("root_mb"), "{line}");
    }

    /// "IO-APIC + timer doesn't work!" ended 2 of 40 boots beside ten builds.
    #[test]
    fn a_busy_host_does_not_fail_the_guests_check_of_its_timer() {
        let line = kernel_command_line(GuestArch::X86_64, &spec(None));
        assert!(line.split(' ').any(|word| word == "no_timer_check"), "{line}");
    }
}
