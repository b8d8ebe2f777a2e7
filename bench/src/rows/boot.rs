//! A microVM from the start of QEMU until the agent answers, beside the same
//! kernel and modules with an init that does nothing else; with Debian's kernel
//! and, where `make kernel` has built it, with ours.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use postern_tests::raw::Raw;

use crate::report::{Figure, Row, Target};
use crate::rig::Rig;
use crate::rig::vm::{Vm, pack};
use crate::stats::Samples;

const ROUNDS: usize = 5;

pub(crate) fn measure(rig: &Rig) -> io::Result<Vec<Row>> {
    let mut kernels = Vec::new();
    for (name, choice, file) in there(rig)? {
        kernels.push(Kernel::prepare(rig, name, choice, file)?);
    }
    for _ in 0..rig.rounds(ROUNDS) {
        for kernel in &mut kernels {
            kernel.round(rig)?;
        }
    }
    let mut rows: Vec<Row> = kernels.iter().map(Kernel::row).collect();
    if let [debian, others @ ..] = kernels.as_slice() {
        rows.extend(others.iter().map(|kernel| kernel.beside(debian)));
    }
    Ok(rows)
}

/// What it is called here, what `KERNEL` calls it, and its file.
type There = (&'static str, &'static str, PathBuf);

/// Debian's first: the others are compared with it.
fn there(rig: &Rig) -> io::Result<Vec<There>> {
    let mut all = Vec::new();
    let boot = rig.dist.join("../kernel/tree/boot");
    for entry in fs::read_dir(&boot).into_iter().flatten() {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("vmlinuz-") {
            all.push(("Debian's kernel", "debian", entry.path()));
        }
    }
    for (name, file) in [("our kernel", "vmlinuz"), ("our kernel, uncompressed by PVH", "vmlinux")]
    {
        let file = rig.dist.join("kernel/x86_64").join(file);
        if file.is_file() {
            all.push((name, "ours", file));
        }
    }
    if all.is_empty() {
        return Err(io::Error::other("there is no kernel: make dist"));
    }
    Ok(all)
}

/// A kernel under measurement.
struct Kernel {
    name: &'static str,
    file: PathBuf,
    bare: PathBuf,
    with_agent: PathBuf,
    floor: Samples,
    ours: Samples,
}

impl Kernel {
    fn prepare(rig: &Rig, name: &'static str, choice: &str, file: PathBuf) -> io::Result<Self> {
        let bare = rig.tmp().join(format!("bare-{choice}.img"));
        let with_agent = rig.tmp().join(format!("agent-{choice}.img"));
        // Both packed here and in the same way, so that nothing else differs.
        pack(&rig.programs.path("bare_init"), choice, &bare)?;
        pack(&rig.agent()?, choice, &with_agent)?;
        let [floor, ours] = <[Samples; 2]>::default();
        Ok(Self { name, file, bare, with_agent, floor, ours })
    }

    fn round(&mut self, rig: &Rig) -> io::Result<()> {
        self.floor.push(timed(rig, &self.file, &self.bare, |vm| {
            let mut echo = vm.address.dial()?;
            echo.write_all(b"?")?;
            echo.read_exact(&mut [0])
        })?);
        self.ours.push(timed(rig, &self.file, &self.with_agent, |vm| {
            Raw::control(&vm.address).map(drop)
        })?);
        Ok(())
    }

    fn row(&self) -> Row {
        let what = format!("boot to ready, VM, {}", self.name);
        Row::new(what, Figure::Seconds(self.ours.p50()), Target::RatioAtMost(1.1))
            .beside("same kernel, bare init", Figure::Seconds(self.floor.p50()))
    }

    fn beside(&self, other: &Self) -> Row {
        let what = format!("boot to ready, VM, {}", self.name);
        Row::new(what, Figure::Seconds(self.ours.p50()), Target::None)
            .beside(format!("with {}", other.name), Figure::Seconds(other.ours.p50()))
    }
}

/// From the start of QEMU to the guest's answer; its end is not counted.
fn timed(
    rig: &Rig,
    kernel: &Path,
    initramfs: &Path,
    answers: impl FnOnce(&Vm) -> io::Result<()>,
) -> io::Result<Duration> {
    let begun = Instant::now();
    let vm = Vm::boot(rig, kernel, initramfs)?;
    answers(&vm)?;
    Ok(begun.elapsed())
}
