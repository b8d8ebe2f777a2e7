//! What belongs to the whole machine: its clock and its entropy.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

/// The inode of the first user namespace (`PROC_USER_INIT_INO` of Linux).
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// The most entropy that is taken at once, bytes.
pub const MAX_ENTROPY: usize = 512;

/// `_IOW('R', 0x03, int[2])`, random(4).
const RNDADDENTROPY: u32 = 0x4008_5203;

/// `_IO('R', 0x07)`.
const RNDRESEEDCRNG: u32 = 0x5207;

/// Clock and entropy are this agent's to set. A process sandbox has a user
/// namespace of its own, and both are its host's.
pub fn is_ours() -> bool {
    fs::metadata("/proc/self/ns/user").is_ok_and(|ns| ns.ino() == FIRST_USER_NAMESPACE)
}

/// Sets CLOCK_REALTIME, microseconds since 1970.
pub fn set_clock(unix_us: u64) -> Result<(), Errno> {
    let seconds = i64::try_from(unix_us / 1_000_000).map_err(|_| Errno::EINVAL)?;
    let nanos = i64::try_from(unix_us % 1_000_000 * 1_000).map_err(|_| Errno::EINVAL)?;
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(seconds, nanos))
}

/// `struct rand_pool_info` with its bytes.
#[repr(C)]
struct PoolInfo {
    entropy_bits: libc::c_int,
    len: libc::c_int,
    bytes: [u8; MAX_ENTROPY],
}

/// Mixes bytes that nobody else knows into the kernel's pool, and makes it use
/// them from now on. At most [`MAX_ENTROPY`] bytes.
pub fn add_entropy(bytes: &[u8]) -> io::Result<()> {
    let mut info = PoolInfo { entropy_bits: 0, len: 0, bytes: [0; MAX_ENTROPY] };
    let place = info.bytes.get_mut(..bytes.len()).ok_or(Errno::EINVAL)?;
    place.copy_from_slice(bytes);
    info.len = bytes.len() as libc::c_int;
    info.entropy_bits = info.len * 8;
    let pool = File::options().write(true).open("/dev/urandom")?;
    // SAFETY: reads the head and `len` bytes, which are there.
    let added = unsafe { libc::ioctl(pool.as_raw_fd(), RNDADDENTROPY as _, &raw const info) };
    Errno::result(added)?;
    // SAFETY: takes no memory.
    let reseeded = unsafe { libc::ioctl(pool.as_raw_fd(), RNDRESEEDCRNG as _, 0) };
    Errno::result(reseeded)?;
    Ok(())
}
