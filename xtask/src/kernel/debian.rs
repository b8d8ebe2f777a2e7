//! Debian's cloud kernel, without installing it.
//!
//! The package named in `kernel-config/debian.pin` is downloaded and unpacked
//! below `target/kernel`; the modules stay there for the initramfs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;
use crate::run;
use crate::stamp;
use crate::step::{step, up_to_date};
use crate::workspace::Workspace;

use super::Kernel;
use super::package::{self, Pin, only_entry};

/// The kernel, fetched unless it is there.
pub(super) fn get(workspace: &Workspace) -> Result<Kernel, Error> {
    let pin = Pin::read(workspace, "debian.pin")?;
    let stamp = workspace.kernel().join("stamp");
    if stamp::is_fresh(&stamp, &pin.text) {
        let kernel = find(workspace)?;
        up_to_date("kernel", &release(&kernel));
        return Ok(kernel);
    }
    let kernel = step("fetch Debian's cloud kernel", || fetch(workspace, &pin))?;
    println!("    kernel: {}", release(&kernel));
    stamp::write(&stamp, &pin.text)?;
    Ok(kernel)
}

fn fetch(workspace: &Workspace, pin: &Pin) -> Result<Kernel, Error> {
    let folder = workspace.kernel();
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(Error::io("removing", &folder))?;
    }
    let package = package::download(&folder.join("download"), || resolve(pin))?;
    package::unpack(&package, &folder.join("tree"))?;
    find(workspace)
}

/// What the package has brought.
fn find(workspace: &Workspace) -> Result<Kernel, Error> {
    let tree = workspace.kernel().join("tree");
    let all = tree.join("lib/modules");
    let missing = |what: &str, at: &Path| Error::Missing {
        what: format!("the kernel's {what} ({})", at.display()),
        get: format!("rm -r {} and xtask kernel debian", workspace.kernel().display()),
    };
    let modules = only_entry(&all).ok_or_else(|| missing("modules", &all))?;
    let boot = tree.join("boot");
    let vmlinuz = starting_with(&boot, "vmlinuz-").ok_or_else(|| missing("vmlinuz", &boot))?;
    Ok(Kernel { vmlinuz, modules: Some(modules) })
}

fn release(kernel: &Kernel) -> String {
    let name = kernel.modules().and_then(Path::file_name).unwrap_or_default();
    format!("Debian's {}", name.to_string_lossy())
}

/// The concrete package behind the one whose name has no version.
fn resolve(pin: &Pin) -> Result<String, Error> {
    let listing =
        run::output(Command::new("apt-cache").args(["depends", "--important", &pin.package]))?;
    let name = listing
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .ok_or_else(|| Error::Missing {
            what: format!("the package {} in apt's lists", pin.package),
            get: "apt-get update (as root, on Debian)".to_owned(),
        })?;
    if !name.starts_with(&format!("linux-image-{}.", pin.series)) {
        println!("    note: {name} is not of the series {} that this was tried with", pin.series);
    }
    Ok(name.to_owned())
}

fn starting_with(folder: &Path, prefix: &str) -> Option<PathBuf> {
    fs::read_dir(folder)
        .ok()?
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
}
