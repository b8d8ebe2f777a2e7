//! Kernel modules: which files a list of names needs, in the order to load them.
//!
//! A module file says itself what it depends on (`depends=` in its `.modinfo`
//! section), so neither `depmod` nor its `modules.dep` is needed: the unpacked
//! package has none, since Debian makes it at installation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;
use crate::run;
use crate::stamp::files_below;

/// A module to load.
#[derive(Debug)]
pub(crate) struct Module {
    /// `vsock.ko`
    pub(crate) file_name: String,
    /// The ELF file, decompressed.
    pub(crate) content: Vec<u8>,
}

/// Everything that one kernel release offers.
pub(crate) struct Modules {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

impl Modules {
    /// Reads `lib/modules/RELEASE`.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let files = files_below(&folder.join("kernel"))?
            .into_iter()
            .filter_map(|path| Some((module_name(path.to_str()?)?, path)))
            .collect();
        let list = folder.join("modules.builtin");
        let builtin = fs::read_to_string(&list)
            .map_err(Error::io("reading", &list))?
            .lines()
            .filter_map(module_name)
            .collect();
        Ok(Self { files, builtin })
    }

    /// The named modules and what they depend on, each after what it needs;
    /// those built into the kernel left out.
    pub(crate) fn in_load_order(&self, names: &[String]) -> Result<Vec<Module>, Error> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in names {
            self.add(name, &mut seen, &mut order)?;
        }
        Ok(order)
    }

    fn add(
        &self,
        name: &str,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<Module>,
    ) -> Result<(), Error> {
        // One spelling for `virtio-rng` and `virtio_rng`: the kernel takes both.
        let name = name.replace('-', "_");
        if self.builtin.contains(&name) || !seen.insert(name.clone()) {
            return Ok(());
        }
        let path = self.files.get(&name).ok_or_else(|| Error::Format {
            what: "the kernel's modules".to_owned(),
            problem: format!("no module {name}, and it is not built in"),
        })?;
        let content = read(path)?;
        for dependency in depends(&content) {
            self.add(&dependency, seen, order)?;
        }
        order.push(Module { file_name: format!("{name}.ko"), content });
        Ok(())
    }
}

/// `kernel/drivers/virtio/virtio-pci.ko.xz` is called `virtio_pci`.
fn module_name(path: &str) -> Option<String> {
    let (stem, rest) = path.rsplit('/').next()?.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".zst" | ".gz").then(|| stem.replace('-', "_"))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let tool = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).map_err(Error::io("reading", path)),
    };
    run::bytes(Command::new(tool).args(["-d", "-c"]).arg(path))
}

/// The `depends=` entry: names with commas between them. A scan for the key does
/// for a parse of the ELF file, as entries are strings that end in NUL and no
/// other string of a module starts like this.
fn depends(content: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = content.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = content
        .iter()
        .skip(start + KEY.len())
        .take_while(|byte| **byte != 0)
        .copied()
        .collect::<Vec<u8>>();
    String::from_utf8_lossy(&value)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel_with(modules: &[(&str, &str)], builtin: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("kernel/drivers")).unwrap();
        fs::write(folder.path().join("modules.builtin"), builtin).unwrap();
        for (file, depends) in modules {
            let content = format!("\x7fELF..license=GPL\0depends={depends}\0name=x\0");
            fs::write(folder.path().join("kernel/drivers").join(file), content).unwrap();
        }
        folder
    }

    #[test]
    fn dependencies_come_first_and_once_and_builtin_ones_not() {
        let folder = kernel_with(
            &[
                ("virtio.ko", "virtio_ring"),
                ("virtio_ring.ko", ""),
                ("virtio-pci.ko", "virtio,virtio_ring,rng_core"),
            ],
            "kernel/drivers/char/hw_random/rng-core.ko\n",
        );
        let modules = Modules::open(folder.path()).unwrap();
        let order = modules.in_load_order(&["virtio-pci".to_owned(), "virtio".to_owned()]).unwrap();
        let names: Vec<&str> = order.iter().map(|module| module.file_name.as_str()).collect();
        assert_eq!(names, ["virtio_ring.ko", "virtio.ko", "virtio_pci.ko"]);
    }

    #[test]
    fn an_unknown_module_is_named() {
        let folder = kernel_with(&[], "");
        let error =
            Modules::open(folder.path()).unwrap().in_load_order(&["nfs".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("no module nfs"), "{error}");
    }
}
