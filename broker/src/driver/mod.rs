//! How a session's sandbox comes to be.
//!
//! A [`Driver`] makes a [`Sandbox`]; what runs inside is reached through
//! [`Sandbox::dial`] and knows nothing of how it was made.
//!
//! - `qemu`: a microVM of ours.
//! - `process`: namespaces of this host, the same agent as PID 1.
//! - `attach`: a sandbox that somebody else runs; only dialled.
//!
//! Sandboxes need nothing of the broker's to run on: no pipe, no terminal, no
//! directory but their own. A broker that is killed leaves them running, and the
//! next one [adopts](Driver::adopt) them by their [`Record`].

mod attach;
mod console;
mod error;
mod files;
mod identity;
mod process;
mod program;
mod qemu;
mod record;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::{Notify, watch};

pub(crate) use attach::Attach;
pub(crate) use error::DriverError;
pub(crate) use files::{Files, Wanted};
pub(crate) use process::ProcessDriver;
pub(crate) use qemu::QemuDriver;
pub(crate) use record::Record;

use crate::transport::Dial;

/// By which a guest finds the disk that its image comes on. virtio-blk has room for
/// 20 bytes.
pub(crate) const IMAGE_SERIAL: &str = "postern-image";

/// What a sandbox is to be like. The directory is the session's own, mode 0700.
#[derive(Debug, Clone)]
pub(crate) struct SandboxSpec {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    pub(crate) hostname: String,
    pub(crate) memory_mb: u32,
    pub(crate) cpus: u32,
    /// Of the tmpfs that the root is, without a disk; of what the root's changes may
    /// take, where it is [`SandboxRoot::Over`] another.
    pub(crate) root_mb: u32,
    pub(crate) root: SandboxRoot,
    /// Of the disk that the root is on.
    pub(crate) disk_mb: Option<u32>,
    /// Of the image: a file to give to the machine as a read-only disk.
    pub(crate) image_disk: Option<PathBuf>,
    pub(crate) network: bool,
}

/// What the workload's root is made of.
#[derive(Debug, Clone, Default)]
pub(crate) enum SandboxRoot {
    /// Memory of its own, for the whole image.
    #[default]
    Memory,
    /// A directory of this host, which then holds the image.
    Directory(PathBuf),
    /// An image that is unpacked on this host, which is not written to, and memory
    /// for what changes.
    Over {
        lower: PathBuf,
        /// What the next broker knows it by.
        key: String,
    },
}

/// Makes sandboxes of one kind.
pub(crate) trait Driver: Debug + Send + Sync {
    /// Starts one. It need not answer yet.
    fn create<'a>(
        &'a self,
        spec: &'a SandboxSpec,
    ) -> BoxFuture<'a, Result<Box<dyn Sandbox>, DriverError>>;

    /// Whether its sandboxes can have roots that are not [`SandboxRoot::Memory`].
    fn shares_roots(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { false })
    }

    /// Takes over one that another broker started in this directory; an error
    /// if it is not there any more. Needs a runtime, and does not wait.
    fn adopt(&self, dir: &Path, record: Record) -> Result<Box<dyn Sandbox>, DriverError>;
}

/// How a sandbox is found again, as it stands.
pub(crate) type Records = watch::Receiver<Record>;

/// A record whose sandbox is of one piece.
fn unchanging(record: Record) -> Records {
    watch::Sender::new(record).subscribe()
}

/// For the kernel to end a killed process, and what it was doing.
const REMOVE_DEADLINE: Duration = Duration::from_secs(5);
const REMOVE_EVERY: Duration = Duration::from_millis(5);

/// The programs that drivers start, by the names that the kernel knows them by.
/// An agent has another name before and after it has made its sandbox.
const PROGRAMS: [&str; 5] =
    ["postern-agent", "postern-sandbox", "qemu-system-x86", "qemu-system-aar", "vhost-device-vs"];

/// Kills what runs for a session's directory, when nothing is known of it but
/// the directory: a broker was killed between a start and its note of it.
pub(crate) fn kill_strays(dir: &Path) {
    for pidfd in identity::strays(&PROGRAMS, dir) {
        tracing::warn!(dir = %dir.display(), "killing what an earlier broker left half made");
        if let Err(error) = pidfd_send_signal(&pidfd, Signal::KILL) {
            tracing::debug!(%error, "it has ended by itself");
        }
    }
}

/// Removes a directory in which a sandbox was working. What has been killed may be
/// writing there for as long as the kernel takes to end it; blocks meanwhile.
#[allow(clippy::disallowed_methods, reason = "between two tries; nothing tells of the last write")]
pub(crate) fn remove_dir(dir: &Path) -> io::Result<()> {
    let until = Instant::now() + REMOVE_DEADLINE;
    loop {
        match std::fs::remove_dir_all(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty && Instant::now() < until => {
                std::thread::sleep(REMOVE_EVERY);
            }
            done => return done,
        }
    }
}

/// A sandbox that was started. Dropped, it is killed, unless it is to be left.
pub(crate) trait Sandbox: Debug + Send + Sync {
    /// The way to its agent.
    fn dial(&self) -> Arc<dyn Dial>;

    /// How the next broker finds it; changes when a part of it is replaced.
    fn records(&self) -> Records;

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

    /// From here on it outlives this handle: the next broker adopts it.
    fn leave(&self);

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
