//! The kernel built from the fragments in `kernel-config/`.
//!
//! ```text
//! fragments ──allnoconfig──► .config ──checked against fragments and lists──► make
//! ```
//!
//! The bytes depend on the fragments, the source and the compiler alone, and a
//! hash of these says whether there is anything to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::arch::Arch;
use crate::error::Error;
use crate::run;
use crate::setup;
use crate::stamp::{self, Recipe};
use crate::step::{bytes, step, up_to_date};
use crate::workspace::{Workspace, make_folder, write_atomically};

use super::Kernel;
use super::config::{self, Resolved};
use super::source::{self, Source};

/// Part of the recipe: raise it when this code builds the same input differently.
const FORMAT: &[u8] = b"1";

/// Eight times what it takes on two quiet cores: only a hang reaches it.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// What our own makefile was given, or the caller's shell has, and the kernel's
/// would take to be meant for itself: ARCH above all.
const INHERITED: [&str; 13] = [
    "MAKEFLAGS",
    "MFLAGS",
    "MAKELEVEL",
    "MAKEOVERRIDES",
    "ARCH",
    "KERNEL",
    "CROSS_COMPILE",
    "LOCALVERSION",
    "KCONFIG_CONFIG",
    "KBUILD_OUTPUT",
    "KCFLAGS",
    "KAFLAGS",
    "KCPPFLAGS",
];

/// The fragments, in the order in which they are joined.
pub(super) fn fragments(folder: &Path, arch: Arch) -> [PathBuf; 2] {
    ["common", arch.name()].map(|name| folder.join(name).with_extension("config"))
}

/// The lists of what must come out.
pub(super) fn required(folder: &Path, arch: Arch) -> [PathBuf; 2] {
    ["common", arch.name()].map(|name| folder.join(name).with_extension("required"))
}

/// The kernel in `target/dist/kernel/ARCH`, built unless it is there.
pub(super) fn build(workspace: &Workspace, arch: Arch) -> Result<Kernel, Error> {
    setup::kernel_tools(arch.cross_compiler())?;
    let build = Build::prepare(workspace, arch)?;
    let recipe = build.recipe()?;
    let stamp = workspace.target().join("stamps/kernel").join(arch.name());
    let kernel = Kernel { arch, vmlinuz: build.shipped("vmlinuz"), modules: None };
    let there = arch.products().iter().all(|product| build.shipped(product.name).is_file());
    if there && stamp::is_fresh(&stamp, &recipe) {
        up_to_date("kernel", &format!("ours, {}, {}", arch.name(), build.source.version));
        return Ok(kernel);
    }
    build.configure()?;
    step("build the kernel", || build.make(arch.target()))?;
    build.ship()?;
    stamp::write(&stamp, &recipe)?;
    Ok(kernel)
}

/// Only whether everything that is wanted is had; takes seconds.
pub(super) fn configure_only(workspace: &Workspace, arch: Arch) -> Result<(), Error> {
    setup::kernel_tools(arch.cross_compiler())?;
    let build = Build::prepare(workspace, arch)?;
    build.configure()?;
    println!("    configuration: {}", build.objects.join(".config").display());
    Ok(())
}

/// One build: where it is made of what, and by which programs.
struct Build {
    arch: Arch,
    config: PathBuf,
    source: Source,
    objects: PathBuf,
    shipped: PathBuf,
    /// First lines of what compiler and linker say they are.
    programs: [String; 2],
}

impl Build {
    fn prepare(workspace: &Workspace, arch: Arch) -> Result<Self, Error> {
        let program = |name: &str| -> Result<String, Error> {
            let mut command = Command::new(format!("{}{name}", arch.cross_prefix()));
            let said = run::output(command.arg("--version"))?;
            Ok(said.lines().next().unwrap_or_default().to_owned())
        };
        Ok(Self {
            arch,
            config: workspace.kernel_config(),
            source: source::get(workspace)?,
            objects: workspace.kernel_build().join(arch.name()),
            shipped: workspace.dist().join("kernel").join(arch.name()),
            programs: [program("gcc")?, program("ld")?],
        })
    }

    fn shipped(&self, name: &str) -> PathBuf {
        self.shipped.join(name)
    }

