//! `kernel`: Debian's cloud kernel, without installing it.
//!
//! The package is downloaded and unpacked below `target/kernel`; `vmlinuz` goes
//! to `target/dist`, the modules stay for the initramfs. Which package is said
//! in `kernel-config/debian.pin`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;
use crate::run;
use crate::setup;
use crate::stamp;
use crate::step::{step, up_to_date};
use crate::workspace::{Workspace, copy_if_changed, make_folder};

pub(crate) fn run(workspace: &Workspace) -> Result<(), Error> {
    let pin = Pin::read(workspace)?;
    let stamp = workspace.kernel().join("stamp");
    if stamp::is_fresh(&stamp, &pin.text) && workspace.dist().join("vmlinuz").is_file() {
        up_to_date("kernel", &release(workspace)?);
        return Ok(());
    }
    step("fetch Debian's cloud kernel", || fetch(workspace, &pin))?;
    println!("    kernel: {}", release(workspace)?);
    stamp::write(&stamp, &pin.text)
}

/// Folder of the modules of the kernel in `target/dist/vmlinuz`.
pub(crate) fn module_folder(workspace: &Workspace) -> Result<PathBuf, Error> {
    let all = workspace.kernel().join("tree/lib/modules");
    only_entry(&all).ok_or_else(|| Error::Missing {
        what: format!("the kernel's modules ({})", all.display()),
        get: "make kernel".to_owned(),
    })
}

fn release(workspace: &Workspace) -> Result<String, Error> {
    let folder = module_folder(workspace)?;
    Ok(folder.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

/// What `kernel-config/debian.pin` says: `package NAME` and `series X.Y`.
struct Pin {
    package: String,
    series: String,
    text: String,
}

impl Pin {
    fn read(workspace: &Workspace) -> Result<Self, Error> {
        let file = workspace.root().join("kernel-config/debian.pin");
        let text = fs::read_to_string(&file).map_err(Error::io("reading", &file))?;
        let field = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(' '))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.trim().to_owned())
                .ok_or_else(|| Error::Format {
                    what: file.display().to_string(),
                    problem: format!("no line `{name} ...`"),
                })
        };
        Ok(Self {
            package: field("package")?,
            series: field("series")?,
            text: text.trim().to_owned(),
        })
    }
}

fn fetch(workspace: &Workspace, pin: &Pin) -> Result<(), Error> {
    let folder = workspace.kernel();
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(Error::io("removing", &folder))?;
    }
    let download = folder.join("download");
    make_folder(&download)?;
    // Lists that are missing or older than the mirror's files give one failure;
    // refreshed lists must then do.
    let package = match resolve(pin).and_then(|name| download_package(&name, &download)) {
        Ok(package) => package,
        Err(_) => {
            setup::apt_update()?;
            download_package(&resolve(pin)?, &download)?
        }
    };
    let tree = folder.join("tree");
    run::run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&tree))?;
    make_folder(&workspace.dist())?;
    let vmlinuz =
        file_starting_with(&tree.join("boot"), "vmlinuz-").ok_or_else(|| Error::Format {
            what: package.display().to_string(),
            problem: "no boot/vmlinuz-* in it".to_owned(),
        })?;
    copy_if_changed(&vmlinuz, &workspace.dist().join("vmlinuz"))?;
    Ok(())
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

fn download_package(name: &str, folder: &Path) -> Result<PathBuf, Error> {
    // Root downloads as itself: apt's own user may not write into the checkout.
    run::run(Command::new("apt-get").current_dir(folder).args([
        "--quiet",
        "-o",
        "APT::Sandbox::User=root",
        "download",
        name,
    ]))?;
    only_entry(folder).ok_or_else(|| Error::Format {
        what: folder.display().to_string(),
        problem: format!("apt-get download {name} left no single file"),
    })
}

fn only_entry(folder: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?;
    let first = entries.next()?.ok()?.path();
    entries.next().is_none().then_some(first)
}

fn file_starting_with(folder: &Path, prefix: &str) -> Option<PathBuf> {
    fs::read_dir(folder)
        .ok()?
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
}
