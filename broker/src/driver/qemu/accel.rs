//! KVM, if it really runs our kernel; else TCG.
//!
//! That /dev/kvm opens says little: on nested hosts QEMU hangs or asserts. So
//! our own kernel is booted under it once, without a root: a kernel that runs
//! panics for want of one and, told so, resets, which ends QEMU. Only that is a yes.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{Parts, command};

/// From QEMU's start to the kernel's panic. Half a second on metal; the rest is
/// room for a loaded host. A hang costs this once per boot of the host.
const PROBE_DEADLINE: Duration = Duration::from_secs(8);

const CACHE: &str = "kvm-probe.json";

/// How a machine's processors are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Accel {
    Kvm,
    Tcg,
}

impl Accel {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Kvm, Self::Tcg].into_iter().find(|accel| accel.name() == name)
    }
}

/// An answer is good for one boot of the host and one QEMU.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Cached {
    host_boot: String,
    qemu: String,
    accel: Accel,
}

/// What this host can do, from the cache or by trying.
pub(super) async fn find(parts: &Parts, cache_dir: &Path) -> Accel {
    let kvm = || OpenOptions::new().read(true).write(true).open("/dev/kvm");
    if !parts.arch.is_host() || kvm().is_err() {
        return Accel::Tcg;
    }
    let cache = cache_dir.join(CACHE);
    let host_boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let qemu = parts.qemu.display().to_string();
    let read = std::fs::read(&cache).ok().and_then(|text| serde_json::from_slice(&text).ok());
    if let Some(Cached { host_boot: boot, qemu: of, accel }) = read
        && boot == host_boot
        && of == qemu
    {
        return accel;
    }
    let accel = if kvm_runs_our_kernel(parts).await { Accel::Kvm } else { Accel::Tcg };
    tracing::info!(accelerator = accel.name(), "tried KVM with our kernel");
    let text = serde_json::to_vec(&Cached { host_boot, qemu, accel }).unwrap_or_default();
    if let Err(error) = std::fs::write(&cache, text) {
        tracing::debug!(%error, "the answer is not kept; the next broker tries again");
    }
    accel
}

async fn kvm_runs_our_kernel(parts: &Parts) -> bool {
    let mut command = Command::new(&parts.qemu);
    command
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-machine", command::machine(parts.arch), "-accel", "kvm", "-cpu", "host"])
        .args(["-m", "128", "-serial", "stdio", "-append", command::console(parts.arch)])
        .arg("-kernel")
        .arg(&parts.kernel)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    let Ok(child) = command.spawn() else { return false };
    match tokio::time::timeout(PROBE_DEADLINE, child.wait_with_output()).await {
        Ok(Ok(output)) => {
            let text = String::from_utf8_lossy(&output.stdout);
            output.status.success() && text.contains("Kernel panic")
        }
        // A hang; the child is killed with its handle.
        Ok(Err(_)) | Err(_) => false,
    }
}
