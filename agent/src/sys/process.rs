//! What a process sets about itself: prctl(2), signals that are waited for.

use std::ffi::CStr;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::SigSet;

/// Name of the calling thread, as ps(1) shows it; 15 bytes.
pub fn set_name(name: &CStr) {
    // SAFETY: a null-terminated string that the kernel copies.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// No core dumps, no ptrace(2) and no /proc/PID/mem for processes without
/// CAP_SYS_PTRACE here.
pub fn set_undumpable() -> Result<(), Errno> {
    // SAFETY: takes no memory.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }).map(drop)
}

/// Die when the parent does.
pub fn die_with_parent(signal: i32) -> Result<(), Errno> {
    // SAFETY: takes no memory.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) }).map(drop)
}

/// A signal that was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caught {
    /// signal(7).
    pub signal: i32,
    /// The sender, 0 when it is outside of this pid namespace or the kernel.
    pub sender: i32,
}

/// Waits for one of `set`, which must be blocked. `None` when the time is over.
pub fn wait_signal(set: &SigSet, timeout: Option<Duration>) -> Result<Option<Caught>, Errno> {
    // SAFETY: all zeros is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let spec = timeout.map(|t| libc::timespec {
        tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: t.subsec_nanos().into(),
    });
    let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the set and the timespec are read, the siginfo_t is written.
    let result = unsafe { libc::sigtimedwait(set.as_ref(), &raw mut info, spec) };
    match Errno::result(result) {
        Ok(signal) => {
            // SAFETY: set for the signals that are waited for here; for others it
            // is some number, never invalid memory.
            let sender = unsafe { info.si_pid() };
            Ok(Some(Caught { signal, sender }))
        }
        Err(Errno::EAGAIN) => Ok(None),
        Err(Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Loads a kernel module, finit_module(2). One that is loaded is no error.
pub fn load_module(file: &std::fs::File) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    // SAFETY: the empty parameter string is null-terminated.
    let result =
        unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    match Errno::result(result) {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// CLOCK_BOOTTIME in microseconds.
pub fn boottime_us() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    let Ok(now) = clock_gettime(ClockId::CLOCK_BOOTTIME) else {
        return 0;
    };
    let (s, ns) = (now.tv_sec().cast_unsigned(), now.tv_nsec().cast_unsigned());
    s * 1_000_000 + ns / 1_000
}

/// kill(2) with any number, also of a real-time signal.
pub fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: takes no memory.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// fork(2) from a process that has one thread; checked.
pub fn fork_single() -> Result<nix::unistd::ForkResult, Errno> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(Errno::EBUSY);
    }
    // SAFETY: with one thread no lock is held by another, and the child may do
    // as it likes.
    unsafe { nix::unistd::fork() }
}

/// Ends this process without the parent's exit handlers, as a forked child must.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor from `first` on, whoever thinks to own it. For a
/// process that only waits and reaps from then on.
pub fn close_from(first: u32) {
    // SAFETY: nothing in this process uses a descriptor after this.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Unmaps the program's own text until it is run again. A process that has done
/// its work and waits for ever then counts for the few pages of its loop.
pub fn forget_text() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines().filter(|l| l.contains(" r-xp ") && l.contains('/')) {
        let range = line.split(' ').next().and_then(|r| r.split_once('-'));
        let number = |text| usize::from_str_radix(text, 16).ok();
        let Some((start, end)) = range.and_then(|(a, b)| Some((number(a)?, number(b)?))) else {
            continue;
        };
        let address = start as *mut libc::c_void;
        // SAFETY: executable and not writable, so unchanged since it was mapped
        // from the file; the kernel reads it from there again, madvise(2).
        unsafe { libc::madvise(address, end - start, libc::MADV_DONTNEED) };
    }
}

/// Every signal back to its default but SIGPIPE, which stays ignored: whoever
/// started us may have ignored others, and that would reach every command.
pub fn reset_signals() {
    const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;
    const SIGSET_BYTES: usize = 8;
    let default = [0u64; 4];
    for signal in SIGNALS.filter(|s| *s != libc::SIGPIPE) {
        // Not through libc, which keeps some numbers for itself. SIGKILL and
        // SIGSTOP are refused, and are the default already.
        // SAFETY: the kernel reads one `struct kernel_sigaction` of 32 bytes.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null::<u64>(),
                SIGSET_BYTES,
            )
        };
    }
}

/// What root of the workload does not get: CAP_SYS_BOOT would end the first
/// process of its pid namespace, and with it the sandbox (reboot(2)).
pub const WITHHELD: [i32; 1] = [22];

/// Takes a capability out of the calling thread's bounding set.
pub fn drop_bounding(capability: i32) -> Result<(), Errno> {
    // SAFETY: takes no memory.
    let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    Errno::result(result).map(drop)
}

/// MemTotal and MemAvailable of proc_meminfo(5), bytes; 0 where they cannot be
/// read.
pub fn memory() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
    };
    (field("MemTotal:").unwrap_or(0), field("MemAvailable:").unwrap_or(0))
}

/// Every capability that this kernel knows, a bit for each.
pub fn known_capabilities() -> u64 {
    // SAFETY: takes no memory; EINVAL beyond the last.
    let known = |n: &i32| unsafe { libc::prctl(libc::PR_CAPBSET_READ, *n, 0, 0, 0) } >= 0;
    (0..64).take_while(known).fold(0, |set, n| set | 1 << n)
}

/// Clears the arguments and the environment that this process was started with,
/// as others see them in /proc. Nothing here may look at either afterwards.
pub fn forget_arguments() {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold spaces; fields are counted after it.
    let Some((_, fields)) = stat.rsplit_once(')') else { return };
    let fields: Vec<usize> = fields.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
    // proc_pid_stat(5): arg_start is the 48th, the first here is the 3rd.
    let range = |start: usize| Some((*fields.get(start)?, *fields.get(start + 1)?));
    for (start, end) in [range(45), range(47)].into_iter().flatten() {
        if start == 0 || end <= start {
            continue;
        }
        // SAFETY: the kernel put the strings there for this process, on its
        // stack, writable; this process never returns to code that reads them.
        unsafe { std::ptr::write_bytes(start as *mut u8, 0, end - start) };
    }
}

/// 128 random bits in hexadecimal (urandom(4)).
pub fn random_id() -> std::io::Result<String> {
    use std::io::Read;
    let mut bits = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bits)?;
    Ok(bits.iter().map(|b| format!("{b:02x}")).collect())
}