    fn recipe(&self) -> Result<String, Error> {
        let mut recipe = Recipe::default();
        recipe.input("format", FORMAT);
        recipe.input("arch", self.arch.name().as_bytes());
        recipe.input("source", self.source.version.as_bytes());
        for program in &self.programs {
            recipe.input("program", program.as_bytes());
        }
        let lists = required(&self.config, self.arch);
        for file in fragments(&self.config, self.arch).iter().chain(&lists) {
            let content = fs::read(file).map_err(Error::io("reading", file))?;
            recipe.input(&file.file_name().unwrap_or_default().to_string_lossy(), &content);
        }
        Ok(recipe.finish())
    }

    /// From nothing but the fragments to a configuration that has all of them.
    fn configure(&self) -> Result<(), Error> {
        let fragments = fragments(&self.config, self.arch);
        let mut wanted = config::read_all(&fragments)?;
        wanted.extend(config::read_all(&required(&self.config, self.arch))?);
        self.begin_anew_with_other_programs()?;
        step("configure the kernel", || {
            let mut joined = Vec::new();
            for file in &fragments {
                joined.extend(fs::read(file).map_err(Error::io("reading", file))?);
            }
            let all = self.objects.join("fragments.config");
            write_atomically(&all, &joined)?;
            run::run(self.kernel_make("allnoconfig").env("KCONFIG_ALLCONFIG", &all))?;
            run::run(&mut self.kernel_make("olddefconfig"))?;
            Resolved::read(&self.objects.join(".config"))?.check(&wanted)
        })
    }

    /// The kernel's makefiles see by themselves which object is out of date when
    /// an option changes, but not when the source or a program does.
    fn begin_anew_with_other_programs(&self) -> Result<(), Error> {
        let stamp = self.objects.join("made-of");
        let made_of = format!("{} / {}", self.source.version, self.programs.join(" / "));
        if stamp::is_fresh(&stamp, &made_of) {
            return Ok(());
        }
        if self.objects.exists() {
            fs::remove_dir_all(&self.objects).map_err(Error::io("removing", &self.objects))?;
        }
        make_folder(&self.objects)?;
        stamp::write(&stamp, &made_of)
    }

    fn make(&self, target: &str) -> Result<(), Error> {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        run::run_within(self.kernel_make(target).arg(format!("-j{jobs}")), LIMIT)
    }

    /// The kernel's own make: told everything, and nothing of who, where and when.
    fn kernel_make(&self, target: &str) -> Command {
        let mut make = Command::new("make");
        for name in INHERITED {
            make.env_remove(name);
        }
        make.env("LC_ALL", "C")
            .env("KBUILD_BUILD_TIMESTAMP", "1970-01-01T00:00:00Z")
            .env("KBUILD_BUILD_USER", "postern")
            .env("KBUILD_BUILD_HOST", "postern")
            .env("KBUILD_BUILD_VERSION", "1")
            .current_dir(&self.source.tree)
            .arg("--silent")
            .arg(format!("ARCH={}", self.arch.kernel_name()))
            .arg(format!("CROSS_COMPILE={}", self.arch.cross_prefix()))
            .arg(format!("O={}", self.objects.display()))
            .arg(target);
        make
    }

    /// The products and their configuration, into `target/dist/kernel/ARCH`.
    fn ship(&self) -> Result<(), Error> {
        make_folder(&self.shipped)?;
        let config = self.objects.join(".config");
        let text = fs::read(&config).map_err(Error::io("reading", &config))?;
        write_atomically(&self.shipped("config"), &text)?;
        for product in self.arch.products() {
            let mut built = self.objects.join(product.built);
            if product.strip {
                let whole = built;
                built = whole.with_extension("stripped");
                let mut strip = Command::new(format!("{}strip", self.arch.cross_prefix()));
                run::run(strip.arg("--strip-all").arg("-o").arg(&built).arg(&whole))?;
            }
            let content = fs::read(&built).map_err(Error::io("reading", &built))?;
            let name = self.shipped(product.name);
            write_atomically(&name, &content)?;
            println!(
                "    {}: {}, sha256 {}",
                name.display(),
                bytes(content.len() as u64),
                stamp::sha256(&content)
            );
        }
        Ok(())
    }
}
