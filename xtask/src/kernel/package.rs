//! A Debian package, downloaded with the machine's own apt and not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;
use crate::run;
use crate::setup;
use crate::workspace::{Workspace, make_folder};

/// What a `.pin` file says: `package NAME` and `series X.Y`.
pub(super) struct Pin {
    pub(super) package: String,
    pub(super) series: String,
    pub(super) text: String,
}

impl Pin {
    /// `name` is a file in `kernel-config`.
    pub(super) fn read(workspace: &Workspace, name: &str) -> Result<Self, Error> {
        let file = workspace.kernel_config().join(name);
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

/// Downloads what `resolve` names into an empty folder and gives the file. Lists
/// that are missing or older than the mirror's files give one failure; refreshed
/// lists must then do.
pub(super) fn download(
    folder: &Path,
    resolve: impl Fn() -> Result<String, Error>,
) -> Result<PathBuf, Error> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(Error::io("removing", folder))?;
    }
    make_folder(folder)?;
    match resolve().and_then(|name| fetch(&name, folder)) {
        Ok(package) => Ok(package),
        Err(_) => {
            setup::apt_update()?;
            fetch(&resolve()?, folder)
        }
    }
}

fn fetch(name: &str, folder: &Path) -> Result<PathBuf, Error> {
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

/// Unpacks what the package would install into a folder.
pub(super) fn unpack(package: &Path, folder: &Path) -> Result<(), Error> {
    run::run(Command::new("dpkg-deb").arg("-x").arg(package).arg(folder))
}

/// The one thing in a folder.
pub(super) fn only_entry(folder: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?;
    let first = entries.next()?.ok()?.path();
    entries.next().is_none().then_some(first)
}
