//! `kernel`: the guest's kernel, Debian's or one built here.
//!
//! ```text
//! debian   Debian's cloud kernel: fetched, its drivers are modules     (default)
//! ours     built from kernel-config/: everything in one file           (KERNEL=ours)
//! ```
//!
//! `KERNEL` in the environment says which one `target/dist/vmlinuz` is, and the
//! initramfs beside it brings that one's modules. Both stay where they were made,
//! so that changing back costs a copy and packing the initramfs anew.

mod arch;
mod config;
mod debian;
mod ours;
mod package;
mod source;

use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::error::Error;
use crate::lock;
use crate::workspace::{Workspace, copy_if_changed, make_folder};

pub(crate) use config::Mismatch;

const USAGE: &str = "usage: xtask kernel debian | ours | config, each with [--arch NAME]";

/// A kernel that is there.
pub(crate) struct Kernel {
    arch: Arch,
    vmlinuz: PathBuf,
    modules: Option<PathBuf>,
}

impl Kernel {
    /// The one that `KERNEL` names, fetched or built if need be.
    pub(crate) fn chosen(workspace: &Workspace, arch: Arch) -> Result<Self, Error> {
        match Choice::parse(std::env::var("KERNEL").ok().as_deref())? {
            Choice::Debian => debian::get(workspace, arch),
            Choice::Ours => ours::build(workspace, arch),
        }
    }

    #[cfg(test)]
    pub(crate) fn with_modules(arch: Arch, modules: PathBuf) -> Self {
        Self { arch, vmlinuz: PathBuf::new(), modules: Some(modules) }
    }

    /// The machines that it runs on.
    pub(crate) fn arch(&self) -> Arch {
        self.arch
    }

    /// Makes it the kernel that the broker finds.
    pub(crate) fn install(&self, workspace: &Workspace) -> Result<(), Error> {
        make_folder(&workspace.dist())?;
        copy_if_changed(&self.vmlinuz, &workspace.dist().join(self.arch.file("vmlinuz"))).map(drop)
    }

    /// `lib/modules/RELEASE`; none where everything is built in.
    pub(crate) fn modules(&self) -> Option<&Path> {
        self.modules.as_deref()
    }
}

/// `xtask kernel ...`
pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<(), Error> {
    let (what, arch) = match arguments {
        [what, rest @ ..] => (*what, Arch::asked(rest)?),
        [] => return Err(Error::Usage(USAGE.to_owned())),
    };
    lock::alone(workspace, || match what {
        "debian" => debian::get(workspace, arch).map(drop),
        "ours" => ours::build(workspace, arch).map(drop),
        "config" => ours::configure_only(workspace, arch),
        _ => Err(Error::Usage(USAGE.to_owned())),
    })
}

/// What `KERNEL` can be.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Debian,
    Ours,
}

impl Choice {
    fn parse(value: Option<&str>) -> Result<Self, Error> {
        match value {
            None | Some("" | "debian") => Ok(Self::Debian),
            Some("ours") => Ok(Self::Ours),
            Some(other) => {
                Err(Error::Usage(format!("KERNEL={other}: it is one of debian (default), ours")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_nobody_knows_is_named() {
        assert_eq!(Choice::parse(None).unwrap(), Choice::Debian);
        assert_eq!(Choice::parse(Some("ours")).unwrap(), Choice::Ours);
        let error = Choice::parse(Some("our")).unwrap_err();
        assert!(error.to_string().contains("KERNEL=our:"), "{error}");
    }
}
