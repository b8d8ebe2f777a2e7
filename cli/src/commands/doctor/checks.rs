//! Every check, in the order in which they are told.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::look::Places;
use super::{Check, kvm};

/// For a program that only says its version or fails.
const PROGRAM_DEADLINE: Duration = Duration::from_secs(10);

const BUILD: &str = "in a checkout: make dist";

pub(super) async fn all(places: &Places) -> Vec<Check> {
    vec![
        kvm_check(places).await,
        vsock(places),
        cgroup_v2(),
        namespaces().await,
        program(places, "qemu", QEMU, "as root: apt-get install qemu-system-x86").await,
        program(
            places,
            "mmdebstrap",
            "mmdebstrap",
            "to build images, as root: apt-get install mmdebstrap",
        )
        .await,
        program(places, "umoci", "umoci", "to build images, as root: apt-get install umoci").await,
        own_file(places, "agent", "postern-agent"),
        own_file(places, "kernel", "vmlinuz"),
        own_file(places, "initramfs", "initramfs.img"),
        images(places),
    ]
}

#[cfg(target_arch = "aarch64")]
const QEMU: &str = "qemu-system-aarch64";
#[cfg(not(target_arch = "aarch64"))]
const QEMU: &str = "qemu-system-x86_64";

async fn kvm_check(places: &Places) -> Check {
    const NAME: &str = "kvm";
    const SLOW: &str = "microVMs are emulated (TCG), several times slower";
    if let Err(e) = OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        let found = format!("/dev/kvm: {e}; {SLOW}");
        let fix = "enable virtualisation (firmware, or nested on the host of this VM), modprobe kvm_intel or kvm_amd, and join the group kvm";
        return Check::poor(NAME, found, fix);
    }
    let (Some(qemu), Some(kernel)) = (places.program(QEMU), places.file("vmlinuz")) else {
        let found = "/dev/kvm opens; not tried, for want of QEMU or a kernel";
        return Check::poor(NAME, found, "get what is missing below, and ask again");
    };
    match kvm::runs_a_kernel(&qemu, &kernel).await {
        Ok(()) => Check::ok(NAME, "runs a kernel"),
        Err(why) => {
            let fix =
                "use a host whose nested virtualisation works; the broker takes TCG by itself";
            Check::poor(NAME, format!("/dev/kvm opens, but {why}; {SLOW}"), fix)
        }
    }
}

fn vsock(places: &Places) -> Check {
    const NAME: &str = "vsock";
    if OpenOptions::new().read(true).write(true).open("/dev/vhost-vsock").is_ok() {
        return Check::ok(NAME, "/dev/vhost-vsock (the kernel's)");
    }
    match places.program("vhost-device-vsock") {
        Some(path) => Check::ok(NAME, format!("{} (no /dev/vhost-vsock)", path.display())),
        None => Check::missing(
            NAME,
            "neither /dev/vhost-vsock nor vhost-device-vsock",
            "as root: modprobe vhost_vsock; or: cargo install vhost-device-vsock",
        ),
    }
}

fn cgroup_v2() -> Check {
    const NAME: &str = "cgroup v2";
    const FIX: &str = "boot with systemd.unified_cgroup_hierarchy=1";
    if let Ok(controllers) = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers") {
        return Check::ok(NAME, format!("controllers: {}", or_none(&controllers)));
    }
    if let Ok(controllers) = std::fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers") {
        let found = format!("hybrid with v1; controllers of v2: {}", or_none(&controllers));
        return Check::poor(NAME, found, FIX);
    }
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.contains("cgroup2") {
        let found = "known to the kernel, not mounted; process sandboxes mount it for themselves";
        return Check::poor(NAME, found, FIX);
    }
    Check::missing(NAME, "unknown to the kernel", "use a kernel with CONFIG_CGROUPS")
}

fn or_none(text: &str) -> &str {
    match text.trim() {
        "" => "none",
        text => text,
    }
}

/// The process driver makes them all; root needs no user namespace for it.
async fn namespaces() -> Check {
    const NAME: &str = "namespaces";
    let run = |args: &'static [&'static str]| async move {
        let mut command = Command::new("unshare");
        command
            .args(args)
            .arg("true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let status =
            tokio::time::timeout(PROGRAM_DEADLINE, command.kill_on_drop(true).status()).await;
        matches!(status, Ok(Ok(status)) if status.success())
    };
    if run(&["--user", "--map-root-user", "--pid", "--fork", "--mount", "--net", "--uts", "--ipc"])
        .await
    {
        return Check::ok(NAME, "user, pid, mount, net, uts and ipc can be made");
    }
    if run(&["--pid", "--fork", "--mount", "--net", "--uts", "--ipc"]).await {
        let fix =
            "as root: sysctl -w user.max_user_namespaces=65536 kernel.unprivileged_userns_clone=1";
        return Check::poor(NAME, "all but user namespaces can be made", fix);
    }
    Check::missing(
        NAME,
        "none can be made here",
        "run as root, or: sysctl -w user.max_user_namespaces=65536 kernel.unprivileged_userns_clone=1",
    )
}

async fn program(places: &Places, name: &'static str, file: &str, fix: &'static str) -> Check {
    let Some(path) = places.program(file) else {
        let found = format!("{file} is not in PATH");
        // Images can be brought along ready-made.
        let needed = name == "qemu";
        return if needed {
            Check::missing(name, found, fix)
        } else {
            Check::poor(name, found, fix)
        };
    };
    let version = version(&path).await.map(|v| format!(" ({v})")).unwrap_or_default();
    Check::ok(name, format!("{}{version}", path.display()))
}

/// The first line that `--version` prints.
async fn version(path: &Path) -> Option<String> {
    let mut command = Command::new(path);
    command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PROGRAM_DEADLINE, command.output()).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned).filter(|line| !line.is_empty())
}

fn own_file(places: &Places, name: &'static str, file: &str) -> Check {
    match places.file(file) {
        Some(path) => Check::ok(name, path.display().to_string()),
        None => Check::missing(
            name,
            format!("no {file} beside the program or in /usr/lib/postern"),
            BUILD,
        ),
    }
}

fn images(places: &Places) -> Check {
    const NAME: &str = "images";
    let Some(dir) = places.file("images") else {
        return Check::missing(NAME, "no directory of images", BUILD);
    };
    let mut names: Vec<String> = std::fs::read_dir(&dir)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join("index.json").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    if names.is_empty() {
        return Check::missing(NAME, format!("{} is empty", dir.display()), BUILD);
    }
    Check::ok(NAME, format!("{}: {}", dir.display(), names.join(", ")))
}
