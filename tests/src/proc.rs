//! What /proc says about processes.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::wait;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// On this host.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// Its name, at most 15 bytes.
    pub comm: String,
    /// As in proc(5): `Z` is a zombie.
    pub state: char,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (before, after) = stat.rsplit_once(") ")?;
        let mut fields = after.split(' ');
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let comm = before.split_once(" (")?.1.to_owned();
        Some(Self { pid, parent, comm, state })
    }

    /// Whether this path is one of its arguments.
    pub fn has_argument(&self, path: &Path) -> bool {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        line.split(|b| *b == 0).any(|word| word == path.as_os_str().as_bytes())
    }

    /// Whether this path is in one of its arguments.
    pub fn has_argument_with(&self, path: &Path) -> bool {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let path = path.as_os_str().as_bytes();
        line.windows(path.len()).any(|part| part == path)
    }
}

/// Every process of this host.
pub fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(Process::read).collect()
}

/// Every process below this one.
pub fn descendants(pid: u32) -> Vec<Process> {
    let list = all();
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for process in list.iter().filter(|p| p.parent == parent) {
            parents.push(process.pid);
            found.push(process.clone());
        }
    }
    found
}

/// How many descriptors are open in it.
pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Memory that is in use, bytes (VmRSS); 0 when it is gone.
pub fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kb.unwrap_or(0) << 10
}

/// Watches how much memory a process takes while something goes on.
#[derive(Debug)]
pub struct Watch {
    before: u64,
    most: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to look.
    pub fn start(pid: u32) -> Self {
        let before = memory(pid);
        let (most, over) = (Arc::new(AtomicU64::new(before)), Arc::new(AtomicBool::new(false)));
        let theirs = (Arc::clone(&most), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while !theirs.1.load(Ordering::Relaxed) {
                theirs.0.fetch_max(memory(pid), Ordering::Relaxed);
                wait::pause(Duration::from_millis(10));
            }
        });
        Self { before, most, over, thread: Some(thread) }
    }

    /// How many bytes it grew by at the most.
    pub fn growth(mut self) -> u64 {
        self.stop();
        self.most.load(Ordering::Relaxed).saturating_sub(self.before)
    }

    fn stop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}
