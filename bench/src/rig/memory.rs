//! Processes below one of ours, and their memory, from proc(5).

use std::fs;
use std::io;

/// A process as `/proc` shows it.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

/// Bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) rss: u64,
    pub(crate) anonymous: u64,
    /// Pages that several processes share are divided among them.
    pub(crate) proportional: u64,
}

/// Every descendant of `pid`, parents first.
pub(crate) fn descendants(pid: u32) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for task in fs::read_dir(format!("/proc/{parent}/task"))?.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for pid in children.split_whitespace().filter_map(|word| word.parse().ok()) {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                found.push(Process { pid, name: name.trim().to_owned() });
                parents.push(pid);
            }
        }
    }
    Ok(found)
}

/// The descendant of that name.
pub(crate) fn named(below: u32, name: &str) -> io::Result<Process> {
    let all = descendants(below)?;
    let found = all.iter().find(|process| process.name == name).cloned();
    found.ok_or_else(|| io::Error::other(format!("no {name} among {all:?}")))
}

pub(crate) fn of(pid: u32) -> io::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| kib(&text, name);
    Ok(Memory { rss: field("Rss:"), anonymous: field("Anonymous:"), proportional: field("Pss:") })
}

/// Makes the peak begin at what is used now (proc(5), clear_refs).
pub(crate) fn reset_peak(pid: u32) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

/// Used now and at most since the last reset.
pub(crate) fn now_and_peak(pid: u32) -> io::Result<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok((kib(&text, "VmRSS:"), kib(&text, "VmHWM:")))
}

fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let number = line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}
