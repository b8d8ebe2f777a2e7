//! Keeping a machine's vsock alive when the process that serves it is not.
//!
//! ```text
//! serving ──► backend dies ──► unplug device ──► start backend ──► plug device ──► serving
//!                                    └──── refused, or too often ────► failed
//! ```
//!
//! QEMU does not reconnect a vhost-user socket, so the device is taken out of the
//! guest and a new one is put in. To the guest it is a reset of every vsock
//! connection: the broker's client redials and its streams resume by offset.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::qmp::{Qmp, QmpError};
use super::vsock::{CHARDEV, DEVICE, PORT, start_backend};
use crate::driver::identity::Identity;
use crate::driver::program::Program;
use crate::driver::{DriverError, Files};

/// For the guest to let go of the device: it is told by an interrupt and has to
/// work through it, which took 0.15 s under TCG and may take many times that in a
/// guest under load.
const UNPLUG_DEADLINE: Duration = Duration::from_secs(20);

/// More deaths than this within the time are a backend that cannot live with
/// this guest, or a guest that kills it at will.
const MAX_DEATHS: usize = 5;
const WITHIN: Duration = Duration::from_secs(60);

/// The process that serves one machine's vsock; None between two of them.
pub(super) type Backend = Arc<Mutex<Option<Program>>>;

/// Why a device could not be brought back.
#[derive(Debug, thiserror::Error)]
enum ReplugError {
    #[error("asking QEMU")]
    Qmp(#[from] QmpError),
    #[error("starting its backend")]
    Start(#[from] DriverError),
}

/// What looks after one machine's vsock.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) files: Files,
    pub(super) qmp: PathBuf,
    pub(super) control: PathBuf,
    pub(super) uds: PathBuf,
    pub(super) backend: Backend,
    /// The identity of the backend that serves.
    pub(super) serving: watch::Sender<Option<Identity>>,
    /// Why vsock is gone for good.
    pub(super) failed: watch::Sender<Option<String>>,
}

impl Keeper {
    /// Until the machine ends (`qemu`), or its vsock cannot be brought back.
    pub(super) async fn keep(self, qemu: impl Future<Output = String>) {
        let mut qemu = std::pin::pin!(qemu);
        let mut deaths = VecDeque::new();
        loop {
            let ended = lock(&self.backend).as_ref().map(Program::ended);
            let why = match ended {
                Some(ended) => tokio::select! {
                    _ = &mut qemu => return,
                    why = ended => why,
                },
                None => "its backend was gone".to_owned(),
            };
            tracing::warn!(why, "a machine's vsock is plugged anew");
            lock(&self.backend).take();
            self.serving.send_replace(None);
            if too_often(&mut deaths, Instant::now()) {
                self.give_up(format!("its vsock device died again and again: {why}"));
                return;
            }
            let begun = Instant::now();
            let replugged = tokio::select! {
                _ = &mut qemu => return,
                replugged = self.replug() => replugged,
            };
            if let Err(error) = replugged {
                let cause = std::error::Error::source(&error).map(|c| format!(": {c}"));
                let cause = cause.unwrap_or_default();
                self.give_up(format!("{why}, and its device was not replaced: {error}{cause}"));
                return;
            }
            let ms = begun.elapsed().as_millis();
            tracing::info!(ms, "a machine has its vsock again");
        }
    }

    fn give_up(&self, why: String) {
        self.failed.send_replace(Some(why));
    }

    /// Each step may have been done by a broker that was killed in the middle.
    async fn replug(&self) -> Result<(), ReplugError> {
        let mut qmp = Qmp::connect(&self.qmp).await?;
        if gone(qmp.execute("device_del", json!({ "id": DEVICE })).await)? {
            qmp.event("DEVICE_DELETED", DEVICE, UNPLUG_DEADLINE).await?;
        }
        gone(qmp.execute("chardev-remove", json!({ "id": CHARDEV })).await)?;
        let backend = start_backend(&self.files, &self.control, &self.uds).await?;
        let identity = backend.identity().clone();
        // From here on it is ended with the machine, whatever QEMU says.
        lock(&self.backend).replace(backend);
        let path = self.control.display().to_string();
        let address = json!({ "type": "unix", "data": { "path": path } });
        let socket = json!({ "addr": address, "server": false });
        let chardev = json!({ "id": CHARDEV, "backend": { "type": "socket", "data": socket } });
        qmp.execute("chardev-add", chardev).await?;
        let device = json!({
            "driver": "vhost-user-vsock-pci", "id": DEVICE, "chardev": CHARDEV, "bus": PORT,
        });
        qmp.execute("device_add", device).await?;
        self.serving.send_replace(Some(identity));
        Ok(())
    }
}

/// Whether there was something to remove.
fn gone(removed: Result<Value, QmpError>) -> Result<bool, QmpError> {
    match removed {
        Ok(_) => Ok(true),
        Err(QmpError::Refused { class, .. }) if class == "DeviceNotFound" => Ok(false),
        // chardev-remove has no class of its own for it.
        Err(QmpError::Refused { text, .. }) if text.contains("not found") => Ok(false),
        Err(error) => Err(error),
    }
}

/// Notes a death, and says whether there were too many lately.
fn too_often(deaths: &mut VecDeque<Instant>, now: Instant) -> bool {
    deaths.push_back(now);
    while deaths.front().is_some_and(|first| now.duration_since(*first) > WITHIN) {
        deaths.pop_front();
    }
    deaths.len() > MAX_DEATHS
}

/// Nobody panics while holding it.
pub(super) fn lock(backend: &Backend) -> std::sync::MutexGuard<'_, Option<Program>> {
    backend.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_in_a_row_are_too_many_and_deaths_now_and_then_are_not() {
        let start = Instant::now();
        let mut deaths = VecDeque::new();
        for n in 0..100 {
            assert!(!too_often(&mut deaths, start + WITHIN * n / 4), "death {n}");
        }
        let mut deaths = VecDeque::new();
        let verdicts = (0..=MAX_DEATHS).map(|_| too_often(&mut deaths, start));
        assert_eq!(verdicts.filter(|too_many| *too_many).count(), 1);
    }

    #[test]
    fn what_is_not_there_need_not_be_removed() {
        let refused = |class: &str, text: &str| {
            let (class, text) = (class.to_owned(), text.to_owned());
            Err(QmpError::Refused { command: "x".to_owned(), class, text })
        };
        assert!(!gone(refused("DeviceNotFound", "Device 'vsock0' not found")).unwrap());
        assert!(!gone(refused("GenericError", "Chardev 'vsock' not found")).unwrap());
        assert!(gone(Ok(Value::Null)).unwrap());
        gone(refused("GenericError", "Chardev 'vsock' is busy")).unwrap_err();
    }
}
