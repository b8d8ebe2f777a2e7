//! A cgroup v2 for each command: born in it, counted in it, killed by it.
//!
//! Making one costs about as much as starting a process, so empty ones are kept
//! ready and used again.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use postern_proto::{CgroupLimits, Error, Usage};

use super::failure::limit_error;

/// Kept ready when there is nothing to do. More are made as they are needed.
const READY: usize = 4;

/// At most this many empty ones are kept after a rush.
const MAX_READY: usize = 64;

/// A pid list longer than this is read in pieces and cut; a fork bomb is ended
/// by cgroup.kill, not by a list.
const MAX_FILE: usize = 1 << 20;

/// A command that used more memory leaves its cgroup behind: the kernel's peak
/// cannot be set back, and what it left in caches counts against the next. Below
/// this the next one's peak is not told unless it is higher.
const REUSED_PEAK: u64 = 4 << 20;

/// One command's cgroup.
#[derive(Debug)]
pub(super) struct Cgroup {
    dir: Arc<OwnedFd>,
    name: String,
    /// The kernel counts memory in it.
    counts_memory: bool,
    /// What the commands before have used.
    before: Cell<Usage>,
    /// Since Linux 6.16 a process that is cloned into a cgroup which was ever
    /// killed is killed, too, unless its parent's was as often: such a cgroup
    /// cannot be used again.
    spent: Cell<bool>,
}

/// The cgroups below the commands' own directory.
#[derive(Debug)]
pub struct CgroupPool {
    base: Option<OwnedFd>,
    controllers: Vec<String>,
    next: Cell<u64>,
    ready: RefCell<Vec<Cgroup>>,
}

impl CgroupPool {
    /// `base` is the directory for the commands; None where the kernel has no
    /// cgroup v2, and then commands have none.
    pub fn new(base: Option<OwnedFd>) -> Self {
        let enabled = |dir: &OwnedFd| read(dir.as_fd(), "cgroup.subtree_control");
        let controllers = base.as_ref().and_then(|dir| enabled(dir).ok()).unwrap_or_default();
        let controllers = controllers.split_whitespace().map(str::to_owned).collect();
        Self { base, controllers, next: Cell::new(0), ready: RefCell::default() }
    }

    /// What the kernel can count and limit for a command: memory, pids, cpu, ...
    pub fn controllers(&self) -> &[String] {
        &self.controllers
    }

    /// Commands have cgroups.
    pub fn is_available(&self) -> bool {
        self.base.is_some()
    }

    /// An empty cgroup with these limits, or None where there are none.
    pub(super) fn take(&self, limits: &CgroupLimits) -> Result<Option<Cgroup>, Error> {
        let failed = |errno| limit_error("making the cgroup", errno);
        super::limits::check(limits, self.controllers())?;
        let Some(base) = &self.base else {
            return Ok(None);
        };
        if *limits == CgroupLimits::default() {
            let ready = self.ready.borrow_mut().pop();
            return ready.map_or_else(|| self.make(base).map_err(failed), Ok).map(Some);
        }
        // A new one: whoever had an old one may have left it something to count.
        let cgroup = self.make(base).map_err(failed)?;
        cgroup.spent.set(true);
        if let Err(error) = super::limits::apply(&cgroup, limits) {
            self.put(cgroup);
            return Err(error);
        }
        Ok(Some(cgroup))
    }

    fn make(&self, base: &OwnedFd) -> Result<Cgroup, Errno> {
        loop {
            let name = format!("{}", self.next.get());
            self.next.set(self.next.get() + 1);
            match mkdirat(base, name.as_str(), Mode::from_bits_truncate(0o755)) {
                Ok(()) => {}
                // Left over by a serving process that crashed, and killed since.
                Err(Errno::EEXIST) => {
                    remove(base, &name);
                    continue;
                }
                Err(errno) => return Err(errno),
            }
            let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            let dir = openat(base, name.as_str(), flags, Mode::empty())?;
            return Ok(Cgroup {
                dir: Arc::new(dir),
                name,
                counts_memory: self.controllers.iter().any(|c| c == "memory"),
                before: Cell::default(),
                spent: Cell::new(false),
            });
        }
    }

    /// Takes back a cgroup whose processes are all gone, and tells what they have
    /// used.
    pub(super) fn take_back(&self, cgroup: Cgroup) -> Usage {
        let now = cgroup.figures();
        let usage = cgroup.since_before(now);
        cgroup.settle(now);
        self.put(cgroup);
        usage
    }

    /// A cgroup that nothing has run in since it was settled.
    pub(super) fn put(&self, cgroup: Cgroup) {
        let mut ready = self.ready.borrow_mut();
        if ready.len() < MAX_READY && !cgroup.spent.get() {
            ready.push(cgroup);
        } else if let Some(base) = &self.base {
            remove(base, &cgroup.name);
        }
    }

