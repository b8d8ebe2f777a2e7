//! How a session's sandbox comes to be.
//!
//! A [`Driver`] makes a [`Sandbox`]; what runs inside is reached through
//! [`Sandbox::dial`] and knows nothing of how it was made.
//!
//! - `qemu`: a microVM of ours.
//! - `process`: namespaces of this host, the same agent as PID 1.
//! - `attach`: a sandbox that somebody else runs; only dialled.

mod attach;
mod console;
mod error;
mod files;
mod process;
mod program;
mod qemu;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

pub(crate) use attach::Attach;
pub(crate) use error::DriverError;
pub(crate) use files::{Files, Wanted};
pub(crate) use process::ProcessDriver;
pub(crate) use qemu::QemuDriver;

use crate::transport::Dial;

/// What a sandbox is to be like. The directory is the session's own, mode 0700.
#[derive(Debug, Clone)]
pub(crate) struct SandboxSpec {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    pub(crate) hostname: String,
    pub(crate) memory_mb: u32,
    pub(crate) cpus: u32,
    pub(crate) root_mb: u32,
    pub(crate) network: bool,
}

/// Makes sandboxes of one kind.
pub(crate) trait Driver: Debug + Send + Sync {
    /// Starts one. It need not answer yet.
    fn create<'a>(
        &'a self,
        spec: &'a SandboxSpec,
    ) -> BoxFuture<'a, Result<Box<dyn Sandbox>, DriverError>>;
}

/// A sandbox that was started. Dropped, it is killed.
pub(crate) trait Sandbox: Debug + Send + Sync {
    /// The way to its agent.
    fn dial(&self) -> Arc<dyn Dial>;

    /// Fires when the agent says that it is ready; a hint.
    fn doorbell(&self) -> Option<Arc<Notify>> {
        None
    }

    /// Resolves to what happened when the sandbox has ended, however it did;
    /// never for one that somebody else runs.
    fn ended(&self) -> BoxFuture<'static, String>;

    /// Whether the agent inside is to be asked to shut down at the end.
    fn is_ours(&self) -> bool {
        true
    }

    /// Ends it for good, within the deadline.
    fn kill(&self, deadline: Duration) -> BoxFuture<'_, ()>;

    /// The last of its console.
    fn console(&self) -> String;

    /// What the hypervisor says of the machine, for a sandbox that does not answer.
    fn diagnose(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async { None })
    }

    /// "kvm" or "tcg".
    fn accelerator(&self) -> Option<&'static str> {
        None
    }
}
