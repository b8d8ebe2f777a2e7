//! `images`: the sample OCI images, each an OCI layout in `target/dist/images`.
//!
//! A folder below `rootfs/images` is a recipe: `build.sh` writes the root file
//! system as a tar, `config` says what the image config holds. A recipe that has
//! not changed is not run again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::Apt;
use crate::arch::Arch;
use crate::error::Error;
use crate::run;
use crate::stamp::{self, Recipe, files_below};
use crate::step::{bytes, step, up_to_date};
use crate::workspace::{Workspace, make_folder};

/// Part of every recipe: raise it when this code packs the same tar differently.
const FORMAT: &[u8] = b"1";

/// Every time stamp in the images, so that one recipe gives one digest as long
/// as the packages are the same. 2025-01-01, in both spellings.
const EPOCH: &str = "1735689600";
const CREATED: &str = "2025-01-01T00:00:00Z";

/// What can be made for another architecture: nothing of it has to run.
const FOREIGN: &[&str] = &["busybox"];

pub(crate) fn run(workspace: &Workspace, arch: Arch) -> Result<(), Error> {
    let recipes = workspace.rootfs().join("images");
    if !arch.is_host() {
        let program = busybox(workspace, arch)?;
        return FOREIGN
            .iter()
            .try_for_each(|name| image(workspace, &recipes.join(name), arch, Some(&program)));
    }
    for entry in fs::read_dir(&recipes).map_err(Error::io("listing", &recipes))? {
        let folder = entry.map_err(Error::io("listing", &recipes))?.path();
        if folder.join("build.sh").is_file() {
            image(workspace, &folder, arch, None)?;
        }
    }
    Ok(())
}

/// Debian's static busybox for another architecture.
fn busybox(workspace: &Workspace, arch: Arch) -> Result<PathBuf, Error> {
    let folder = workspace.target().join(arch.file("busybox"));
    let program = folder.join("tree/bin/busybox");
    if !program.is_file() {
        step("fetch Debian's busybox", || {
            remove_folder(&folder)?;
            let (apt, name) = (Apt::new(workspace, arch), "busybox-static".to_owned());
            let tree = folder.join("tree");
            apt.unpack(|_| Ok(name.clone()), &folder.join("download"), &tree).map(drop)
        })?;
    }
    Ok(program)
}

fn image(
    workspace: &Workspace,
    folder: &Path,
    arch: Arch,
    busybox: Option<&Path>,
) -> Result<(), Error> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut recipe = Recipe::default();
    recipe.input("format", FORMAT);
    recipe.folder(folder)?;
    if let Some(program) = busybox {
        let content = fs::read(program).map_err(Error::io("reading", program))?;
        recipe.input("busybox", &content);
    }
    let recipe = recipe.finish();
    let images = arch.file("images");
    let layout = workspace.dist().join(&images).join(&name);
    let stamp = workspace.target().join("stamps").join(&images).join(&name);
    if stamp::is_fresh(&stamp, &recipe) && layout.join("index.json").is_file() {
        up_to_date(&format!("image {name}"), "recipe unchanged");
        return Ok(());
    }
    let mut build = Command::new(folder.join("build.sh"));
    build.envs(busybox.map(|program| ("BUSYBOX", program)));
    step(&format!("make the image {name}"), || make(workspace, folder, arch, build, &layout))?;
    stamp::write(&stamp, &recipe)
}

fn make(
    workspace: &Workspace,
    folder: &Path,
    arch: Arch,
    mut build: Command,
    layout: &Path,
) -> Result<(), Error> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let work = workspace.target().join("images-build");
    make_folder(&work)?;
    let tar = work.join(format!("{name}.tar"));
    run::run(build.arg(&tar).env("SOURCE_DATE_EPOCH", EPOCH))?;
    let tar_size = fs::metadata(&tar).map_err(Error::io("looking at", &tar))?.len();

    // Packed beside the final place and then renamed: nothing half-done is ever
    // to be seen under the image's name.
    let partial = work.join(&name);
    remove_folder(&partial)?;
    let mut config = vec!["--architecture".to_owned(), arch.debian().to_owned()];
    config.extend(read_config(&folder.join("config"))?);
    pack(&partial, &tar, &config)?;
    make_readable(&partial)?;
    remove_folder(layout)?;
    if let Some(parent) = layout.parent() {
        make_folder(parent)?;
    }
    fs::rename(&partial, layout).map_err(Error::io("putting in place", layout))?;
    fs::remove_file(&tar).map_err(Error::io("removing", &tar))?;
    println!("    image {name}: {} ({} unpacked)", bytes(folder_size(layout)?), bytes(tar_size));
    Ok(())
}

/// One layer, taken from the tar as it is: `umoci repack` would unpack it first
/// only to compare.
fn pack(layout: &Path, tar: &Path, config: &[String]) -> Result<(), Error> {
    let tagged = format!("{}:latest", layout.display());
    let umoci = |arguments: &[&str]| run::run(Command::new("umoci").args(arguments));
    let layout = layout.to_string_lossy();
    umoci(&["init", "--layout", &layout])?;
    umoci(&["new", "--image", &tagged])?;
    let tar = tar.to_string_lossy();
    umoci(&["raw", "add-layer", "--image", &tagged, "--history.created", CREATED, &tar])?;
    let mut arguments = vec!["config", "--image", &tagged, "--created", CREATED, "--no-history"];
    arguments.extend(config.iter().map(String::as_str));
    umoci(&arguments)?;
    // Each step above left its manifest behind.
    umoci(&["gc", "--layout", &layout])
}

/// `KEY VALUE` lines as `--config.KEY VALUE`.
fn read_config(file: &Path) -> Result<Vec<String>, Error> {
    let text = fs::read_to_string(file).map_err(Error::io("reading", file))?;
    let mut arguments = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once(' ').ok_or_else(|| Error::Manifest {
            file: file.to_path_buf(),
            line: index + 1,
            problem: "is not `KEY VALUE`".to_owned(),
        })?;
        arguments.extend([format!("--config.{key}"), value.to_owned()]);
    }
    Ok(arguments)
}

/// umoci makes files for root alone, but a broker need not run as root.
fn make_readable(layout: &Path) -> Result<(), Error> {
    let blobs = layout.join("blobs");
    let mut modes: Vec<(PathBuf, u32)> =
        files_below(layout)?.into_iter().map(|file| (file, 0o644)).collect();
    modes.extend(
        [layout.to_path_buf(), blobs.clone(), blobs.join("sha256")].map(|folder| (folder, 0o755)),
    );
    for (path, mode) in modes {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .map_err(Error::io("setting the mode of", &path))?;
    }
    Ok(())
}

fn remove_folder(path: &Path) -> Result<(), Error> {
    if path.exists() {
        fs::remove_dir_all(path).map_err(Error::io("removing", path))?;
    }
    Ok(())
}

/// What a folder holds, in bytes.
pub(crate) fn folder_size(folder: &Path) -> Result<u64, Error> {
    files_below(folder)?
        .iter()
        .map(|file| Ok(fs::metadata(file).map_err(Error::io("looking at", file))?.len()))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_lines_become_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        fs::write(&file, "# why\nuser root\nenv A=b c\n").unwrap();
        assert_eq!(read_config(&file).unwrap(), ["--config.user", "root", "--config.env", "A=b c"]);
        fs::write(&file, "user\n").unwrap();
        assert!(read_config(&file).unwrap_err().to_string().contains("line 1"));
    }
}
