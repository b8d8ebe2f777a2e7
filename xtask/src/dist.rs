//! `dist`: everything that is shipped, into `target/dist`.

use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::error::Error;
use crate::images::{self, folder_size};
use crate::initramfs;
use crate::kernel::Kernel;
use crate::lock;
use crate::run;
use crate::setup::{has_target, no_target};
use crate::step::{bytes, step};
use crate::workspace::{Workspace, copy_if_changed, make_folder};

/// What it is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    Use,
    /// The scenarios or the benchmarks come next. Built after the broker and not with
    /// it, they have other features of the same crates, TLS and SQLite among them, and
    /// those are compiled twice.
    Tests,
}

/// For another architecture: what its guests need. The broker runs here.
pub(crate) fn run(workspace: &Workspace, arch: Arch, purpose: For) -> Result<(), Error> {
    lock::alone(workspace, || {
        make_folder(&workspace.dist())?;
        let agent = workspace.dist().join(arch.file("postern-agent"));
        copy_if_changed(&build_agent(workspace, arch)?, &agent)?;
        if arch.is_host() {
            broker(workspace, purpose)?;
        }
        let kernel = Kernel::chosen(workspace, arch)?;
        kernel.install(workspace)?;
        initramfs::pack(workspace, &agent, &kernel)?;
        images::run(workspace, arch)?;
        print_sizes(workspace, arch)
    })
}

/// `postern`; cargo decides whether there is work to do.
fn broker(workspace: &Workspace, purpose: For) -> Result<(), Error> {
    let mut cargo = run::cargo(workspace.root());
    cargo.args(["build", "--quiet", "--release", "-p", "postern-cli"]);
    if purpose == For::Tests {
        cargo.args(["-p", "postern-tests"]);
    }
    cargo.arg("--target-dir").arg(workspace.target());
    step("build postern", || run::run(&mut cargo))?;
    copy_if_changed(
        &workspace.target().join("release/postern"),
        &workspace.dist().join("postern"),
    )?;
    Ok(())
}

/// Builds the static agent and says where it is.
pub(crate) fn build_agent(workspace: &Workspace, arch: Arch) -> Result<PathBuf, Error> {
    build_agent_with(workspace, arch, &cargo_home())
}

/// The same with cargo's own folder. The same sources and toolchain give the same
/// bytes, wherever that and the checkout lie.
pub(crate) fn build_agent_with(
    workspace: &Workspace,
    arch: Arch,
    cargo_home: &Path,
) -> Result<PathBuf, Error> {
    let (target, static_libc) = target(workspace, arch)?;
    let mut cargo = run::cargo(workspace.root());
    cargo.env("CARGO_HOME", cargo_home);
    cargo.args(["build", "--quiet", "--locked", "-p", "postern-agent", "--profile", "agent"]);
    cargo.args(["--target", target, "--target-dir"]).arg(workspace.target());
    let mut flags = same_paths(workspace, cargo_home);
    flags.extend(static_libc.map(ToOwned::to_owned));
    // Takes the place of what somebody has in RUSTFLAGS: that would be in the bytes.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    step(&format!("build {}", arch.file("postern-agent")), || run::run(&mut cargo))?;
    Ok(workspace.target().join(target).join("agent/postern-agent"))
}

/// The agent's target, and the flag that makes it static where that is not a
/// matter of course. An explicit target keeps the flag away from build scripts
/// and procedural macros, which cannot be linked statically.
fn target(
    workspace: &Workspace,
    arch: Arch,
) -> Result<(&'static str, Option<&'static str>), Error> {
    match arch {
        _ if has_target(workspace, arch.musl()) => Ok((arch.musl(), None)),
        Arch::X86_64 => Ok(("x86_64-unknown-linux-gnu", Some("-Ctarget-feature=+crt-static"))),
        Arch::Aarch64 => Err(no_target(arch.musl())),
    }
}

/// Panic messages name source files: by names that say nothing of this machine.
/// The last that fits counts, and the build's folder may lie in the checkout.
fn same_paths(workspace: &Workspace, cargo_home: &Path) -> Vec<String> {
    let places = [
        (cargo_home.to_owned(), "/cargo"),
        (workspace.root().to_owned(), "/postern"),
        (workspace.target(), "/postern/target"),
    ];
    let flag = |(from, to): (PathBuf, &str)| format!("--remap-path-prefix={}={to}", from.display());
    places.into_iter().map(flag).collect()
}

/// Where cargo keeps the sources of crates; as cargo itself looks for it.
pub(crate) fn cargo_home() -> PathBuf {
    match std::env::var_os("CARGO_HOME") {
        Some(home) => home.into(),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
    }
}

fn print_sizes(workspace: &Workspace, arch: Arch) -> Result<(), Error> {
    let dist = workspace.dist();
    let mut names: Vec<String> =
        ["postern-agent", "initramfs.img", "vmlinuz"].map(|name| arch.file(name)).to_vec();
    let images = arch.file("images");
    names.push(format!("{images}/busybox"));
    if arch.is_host() {
        names.insert(0, "postern".to_owned());
        names.push(format!("{images}/debian"));
    }
    println!("\ntarget/dist:");
    for name in names {
        println!("  {name:<22} {:>10}", bytes(size(&dist.join(&name))?));
    }
    Ok(())
}

fn size(path: &Path) -> Result<u64, Error> {
    if path.is_dir() {
        return folder_size(path);
    }
    Ok(path.metadata().map_err(Error::io("looking at", path))?.len())
}
