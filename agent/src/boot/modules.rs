//! Drivers that a distribution's kernel has as modules.

use std::fs::{self, File};
use std::io;

use crate::console::Console;

/// File names, one a line, in the order of loading.
const LIST: &str = "/modules/load";

/// Loads what the initramfs brings. A kernel with everything built in has no
/// list; a module that does not load is logged, since what needs it will fail
/// with a better message.
pub(super) fn load_all(console: Console) -> io::Result<()> {
    let list = match fs::read_to_string(LIST) {
        Ok(list) => list,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for name in list.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let loaded = File::open(format!("/modules/{name}"))
            .and_then(|file| Ok(crate::sys::process::load_module(&file)?));
        if let Err(e) = loaded {
            console.line(format_args!("module {name} does not load: {e}"));
        }
    }
    Ok(())
}
