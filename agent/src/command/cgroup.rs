//! A cgroup v2 for each command: born in it, counted in it, killed by it.
//!
//! Making one costs about as much as starting a process, so empty ones are kept
//! ready and used again.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Kept ready when there is nothing to do. More are made as they are needed.
const READY: usize = 4;

/// At most this many empty ones are kept after a rush.
const MAX_READY: usize = 64;

/// A pid list longer than this is read in pieces and cut; a fork bomb is ended
/// by cgroup.kill, not by a list.
const MAX_FILE: usize = 1 << 20;

/// One command's cgroup.
#[derive(Debug)]
pub struct Cgroup {
    dir: Arc<OwnedFd>,
    name: String,
    /// Since Linux 6.16 a process that is cloned into a cgroup which was ever
    /// killed is killed, too, unless its parent's was as often: such a cgroup
    /// cannot be used again.
    spent: Cell<bool>,
}

/// The cgroups below the commands' own directory.
#[derive(Debug)]
pub struct CgroupPool {
    base: Option<OwnedFd>,
    next: Cell<u64>,
    ready: RefCell<Vec<Cgroup>>,
}

impl CgroupPool {
    /// `base` is the directory for the commands; None where the kernel has no
    /// cgroup v2, and then commands have none.
    pub fn new(base: Option<OwnedFd>) -> Self {
        Self { base, next: Cell::new(0), ready: RefCell::default() }
    }

    /// Commands have cgroups.
    pub fn is_available(&self) -> bool {
        self.base.is_some()
    }

    /// An empty cgroup, or None where there are none.
    pub fn take(&self) -> Result<Option<Cgroup>, Errno> {
        let Some(base) = &self.base else {
            return Ok(None);
        };
        if let Some(cgroup) = self.ready.borrow_mut().pop() {
            return Ok(Some(cgroup));
        }
        self.make(base).map(Some)
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
            return Ok(Cgroup { dir: Arc::new(dir), name, spent: Cell::new(false) });
        }
    }

    /// A cgroup whose processes are all gone.
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

    /// The kernel has ended a process in it for want of memory; its count cannot
    /// be set back, so the cgroup is not for another command.
    pub(super) fn had_oom_kill(&self) -> bool {
        let Ok(events) = self.read("memory.events") else {
            return false;
        };
        let count = events.lines().find_map(|l| l.strip_prefix("oom_kill "));
        let had = count.is_some_and(|n| n != "0");
        self.spent.set(self.spent.get() || had);
        had
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

    fn write(&self, file: &str, value: &str) -> Result<(), Errno> {
        let fd = openat(self.dir.as_fd(), file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        nix::unistd::write(&fd, value.as_bytes()).map(drop)
    }

    fn read(&self, file: &str) -> Result<String, Errno> {
        let fd = openat(self.dir.as_fd(), file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
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
}
