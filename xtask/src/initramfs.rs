//! `initramfs`: the agent as `/init`, the folders that it mounts on, and the
//! modules of a distribution kernel.
//!
//! The manifest says what goes in, and nothing else does. The bytes depend on
//! the content alone: packed twice, or with another image beside it, it is the
//! same file.
//!
//! With `--init` another program takes the agent's place, for measuring what the
//! kernel and the modules alone cost.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::arch::Arch;
use crate::budget::Sizes;
use crate::cpio::{Archive, Entry};
use crate::dist::build_agent;
use crate::error::Error;
use crate::kernel::Kernel;
use crate::manifest::{self, Line};
use crate::modules::{Module, Modules};
use crate::run;
use crate::stamp::{self, Recipe};
use crate::step::{step, up_to_date};
use crate::workspace::{Workspace, make_folder, write_atomically};

/// Part of the recipe: raise it when this code packs the same input differently.
const FORMAT: &[u8] = b"2";

pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<(), Error> {
    if let ["--init", program, "--output", image] = arguments {
        let kernel = Kernel::chosen(workspace, Arch::host())?;
        let contents = Contents::read(workspace, Path::new(program), &kernel)?;
        return step("pack the initramfs", || contents.write(workspace, Path::new(image)));
    }
    let arch = Arch::asked(arguments)?;
    let kernel = Kernel::chosen(workspace, arch)?;
    kernel.install(workspace)?;
    pack(workspace, &build_agent(workspace, arch)?, &kernel)
}

/// Packs an agent that is built already into `target/dist/initramfs.img`.
pub(crate) fn pack(workspace: &Workspace, agent: &Path, kernel: &Kernel) -> Result<(), Error> {
    let contents = Contents::read(workspace, agent, kernel)?;
    let arch = kernel.arch();
    let recipe = contents.recipe();
    let image = workspace.dist().join(arch.file("initramfs.img"));
    let stamp = workspace.target().join("stamps").join(arch.file("initramfs"));
    if stamp::is_fresh(&stamp, &recipe) && image.is_file() {
        up_to_date("initramfs", "agent, modules and manifest unchanged");
        return Ok(());
    }
    make_folder(&workspace.dist())?;
    step("pack the initramfs", || contents.write(workspace, &image))?;
    stamp::write(&stamp, &recipe)
}

