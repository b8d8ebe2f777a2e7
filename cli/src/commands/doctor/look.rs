//! Where programs and files are looked for; the same places as the broker's.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where packages put what the broker needs.
const SYSTEM: &str = "/usr/lib/postern";

/// Directories in the order in which they are searched.
#[derive(Debug)]
pub(super) struct Places {
    dirs: Vec<PathBuf>,
    path: Vec<PathBuf>,
}

impl Places {
    /// Beside the executable; what `make dist` made in a checkout; the system's.
    pub(super) fn of_this_program() -> Self {
        let exe = std::env::current_exe().ok();
        let beside = exe.as_deref().and_then(Path::parent);
        let target = beside.and_then(Path::parent);
        let built = target.into_iter().flat_map(|t| [t.join("dist"), t.join("tools/bin")]);
        let dirs =
            beside.map(Path::to_owned).into_iter().chain(built).chain([PathBuf::from(SYSTEM)]);
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self { dirs: dirs.collect(), path: std::env::split_paths(&path).collect() }
    }

    /// A file or directory of Postern's own.
    pub(super) fn file(&self, name: &str) -> Option<PathBuf> {
        self.dirs.iter().map(|dir| dir.join(name)).find(|path| path.exists())
    }

    /// A program, of Postern's own or in PATH.
    pub(super) fn program(&self, name: &str) -> Option<PathBuf> {
        let all = self.dirs.iter().chain(&self.path);
        all.map(|dir| dir.join(name)).find(|path| is_executable(path))
    }
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|info| info.is_file() && info.permissions().mode() & 0o111 != 0)
}
