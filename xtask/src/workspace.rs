//! Where things lie in the checkout.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::error::Error;
use crate::step::step;

#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Looks upward from the current directory: the binary may have been built
    /// in a checkout that has moved since.
    pub(crate) fn find() -> Result<Self, Error> {
        let here =
            std::env::current_dir().map_err(Error::io("finding the current directory of", "."))?;
        here.ancestors()
            .find(|folder| folder.join("xtask/Cargo.toml").is_file())
            .map(|root| Self { root: root.to_path_buf() })
            .ok_or_else(|| {
                Error::Usage(format!("{} is not inside a checkout of postern", here.display()))
            })
    }

    /// A checkout that is known to be one.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// Everything that is shipped, and what the demo, tests and benchmarks use.
    pub(crate) fn dist(&self) -> PathBuf {
        self.target().join("dist")
    }

    /// Programs built from the package registry, so that nothing outside the
    /// checkout is relied on.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target().join("tools")
    }

    /// Debian's kernel: the package, and what was in it.
    pub(crate) fn kernel(&self, arch: Arch) -> PathBuf {
        self.target().join(arch.file("kernel"))
    }

    /// Source and objects of our own.
    pub(crate) fn kernel_build(&self) -> PathBuf {
        self.target().join("kernel-build")
    }

    pub(crate) fn kernel_config(&self) -> PathBuf {
        self.root.join("kernel-config")
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.root.join("rootfs")
    }

    /// PATH with our own tools first, for programs that start VMs.
    pub(crate) fn path_with_tools(&self) -> OsString {
        let mut path = self.tools().join("bin").into_os_string();
        if let Some(old) = std::env::var_os("PATH") {
            path.push(":");
            path.push(old);
        }
        path
    }

    pub(crate) fn clean(&self) -> Result<(), Error> {
        let target = self.target();
        if !target.exists() {
            return Ok(());
        }
        step("remove target/", || {
            fs::remove_dir_all(&target).map_err(Error::io("removing", &target))
        })
    }
}

/// Makes a folder and its parents.
pub(crate) fn make_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::io("making the folder", path))
}

/// Puts a whole file in place at once: a reader sees the old or the new one.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), Error> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    fs::write(&partial, content).map_err(Error::io("writing", &partial))?;
    fs::rename(&partial, path).map_err(Error::io("replacing", path))
}

/// Copies unless the bytes are the same already, so that what depends on the
/// copy's time is left alone. Replaced, not overwritten: the old program may run.
pub(crate) fn copy_if_changed(from: &Path, to: &Path) -> Result<bool, Error> {
    let new = fs::read(from).map_err(Error::io("reading", from))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(false);
    }
    write_atomically(to, &new)?;
    let permissions = fs::metadata(from).map_err(Error::io("looking at", from))?.permissions();
    fs::set_permissions(to, permissions).map_err(Error::io("setting the mode of", to))?;
    Ok(true)
}
