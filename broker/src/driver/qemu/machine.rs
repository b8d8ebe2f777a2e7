//! One virtual machine that runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::ChildStderr;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::accel::Accel;
use super::command::{self, Sockets};
use super::doorbell::Doorbell;
use super::replug::{Backend, Keeper, lock};
use super::vsock::{BACKEND, Vsock, start_backend};
use super::{Parts, disk, qmp};
use crate::driver::console::Console;
use crate::driver::identity::Identity;
use crate::driver::program::Program;
use crate::driver::record::VsockRecord;
use crate::driver::{DriverError, Files, Record, Records, Sandbox, SandboxSpec};
use crate::transport::Dial;

const NAME: &str = "QEMU";

/// Between two tries to reach the console of a QEMU that is coming up.
const CONSOLE_EVERY: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Machine {
    qemu: Program,
    vsock: Vsock,
    backend: Backend,
    doorbell: Option<Doorbell>,
    console: Console,
    qmp: PathBuf,
    accel: Accel,
    records: Records,
    failed: watch::Receiver<Option<String>>,
    /// Looks after the vsock; stopped before anything is ended on purpose.
    keeper: JoinHandle<()>,
}

impl Machine {
    pub(super) async fn start(
        files: &Files,
        parts: &Parts,
        accel: Accel,
        spec: &SandboxSpec,
    ) -> Result<Self, DriverError> {
        if let Some(size_mb) = spec.disk_mb {
            disk::make_root(files, &spec.dir, size_mb).await?;
        }
        let vsock = Vsock::choose(&spec.dir);
        let backend = match &vsock {
            Vsock::User { control, uds } => Some(start_backend(files, control, uds).await?),
            Vsock::Kernel { .. } => None,
        };
        let sockets = Sockets::of(&spec.dir);
        let mut command = command::qemu(parts, accel, &vsock, &sockets, spec);
        // Before the machine, which may ring at once.
        let doorbell = doorbell(&vsock)?;
        let (qemu, stderr) = Program::start_with_errors(NAME, &mut command)?;
        let console = Console::default();
        if let Some(stderr) = stderr {
            tokio::spawn(log_complaints(stderr, console.clone()));
        }
        let backend = Arc::new(Mutex::new(backend));
        Ok(Self::run(files, &spec.dir, qemu, vsock, backend, accel, doorbell, console))
    }

