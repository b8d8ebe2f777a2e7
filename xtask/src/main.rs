//! What is longer than a line of make.
//!
//! `make` is the front door; each of its targets calls one subcommand here. A
//! subcommand says what it does and how long each step took, does nothing that
//! is already done, and when it cannot go on names what is missing and the
//! command that gets it.
//!
//! ```text
//! setup ──► kernel ──► initramfs ─┐
//!     └───► images ───────────────┼──► dist ──► demo, test, bench
//!           cargo (postern, agent)┘
//! ```
//!
//! Everything made lies below `target/`: what is shipped in `target/dist`, tools
//! in `target/tools`, Debian's kernel in `target/kernel`, our own one's source and
//! objects in `target/kernel-build`. What is shipped is made under
//! `target/dist.lock`: a second task that would do so waits.

mod arch;
mod error;
mod lock;
mod run;
mod stamp;
mod step;
mod workspace;

mod apt;
mod setup;

mod kernel;
mod modules;

mod budget;
mod cpio;
mod manifest;

mod initramfs;
mod reproduce;

mod images;

mod dist;

mod bench;
mod demo;
mod test;

use std::process::ExitCode;

use arch::Arch;
use error::Error;
use workspace::Workspace;

const USAGE: &str = "\
usage: xtask COMMAND

  setup        install what building, testing and the demo need
  kernel debian
               fetch Debian's cloud kernel and its modules
  kernel ours
               build a kernel from kernel-config/, into target/dist/kernel
  kernel config
               only see whether its configuration holds
  initramfs [--init PROGRAM --output FILE]
               build the agent and pack it as the guest's initramfs;
               or pack another program, to measure what it costs
  images       make the sample OCI images (debian, busybox)
  dist [--for-tests]
               everything that is shipped, into target/dist; with what the
               scenarios are built of, in less time than one after the other
  reproduce    build the agent a second time elsewhere: the same bytes?
  test [--only lint|unit|process|vm|aarch64]
               every check and test; the last line counts them
  demo         boot a microVM and run commands in it over HTTP
  bench        build everything and run the benchmarks
  clean        remove target/

setup, kernel, initramfs, images, dist and reproduce take --arch aarch64: what
the guests of another architecture need, with its name in the files' names.
KERNEL=ours in the environment has initramfs, dist, test, demo and bench use the
kernel that is built here in place of Debian's.";

fn main() -> ExitCode {
    match run::kill_children_on_signal().and_then(|()| dispatch()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", error::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<ExitCode, Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let workspace = Workspace::find()?;
    match arguments.as_slice() {
        ["setup", rest @ ..] => setup::run(&workspace, Arch::asked(rest)?)?,
        ["kernel", rest @ ..] => kernel::run(&workspace, rest)?,
        ["initramfs", rest @ ..] => {
            lock::alone(&workspace, || initramfs::run(&workspace, rest))?;
        }
        ["images", rest @ ..] => {
            let arch = Arch::asked(rest)?;
            lock::alone(&workspace, || images::run(&workspace, arch))?;
        }
        ["dist", "--for-tests"] => dist::run(&workspace, Arch::host(), dist::For::Tests)?,
        ["dist", rest @ ..] => dist::run(&workspace, Arch::asked(rest)?, dist::For::Use)?,
        ["reproduce", rest @ ..] => {
            let arch = Arch::asked(rest)?;
            lock::alone(&workspace, || reproduce::run(&workspace, arch))?;
        }
        ["test", rest @ ..] => return test::run(&workspace, rest),
        ["demo"] => demo::run(&workspace)?,
        ["bench", rest @ ..] => bench::run(&workspace, rest)?,
        ["clean"] => workspace.clean()?,
        ["help" | "--help" | "-h"] => println!("{USAGE}"),
        _ => {
            eprintln!("{USAGE}");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}
