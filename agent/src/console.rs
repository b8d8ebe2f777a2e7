//! Lines of the agent's own, to the console.

use std::fmt::Arguments;
use std::io::Write;

/// Where the agent logs: standard error, which is the console in a microVM and
/// a file in a process sandbox. Commands' output never goes here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Console {}

impl Console {
    /// Writes one line.
    pub fn line(self, text: Arguments<'_>) {
        // A console that cannot be written to is no reason to stop.
        let _ = writeln!(std::io::stderr(), "postern-agent: {text}");
    }
}
