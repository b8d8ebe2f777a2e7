//! Whether KVM runs a kernel, and not only opens. On nested hosts QEMU hangs or
//! asserts with it, so a kernel is booted: one that runs panics for want of a
//! root and, told so, resets, which ends QEMU. Only that is a yes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// From QEMU's start to the panic: half a second on metal, the rest is room.
const DEADLINE: Duration = Duration::from_secs(8);

pub(super) async fn runs_a_kernel(qemu: &Path, kernel: &Path) -> Result<(), String> {
    let mut command = Command::new(qemu);
    command
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "128"])
        .args(["-serial", "stdio", "-append", "console=ttyS0 panic=-1 reboot=t"])
        .arg("-kernel")
        .arg(kernel)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let child = command.spawn().map_err(|e| format!("QEMU does not start: {e}"))?;
    match tokio::time::timeout(DEADLINE, child.wait_with_output()).await {
        Ok(Ok(output)) => {
            if output.status.success()
                && String::from_utf8_lossy(&output.stdout).contains("Kernel panic")
            {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!(
                "QEMU failed with it: {}",
                said.lines().next_back().unwrap_or("without a word")
            ))
        }
        Ok(Err(e)) => Err(format!("QEMU cannot be waited for: {e}")),
        Err(_) => Err(format!("a kernel under it hangs ({} s)", DEADLINE.as_secs())),
    }
}
