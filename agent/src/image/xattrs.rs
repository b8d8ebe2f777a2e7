//! Extended attributes of entries.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use super::error::Cause;
use crate::files::error::shown;
use crate::sys::xattr;

/// Without its capabilities a program of the image does not do what it is for
/// (ping, as an ordinary user), and nobody would see why: it must hold.
const MUST_HOLD: &[u8] = b"security.capability";

type Attributes = [(Vec<u8>, Vec<u8>)];

/// Sets attributes of an open file; answers how many the file system cannot hold.
pub(super) fn set(fd: BorrowedFd<'_>, path: &[u8], all: &Attributes) -> Result<u64, Cause> {
    each(path, all, |name, value| xattr::set(fd, name, value))
}

/// The same for what has a name only; `at` is where the agent reaches it.
pub(super) fn set_at(at: &[u8], path: &[u8], all: &Attributes) -> Result<u64, Cause> {
    if all.is_empty() {
        return Ok(0);
    }
    let at = CString::new(at).map_err(|_| fault(path, Errno::EINVAL))?;
    each(path, all, |name, value| xattr::set_at(&at, name, value))
}

fn each(
    path: &[u8],
    all: &Attributes,
    set: impl Fn(&CStr, &[u8]) -> io::Result<()>,
) -> Result<u64, Cause> {
    let mut skipped = 0;
    for (name, value) in all {
        let c_name = CString::new(&name[..]).map_err(|_| fault(path, Errno::EINVAL))?;
        let Err(error) = set(&c_name, value) else {
            continue;
        };
        match Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)) {
            // tmpfs knows no user.*, symlinks and FIFOs have none anywhere.
            Errno::ENOTSUP | Errno::EPERM if name != MUST_HOLD => skipped += 1,
            errno => return Err(fault(path, errno)),
        }
    }
    Ok(skipped)
}

fn fault(path: &[u8], errno: Errno) -> Cause {
    Cause::Sys { doing: "setting an extended attribute of", path: shown(path), errno }
}
