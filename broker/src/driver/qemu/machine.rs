//! One virtual machine that runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;
use tokio::sync::Notify;

use super::accel::Accel;
use super::command;
use super::doorbell::Doorbell;
use super::vsock::Vsock;
use super::{Parts, qmp};
use crate::driver::console::Console;
use crate::driver::program::Program;
use crate::driver::{DriverError, Files, Sandbox, SandboxSpec};
use crate::transport::Dial;

#[derive(Debug)]
pub(super) struct Machine {
    qemu: Program,
    vsock: Vsock,
    doorbell: Option<Doorbell>,
    console: Console,
    qmp: PathBuf,
    accel: Accel,
}

impl Machine {
    pub(super) async fn start(
        files: &Files,
        parts: &Parts,
        accel: Accel,
        spec: &SandboxSpec,
    ) -> Result<Self, DriverError> {
        let vsock = Vsock::start(files, &spec.dir).await?;
        let doorbell = match &vsock {
            Vsock::User { uds, .. } => Some(Doorbell::listen(uds)?),
            // The kernel hands the dial to whoever listens on the host's port;
            // one listener for many guests is not worth what it saves.
            Vsock::Kernel { .. } => None,
        };
        let qmp = spec.dir.join("qmp.sock");
        let mut command = command::qemu(parts, accel, &vsock, &qmp, spec);
        let (qemu, outputs) = Program::start_with_outputs("QEMU", &mut command)?;
        let console = Console::default();
        if let Some(stdout) = outputs.stdout {
            tokio::spawn(console.clone().keep(stdout, spec.dir.join("console.log")));
        }
        if let Some(stderr) = outputs.stderr {
            tokio::spawn(log_complaints(stderr, console.clone()));
        }
        Ok(Self { qemu, vsock, doorbell, console, qmp, accel })
    }
}

/// QEMU's own words, beside the guest's: why it did not start is said there.
async fn log_complaints(mut stderr: ChildStderr, console: Console) {
    let mut piece = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut piece).await {
        console.push(&piece[..read]);
    }
}

impl Sandbox for Machine {
    fn dial(&self) -> Arc<dyn Dial> {
        self.vsock.dial()
    }

    fn doorbell(&self) -> Option<Arc<Notify>> {
        self.doorbell.as_ref().map(|doorbell| doorbell.rings.clone())
    }

    fn ended(&self) -> BoxFuture<'static, String> {
        let qemu = self.qemu.ended();
        match self.vsock.backend().map(Program::ended) {
            None => qemu,
            // Without its vsock a machine cannot be reached by anybody.
            Some(backend) => Box::pin(async move {
                tokio::select! { why = qemu => why, why = backend => why }
            }),
        }
    }

    fn kill(&self, deadline: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if self.qemu.has_ended().is_none() {
                // QEMU that quits cleans up; one that hangs is killed.
                if let Err(error) = qmp::execute(&self.qmp, "quit").await {
                    tracing::debug!(%error, "QEMU did not quit when asked");
                }
                self.qemu.stop(deadline).await;
            }
            if let Some(backend) = self.vsock.backend() {
                backend.kill(deadline).await;
            }
        })
    }

    fn console(&self) -> String {
        self.console.text()
    }

    fn diagnose(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async {
            let status = qmp::status(&self.qmp).await;
            Some(status.map_or_else(
                |error| format!("QEMU does not answer: {error}"),
                |status| format!("QEMU says that the machine is {status} ({})", self.accel.name()),
            ))
        })
    }

    fn accelerator(&self) -> Option<&'static str> {
        Some(self.accel.name())
    }
}
