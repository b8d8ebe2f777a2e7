//! How a process is set up between clone(2) and execve(2).
//!
//! Everything here is in the form that the system calls take before there is a
//! child; the child makes them one after the other and notes where it stopped.

use std::ffi::{c_int, c_long};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;

use super::spawn::Step;

/// What a process is given beside its program, every value checked.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// umask(2).
    pub umask: u32,
    /// setrlimit(2): resource and limits, in this order.
    pub rlimits: Vec<(c_int, Limits)>,
    /// None: all that the spawner's bounding set allows.
    pub capabilities: Option<CapabilitySets>,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    /// setpriority(2); None: the agent's own.
    pub nice: Option<i32>,
    /// proc(5); None: the agent's own.
    pub oom_score_adj: Option<i32>,
}

/// `struct rlimit64`, prlimit(2).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What applies; all ones for no limit.
    pub soft: u64,
    /// How far it may be raised; likewise.
    pub hard: u64,
}

/// Sets of capabilities(7), a bit for each number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapabilitySets {
    /// The bounding set; root's permitted and effective sets.
    pub keep: u64,
    /// Of these, what a user who is not root has.
    pub ambient: u64,
    /// The highest that the kernel knows.
    pub last: u32,
}

/// The child's view of a [`Setup`]: plain values, and pointers that outlive it.
#[derive(Debug)]
pub(super) struct RawSetup {
    umask: u32,
    rlimits: *const (c_int, Limits),
    rlimit_count: usize,
    capabilities: Option<RawCapabilities>,
    no_new_privs: bool,
    nice: Option<i32>,
    oom_text: [u8; OOM_TEXT],
    oom_len: usize,
    /// The agent's own /proc.
    proc_dir: RawFd,
}

/// "-1000" and what a wrong number would need.
const OOM_TEXT: usize = 12;

#[derive(Debug)]
struct RawCapabilities {
    sets: CapabilitySets,
    header: [u32; 2],
    /// Effective, permitted and inheritable, the low words before the high ones.
    data: [[u32; 3]; 2],
}

/// `_LINUX_CAPABILITY_VERSION_3`, and the calling thread.
const CAPABILITY_HEADER: [u32; 2] = [0x2008_0522, 0];

impl RawCapabilities {
    fn new(sets: CapabilitySets, is_root: bool) -> Self {
        // Root has the bounding set at execve(2) whatever is inheritable; others
        // have nothing but what is ambient.
        let (own, inheritable) =
            if is_root { (sets.keep, 0) } else { (sets.ambient, sets.ambient) };
        let word = |shift: u32| {
            let part = |set: u64| (set >> shift) as u32;
            [part(own), part(own), part(inheritable)]
        };
        let ambient = if is_root { 0 } else { sets.ambient };
        let sets = CapabilitySets { ambient, ..sets };
        Self { sets, header: CAPABILITY_HEADER, data: [word(0), word(32)] }
    }
}

impl RawSetup {
    /// `setup` must live until the child has gone on to execve(2).
    pub(super) fn new(setup: &Setup, uid: u32, proc_dir: RawFd) -> Self {
        let mut oom_text = [0; OOM_TEXT];
        let text = setup.oom_score_adj.map_or_else(String::new, |n| n.to_string());
        let oom_len = text.len().min(OOM_TEXT);
        oom_text[..oom_len].copy_from_slice(&text.as_bytes()[..oom_len]);
        Self {
            umask: setup.umask,
            rlimits: setup.rlimits.as_ptr(),
            rlimit_count: setup.rlimits.len(),
            capabilities: setup.capabilities.map(|sets| RawCapabilities::new(sets, uid == 0)),
            no_new_privs: setup.no_new_privs,
            nice: setup.nice,
            oom_text,
            oom_len,
            proc_dir,
        }
    }
}

/// The child's way through its steps: after the first failure nothing is done.
pub(super) struct Steps<'a> {
    step: &'a AtomicU32,
    errno: c_int,
}

impl<'a> Steps<'a> {
    pub(super) fn new(step: &'a AtomicU32) -> Self {
        Self { step, errno: 0 }
    }

    /// 0, or why the noted step failed.
    pub(super) fn errno(&self) -> c_int {
        self.errno
    }

