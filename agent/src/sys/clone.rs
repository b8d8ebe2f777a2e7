//! clone3(2): processes in other namespaces and cgroups, and the fast road to
//! execve(2) that shares memory with its parent as vfork(2) does.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use nix::errno::Errno;

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

/// Enough for a function that makes system calls and keeps no buffers; four
/// pages more than was seen to be used.
const CHILD_STACK: usize = 32 << 10;

/// Returned by [`fork_into`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// In the new process.
    Child,
    /// In the old one, with the new one's pid.
    Parent(nix::unistd::Pid),
}

/// fork(2) with namespace flags. The new process must not rely on libc's idea
/// of its own thread id (so: no pthreads of its own before another fork).
///
/// The caller must have one thread only, as for fork(2).
pub fn fork_into(flags: nix::sched::CloneFlags) -> Result<Fork, Errno> {
    let flags = u64::from(flags.bits().cast_unsigned());
    let mut args = CloneArgs { flags, exit_signal: libc::SIGCHLD as u64, ..CloneArgs::default() };
    // SAFETY: without CLONE_VM the child gets a copy of everything, this stack
    // included, and goes on here as after fork(2).
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match Errno::result(pid)? {
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(nix::unistd::Pid::from_raw(pid as i32))),
    }
}

/// `struct clone_args`, version 2.
#[repr(C, align(8))]
#[derive(Debug, Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// The stack of a child that has not reached execve(2) yet; one per spawner.
#[derive(Debug)]
pub struct ChildStack(Box<[u128]>);

impl Default for ChildStack {
    fn default() -> Self {
        Self(vec![0; CHILD_STACK / size_of::<u128>()].into_boxed_slice())
    }
}

/// The child's pidfd, visible to other threads while the parent is still
/// suspended: they can continue a child that was stopped on its way to
/// execve(2), and end one that never gets there.
#[derive(Debug)]
pub struct PidfdSlot {
    /// Written by the kernel, before the child runs.
    fd: AtomicI32,
    /// Held while a signal is sent and while the descriptor is taken away, so
    /// that no signal meets another descriptor with the same number.
    taking: Mutex<()>,
    killed: AtomicBool,
}

impl Default for PidfdSlot {
    fn default() -> Self {
        Self { fd: AtomicI32::new(-1), taking: Mutex::default(), killed: AtomicBool::new(false) }
    }
}

impl PidfdSlot {
    /// A signal for the child on its way; ESRCH when there is none, not yet or
    /// not any more.
    pub fn send(&self, signal: c_int) -> Result<(), Errno> {
        let _still = self.lock();
        let fd = self.fd.load(Ordering::Acquire);
        if fd < 0 {
            return Err(Errno::ESRCH);
        }
        if signal == libc::SIGKILL {
            self.killed.store(true, Ordering::Release);
        }
        super::pidfd::send_signal_raw(fd, signal)
    }

    /// Whether the child was killed on its way.
    pub fn was_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// The descriptor, which is the caller's from now on.
    fn take(&self) -> i32 {
        let _still = self.lock();
        self.fd.swap(-1, Ordering::AcqRel)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        // It guards no value that a panic could leave half made.
        self.taking.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A child that shares the parent's memory until execve(2) or _exit(2), with
/// the parent's thread suspended until then. Signal handlers are reset.
///
/// # Safety
///
/// `child` runs on `stack` in the parent's address space. It must only make raw
/// system calls and plain memory accesses: no allocation, no locks, no panic,
/// and it must end in execve(2) or _exit(2). All that `arg` points to must stay
/// valid until this returns.
pub unsafe fn vfork_into<T>(
    stack: &mut ChildStack,
    slot: &PidfdSlot,
    cgroup: Option<BorrowedFd<'_>>,
    child: unsafe extern "C" fn(*const T) -> !,
    arg: *const T,
) -> Result<(i32, OwnedFd), Errno> {
    let mut flags = (libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD) as u64;
    flags |= CLONE_CLEAR_SIGHAND;
    if cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    let args = CloneArgs {
        flags,
        pidfd: slot.fd.as_ptr() as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: stack.0.as_mut_ptr() as u64,
        stack_size: CHILD_STACK as u64,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..CloneArgs::default()
    };
    // SAFETY: the child has a stack of its own and never returns (the caller's
    // promise), so nothing of this frame is touched twice.
    let result = unsafe { raw_vfork(&args, child as *const (), arg.cast()) };
    let pid = if result < 0 {
        return Err(Errno::from_raw(-result as c_int));
    } else {
        result as i32
    };
    let fd = slot.take();
    // SAFETY: the kernel has just made this descriptor for us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok((pid, pidfd))
}

/// The system call, and in the child a call of `child(arg)` on the new stack.
///
/// # Safety
///
/// As for [`vfork_into`].
#[cfg(target_arch = "x86_64")]
unsafe fn raw_vfork(args: &CloneArgs, child: *const (), arg: *const ()) -> i64 {
    let result: i64;
    // SAFETY: registers survive the system call in both processes but for rax,
    // rcx and r11; the child continues with rsp at the top of its own stack,
    // which is 16-byte aligned as the call needs it.
    unsafe {
        core::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, {arg}",
            "call {child}",
            "ud2",
            "2:",
            arg = in(reg) arg,
            child = in(reg) child,
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") std::ptr::from_ref(args),
            in("rsi") size_of::<CloneArgs>(),
            // Not `lateout`: clobbered while `arg` and `child` are still wanted.
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}

/// The system call, and in the child a call of `child(arg)` on the new stack.
///
/// # Safety
///
/// As for [`vfork_into`].
#[cfg(target_arch = "aarch64")]
unsafe fn raw_vfork(args: &CloneArgs, child: *const (), arg: *const ()) -> i64 {
    let result: i64;
    // SAFETY: as on x86-64; only x0 changes across the system call.
    unsafe {
        core::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, {arg}",
            "blr {child}",
            "brk #1",
            "2:",
            arg = in(reg) arg,
            child = in(reg) child,
            in("x8") libc::SYS_clone3,
            inlateout("x0") std::ptr::from_ref(args) => result,
            in("x1") size_of::<CloneArgs>(),
            out("x30") _,
        );
    }
    result
}
