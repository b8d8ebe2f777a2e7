//! The host's side of a machine's vsock.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use postern_proto::limits::AGENT_PORT;
use tokio::process::Command;
use tokio::time::Instant;

use super::START_DEADLINE;
use super::command::escaped;
use crate::driver::program::Program;
use crate::driver::{DriverError, Files};
use crate::transport::{Dial, Hybrid, Vsock as DialVsock};

const KERNEL_VHOST: &str = "/dev/vhost-vsock";

/// In user space each machine has a host side of its own, so all may have the
/// same context id: the first that is free for guests (vsock(7)).
const USER_CID: u32 = 3;

/// Between two looks for a socket that a program is about to make.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The name of the backend's process in errors.
pub(super) const BACKEND: &str = "vhost-device-vsock";

/// QEMU's names of the device, its chardev and its port.
pub(super) const DEVICE: &str = "vsock0";
pub(super) const CHARDEV: &str = "vsock";
pub(super) const PORT: &str = "vsock-port";

/// How a machine's vsock is served.
#[derive(Debug, Clone)]
pub(super) enum Vsock {
    /// By the kernel.
    Kernel { cid: u32 },
    /// By a process of its own; its two sockets.
    User { control: PathBuf, uds: PathBuf },
}

impl Vsock {
    /// What this host has.
    pub(super) fn choose(dir: &Path) -> Self {
        if Path::new(KERNEL_VHOST).exists() {
            // 31 random bits: a clash is a start that fails and says so.
            let cid = (rand::random::<u32>() >> 1).max(0x1_0000);
            return Self::Kernel { cid };
        }
        Self::user(dir)
    }

    pub(super) fn user(dir: &Path) -> Self {
        Self::User { control: dir.join("vhost.sock"), uds: dir.join("vm.vsock") }
    }

    /// QEMU's arguments.
    pub(super) fn args(&self) -> Vec<String> {
        match self {
            Self::Kernel { cid } => vec![
                "-device".into(),
                format!("vhost-vsock-pci,id={DEVICE},guest-cid={cid},bus={PORT}"),
            ],
            Self::User { control, .. } => vec![
                "-chardev".into(),
                format!("socket,id={CHARDEV},path={}", escaped(control)),
                "-device".into(),
                format!("vhost-user-vsock-pci,id={DEVICE},chardev={CHARDEV},bus={PORT}"),
            ],
        }
    }

    pub(super) fn dial(&self) -> Arc<dyn Dial> {
        match self {
            Self::Kernel { cid } => Arc::new(DialVsock { cid: *cid, port: AGENT_PORT }),
            Self::User { uds, .. } => Arc::new(Hybrid { path: uds.clone(), port: AGENT_PORT }),
        }
    }
}

/// Starts the process that serves a machine's vsock, and waits until QEMU can
/// connect to it. Sockets that one before it left are removed.
pub(super) async fn start_backend(
    files: &Files,
    control: &Path,
    uds: &Path,
) -> Result<Program, DriverError> {
    for socket in [control, uds] {
        match std::fs::remove_file(socket) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(DriverError::io("removing", socket)(e));
            }
            _ => {}
        }
    }
    let mut command = Command::new(files.vhost_device_vsock()?);
    command
        .arg("--guest-cid")
        .arg(USER_CID.to_string())
        .arg("--socket")
        .arg(control)
        .arg("--uds-path")
        .arg(uds)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let backend = Program::start(BACKEND, &mut command)?;
    listening(control, &backend).await?;
    Ok(backend)
}

/// Waits until somebody listens on the socket. A connection is no way to ask:
/// the backend takes one only, and it is QEMU's.
async fn listening(socket: &Path, by: &Program) -> Result<(), DriverError> {
    let begun = Instant::now();
    while !is_listening(socket) {
        let why = match by.has_ended() {
            Some(why) => why,
            None if begun.elapsed() < START_DEADLINE => {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            None => format!("no socket after {} s", START_DEADLINE.as_secs()),
        };
        return Err(DriverError::NotUp { what: "the vsock device", why });
    }
    Ok(())
}

/// As unix(7) sockets are listed in /proc/net/unix: flag 0x10000 is
/// SO_ACCEPTCON, the path is the last column.
fn is_listening(socket: &Path) -> bool {
    let wanted = socket.display().to_string();
    let all = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    all.lines()
        .any(|line| line.ends_with(&wanted) && line.split_whitespace().nth(3) == Some("00010000"))
}
