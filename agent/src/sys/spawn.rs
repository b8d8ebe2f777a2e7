//! From a prepared plan to a running program.
//!
//! Everything that can fail for a reason of the caller's, or that allocates, is
//! done before: between clone and exec the child only makes system calls.

use std::ffi::{CString, c_char, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use nix::errno::Errno;

use super::clone::{ChildStack, PidfdSlot, vfork_into};
use super::setup::{self, RawSetup, Setup, Steps};

/// A program to start, every part checked and in the form that execve(2) takes.
#[derive(Debug)]
pub struct Plan {
    /// Paths to try in order, as a shell walks PATH.
    pub programs: Vec<CString>,
    /// `argv[0]` included.
    pub argv: Vec<CString>,
    /// `NAME=value` each.
    pub env: Vec<CString>,
    /// Absolute. Entered as root; where root may not, as the user.
    pub cwd: CString,
    /// Become 0, 1 and 2.
    pub stdio: [Arc<OwnedFd>; 3],
    /// 0 is a terminal, and becomes the controlling one.
    pub terminal: bool,
    /// uid, gid and supplementary groups.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
    /// See `uid`.
    pub groups: Vec<u32>,
    /// Limits, rights and the like.
    pub setup: Setup,
    /// A cgroup v2 directory to be born in.
    pub cgroup: Option<Arc<OwnedFd>>,
}

/// What was started.
#[derive(Debug)]
pub struct Spawned {
    /// As the program itself sees it, in the workload's pid namespace.
    pub pid: u32,
    /// In the agent's.
    pub agent_pid: i32,
    /// For waiting and signalling without a race.
    pub pidfd: OwnedFd,
}

/// The step at which the child was when it gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Step {
    /// clone3(2) itself.
    Clone = 0,
    /// Its own session, umask(2).
    Setup = 1,
    /// oom_score_adj, proc(5).
    OomScoreAdj = 2,
    /// setpriority(2).
    Nice = 3,
    /// dup3(2) of its stdio.
    Stdio = 4,
    /// `TIOCSCTTY`.
    Terminal = 11,
    /// prlimit(2).
    Rlimits = 5,
    /// Bounding, effective, permitted, inheritable and ambient set.
    Capabilities = 6,
    /// setgroups(2), setresgid(2), setresuid(2).
    Credentials = 7,
    /// prctl(2).
    NoNewPrivs = 8,
    /// openat2(2), fchdir(2).
    Cwd = 9,
    /// execve(2).
    Exec = 10,
}

impl Step {
    /// As a child noted it.
    fn noted(number: u32) -> Self {
        const ALL: [Step; 12] = [
            Step::Clone,
            Step::Setup,
            Step::OomScoreAdj,
            Step::Nice,
            Step::Stdio,
            Step::Terminal,
            Step::Rlimits,
            Step::Capabilities,
            Step::Credentials,
            Step::NoNewPrivs,
            Step::Cwd,
            Step::Exec,
        ];
        ALL.into_iter().find(|step| *step as u32 == number).unwrap_or(Self::Setup)
    }
}

/// A start that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at {step:?}: {errno}")]
pub struct SpawnError {
    /// Where.
    pub step: Step,
    /// Why; EINTR when the child was killed on its way.
    pub errno: Errno,
}

/// `struct open_how`, openat2(2).
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// A link of procfs would lead the child to one of the agent's own descriptors,
/// copies of which it has until execve(2) (CVE-2024-21626).
const ENTER: OpenHow = OpenHow {
    flags: (libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) as u64,
    mode: 0,
    resolve: libc::RESOLVE_NO_MAGICLINKS,
};

