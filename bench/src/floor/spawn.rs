//! A process, its two outputs drained, and its end. `Command` without
//! `pre_exec` is posix_spawn(3).

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Starts the program, reads both pipes to their ends, waits.
pub(crate) fn bare_spawn(program: &Path) -> io::Result<()> {
    let child = Command::new(program)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let output = child.wait_with_output()?;
    if output.status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("{}: {}", program.display(), output.status)))
    }
}
