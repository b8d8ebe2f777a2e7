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

/// How a machine's vsock is served.
#[derive(Debug)]
pub(super) enum Vsock {
    /// By the kernel.
    Kernel { cid: u32 },
    /// By a process of its own.
    User { backend: Program, control: PathBuf, uds: PathBuf },
}

impl Vsock {
    pub(super) async fn start(files: &Files, dir: &Path) -> Result<Self, DriverError> {
        if Path::new(KERNEL_VHOST).exists() {
            // 31 random bits: a clash is a start that fails and says so.
            let cid = (rand::random::<u32>() >> 1).max(0x1_0000);
            return Ok(Self::Kernel { cid });
        }
        let (control, uds) = (dir.join("vhost.sock"), dir.join("vm.vsock"));
        let mut command = Command::new(files.vhost_device_vsock()?);
        command
            .arg("--guest-cid")
            .arg(USER_CID.to_string())
            .arg("--socket")
            .arg(&control)
            .arg("--uds-path")
            .arg(&uds)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let backend = Program::start("vhost-device-vsock", &mut command)?;
        listening(&control, &backend).await?;
        Ok(Self::User { backend, control, uds })
    }

    /// QEMU's arguments.
    pub(super) fn args(&self, bus: &str) -> Vec<String> {
        match self {
            Self::Kernel { cid } => {
                vec!["-device".into(), format!("vhost-vsock-pci,guest-cid={cid},bus={bus}")]
            }
            Self::User { control, .. } => vec![
                "-chardev".into(),
                format!("socket,id=vsock,path={}", escaped(control)),
                "-device".into(),
                format!("vhost-user-vsock-pci,chardev=vsock,bus={bus}"),
            ],
        }
    }

    pub(super) fn dial(&self) -> Arc<dyn Dial> {
        match self {
            Self::Kernel { cid } => Arc::new(DialVsock { cid: *cid, port: AGENT_PORT }),
            Self::User { uds, .. } => Arc::new(Hybrid { path: uds.clone(), port: AGENT_PORT }),
        }
    }

    /// The process that serves it, if there is one.
    pub(super) fn backend(&self) -> Option<&Program> {
        match self {
            Self::Kernel { .. } => None,
            Self::User { backend, .. } => Some(backend),
        }
    }
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
