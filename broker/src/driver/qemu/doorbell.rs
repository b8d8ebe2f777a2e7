//! The guest's call that it is ready.

use std::path::Path;
use std::sync::Arc;

use postern_proto::limits::DOORBELL_PORT;
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::driver::DriverError;

/// A listener where the vsock device hands on the guest's dial to the host. Its
/// arrival is a hint to dial now and nothing more: what the guest says there is
/// not read.
#[derive(Debug)]
pub(super) struct Doorbell {
    pub(super) rings: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Doorbell {
    /// For the vsock device whose host socket is `uds`; before the machine starts.
    pub(super) fn listen(uds: &Path) -> Result<Self, DriverError> {
        let mut path = uds.as_os_str().to_owned();
        path.push(format!("_{DOORBELL_PORT}"));
        // Left by a broker before this one. What is wrong shows in the next call.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).map_err(DriverError::io("listening on", &path))?;
        let rings = Arc::new(Notify::new());
        let ring = rings.clone();
        let task = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                drop(caller);
                ring.notify_one();
            }
        });
        Ok(Self { rings, task })
    }
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        self.task.abort();
    }
}
