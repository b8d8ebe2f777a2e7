//! Extended attributes, which neither std nor nix offer.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sets an extended attribute of an open file or directory.
pub fn set(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: the name is NUL-terminated, the pointer and length describe one
    // live slice, and the kernel only reads both. No safe call does this.
    let rc = unsafe {
        libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets an extended attribute of what lies at a path, a symlink itself included.
pub fn set_at(path: &CStr, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: as for `set`; the path is NUL-terminated too.
    let rc = unsafe {
        libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads an extended attribute of an open file into a buffer, as far as it fits.
pub fn get(fd: BorrowedFd<'_>, name: &CStr, value: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `len` bytes into the live, writable
    // slice and reads a NUL-terminated name. No safe call does this.
    let rc = unsafe {
        libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    usize::try_from(rc).map_err(|_| io::Error::last_os_error())
}

/// Names of the extended attributes of an open file, each with a NUL behind it,
/// into a buffer; answers their length.
///
/// # Errors
/// `ERANGE` if they do not fit.
pub fn list(fd: BorrowedFd<'_>, names: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `len` bytes into the live, writable
    // slice. No safe call does this.
    let rc = unsafe { libc::flistxattr(fd.as_raw_fd(), names.as_mut_ptr().cast(), names.len()) };
    usize::try_from(rc).map_err(|_| io::Error::last_os_error())
}

/// Takes an extended attribute of an open file away.
pub fn remove(fd: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: the name is NUL-terminated and only read. No safe call does this.
    let rc = unsafe { libc::fremovexattr(fd.as_raw_fd(), name.as_ptr()) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