/// The bytes that [`pack`] would write, for comparing.
pub(crate) fn packed(
    workspace: &Workspace,
    agent: &Path,
    kernel: &Kernel,
) -> Result<Vec<u8>, Error> {
    let contents = Contents::read(workspace, agent, kernel)?;
    compress(workspace, &archive(&contents.lines, &contents.init, &contents.modules)?.bytes()?)
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
        let plain = archive(&self.lines, &self.init, &self.modules)?.bytes()?;
        let compressed = compress(workspace, &plain)?;
        let bare = compress(workspace, &archive(&self.lines, &self.init, &[])?.bytes()?)?;
        let sizes = Sizes {
            whole: compressed.len() as u64,
            without_modules: bare.len() as u64,
            init: self.init.len() as u64,
            modules: self.modules.iter().map(|module| module.content.len() as u64).sum(),
            module_count: self.modules.len(),
        };
        sizes.check(&image.display().to_string())?;
        println!("    initramfs: {sizes}, sha256 {}", stamp::sha256(&compressed));
        write_atomically(image, &compressed)
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

fn archive(lines: &[Line], agent: &[u8], modules: &[Module]) -> Result<Archive, Error> {
    let mut archive = Archive::default();
    let file = |mode, content: &[u8]| Entry::File { mode, content: content.to_vec() };
    for line in lines {
        match line {
            Line::Agent { path } => archive.add(path, file(0o755, agent))?,
            Line::Directory { path, mode } => {
                archive.add(path, Entry::Directory { mode: *mode })?;
            }
            Line::CharacterDevice { path, mode, major, minor } => {
                let (mode, major, minor) = (*mode, *major, *minor);
                archive.add(path, Entry::CharacterDevice { mode, major, minor })?;
            }
            Line::Load { path } => {
                let names: String = modules.iter().map(|m| format!("{}\n", m.file_name)).collect();
                archive.add(path, file(0o644, names.as_bytes()))?;
            }
            Line::Module { .. } => {}
        }
    }
    if modules.is_empty() {
        return Ok(archive);
    }
    let load = lines.iter().find_map(|line| match line {
        Line::Load { path } => path.rsplit_once('/'),
        _ => None,
    });
    let (folder, _) = load.ok_or_else(|| Error::Format {
        what: "rootfs/manifest".to_owned(),
        problem: "modules, and no `load` line that says where they go".to_owned(),
    })?;
    for module in modules {
        let path = format!("{folder}/{}", module.file_name);
        archive.add(&path, file(0o644, &module.content))?;
    }
    Ok(archive)
}

/// One thread, or the bytes would depend on the number of cores.
fn compress(workspace: &Workspace, archive: &[u8]) -> Result<Vec<u8>, Error> {
    make_folder(&workspace.target())?;
    let plain = workspace.target().join("initramfs.cpio");
    write_atomically(&plain, archive)?;
    let mut zstd = Command::new("zstd");
    zstd.args(["-19", "--single-thread", "--quiet", "--stdout"]).arg(&plain);
    run::bytes(&mut zstd)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;
    use std::time::{Duration, SystemTime};

    use super::*;

    const BUILTIN: &str = "kernel/drivers/virtio/virtio_pci.ko\nkernel/virtio_rng.ko\n\
         kernel/drivers/block/virtio_blk.ko\nkernel/drivers/net/virtio_net.ko\nkernel/fs/ext4/ext4.ko\n";

    /// A checkout with the real manifest and a kernel of four modules, whose files
    /// are made in the order of `names` and are `age` old.
    fn checkout(names: &[&str], age: Duration) -> (tempfile::TempDir, Workspace) {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(dir.path().to_owned());
        make_folder(&workspace.rootfs()).unwrap();
        fs::copy(real_manifest(), workspace.rootfs().join("manifest")).unwrap();
        let folder = module_folder(&workspace);
        make_folder(&folder.join("kernel")).unwrap();
        fs::write(folder.join("modules.builtin"), BUILTIN).unwrap();
        for name in names {
            let depends = if name.starts_with("vmw") { "vsock" } else { "" };
            let path = folder.join("kernel").join(format!("{name}.ko"));
            fs::write(&path, format!("\x7fELF {name}\0depends={depends}\0")).unwrap();
            let file = fs::File::options().append(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        fs::write(dir.path().join("agent"), b"\x7fELF the agent").unwrap();
        (dir, workspace)
    }

    fn module_folder(workspace: &Workspace) -> PathBuf {
        workspace.kernel(Arch::host()).join("tree/lib/modules/6.1.0")
    }

    fn kernel(workspace: &Workspace) -> Kernel {
        Kernel::with_modules(Arch::host(), module_folder(workspace))
    }

    fn real_manifest() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../rootfs/manifest")
    }

    const FILES: [&str; 3] = ["vsock", "vmw_vsock_virtio_transport", "overlay"];

    #[test]
    fn packed_twice_it_is_the_same_bytes() {
        let mut backwards = FILES;
        backwards.reverse();
        let places = [
            checkout(&FILES, Duration::ZERO),
            checkout(&backwards, Duration::from_secs(1_000_000)),
        ];
        let [one, other] = places.each_ref().map(|(dir, workspace)| {
            packed(workspace, &dir.path().join("agent"), &kernel(workspace)).unwrap()
        });
        assert!(!one.is_empty());
        assert!(one == other, "{} and {} bytes", one.len(), other.len());
        // As it is written, too.
        let (dir, workspace) = &places[0];
        pack(workspace, &dir.path().join("agent"), &kernel(workspace)).unwrap();
        assert!(fs::read(workspace.dist().join("initramfs.img")).unwrap() == one);
    }

    #[test]
    fn all_that_is_packed_is_in_the_manifest() {
        let (_dir, workspace) = checkout(&FILES, Duration::ZERO);
        let lines = manifest::read(&real_manifest()).unwrap();
        let modules = modules(&kernel(&workspace), &lines).unwrap();
        let packed = archive(&lines, b"agent", &modules).unwrap();
        let mut explained: BTreeSet<String> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Agent { path }
                | Line::Directory { path, .. }
                | Line::CharacterDevice { path, .. }
                | Line::Load { path } => Some(path.clone()),
                Line::Module { .. } => None,
            })
            .collect();
        explained.extend(FILES.map(|name| format!("/modules/{name}.ko")));
        let names: BTreeSet<String> = packed.names().map(|name| format!("/{name}")).collect();
        assert_eq!(names, explained);
        packed.bytes().unwrap();
    }

    #[test]
    fn a_folder_without_a_line_is_refused() {
        let lines = manifest::read(&real_manifest()).unwrap();
        for gone in ["/modules", "/dev"] {
            let fewer: Vec<Line> = lines
                .iter()
                .filter(|line| !matches!(line, Line::Directory { path, .. } if path == gone))
                .cloned()
                .collect();
            assert_eq!(fewer.len() + 1, lines.len());
            let error = archive(&fewer, b"agent", &[]).unwrap().bytes().unwrap_err().to_string();
            assert!(error.contains(gone) && error.contains("folder"), "{error}");
        }
    }

    #[test]
    fn modules_without_a_list_are_refused() {
        let modules = [Module { file_name: "vsock.ko".to_owned(), content: b"elf".to_vec() }];
        let lines = [Line::Agent { path: "/init".to_owned() }];
        let error = archive(&lines, b"agent", &modules).unwrap_err().to_string();
        assert!(error.contains("load"), "{error}");
        archive(&lines, b"agent", &[]).unwrap().bytes().unwrap();
    }

    #[test]
    fn modules_are_listed_in_load_order() {
        let modules = ["vsock.ko", "a_transport.ko"]
            .map(|name| Module { file_name: name.to_owned(), content: b"elf".to_vec() });
        let lines = manifest::read(&real_manifest()).unwrap();
        let bytes = archive(&lines, b"agent", &modules).unwrap().bytes().unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains("vsock.ko\na_transport.ko\n"), "{text}");
    }
}
