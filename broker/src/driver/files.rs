//! Where the agent, the kernel and the programs beside them lie.

use std::path::{Path, PathBuf};

use super::DriverError;
use crate::arch::GuestArch;

/// Where packages put what the broker needs.
const SYSTEM: &str = "/usr/lib/postern";

/// What makes them in a checkout.
const DIST: &str = "make dist";

/// Where programs of the system's administration lie, which are not in the PATH
/// of everybody who may run them.
const ADMIN: [&str; 2] = ["/usr/sbin", "/sbin"];

/// What the operator said; the rest is looked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) agent: Option<PathBuf>,
    pub(crate) kernel: Option<PathBuf>,
    pub(crate) initramfs: Option<PathBuf>,
}

/// Finds what drivers need, when they need it: a broker that only makes
/// process sandboxes needs no kernel.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    wanted: Wanted,
    arch: GuestArch,
    dirs: Vec<PathBuf>,
}

impl Files {
    pub(crate) fn new(wanted: Wanted, arch: GuestArch) -> Self {
        let exe = std::env::current_exe().ok();
        let dirs = exe.as_deref().and_then(Path::parent).map(places).unwrap_or_default();
        Self { wanted, arch, dirs }
    }

    /// What the kernel and the initramfs are for.
    pub(crate) fn arch(&self) -> GuestArch {
        self.arch
    }

    pub(crate) fn agent(&self) -> Result<PathBuf, DriverError> {
        self.find(self.wanted.agent.as_ref(), "postern-agent", DIST)
    }

    pub(crate) fn kernel(&self) -> Result<PathBuf, DriverError> {
        self.find(self.wanted.kernel.as_ref(), &self.arch.file("vmlinuz"), self.dist())
    }

    pub(crate) fn initramfs(&self) -> Result<PathBuf, DriverError> {
        let name = self.arch.file("initramfs.img");
        self.find(self.wanted.initramfs.as_ref(), &name, self.dist())
    }

    pub(crate) fn images(&self) -> Option<PathBuf> {
        let name = self.arch.file("images");
        self.dirs.iter().map(|dir| dir.join(&name)).find(|dir| dir.is_dir())
    }

    pub(crate) fn qemu(&self) -> Result<PathBuf, DriverError> {
        let get = match self.arch {
            GuestArch::X86_64 => "apt-get install qemu-system-x86 (as root, on Debian)",
            GuestArch::Aarch64 => "apt-get install qemu-system-arm (as root, on Debian)",
        };
        self.program(&format!("qemu-system-{}", self.arch), get)
    }

    /// What makes the guest's files.
    fn dist(&self) -> &'static str {
        match self.arch {
            arch if arch.is_host() => DIST,
            GuestArch::Aarch64 => "make dist ARCH=aarch64",
            GuestArch::X86_64 => "make dist, on such a machine",
        }
    }

    pub(crate) fn mkfs_ext4(&self) -> Result<PathBuf, DriverError> {
        self.program("mkfs.ext4", "apt-get install e2fsprogs (as root, on Debian)")
    }

    pub(crate) fn vhost_device_vsock(&self) -> Result<PathBuf, DriverError> {
        self.program("vhost-device-vsock", "make setup, or cargo install vhost-device-vsock")
    }

    fn find(
        &self,
        wanted: Option<&PathBuf>,
        name: &str,
        get: &'static str,
    ) -> Result<PathBuf, DriverError> {
        let found = match wanted {
            Some(path) => Some(path.clone()).filter(|path| path.is_file()),
            None => self.dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file()),
        };
        found.ok_or_else(|| {
            let shown = wanted.map_or_else(|| name.to_owned(), |path| path.display().to_string());
            DriverError::Missing { what: format!("{shown} (looked in {})", self.shown()), get }
        })
    }

    /// A program of ours, or of the system's.
    fn program(&self, name: &str, get: &'static str) -> Result<PathBuf, DriverError> {
        let tools = self.dirs.iter().map(|dir| dir.join("../tools/bin"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let everywhere = self.dirs.iter().cloned().chain(tools).chain(std::env::split_paths(&path));
        everywhere
            .chain(ADMIN.map(PathBuf::from))
            .map(|dir| dir.join(name))
            .find(|path| path.is_file())
            .ok_or_else(|| DriverError::Missing { what: format!("the program {name}"), get })
    }

    fn shown(&self) -> String {
        let dirs: Vec<_> = self.dirs.iter().map(|dir| dir.display().to_string()).collect();
        dirs.join(", ")
    }
}

/// Beside the executable, as `make dist` lays things out and as a package does;
/// then from a build's own directory (target/debug, and target/debug/deps for
/// tests) to what `make dist` made.
fn places(beside: &Path) -> Vec<PathBuf> {
    let mut dirs = vec![beside.to_owned()];
    if beside.ends_with("deps") {
        dirs.extend(beside.parent().map(Path::to_owned));
    }
    let dists: Vec<PathBuf> =
        beside.ancestors().skip(1).take(3).map(|above| above.join("dist")).collect();
    dirs.extend(dists.into_iter().filter(|dir| dir.is_dir()));
    dirs.push(SYSTEM.into());
    dirs
}
