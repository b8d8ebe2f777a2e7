//! Debian packages that are fetched and unpacked, not installed.
//!
//! Those of another architecture are looked up in lists of our own below
//! `target/`, from the same mirrors: to apt's own lists a foreign architecture
//! would be one more for the whole machine, at every update from then on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arch::Arch;
use crate::error::Error;
use crate::run;
use crate::setup;
use crate::workspace::{Workspace, make_folder};

/// apt for the packages of one architecture.
pub(crate) struct Apt {
    /// None: the machine's own lists.
    own: Option<PathBuf>,
    arch: Arch,
}

impl Apt {
    pub(crate) fn new(workspace: &Workspace, arch: Arch) -> Self {
        let own = (!arch.is_host()).then(|| workspace.target().join(arch.file("apt")));
        Self { own, arch }
    }

    /// Fetches the package that `choose` names, into an empty folder, and unpacks
    /// it to `tree`. Lists that are missing or older than the mirror's files give
    /// one failure; refreshed lists must then do.
    pub(crate) fn unpack(
        &self,
        choose: impl Fn(&Self) -> Result<String, Error>,
        folder: &Path,
        tree: &Path,
    ) -> Result<PathBuf, Error> {
        make_folder(folder)?;
        let package = match choose(self).and_then(|name| self.download(&name, folder)) {
            Ok(package) => package,
            Err(_) => {
                self.update()?;
                self.download(&choose(self)?, folder)?
            }
        };
        run::run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(tree))?;
        Ok(package)
    }

    /// The packages that one names as what it needs.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>, Error> {
        let mut command = self.command("apt-cache");
        let listing = run::output(command.args(["depends", "--important", package]))?;
        let names = listing.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names.map(ToOwned::to_owned).collect())
    }

    fn update(&self) -> Result<(), Error> {
        let Some(own) = &self.own else { return setup::apt_update() };
        for folder in ["lists/partial", "cache/archives/partial"] {
            make_folder(&own.join(folder))?;
        }
        // Nothing is installed as far as these lists are concerned.
        let status = own.join("status");
        fs::write(&status, "").map_err(Error::io("writing", &status))?;
        run::run(self.command("apt-get").args(["update", "--quiet"]))
    }

    fn download(&self, name: &str, folder: &Path) -> Result<PathBuf, Error> {
        let mut command = self.command("apt-get");
        run::run(command.current_dir(folder).args(["--quiet", "download", name]))?;
        only_entry(folder).ok_or_else(|| Error::Format {
            what: folder.display().to_string(),
            problem: format!("apt-get download {name} left no single file"),
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut option = |name: &str, value: &str| {
            command.args(["-o", &format!("{name}={value}")]);
        };
        // Root downloads as itself: apt's own user may not write into the checkout.
        option("APT::Sandbox::User", "root");
        if let Some(own) = &self.own {
            let path = |name: &str| own.join(name).display().to_string();
            option("APT::Architecture", self.arch.debian());
            option("APT::Architectures", self.arch.debian());
            option("Dir::State", &path(""));
            option("Dir::State::status", &path("status"));
            option("Dir::Cache", &path("cache"));
            option("Acquire::Languages", "none");
        }
        command
    }
}

/// The one thing in a folder.
pub(crate) fn only_entry(folder: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?;
    let first = entries.next()?.ok()?.path();
    entries.next().is_none().then_some(first)
}
