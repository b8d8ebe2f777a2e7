//! QEMU's command line.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use postern_proto::limits::DOORBELL_PORT;
use tokio::process::Command;

use super::Parts;
use super::accel::Accel;
use super::disk;
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

fn accel_args(accel: Accel) -> [&'static str; 4] {
    match accel {
        Accel::Kvm => ["-accel", "kvm", "-cpu", "host"],
        Accel::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
    }
}

/// The kernel's own check of the timer panics when a starved host lets no ten ticks
/// arrive in time ("IO-APIC + timer doesn't work!"): seen under TCG at a load of 15.
const TIMER_WORKS: &str = "no_timer_check";

fn kernel_command_line(spec: &SandboxSpec) -> String {
    let root = match spec.disk_mb {
        Some(_) => format!("postern.root_disk={}", disk::ROOT_SERIAL),
        None => format!("postern.root_mb={}", spec.root_mb),
    };
    format!(
        "console=ttyS0 quiet loglevel=3 panic=-1 reboot=t {TIMER_WORKS} {root} \
         postern.doorbell={DOORBELL_PORT}"
    )
}

/// A comma ends an option of QEMU's; two are one.
pub(super) fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(disk_mb: Option<u32>) -> SandboxSpec {
        SandboxSpec {
            id: "sess_x".to_owned(),
            dir: "/d".into(),
            hostname: "h".to_owned(),
            memory_mb: 512,
            cpus: 1,
            root_mb: 256,
            disk_mb,
            image_disk: None,
            network: false,
        }
    }

    #[test]
    fn the_root_is_in_memory_or_on_a_disk() {
        let line = kernel_command_line(&spec(None));
        assert!(line.contains(" postern.root_mb=256 ") && !line.contains("root_disk"), "{line}");
        let line = kernel_command_line(&spec(Some(64)));
        assert!(line.contains(" postern.root_disk=postern-root "), "{line}");
        assert!(!line.contains("root_mb"), "{line}");
    }

    #[test]
    fn a_guest_of_a_starved_host_does_not_panic_for_its_timer() {
        let line = kernel_command_line(&spec(None));
        assert!(line.split(' ').any(|word| word == "no_timer_check"), "{line}");
    }
}
