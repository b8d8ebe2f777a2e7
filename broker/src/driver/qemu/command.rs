//! QEMU's command line.

use std::path::Path;
use std::process::Stdio;

use postern_proto::limits::DOORBELL_PORT;
use tokio::process::Command;

use super::Parts;
use super::accel::Accel;
use super::vsock::Vsock;
use crate::driver::SandboxSpec;

/// The whole machine: processors, memory, a console, entropy, vsock.
pub(super) fn qemu(
    parts: &Parts,
    accel: Accel,
    vsock: &Vsock,
    qmp: &Path,
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
        .args(["-serial", "stdio"])
        .args(["-qmp", &format!("unix:{},server=on,wait=off", escaped(qmp))])
        .args(["-device", "virtio-rng-pci"])
        // Behind a root port vsock can be unplugged and plugged again: QEMU
        // does not reconnect a vhost-user socket by itself.
        .args(["-device", "pcie-root-port,id=vsock-port,chassis=1,slot=1"])
        .args(vsock.args("vsock-port"))
        .args(["-append", &kernel_command_line(spec)])
        .arg("-kernel")
        .arg(&parts.kernel)
        .arg("-initrd")
        .arg(&parts.initramfs)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if spec.network {
        command.args(["-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0"]);
    }
    command
}

fn accel_args(accel: Accel) -> [&'static str; 4] {
    match accel {
        Accel::Kvm => ["-accel", "kvm", "-cpu", "host"],
        Accel::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
    }
}

fn kernel_command_line(spec: &SandboxSpec) -> String {
    format!(
        "console=ttyS0 quiet loglevel=3 panic=-1 reboot=t postern.root_mb={} postern.doorbell={DOORBELL_PORT}",
        spec.root_mb
    )
}

/// A comma ends an option of QEMU's; two are one.
pub(super) fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