/// What the parent and the child share.
struct Context {
    programs: *const *const c_char,
    argv: *const *const c_char,
    env: *const *const c_char,
    cwd: *const c_char,
    cwd_how: OpenHow,
    stdio: [RawFd; 3],
    terminal: bool,
    uid: u32,
    gid: u32,
    groups: *const u32,
    group_count: usize,
    switch_user: bool,
    setup: RawSetup,
    pid: AtomicI32,
    step: AtomicU32,
    errno: AtomicI32,
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// Starts the plan's program. Blocks until the child has reached execve(2) or
/// failed; `slot` lets another thread end one that does neither.
///
/// `proc_dir` is the agent's own /proc, for the child's oom_score_adj.
pub fn spawn(
    plan: &Plan,
    stack: &mut ChildStack,
    slot: &PidfdSlot,
    proc_dir: BorrowedFd<'_>,
) -> Result<Spawned, SpawnError> {
    let programs = pointers(&plan.programs);
    let argv = pointers(&plan.argv);
    let env = pointers(&plan.env);
    let context = Context {
        programs: programs.as_ptr(),
        argv: argv.as_ptr(),
        env: env.as_ptr(),
        cwd: plan.cwd.as_ptr(),
        cwd_how: ENTER,
        stdio: plan.stdio.each_ref().map(AsRawFd::as_raw_fd),
        terminal: plan.terminal,
        uid: plan.uid,
        gid: plan.gid,
        groups: plan.groups.as_ptr(),
        group_count: plan.groups.len(),
        switch_user: plan.uid != 0 || plan.gid != 0 || plan.groups.iter().any(|g| *g != 0),
        setup: RawSetup::new(&plan.setup, plan.uid, proc_dir.as_raw_fd()),
        pid: AtomicI32::new(0),
        step: AtomicU32::new(Step::Setup as u32),
        errno: AtomicI32::new(0),
    };
    let cgroup = plan.cgroup.as_ref().map(|fd| fd.as_fd());
    // SAFETY: `child` keeps the rules of vfork_into, and everything the context
    // points to lives until it returns.
    let result = unsafe { vfork_into(stack, slot, cgroup, child, &raw const context) };
    let (agent_pid, pidfd) = result.map_err(|errno| SpawnError { step: Step::Clone, errno })?;
    let step = context.step.load(Ordering::Acquire);
    let errno = context.errno.load(Ordering::Acquire);
    if step == Step::Exec as u32 && errno == 0 && !slot.was_killed() {
        let pid = context.pid.load(Ordering::Acquire);
        return Ok(Spawned { pid: pid.cast_unsigned(), agent_pid, pidfd });
    }
    // The child is dead or dying: reap it here, nobody else knows of it.
    let _ = super::pidfd::wait(&pidfd);
    let errno = if errno == 0 { Errno::EINTR } else { Errno::from_raw(errno) };
    Err(SpawnError { step: Step::noted(step), errno })
}

/// The child. Raw system calls only: see [`vfork_into`].
unsafe extern "C" fn child(context: *const Context) -> ! {
    // SAFETY: the parent is suspended and keeps the context alive.
    let context = unsafe { &*context };
    let failed = prepare(context);
    let errno = match failed {
        0 => {
            context.step.store(Step::Exec as u32, Ordering::Release);
            // SAFETY: the arrays are null-terminated and outlive this call.
            unsafe { exec(context) }
        }
        errno => errno,
    };
    context.errno.store(errno, Ordering::Release);
    loop {
        // SAFETY: ends this process; the loop is for the type.
        unsafe { libc::syscall(libc::SYS_exit_group, 127) };
    }
}

/// Everything before execve(2); 0 or the errno, the step being noted.
fn prepare(context: &Context) -> c_int {
    let mut steps = Steps::new(&context.step);
    let pid = steps.run(libc::SYS_getpid, []);
    context.pid.store(pid as i32, Ordering::Release);
    steps.run(libc::SYS_setsid, []);
    setup::of_the_process(&mut steps, &context.setup);
    steps.at(Step::Stdio);
    for (target, source) in context.stdio.iter().enumerate() {
        steps.run(libc::SYS_dup3, [*source as usize, target, 0]);
    }
    if context.terminal {
        // Of a session of its own the child is the leader, and its group is in
        // the foreground from here on.
        steps.at(Step::Terminal);
        steps.run(libc::SYS_ioctl, [0, libc::TIOCSCTTY as usize, 0]);
        steps.at(Step::Stdio);
    }
    // As docker does it: images have a WorkingDir that only root may enter, such as
    // /root, and a User. What the user may do in it, its own rights decide. Before
    // the limits, which may allow no further descriptor.
    let failed = steps.errno() != 0;
    enter(&mut steps, context);
    let entered = failed || !steps.forgive(&[libc::EACCES, libc::EPERM]);
    steps.at(Step::Stdio);
    // Nothing of the agent's crosses execve(2), whatever a library forgot.
    let cloexec = libc::CLOSE_RANGE_CLOEXEC as usize;
    steps.run(libc::SYS_close_range, [3, u32::MAX as usize, cloexec]);
    setup::limits(&mut steps, &context.setup);
    setup::bounding(&mut steps, &context.setup);
    reset_signals();
    // From here on a process of the same user may stop this one: little is left
    // to do, and whoever waits continues it. The agent itself is root without
    // supplementary groups.
    if context.switch_user {
        steps.at(Step::Credentials);
        let (gid, uid) = (context.gid as usize, context.uid as usize);
        steps.run(libc::SYS_setgroups, [context.group_count, context.groups as usize]);
        steps.run(libc::SYS_setresgid, [gid, gid, gid]);
        steps.run(libc::SYS_setresuid, [uid, uid, uid]);
    }
    setup::rights(&mut steps, &context.setup);
    if !entered {
        // A file system of the user's own keeps even root out. What is open is in
        // the way of a low limit on descriptors, and not needed any more.
        steps.run(libc::SYS_close_range, [3, u32::MAX as usize, 0]);
        enter(&mut steps, context);
    }
    steps.errno()
}

/// Enters the directory as whoever the child is.
fn enter(steps: &mut Steps<'_>, context: &Context) {
    steps.at(Step::Cwd);
    let (path, how) = (context.cwd as usize, &raw const context.cwd_how as usize);
    let dir =
        steps.run(libc::SYS_openat2, [libc::AT_FDCWD as usize, path, how, size_of::<OpenHow>()]);
    steps.run(libc::SYS_fchdir, [dir as usize]);
}

/// Tries each program; the errno of the failure that says most.
///
/// # Safety
///
/// The context's arrays are null-terminated.
unsafe fn exec(context: &Context) -> c_int {
    let mut best = libc::ENOENT;
    let mut next = context.programs;
    loop {
        // SAFETY: within the array or at its terminator.
        let program = unsafe { *next };
        if program.is_null() {
            return best;
        }
        // SAFETY: strings and arrays are null-terminated.
        unsafe { libc::syscall(libc::SYS_execve, program, context.argv, context.env) };
        match Errno::last_raw() {
            libc::ENOENT | libc::ENOTDIR => {}
            // A later directory of PATH may have one that can be executed.
            libc::EACCES => best = libc::EACCES,
            errno => return errno,
        }
        // SAFETY: not past the terminator, which was seen above.
        next = unsafe { next.add(1) };
    }
}

/// Ignored signals stay ignored across clone and exec, and so does the mask:
/// the agent ignores SIGPIPE and its spawners block everything.
fn reset_signals() {
    const SIGSET_BYTES: usize = 8;
    // `struct kernel_sigaction` with SIG_DFL is all zeros.
    let default = [0u64; 4];
    let none = 0u64;
    // SAFETY: the kernel reads 32 and 8 bytes that are there.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            libc::SIGPIPE,
            default.as_ptr(),
            ptr::null::<u64>(),
            SIGSET_BYTES,
        )
    };
    // SAFETY: as above.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            ptr::null::<u64>(),
            SIGSET_BYTES,
        )
    };
}
