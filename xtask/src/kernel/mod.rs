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

use crate::error::Error;
use crate::lock;
use crate::workspace::{Workspace, copy_if_changed, make_folder};

use arch::Arch;
pub(crate) use config::Mismatch;

const USAGE: &str = "usage: xtask kernel debian | ours [ARCH] | config [ARCH]";

/// A kernel that is there.
pub(crate) struct Kernel {
    vmlinuz: PathBuf,
    modules: Option<PathBuf>,
}

impl Kernel {
    /// The one that `KERNEL` names, fetched or built if need be.
    pub(crate) fn chosen(workspace: &Workspace) -> Result<Self, Error> {
        match Choice::parse(std::env::var("KERNEL").ok().as_deref())? {
            Choice::Debian => debian::get(workspace),
            // Of the architecture that the agent is built for.
            Choice::Ours => ours::build(workspace, Arch::X86_64),
        }
    }

    /// Makes it the kernel that the broker finds.
    pub(crate) fn install(&self, workspace: &Workspace) -> Result<(), Error> {
        make_folder(&workspace.dist())?;
        copy_if_changed(&self.vmlinuz, &workspace.dist().join("vmlinuz")).map(drop)
    }

    /// `lib/modules/RELEASE`; none where everything is built in.
    pub(crate) fn modules(&self) -> Option<&Path> {
        self.modules.as_deref()
    }
}

/// `xtask kernel ...`
pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<(), Error> {
    let arch = |name: Option<&&str>| name.map_or(Ok(Arch::X86_64), |name| Arch::parse(name));
    match arguments {
        ["debian"] => lock::alone(workspace, || debian::get(workspace).map(drop)),
        ["ours", rest @ ..] if rest.len() < 2 => {
            let arch = arch(rest.first())?;
            lock::alone(workspace, || ours::build(workspace, arch).map(drop))
        }
        ["config", rest @ ..] if rest.len() < 2 => {
            let arch = arch(rest.first())?;
            lock::alone(workspace, || ours::configure_only(workspace, arch))
        }
        _ => Err(Error::Usage(USAGE.to_owned())),
    }
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
