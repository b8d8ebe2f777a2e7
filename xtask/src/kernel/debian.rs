//! Debian's cloud kernel, without installing it.
//!
//! The package named in `kernel-config/debian.pin`, or `debian-aarch64.pin`, is downloaded and unpacked
//! below `target/kernel`; the modules stay there for the initramfs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::apt::{Apt, only_entry};
use crate::arch::Arch;
use crate::error::Error;
use crate::stamp;
use crate::step::{step, up_to_date};
use crate::workspace::Workspace;

use super::Kernel;
use super::package::Pin;

/// The kernel, fetched unless it is there.
pub(super) fn get(workspace: &Workspace, arch: Arch) -> Result<Kernel, Error> {
    let pin = Pin::read(workspace, &arch.file("debian.pin"))?;
    let stamp = workspace.kernel(arch).join("stamp");
    if stamp::is_fresh(&stamp, &pin.text) {
        let kernel = find(workspace, arch)?;
        up_to_date("kernel", &release(&kernel));
        return Ok(kernel);
    }
    let kernel = step("fetch Debian's cloud kernel", || fetch(workspace, arch, &pin))?;
    println!("    kernel: {}", release(&kernel));
    stamp::write(&stamp, &pin.text)?;
    Ok(kernel)
}

fn fetch(workspace: &Workspace, arch: Arch, pin: &Pin) -> Result<Kernel, Error> {
    let folder = workspace.kernel(arch);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(Error::io("removing", &folder))?;
    }
    let (download, tree) = (folder.join("download"), folder.join("tree"));
    Apt::new(workspace, arch).unpack(|apt| resolve(apt, pin), &download, &tree)?;
    find(workspace, arch)
}

/// What the package has brought.
fn find(workspace: &Workspace, arch: Arch) -> Result<Kernel, Error> {
    let tree = workspace.kernel(arch).join("tree");
    let all = tree.join("lib/modules");
    let missing = |what: &str, at: &Path| Error::Missing {
        what: format!("the kernel's {what} ({})", at.display()),
        get: format!("rm -r {} and xtask kernel debian", workspace.kernel(arch).display()),
    };
    let modules = only_entry(&all).ok_or_else(|| missing("modules", &all))?;
    let boot = tree.join("boot");
    let vmlinuz = starting_with(&boot, "vmlinuz-").ok_or_else(|| missing("vmlinuz", &boot))?;
    Ok(Kernel { arch, vmlinuz, modules: Some(modules) })
}

fn release(kernel: &Kernel) -> String {
    let name = kernel.modules().and_then(Path::file_name).unwrap_or_default();
    format!("Debian's {}", name.to_string_lossy())
}

/// The concrete package behind the one whose name has no version.
fn resolve(apt: &Apt, pin: &Pin) -> Result<String, Error> {
    let needed = apt.depends(&pin.package)?;
    let name =
        needed.into_iter().find(|name| name.starts_with("linux-image-")).ok_or_else(|| {
            Error::Missing {
                what: format!("the package {} in apt's lists", pin.package),
                get: "apt-get update (as root, on Debian)".to_owned(),
            }
        })?;
    if !name.starts_with(&format!("linux-image-{}.", pin.series)) {
        println!("    note: {name} is not of the series {} that this was tried with", pin.series);
    }
    Ok(name)
}

fn starting_with(folder: &Path, prefix: &str) -> Option<PathBuf> {
    fs::read_dir(folder)
        .ok()?
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
}
