//! The programs in `bench/programs/`, compiled.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: [(&str, &str, &[&str]); 6] = [
    // No libc: its time is the kernel's alone.
    ("nop", include_str!("../../programs/nop.c"), &["-nostdlib"]),
    ("hello", include_str!("../../programs/hello.c"), &[]),
    ("flood", include_str!("../../programs/flood.c"), &[]),
    ("spawns", include_str!("../../programs/spawns.c"), &[]),
    ("vsock_echo", include_str!("../../programs/vsock_echo.c"), &[]),
    ("bare_init", include_str!("../../programs/bare_init.c"), &[]),
];

/// Where they are, on the tmpfs that sandboxes have them on too.
#[derive(Debug)]
pub(crate) struct Programs {
    dir: PathBuf,
}

impl Programs {
    pub(crate) fn compile(tmp: &Path) -> io::Result<Self> {
        let dir = tmp.join("programs");
        fs::create_dir(&dir)?;
        for (name, source, flags) in SOURCES {
            let file = dir.join(name).with_extension("c");
            fs::write(&file, source)?;
            compile(&file, &dir.join(name), flags)?;
        }
        Ok(Self { dir })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        SOURCES.iter().map(|(name, _, _)| *name)
    }
}

fn compile(source: &Path, program: &Path, flags: &[&str]) -> io::Result<()> {
    let mut cc = Command::new("gcc");
    cc.args(["-static", "-O2", "-s"]).args(flags).arg("-o").arg(program).arg(source);
    let output = cc.output().map_err(|e| {
        io::Error::new(e.kind(), format!("gcc ({e}): apt-get install gcc libc6-dev"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("gcc cannot compile {}: {said}", source.display())))
}
