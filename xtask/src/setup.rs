//! `setup`: what a fresh Debian machine lacks.
//!
//! A thing counts as there when its program is found, however it came to be
//! installed; so on another distribution the list below is advice and nothing
//! more is asked of the machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arch::Arch;
use crate::error::Error;
use crate::run;
use crate::step::{step, up_to_date};
use crate::workspace::{Workspace, make_folder};

/// A Debian package, the program or file by which we know that it is there,
/// and what needs it.
#[derive(Clone, Copy)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) probe: Probe,
    pub(crate) needed_for: &'static str,
}

#[derive(Clone, Copy)]
pub(crate) enum Probe {
    Program(&'static str),
    File(&'static str),
}

use Probe::{File, Program};

/// A table, so exempt from the length that functions keep to.
const PACKAGES: &[Package] = &[
    Package { name: "gcc", probe: Program("cc"), needed_for: "linking every program here" },
    Package {
        name: "musl-tools",
        probe: Program("musl-gcc"),
        needed_for: "C parts of the static agent",
    },
    Package {
        name: "qemu-system-x86",
        probe: Program("qemu-system-x86_64"),
        needed_for: "microVMs",
    },
    Package { name: "mmdebstrap", probe: Program("mmdebstrap"), needed_for: "the image `debian`" },
    Package { name: "umoci", probe: Program("umoci"), needed_for: "packing the sample images" },
    Package {
        name: "busybox-static",
        probe: Program("busybox"),
        needed_for: "the image `busybox`",
    },
    Package { name: "zstd", probe: Program("zstd"), needed_for: "packing the initramfs" },
    Package {
        name: "xz-utils",
        probe: Program("xz"),
        needed_for: "kernel modules of newer Debians",
    },
    Package { name: "procps", probe: Program("ps"), needed_for: "tests that look at processes" },
    Package {
        name: "strace",
        probe: Program("strace"),
        needed_for: "tests of what runs between clone and exec",
    },
    Package {
        name: "docker-registry",
        probe: Program("docker-registry"),
        needed_for: "tests that pull images from a real registry",
    },
    Package {
        name: "skopeo",
        probe: Program("skopeo"),
        needed_for: "filling that registry, and archives as docker writes them",
    },
    Package { name: "tmux", probe: Program("tmux"), needed_for: "tests with a real terminal" },
    Package {
        name: "file",
        probe: Program("file"),
        needed_for: "the check that the agent is static",
    },
    Package {
        name: "ca-certificates",
        probe: File("/etc/ssl/certs/ca-certificates.crt"),
        needed_for: "fetching over TLS",
    },
];

/// For the agent of an aarch64 guest, and for running it, on another machine.
const FOR_AARCH64: &[Package] = &[
    Package {
        name: "gcc-aarch64-linux-gnu",
        probe: Program("aarch64-linux-gnu-gcc"),
        needed_for: "C parts of the aarch64 agent",
    },
    Package {
        name: "libc6-dev-arm64-cross",
        probe: File("/usr/aarch64-linux-gnu/include/stdlib.h"),
        needed_for: "the headers of these",
    },
    Package {
        name: "qemu-system-arm",
        probe: Program("qemu-system-aarch64"),
        needed_for: "aarch64 microVMs",
    },
];

/// What a kernel of our own needs beside these; most who build Postern never
/// build one.
const KERNEL_PACKAGES: &[Package] = &[
    Package { name: "make", probe: Program("make"), needed_for: "building the kernel" },
    Package { name: "flex", probe: Program("flex"), needed_for: "the kernel's configuration" },
    Package { name: "bison", probe: Program("bison"), needed_for: "the kernel's configuration" },
    Package { name: "bc", probe: Program("bc"), needed_for: "the kernel's constants" },
    Package {
        name: "libelf-dev",
        probe: File("/usr/include/gelf.h"),
        needed_for: "objtool, which the kernel is checked with",
    },
    Package { name: "lz4", probe: Program("lz4"), needed_for: "packing the kernel" },
];

/// Host side of vsock where the kernel has no vhost-vsock. Pinned, because its
/// command line and its quirks are relied on.
const VHOST_DEVICE_VSOCK: &str = "vhost-device-vsock@0.3.0";

/// What building and running for `arch` needs beside what this machine itself does.
pub(crate) fn run(workspace: &Workspace, arch: Arch) -> Result<(), Error> {
    let foreign = if arch.is_host() { &[] } else { FOR_AARCH64 };
    packages(PACKAGES.iter().chain(foreign))?;
    for target in BTreeSet::from([Arch::host().musl(), arch.musl()]) {
        musl_target(workspace, target)?;
    }
    vhost_device_vsock(workspace)
}

/// What building a kernel needs, and the compiler if it is for another machine.
pub(crate) fn kernel_tools(cross: Option<&'static Package>) -> Result<(), Error> {
    packages(KERNEL_PACKAGES.iter().chain(cross))
}

fn packages(all: impl Iterator<Item = &'static Package>) -> Result<(), Error> {
    let missing: Vec<&Package> = all.filter(|package| !package.is_there()).collect();
    if missing.is_empty() {
        up_to_date("packages", "all there");
        return Ok(());
    }
    for package in &missing {
        println!("    {} is missing: {}", package.name, package.needed_for);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    if !can_use_apt() {
        return Err(Error::Missing {
            what: names.join(", "),
            get: format!("apt-get install {} (as root, on Debian)", names.join(" ")),
        });
    }
    step("apt-get install", || apt_install(&names))
}

impl Package {
    fn is_there(&self) -> bool {
        match self.probe {
            Program(name) => run::has_program(name),
            File(path) => Path::new(path).exists(),
        }
    }
}

fn apt_install(names: &[&str]) -> Result<(), Error> {
    apt_update()?;
    // No recommended packages: QEMU's alone are hundreds of megabytes of
    // desktop.
    run::run(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "--yes", "--quiet", "--no-install-recommends"])
            .args(names),
    )
}

/// Refreshes the package lists; only called when something must be fetched.
pub(crate) fn apt_update() -> Result<(), Error> {
    if !can_use_apt() {
        return Err(Error::Missing {
            what: "an up-to-date list of Debian's packages".to_owned(),
            get: "apt-get update (as root, on Debian)".to_owned(),
        });
    }
    run::run(Command::new("apt-get").args(["update", "--quiet"]))
}

fn can_use_apt() -> bool {
    nix::unistd::geteuid().is_root() && run::has_program("apt-get")
}

fn musl_target(workspace: &Workspace, target: &str) -> Result<(), Error> {
    if has_target(workspace, target) {
        up_to_date("Rust target", target);
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.current_dir(workspace.root()).args(["target", "add", target]);
    let added = step("rustup target add", || run::run(&mut rustup));
    match added {
        Ok(()) if has_target(workspace, target) => {}
        // Not fatal: glibc can be linked statically too, only larger.
        _ if target == Arch::host().musl() => {
            println!("    {target} is not to be had: the agent will be linked statically to glibc");
        }
        Ok(()) => return Err(no_target(target)),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Whether this toolchain has the standard library for a target.
pub(crate) fn has_target(workspace: &Workspace, target: &str) -> bool {
    let folder = run::output(Command::new("rustc").current_dir(workspace.root()).args([
        "--print",
        "target-libdir",
        "--target",
        target,
    ]));
    folder.is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}

/// Another architecture has no second way.
pub(crate) fn no_target(target: &str) -> Error {
    Error::Missing {
        what: format!("Rust's standard library for {target}"),
        get: format!("rustup target add {target}"),
    }
}

/// Where `setup` puts the program.
pub(crate) fn vhost_device_vsock_path(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("bin/vhost-device-vsock")
}

fn vhost_device_vsock(workspace: &Workspace) -> Result<(), Error> {
    let program = vhost_device_vsock_path(workspace);
    if program.is_file() {
        up_to_date("vhost-device-vsock", "target/tools/bin");
        return Ok(());
    }
    step("build vhost-device-vsock (about a minute)", || {
        make_folder(&workspace.tools())?;
        let build = workspace.target().join("tools-build");
        run::run(
            run::cargo(workspace.root())
                .args(["install", "--quiet", "--locked", VHOST_DEVICE_VSOCK, "--root"])
                .arg(workspace.tools())
                .arg("--target-dir")
                .arg(&build),
        )?;
        // Hundreds of megabytes that nothing will look at again.
        fs::remove_dir_all(&build).map_err(Error::io("removing", &build))
    })
}
