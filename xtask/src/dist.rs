//! `dist`: everything that is shipped, into `target/dist`.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::images::{self, folder_size};
use crate::initramfs;
use crate::kernel::Kernel;
use crate::lock;
use crate::run;
use crate::setup::{self, MUSL};
use crate::step::{bytes, step};
use crate::workspace::{Workspace, copy_if_changed, make_folder};

pub(crate) fn run(workspace: &Workspace) -> Result<(), Error> {
    lock::alone(workspace, || {
        programs(workspace)?;
        let kernel = Kernel::chosen(workspace)?;
        kernel.install(workspace)?;
        initramfs::pack(workspace, &workspace.dist().join("postern-agent"), &kernel)?;
        images::run(workspace)?;
        print_sizes(workspace)
    })
}

/// `postern` and `postern-agent`; cargo decides whether there is work to do.
fn programs(workspace: &Workspace) -> Result<(), Error> {
    let dist = workspace.dist();
    make_folder(&dist)?;
    let agent = build_agent(workspace)?;
    copy_if_changed(&agent, &dist.join("postern-agent"))?;
    step("build postern", || {
        run::run(
            run::cargo(workspace.root())
                .args(["build", "--quiet", "--release", "-p", "postern-cli", "--target-dir"])
                .arg(workspace.target()),
        )
    })?;
    copy_if_changed(&workspace.target().join("release/postern"), &dist.join("postern"))?;
    Ok(())
}

/// Builds the static agent and says where it is.
pub(crate) fn build_agent(workspace: &Workspace) -> Result<PathBuf, Error> {
    let mut cargo = run::cargo(workspace.root());
    cargo.args(["build", "--quiet", "-p", "postern-agent", "--profile", "agent", "--target-dir"]);
    cargo.arg(workspace.target());
    let target = if setup::has_musl(workspace) {
        MUSL
    } else {
        // An explicit target keeps the flag away from build scripts and
        // procedural macros, which cannot be linked statically.
        cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
        "x86_64-unknown-linux-gnu"
    };
    step("build postern-agent", || run::run(cargo.args(["--target", target])))?;
    Ok(workspace.target().join(target).join("agent/postern-agent"))
}

fn print_sizes(workspace: &Workspace) -> Result<(), Error> {
    let dist = workspace.dist();
    println!("\ntarget/dist:");
    for name in
        ["postern", "postern-agent", "initramfs.img", "vmlinuz", "images/busybox", "images/debian"]
    {
        println!("  {name:<16} {:>10}", bytes(size(&dist.join(name))?));
    }
    Ok(())
}

fn size(path: &Path) -> Result<u64, Error> {
    if path.is_dir() {
        return folder_size(path);
    }
    Ok(path.metadata().map_err(Error::io("looking at", path))?.len())
}
