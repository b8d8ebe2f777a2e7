//! A microVM without a broker: QEMU and its vsock, as the broker's driver has
//! them (`broker/src/driver/qemu/command.rs`).

use std::fs;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use postern_proto::limits::{AGENT_PORT, DOORBELL_PORT};
use postern_tests::raw::Address;
use tempfile::TempDir;

use super::{Rig, wait};

/// A boot takes three seconds under TCG, more on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Vm {
    qemu: Child,
    vsock: Child,
    pub(crate) address: Address,
    _dir: TempDir,
}

impl Vm {
    /// Returns when the guest has rung its doorbell.
    pub(crate) fn boot(rig: &Rig, kernel: &Path, initramfs: &Path) -> io::Result<Self> {
        let dir = rig.dir()?;
        let (control, uds) = (dir.path().join("vhost.sock"), dir.path().join("vm.vsock"));
        let doorbell = UnixListener::bind(doorbell_path(&uds))?;
        doorbell.set_nonblocking(true)?;
        let mut vsock = quiet(Command::new(vhost_device_vsock(rig)?))
            .args(["--guest-cid", "3", "--socket"])
            .arg(&control)
            .arg("--uds-path")
            .arg(&uds)
            .spawn()?;
        let listens =
            wait::until("vhost-device-vsock", PATIENCE, || Ok(fs::exists(&control)?.then_some(())));
        let qemu = listens.and_then(|()| qemu(kernel, initramfs, &control).spawn());
        let qemu = match qemu {
            Ok(qemu) => qemu,
            Err(e) => {
                end(&mut vsock);
                return Err(e);
            }
        };
        let address = Address::Hybrid(uds, AGENT_PORT);
        let mut vm = Self { qemu, vsock, address, _dir: dir };
        wait::until("the guest's doorbell", PATIENCE, || {
            if let Some(status) = vm.qemu.try_wait()? {
                return Err(io::Error::other(format!("QEMU ended: {status}")));
            }
            match doorbell.accept() {
                Ok(_) => Ok(Some(())),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(e) => Err(e),
            }
        })?;
        Ok(vm)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        end(&mut self.qemu);
        end(&mut self.vsock);
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Where a guest's connection to the host's port arrives.
fn doorbell_path(uds: &Path) -> PathBuf {
    PathBuf::from(format!("{}_{DOORBELL_PORT}", uds.display()))
}

fn vhost_device_vsock(rig: &Rig) -> io::Result<PathBuf> {
    rig.shipped("../tools/bin/vhost-device-vsock")
}

fn qemu(kernel: &Path, initramfs: &Path, control: &Path) -> Command {
    let mut qemu = quiet(Command::new("qemu-system-x86_64"));
    let append = format!(
        "console=ttyS0 quiet loglevel=3 panic=-1 reboot=t no_timer_check postern.doorbell={DOORBELL_PORT}"
    );
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-machine", "q35,memory-backend=mem", "-accel", "tcg,thread=multi"])
        .args(["-cpu", "max", "-smp", "1", "-m", "512"])
        .args(["-object", "memory-backend-memfd,id=mem,size=512M,share=on"])
        .args(["-serial", "stdio", "-device", "virtio-rng-pci"])
        .args(["-device", "pcie-root-port,id=vsock-port,chassis=1,slot=1"])
        .args(["-chardev", &format!("socket,id=vsock,path={}", control.display())])
        .args(["-device", "vhost-user-vsock-pci,chardev=vsock,bus=vsock-port"])
        .args(["-append", &append, "-kernel"])
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs);
    qemu
}

fn quiet(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// An initramfs with the program as its init, and the modules of the kernel that
/// `KERNEL` calls so.
pub(crate) fn pack(init: &Path, kernel: &str, output: &Path) -> io::Result<()> {
    let mut xtask = Command::new("cargo");
    xtask.args(["run", "--quiet", "-p", "xtask", "--", "initramfs", "--init"]);
    xtask.arg(init).arg("--output").arg(output).env("KERNEL", kernel).stdout(Stdio::null());
    let status = xtask.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{xtask:?}: {status}"))) }
}