    /// Whether it failed for one of these reasons; then it goes on as if it had not.
    pub(super) fn forgive(&mut self, reasons: &[c_int]) -> bool {
        let failed = reasons.contains(&self.errno);
        if failed {
            self.errno = 0;
        }
        failed
    }

    /// What comes next, for whoever asks where it failed.
    pub(super) fn at(&mut self, step: Step) {
        if self.errno == 0 {
            self.step.store(step as u32, Ordering::Release);
        }
    }

    /// A raw system call; -1 when it or one before it failed.
    pub(super) fn run<const N: usize>(&mut self, number: c_long, args: [usize; N]) -> c_long {
        if self.errno != 0 {
            return -1;
        }
        let arg = |i: usize| args.get(i).copied().unwrap_or(0);
        // SAFETY: each call of this module's passes what its number takes.
        let result = unsafe { libc::syscall(number, arg(0), arg(1), arg(2), arg(3), arg(4)) };
        if result < 0 {
            // Shared with the parent's thread, which is suspended.
            self.errno = Errno::last_raw();
        }
        result
    }

    fn prctl(&mut self, option: c_int, a: usize, b: usize) {
        self.run(libc::SYS_prctl, [option as usize, a, b, 0, 0]);
    }
}

/// What needs the agent's own rights and descriptors: before stdio is replaced.
pub(super) fn of_the_process(steps: &mut Steps<'_>, setup: &RawSetup) {
    steps.run(libc::SYS_umask, [setup.umask as usize]);
    if setup.oom_len > 0 {
        steps.at(Step::OomScoreAdj);
        let path = c"self/oom_score_adj".as_ptr() as usize;
        let flags = (libc::O_WRONLY | libc::O_CLOEXEC) as usize;
        let fd = steps.run(libc::SYS_openat, [setup.proc_dir as usize, path, flags]);
        let text = setup.oom_text.as_ptr() as usize;
        steps.run(libc::SYS_write, [fd as usize, text, setup.oom_len]);
    }
    if let Some(nice) = setup.nice {
        steps.at(Step::Nice);
        let this = libc::PRIO_PROCESS as usize;
        steps.run(libc::SYS_setpriority, [this, 0, nice as usize]);
    }
}

/// Limits, while root may still raise them; nothing is opened after this.
pub(super) fn limits(steps: &mut Steps<'_>, setup: &RawSetup) {
    if setup.rlimit_count > 0 {
        steps.at(Step::Rlimits);
    }
    for index in 0..setup.rlimit_count {
        // SAFETY: within the list.
        let entry = unsafe { setup.rlimits.add(index) };
        // SAFETY: the list outlives the child's way to execve(2).
        let (resource, limits) = unsafe { &*entry };
        let new = std::ptr::from_ref(limits) as usize;
        steps.run(libc::SYS_prlimit64, [0, *resource as usize, new, 0]);
    }
}

/// Before the identity: only who has `CAP_SETPCAP` may take from the bounding set.
pub(super) fn bounding(steps: &mut Steps<'_>, setup: &RawSetup) {
    let Some(capabilities) = &setup.capabilities else { return };
    steps.at(Step::Capabilities);
    let sets = &capabilities.sets;
    for number in (0..=sets.last).filter(|n| sets.keep & (1 << n) == 0) {
        steps.prctl(libc::PR_CAPBSET_DROP, number as usize, 0);
    }
    if sets.ambient != 0 {
        steps.prctl(libc::PR_SET_KEEPCAPS, 1, 0);
    }
}

/// After the identity, whose change clears most of them.
pub(super) fn rights(steps: &mut Steps<'_>, setup: &RawSetup) {
    if let Some(capabilities) = &setup.capabilities {
        steps.at(Step::Capabilities);
        let (header, data) = (&raw const capabilities.header, &raw const capabilities.data);
        steps.run(libc::SYS_capset, [header as usize, data as usize]);
        let ambient = capabilities.sets.ambient;
        for number in (0..=capabilities.sets.last).filter(|n| ambient & (1 << n) != 0) {
            let raise = libc::PR_CAP_AMBIENT_RAISE as usize;
            steps.prctl(libc::PR_CAP_AMBIENT, raise, number as usize);
        }
    }
    if setup.no_new_privs {
        steps.at(Step::NoNewPrivs);
        steps.prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0);
    }
}
