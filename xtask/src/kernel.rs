//! `kernel`: Debian's cloud kernel, without installing it.
//!
//! The package is downloaded and unpacked below `target/kernel`; `vmlinuz` goes
//! to `target/dist`, the modules stay for the initramfs. Which package is said
//! in `kernel-config/debian.pin`, for aarch64 in `debian-aarch64.pin`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::apt::{Apt, only_entry};
use crate::arch::Arch;
use crate::error::Error;
use crate::stamp;
use crate::step::{step, up_to_date};
use crate::workspace::{Workspace, copy_if_changed, make_folder};

pub(crate) fn run(workspace: &Workspace, arch: Arch) -> Result<(), Error> {
    let pin = Pin::read(workspace, arch)?;
    let stamp = workspace.kernel(arch).join("stamp");
    let vmlinuz = workspace.dist().join(arch.file("vmlinuz"));
    if stamp::is_fresh(&stamp, &pin.text) && vmlinuz.is_file() {
        up_to_date("kernel", &release(workspace, arch)?);
        return Ok(());
    }
    step("fetch Debian's cloud kernel", || fetch(workspace, arch, &pin, &vmlinuz))?;
    println!("    kernel: {}", release(workspace, arch)?);
    stamp::write(&stamp, &pin.text)
}

/// Folder of the modules of the kernel in `target/dist/vmlinuz`.
pub(crate) fn module_folder(workspace: &Workspace, arch: Arch) -> Result<PathBuf, Error> {
    let all = workspace.kernel(arch).join("tree/lib/modules");
    only_entry(&all).ok_or_else(|| Error::Missing {
        what: format!("the kernel's modules ({})", all.display()),
        get: "make kernel".to_owned(),
    })
}

fn release(workspace: &Workspace, arch: Arch) -> Result<String, Error> {
    let folder = module_folder(workspace, arch)?;
    Ok(folder.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

/// What `kernel-config/debian.pin`, or `debian-aarch64.pin`, says: `package NAME` and `series X.Y`.
struct Pin {
    package: String,
    series: String,
    text: String,
}

impl Pin {
    fn read(workspace: &Workspace, arch: Arch) -> Result<Self, Error> {
        let name = match arch {
            Arch::X86_64 => "debian.pin",
            Arch::Aarch64 => "debian-aarch64.pin",
        };
        let file = workspace.root().join("kernel-config").join(name);
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

fn fetch(workspace: &Workspace, arch: Arch, pin: &Pin, vmlinuz: &Path) -> Result<(), Error> {
    let folder = workspace.kernel(arch);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(Error::io("removing", &folder))?;
    }
    let tree = folder.join("tree");
    let apt = Apt::new(workspace, arch);
    let package = apt.unpack(|apt| resolve(apt, pin), &folder.join("download"), &tree)?;
    make_folder(&workspace.dist())?;
    let kernel =
        file_starting_with(&tree.join("boot"), "vmlinuz-").ok_or_else(|| Error::Format {
            what: package.display().to_string(),
            problem: "no boot/vmlinuz-* in it".to_owned(),
        })?;
    copy_if_changed(&kernel, vmlinuz)?;
    Ok(())
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

fn file_starting_with(folder: &Path, prefix: &str) -> Option<PathBuf> {
    fs::read_dir(folder)
        .ok()?
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
}
