//! `reproduce`: whether what is shipped depends on where it was built.
//!
//! The agent is built a second time: in a copy of the checkout at another place,
//! with a build folder and a cargo home of its own. Agent and initramfs must be
//! the same bytes. What of it is cheap is a unit test; this takes a build.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arch::Arch;
use crate::dist::{build_agent, build_agent_with, cargo_home};
use crate::error::Error;
use crate::initramfs;
use crate::kernel::Kernel;
use crate::run;
use crate::stamp::sha256;
use crate::step::step;
use crate::workspace::{Workspace, make_folder};

pub(crate) fn run(workspace: &Workspace, arch: Arch) -> Result<(), Error> {
    let kernel = Kernel::chosen(workspace, arch)?;
    let here = build_agent(workspace, arch)?;
    let elsewhere = Elsewhere::make()?;
    let copy = Workspace::at(elsewhere.0.join("checkout"));
    step("copy the checkout", || copy_files(workspace, copy.root()))?;
    let home = elsewhere.0.join("cargo");
    link_entries(&cargo_home(), &home)?;
    let there = build_agent_with(&copy, arch, &home)?;
    same("the agent", [&here, &there].map(read))?;
    let packed = [&here, &there].map(|agent| initramfs::packed(workspace, agent, &kernel));
    same("the initramfs", packed)
}

/// A folder outside the checkout, so that nothing of it is found by looking
/// upward; gone when this is.
struct Elsewhere(PathBuf);

impl Elsewhere {
    fn make() -> Result<Self, Error> {
        let name = format!("postern-reproduce-{}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        make_folder(&folder.0)?;
        Ok(folder)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("    {} is left behind: {error}", self.0.display());
        }
    }
}

/// What git knows, as it stands now; no build, no secrets that lie about.
fn copy_files(workspace: &Workspace, to: &Path) -> Result<(), Error> {
    let mut git = Command::new("git");
    git.current_dir(workspace.root());
    let list =
        run::output(git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    for name in list.split_terminator('\0') {
        let (from, to) = (workspace.root().join(name), to.join(name));
        // One that is deleted and not committed yet is still listed.
        if !from.is_file() {
            continue;
        }
        make_folder(to.parent().unwrap_or(&to))?;
        fs::copy(&from, &to).map_err(Error::io("copying", &from))?;
    }
    Ok(())
}

/// Another path to the same crates: none is fetched again.
fn link_entries(from: &Path, to: &Path) -> Result<(), Error> {
    make_folder(to)?;
    for entry in fs::read_dir(from).map_err(Error::io("listing", from))? {
        let entry = entry.map_err(Error::io("listing", from))?;
        let link = to.join(entry.file_name());
        symlink(entry.path(), &link).map_err(Error::io("linking", &link))?;
    }
    Ok(())
}

fn read(file: &PathBuf) -> Result<Vec<u8>, Error> {
    fs::read(file).map_err(Error::io("reading", file))
}

fn same(what: &str, [one, other]: [Result<Vec<u8>, Error>; 2]) -> Result<(), Error> {
    let (one, other) = (one?, other?);
    let Some(differs) = difference(&one, &other) else {
        println!("    {what}: the same bytes, sha256 {}", sha256(&one));
        return Ok(());
    };
    Err(Error::NotReproducible { what: what.to_owned(), differs })
}

/// Where two of them part, in words; None if they do not.
fn difference(one: &[u8], other: &[u8]) -> Option<String> {
    if one == other {
        return None;
    }
    let sizes = format!("{} and {} bytes", one.len(), other.len());
    match one.iter().zip(other).position(|(a, b)| a != b) {
        Some(at) => Some(format!("from byte {at} on, of {sizes}")),
        None => Some(sizes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_named() {
        assert_eq!(difference(b"abc", b"abc"), None);
        assert_eq!(difference(b"abc", b"abd").unwrap(), "from byte 2 on, of 3 and 3 bytes");
        assert_eq!(difference(b"abc", b"ab").unwrap(), "3 and 2 bytes");
        let error = same("it", [Ok(b"a".to_vec()), Ok(b"b".to_vec())]).unwrap_err();
        assert!(error.to_string().contains("byte 0"), "{error}");
    }
}
