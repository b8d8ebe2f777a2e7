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

/// What belongs to the machine that built the image, or would tell an overlay
/// file system of this one what to hide and where to look: never set, as with
/// umoci.
fn is_foreign(name: &[u8]) -> bool {
    const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
    name == b"security.selinux" || OVERLAY.iter().any(|prefix| name.starts_with(prefix))
}

/// The most that the kernel lists, `XATTR_LIST_MAX`.
const MAX_NAMES: usize = 65_536;

type Attributes = [(Vec<u8>, Vec<u8>)];

/// Sets attributes of an open file; answers how many were left out: the file
/// system cannot hold them, or they are not the image's to set.
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

/// Takes away what a directory has from a layer below: an entry says all that it
/// is to have.
pub(super) fn clear(fd: BorrowedFd<'_>, path: &[u8]) -> Result<(), Cause> {
    let errno = |e: io::Error| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
    // Most have none, which asking for the length tells without a buffer.
    if matches!(xattr::list(fd, &mut []), Ok(0)) {
        return Ok(());
    }
    let mut names = vec![0; MAX_NAMES];
    let len = match xattr::list(fd, &mut names).map_err(errno) {
        Err(Errno::ENOTSUP) => return Ok(()),
        len => len.map_err(|errno| fault(path, errno))?,
    };
    for name in names.get(..len).unwrap_or_default().split_inclusive(|b| *b == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        match xattr::remove(fd, name).map_err(errno) {
            // Some are the file system's own, and not to be taken away.
            Ok(()) | Err(Errno::ENODATA | Errno::ENOTSUP | Errno::EPERM | Errno::EACCES) => {}
            Err(errno) => return Err(fault(path, errno)),
        }
    }
    Ok(())
}

fn each(
    path: &[u8],
    all: &Attributes,
    set: impl Fn(&CStr, &[u8]) -> io::Result<()>,
) -> Result<u64, Cause> {
    let mut skipped = 0;
    for (name, value) in all {
        if is_foreign(name) {
            skipped += 1;
            continue;
        }
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
