//! The kernel's source: Debian's `linux-source`, with Debian's security fixes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{Apt, only_entry};
use crate::arch::Arch;
use crate::error::Error;
use crate::run;
use crate::stamp;
use crate::step::step;
use crate::workspace::{Workspace, make_folder};

use super::package::Pin;

/// 440 MB of 1.5 GB, and nothing that a guest's kernel is made of.
const LEFT_OUT: [&str; 2] = ["*/drivers/gpu/drm/amd/include/asic_reg", "*/Documentation/[a-z]*"];

/// A source that is there.
pub(super) struct Source {
    /// As Debian counts: `6.1.192-2`.
    pub(super) version: String,
    pub(super) tree: PathBuf,
}

/// The source, fetched unless it is there. Once fetched it stays, until
/// `source.pin` changes or the folder is removed: no build changes under
/// one's feet.
pub(super) fn get(workspace: &Workspace) -> Result<Source, Error> {
    let pin = Pin::read(workspace, "source.pin")?;
    let folder = workspace.kernel_build();
    let (tree, stamp) = (folder.join("source"), folder.join("stamp"));
    if let Some(version) = fresh(&stamp, &pin)
        && tree.is_dir()
    {
        return Ok(Source { version, tree });
    }
    let version = step("fetch the kernel's source (140 MB)", || fetch(workspace, &pin, &tree))?;
    stamp::write(&stamp, &format!("{}\n{version}", pin.text))?;
    Ok(Source { version, tree })
}

/// The version, when it is of this pin: the stamp is the pin's text with the
/// version below it.
fn fresh(stamp: &Path, pin: &Pin) -> Option<String> {
    let text = fs::read_to_string(stamp).ok()?;
    let version = text.strip_prefix(&pin.text)?.strip_prefix('\n')?.trim();
    (!version.is_empty()).then(|| version.to_owned())
}

fn fetch(workspace: &Workspace, pin: &Pin, tree: &Path) -> Result<String, Error> {
    let folder = workspace.kernel_build();
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(Error::io("removing", &folder))?;
    }
    let (download, unpacked) = (folder.join("download"), folder.join("unpacked"));
    // The same source for every architecture.
    let apt = Apt::new(workspace, Arch::host());
    let package = apt.unpack(|_| Ok(pin.package.clone()), &download, &unpacked)?;
    let version = run::output(Command::new("dpkg-deb").arg("-f").arg(&package).arg("Version"))?;
    let version = version.trim().to_owned();
    if !version.starts_with(&format!("{}.", pin.series)) {
        println!(
            "    note: {version} is not of the series {} that this was tried with",
            pin.series
        );
    }
    let archives = unpacked.join("usr/src");
    let archive = only_entry(&archives).ok_or_else(|| Error::Format {
        what: package.display().to_string(),
        problem: "not one file in usr/src".to_owned(),
    })?;
    make_folder(tree)?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--no-same-owner", "--strip-components=1"]);
    tar.args(LEFT_OUT.map(|pattern| format!("--exclude={pattern}")));
    run::run(tar.arg("--directory").arg(tree).arg("--file").arg(&archive))?;
    for done in [&download, &unpacked] {
        fs::remove_dir_all(done).map_err(Error::io("removing", done))?;
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(text: &str) -> Pin {
        let (package, series) = (String::new(), String::new());
        Pin { package, series, text: text.to_owned() }
    }

    #[test]
    fn a_source_of_another_pin_or_without_a_version_is_fetched_again() {
        let folder = tempfile::tempdir().unwrap();
        let stamp = folder.path().join("stamp");
        assert_eq!(fresh(&stamp, &pin("package a")), None);
        stamp::write(&stamp, "package a\n6.1.192-2").unwrap();
        assert_eq!(fresh(&stamp, &pin("package a")), Some("6.1.192-2".to_owned()));
        assert_eq!(fresh(&stamp, &pin("package b")), None);
        assert_eq!(fresh(&stamp, &pin("pack")), None);
        stamp::write(&stamp, "package a\n").unwrap();
        assert_eq!(fresh(&stamp, &pin("package a")), None);
    }
}