    /// One that another broker started.
    pub(super) fn adopt(
        files: &Files,
        dir: &Path,
        qemu: Identity,
        accel: Accel,
        vsock: VsockRecord,
    ) -> Result<Self, DriverError> {
        let qemu = Program::adopt(NAME, qemu, dir).ok_or(DriverError::Gone("the machine"))?;
        let (vsock, backend) = match vsock {
            VsockRecord::Kernel { cid } => (Vsock::Kernel { cid }, None),
            // One that is gone is replaced by the keeper, at once.
            VsockRecord::User { backend } => {
                let backend = backend.and_then(|known| Program::adopt(BACKEND, known, dir));
                (Vsock::user(dir), backend)
            }
        };
        let console = Console::default();
        console.recall(&Sockets::log(dir));
        let doorbell = doorbell(&vsock)?;
        let backend = Arc::new(Mutex::new(backend));
        Ok(Self::run(files, dir, qemu, vsock, backend, accel, doorbell, console))
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one machine, from two places")]
    fn run(
        files: &Files,
        dir: &Path,
        qemu: Program,
        vsock: Vsock,
        backend: Backend,
        accel: Accel,
        doorbell: Option<Doorbell>,
        console: Console,
    ) -> Self {
        let sockets = Sockets::of(dir);
        let text = console.clone().keep_socket(sockets.console, Sockets::log(dir));
        tokio::spawn(until(qemu.ended(), text));
        let identity = lock(&backend).as_ref().map(|program| program.identity().clone());
        let (serving, served) = watch::channel(identity);
        let (gave_up, failed) = watch::channel(None);
        let keeper = match &vsock {
            Vsock::Kernel { .. } => tokio::spawn(async {}),
            Vsock::User { control, uds } => {
                let keeper = Keeper {
                    files: files.clone(),
                    qmp: sockets.qmp.clone(),
                    control: control.clone(),
                    uds: uds.clone(),
                    backend: Arc::clone(&backend),
                    serving,
                    failed: gave_up,
                };
                tokio::spawn(keeper.keep(qemu.ended()))
            }
        };
        let records = records(qemu.identity(), accel, &vsock, served);
        let qmp = sockets.qmp;
        Self { qemu, vsock, backend, doorbell, console, qmp, accel, records, failed, keeper }
    }

    fn take_backend(&self) -> Option<Program> {
        self.keeper.abort();
        lock(&self.backend).take()
    }
}

/// What the store is to know, as backends come and go.
fn records(
    qemu: &Identity,
    accel: Accel,
    vsock: &Vsock,
    mut served: watch::Receiver<Option<Identity>>,
) -> Records {
    let (qemu, vsock, accel) = (qemu.clone(), vsock.clone(), accel.name().to_owned());
    let record = move |backend: Option<Identity>| {
        let vsock = match &vsock {
            Vsock::Kernel { cid } => VsockRecord::Kernel { cid: *cid },
            Vsock::User { .. } => VsockRecord::User { backend },
        };
        Record::Qemu { qemu: qemu.clone(), accel: accel.clone(), vsock }
    };
    let (tell, records) = watch::channel(record(served.borrow_and_update().clone()));
    tokio::spawn(async move {
        while served.changed().await.is_ok() {
            tell.send_replace(record(served.borrow_and_update().clone()));
        }
    });
    records
}

fn doorbell(vsock: &Vsock) -> Result<Option<Doorbell>, DriverError> {
    match vsock {
        Vsock::User { uds, .. } => Doorbell::listen(uds).map(Some),
        // The kernel hands the dial to whoever listens on the host's port;
        // one listener for many guests is not worth what it saves.
        Vsock::Kernel { .. } => Ok(None),
    }
}

impl Console {
    /// QEMU listens there as soon as it has read its arguments, long before the
    /// guest says anything. While nobody is connected it drops what is said, so
    /// that neither a guest nor the want of a broker can fill a disk.
    async fn keep_socket(self, socket: PathBuf, file: PathBuf) {
        loop {
            if let Ok(stream) = UnixStream::connect(&socket).await {
                self.clone().keep(stream, file.clone()).await;
            }
            tokio::time::sleep(CONSOLE_EVERY).await;
        }
    }
}

/// Bounds a task that would go on for ever by the machine's life.
async fn until(qemu: impl Future<Output = String>, task: impl Future<Output = ()>) {
    let mut task = std::pin::pin!(task);
    tokio::select! {
        _ = qemu => {}
        () = &mut task => return,
    }
    // What is on its way from a machine that has just ended is why it did.
    let _ = tokio::time::timeout(CONSOLE_EVERY * 20, task).await;
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

    fn records(&self) -> Records {
        self.records.clone()
    }

    fn doorbell(&self) -> Option<Arc<Notify>> {
        self.doorbell.as_ref().map(|doorbell| doorbell.rings.clone())
    }

    fn ended(&self) -> BoxFuture<'static, String> {
        let (qemu, mut failed) = (self.qemu.ended(), self.failed.clone());
        Box::pin(async move {
            let unreachable = async {
                let gave_up = failed.wait_for(Option::is_some).await;
                let why = gave_up.map(|why| why.clone().unwrap_or_default());
                match why {
                    Ok(why) => why,
                    // The keeper ended with the machine, or was stopped.
                    Err(_) => std::future::pending().await,
                }
            };
            tokio::select! { why = qemu => why, why = unreachable => why }
        })
    }

    fn kill(&self, deadline: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let backend = self.take_backend();
            if self.qemu.has_ended().is_none() {
                // QEMU that quits cleans up; one that hangs is killed.
                if let Err(error) = qmp::execute(&self.qmp, "quit").await {
                    tracing::debug!(%error, "QEMU did not quit when asked");
                }
                self.qemu.stop(deadline).await;
            }
            if let Some(backend) = backend {
                backend.kill(deadline).await;
            }
        })
    }

    fn leave(&self) {
        self.qemu.leave();
        if let Some(backend) = self.take_backend() {
            backend.leave();
        }
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

impl Drop for Machine {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}
