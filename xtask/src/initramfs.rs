//! `initramfs`: the agent as `/init`, the folders that it mounts on, and the
//! modules of a distribution kernel.
//!
//! `/modules/load` names the module files, one a line, in the order to load
//! them. The bytes depend on the content alone: built twice, or with another
//! image beside it, it is the same file.
//!
//! With `--init` another program takes the agent's place, for measuring what the
//! kernel and the modules alone cost.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cpio::{Archive, Entry};
use crate::dist::build_agent;
use crate::error::Error;
use crate::kernel::Kernel;
use crate::manifest::{self, Line};
use crate::modules::{Module, Modules};
use crate::run;
use crate::stamp::{self, Recipe};
use crate::step::{bytes, step, up_to_date};
use crate::workspace::{Workspace, make_folder, write_atomically};

/// Part of the recipe: raise it when this code packs the same input differently.
const FORMAT: &[u8] = b"1";

/// More does not make a guest boot faster, it only costs memory in each of them.
const SIZE_LIMIT: u64 = 8_000_000;

pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<(), Error> {
    let kernel = Kernel::chosen(workspace)?;
    match arguments {
        [] => {
            kernel.install(workspace)?;
            pack(workspace, &build_agent(workspace)?, &kernel)
        }
        ["--init", program, "--output", image] => {
            let contents = Contents::read(workspace, Path::new(program), &kernel)?;
            step("pack the initramfs", || contents.write(workspace, Path::new(image)))
        }
        _ => Err(Error::Usage("usage: xtask initramfs [--init PROGRAM --output FILE]".to_owned())),
    }
}

/// Packs an agent that is built already into `target/dist/initramfs.img`.
pub(crate) fn pack(workspace: &Workspace, agent: &Path, kernel: &Kernel) -> Result<(), Error> {
    let contents = Contents::read(workspace, agent, kernel)?;
    let recipe = contents.recipe();
    let image = workspace.dist().join("initramfs.img");
    let stamp = workspace.target().join("stamps/initramfs");
    if stamp::is_fresh(&stamp, &recipe) && image.is_file() {
        up_to_date("initramfs", "agent, modules and manifest unchanged");
        return Ok(());
    }
    make_folder(&workspace.dist())?;
    step("pack the initramfs", || contents.write(workspace, &image))?;
    stamp::write(&stamp, &recipe)
}

/// Everything that goes in.
struct Contents {
    lines: Vec<Line>,
    init: Vec<u8>,
    modules: Vec<Module>,
}

impl Contents {
    fn read(workspace: &Workspace, init: &Path, kernel: &Kernel) -> Result<Self, Error> {
        let init = fs::read(init).map_err(Error::io("reading", init))?;
        let lines = manifest::read(&workspace.rootfs().join("manifest"))?;
        let modules = modules(kernel, &lines)?;
        Ok(Self { lines, init, modules })
    }

    fn recipe(&self) -> String {
        let mut recipe = Recipe::default();
        recipe.input("format", FORMAT);
        recipe.input("manifest", format!("{:?}", self.lines).as_bytes());
        recipe.input("init", &self.init);
        for module in &self.modules {
            recipe.input(&module.file_name, &module.content);
        }
        recipe.finish()
    }

    fn write(&self, workspace: &Workspace, image: &Path) -> Result<(), Error> {
        let archive = archive(&self.lines, &self.init, &self.modules).bytes()?;
        write(workspace, image, &archive)
    }
}

fn modules(kernel: &Kernel, lines: &[Line]) -> Result<Vec<Module>, Error> {
    let Some(folder) = kernel.modules() else {
        return Ok(Vec::new());
    };
    let names: Vec<String> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Module { name } => Some(name.clone()),
            _ => None,
        })
        .collect();
    Modules::open(folder)?.in_load_order(&names)
}

fn archive(lines: &[Line], agent: &[u8], modules: &[Module]) -> Archive {
    let mut archive = Archive::default();
    for line in lines {
        match line {
            Line::Agent { path } => {
                archive.add(path, Entry::File { mode: 0o755, content: agent.to_vec() });
            }
            Line::Directory { path, mode } => archive.add(path, Entry::Directory { mode: *mode }),
            Line::CharacterDevice { path, mode, major, minor } => {
                archive.add(
                    path,
                    Entry::CharacterDevice { mode: *mode, major: *major, minor: *minor },
                );
            }
            Line::Module { .. } => {}
        }
    }
    let load: String = modules.iter().map(|module| format!("{}\n", module.file_name)).collect();
    archive.add("/modules/load", Entry::File { mode: 0o644, content: load.into_bytes() });
    for module in modules {
        archive.add(
            &format!("/modules/{}", module.file_name),
            Entry::File { mode: 0o644, content: module.content.clone() },
        );
    }
    archive
}

fn write(workspace: &Workspace, image: &Path, archive: &[u8]) -> Result<(), Error> {
    let plain = workspace.target().join("initramfs.cpio");
    write_atomically(&plain, archive)?;
    // One thread, or the bytes would depend on the number of cores.
    let compressed = run::bytes(
        Command::new("zstd").args(["-19", "--single-thread", "--quiet", "--stdout"]).arg(&plain),
    )?;
    let size = compressed.len() as u64;
    if size > SIZE_LIMIT {
        return Err(Error::Format {
            what: image.display().to_string(),
            problem: format!("{} is over the limit of {}", bytes(size), bytes(SIZE_LIMIT)),
        });
    }
    println!(
        "    initramfs: {} ({} unpacked), sha256 {}",
        bytes(size),
        bytes(archive.len() as u64),
        stamp::sha256(&compressed)
    );
    write_atomically(image, &compressed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_listed_in_load_order() {
        let modules = ["vsock.ko", "a_transport.ko"]
            .map(|name| Module { file_name: name.to_owned(), content: b"elf".to_vec() });
        let lines = [Line::Agent { path: "/init".to_owned() }];
        let bytes = archive(&lines, b"agent", &modules).bytes().unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains("vsock.ko\na_transport.ko\n"), "{text}");
    }
}