    /// A workload that froze its own tree must not keep commands from starting.
    pub(super) fn thaw(&self) {
        let Some(base) = &self.base else { return };
        let mut files = vec!["../cgroup.freeze".to_owned(), "cgroup.freeze".to_owned()];
        files.extend((0..self.next.get()).map(|n| format!("{n}/cgroup.freeze")));
        for file in files {
            let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            // Most of the numbered ones are gone by now.
            if let Ok(fd) = openat(base, file.as_str(), flags, Mode::empty()) {
                let _ = nix::unistd::write(&fd, b"0");
            }
        }
    }

    /// Between commands: keeps some ready.
    pub fn refill(&self) {
        let Some(base) = &self.base else { return };
        while self.ready.borrow().len() < READY {
            match self.make(base) {
                Ok(cgroup) => self.put(cgroup),
                // The next command will meet the same error and report it.
                Err(_) => return,
            }
        }
    }
}

/// One that some process is still in stays, and is empty some time later.
fn remove(base: &OwnedFd, name: &str) {
    let _ = unlinkat(base, name, UnlinkatFlags::RemoveDir);
}

impl Cgroup {
    /// For clone3(2).
    pub(super) fn fd(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.dir)
    }

    /// SIGKILL for every process in it, also for those that are being born.
    pub(super) fn kill(&self) -> Result<(), Errno> {
        self.spent.set(true);
        self.write("cgroup.kill", "1")
    }

    /// The kernel has ended a process in it for want of memory. Its count cannot
    /// be set back, so such a cgroup is not for another command.
    pub(super) fn had_oom_kill(&self) -> bool {
        let Ok(events) = self.read("memory.events") else {
            return false;
        };
        let count = events.lines().find_map(|l| l.strip_prefix("oom_kill "));
        count.is_some_and(|n| n != "0")
    }

    /// What its processes have used since it was taken.
    pub(super) fn usage(&self) -> Usage {
        self.since_before(self.figures())
    }

    fn since_before(&self, now: Usage) -> Usage {
        let before = self.before.get();
        let since = |now: Option<u64>, before: Option<u64>| {
            now.map(|n| n.saturating_sub(before.unwrap_or(0)))
        };
        Usage {
            cpu_user_us: since(now.cpu_user_us, before.cpu_user_us),
            cpu_system_us: since(now.cpu_system_us, before.cpu_system_us),
            memory_peak_bytes: now
                .memory_peak_bytes
                .filter(|n| Some(*n) > before.memory_peak_bytes),
        }
    }

    /// What the kernel has counted since it was made.
    fn figures(&self) -> Usage {
        let stat = self.read("cpu.stat").unwrap_or_default();
        let field = |name: &str| {
            let line = stat.lines().find_map(|l| l.strip_prefix(name))?;
            line.trim_start().parse().ok()
        };
        let peak = || self.read("memory.peak").ok()?.trim_end().parse().ok();
        Usage {
            cpu_user_us: field("user_usec"),
            cpu_system_us: field("system_usec"),
            memory_peak_bytes: if self.counts_memory { peak() } else { None },
        }
    }

    /// From here on counts for the next command, if there may be one.
    fn settle(&self, now: Usage) {
        if self.spent.get() {
            return;
        }
        self.before.set(now);
        let was_large = now.memory_peak_bytes.is_some_and(|peak| peak > REUSED_PEAK);
        self.spent.set(was_large || (self.counts_memory && self.had_oom_kill()));
    }

    pub(super) fn freeze(&self, frozen: bool) -> Result<(), Errno> {
        self.write("cgroup.freeze", if frozen { "1" } else { "0" })
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.event("frozen 1")
    }

    /// There is a live process in it.
    pub(super) fn is_populated(&self) -> bool {
        self.event("populated 1")
    }

    fn event(&self, line: &str) -> bool {
        self.read("cgroup.events").is_ok_and(|text| text.lines().any(|l| l == line))
    }

    /// The pids in it, in the agent's pid namespace.
    pub(super) fn pids(&self) -> Result<Vec<i32>, Errno> {
        Ok(self.read("cgroup.procs")?.lines().filter_map(|l| l.parse().ok()).collect())
    }

    pub(super) fn write(&self, file: &str, value: &str) -> Result<(), Errno> {
        let fd = openat(self.dir.as_fd(), file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        nix::unistd::write(&fd, value.as_bytes()).map(drop)
    }

    fn read(&self, file: &str) -> Result<String, Errno> {
        read(self.dir.as_fd(), file)
    }
}

fn read(dir: BorrowedFd<'_>, file: &str) -> Result<String, Errno> {
    let fd = openat(dir, file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut text = Vec::new();
    let mut buf = [0; 4096];
    while text.len() < MAX_FILE {
        match nix::unistd::read(&fd, &mut buf)? {
            0 => break,
            n => text.extend_from_slice(&buf[..n]),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}
