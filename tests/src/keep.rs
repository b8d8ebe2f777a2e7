//! What is kept of a failed test.

use std::fs;
use std::path::Path;

use crate::artifacts;

/// Lines of a log that are printed.
const TAIL: usize = 25;

/// Copies what a session's console says, and prints the end of it and of the
/// broker's log.
pub fn logs_of(dir: &Path, broker: &Path) {
    let test = std::thread::current().name().unwrap_or("test").replace("::", "-");
    let console = artifacts::logs().join(format!("{test}-console.log"));
    let there = fs::copy(dir.join("console.log"), &console).is_ok();
    for (what, path) in [("console and agent", &console), ("broker", &broker.to_owned())] {
        if what == "broker" || there {
            println!("---- {what}: {}\n{}", path.display(), tail(path));
        }
    }
}

fn tail(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}
