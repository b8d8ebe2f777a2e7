//! A QEMU microVM of ours.
//!
//! ```text
//! broker ── Unix socket ── vhost-device-vsock ── vhost-user ── QEMU ── guest
//! broker ── AF_VSOCK ───── the kernel's vhost ─────────────── QEMU ── guest
//! ```
//!
//! One `vhost-device-vsock` per machine, so that no guest shares a process with
//! another; one that dies is replaced (`replug`). The console comes through a
//! socket on which QEMU listens, and is kept with an end.

mod accel;
mod command;
mod disk;
mod doorbell;
mod machine;
mod qmp;
mod replug;
mod vsock;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;

use super::{Driver, DriverError, Files, Record, Sandbox, SandboxSpec};
use crate::arch::GuestArch;
use accel::Accel;
use machine::Machine;

/// A program's start, from the spawn to its listening socket.
const START_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct QemuDriver {
    files: Files,
    /// Where what was found out about this host is kept.
    cache_dir: PathBuf,
    accel: OnceCell<Accel>,
}

/// What was found on this host.
#[derive(Debug)]
struct Parts {
    qemu: PathBuf,
    kernel: PathBuf,
    initramfs: PathBuf,
    arch: GuestArch,
}

impl QemuDriver {
    pub(crate) fn new(files: Files, cache_dir: PathBuf) -> Self {
        Self { files, cache_dir, accel: OnceCell::new() }
    }

    fn parts(&self) -> Result<Parts, DriverError> {
        Ok(Parts {
            qemu: self.files.qemu()?,
            kernel: self.files.kernel()?,
            initramfs: self.files.initramfs()?,
            arch: self.files.arch(),
        })
    }

    async fn start(&self, spec: &SandboxSpec) -> Result<Box<dyn Sandbox>, DriverError> {
        let parts = self.parts()?;
        let probe = accel::find(&parts, &self.cache_dir);
        let accel = *self.accel.get_or_init(|| probe).await;
        Ok(Box::new(Machine::start(&self.files, &parts, accel, spec).await?))
    }
}

impl Driver for QemuDriver {
    fn create<'a>(
        &'a self,
        spec: &'a SandboxSpec,
    ) -> BoxFuture<'a, Result<Box<dyn Sandbox>, DriverError>> {
        Box::pin(self.start(spec))
    }

    fn adopt(&self, dir: &Path, record: Record) -> Result<Box<dyn Sandbox>, DriverError> {
        let Record::Qemu { qemu, accel, vsock } = record else {
            return Err(DriverError::foreign("qemu"));
        };
        let accel = Accel::named(&accel).ok_or(DriverError::foreign("qemu"))?;
        Ok(Box::new(Machine::adopt(&self.files, dir, qemu, accel, vsock)?))
    }
}
