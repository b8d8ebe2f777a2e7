//! Files of the workload, resolved below its root and opened with the rights of
//! the user who asks.
//!
//! Every path from outside goes through [`Root::resolve`]: the kernel walks it
//! with the held root directory as `/`, so that neither `..`, nor an absolute
//! symlink, nor a symlink swapped in at the last moment leads out. What is found
//! is opened with `O_PATH` first, looked at, and only then opened for its
//! contents: opening a FIFO blocks, opening a device acts, and a file of procfs
//! is a door into a process.

mod dirs;
pub mod error;
pub mod read;
#[cfg(test)]
mod tests;
pub mod users;
pub mod write;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

pub use error::FileError;
pub use read::open_read;
pub use users::{User, UserError};
pub use write::AtomicWrite;

use error::FileKind;

/// openat2 answers EAGAIN when a rename or mount elsewhere raced with a `..` of
/// the walk. A workload that renames in a loop can keep that up; after so many
/// attempts the caller hears of it instead of waiting for ever.
const MAX_RESOLVE_ATTEMPTS: usize = 128;

/// Linux's own bound on a path (`PATH_MAX`, its NUL included).
const MAX_PATH: usize = 4095;

/// The directory that is `/` for the workload.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl Root {
    /// Takes a directory that is open already (`O_PATH` suffices).
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Opens a directory of the agent's own view.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self { fd: nix::fcntl::open(path, flags, Mode::empty())? })
    }

    /// A second handle of the same directory.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()? })
    }

    /// Opens a path with this directory as `/`. Symlinks are followed inside it.
    pub fn resolve(&self, path: &[u8], flags: OFlag) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let mut attempt = 1;
        loop {
            match openat2(&self.fd, path, how) {
                Err(Errno::EAGAIN | Errno::EINTR) if attempt < MAX_RESOLVE_ATTEMPTS => attempt += 1,
                answer => return answer,
            }
        }
    }

    /// Opens a directory to work in.
    pub fn resolve_dir(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.resolve(path, OFlag::O_PATH | OFlag::O_DIRECTORY)
    }

    /// Opens a directory to work in, and makes what is missing of it with mode
    /// 0755 (the agent's umask does not take from that) as whoever the thread is.
    pub fn make_dirs(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        dirs::make(self, path)
    }

    /// Reads a whole regular file with the agent's own rights; `None` if there
    /// is none. One that is longer than the cap is an error.
    pub fn read_capped(&self, path: &str, cap: u64) -> Result<Option<Vec<u8>>, FileError> {
        let found = match self.resolve(path.as_bytes(), OFlag::O_PATH) {
            Ok(found) => found,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            Err(errno) => return Err(FileError::sys("opening", path.as_bytes(), errno)),
        };
        let file = open_contents(&found, OFlag::O_RDONLY, path.as_bytes())?;
        let mut bytes = Vec::new();
        // One byte more than the cap tells a file that fills it from a longer one,
        // whatever its size claims.
        file.take(cap + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| FileError::io("reading", path.as_bytes(), &e))?;
        if bytes.len() as u64 > cap {
            return Err(FileError::TooLong { path: path.to_owned(), cap });
        }
        Ok(Some(bytes))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A path of a request: absolute, of a length that the kernel takes, without NUL.
fn check_path(path: &[u8]) -> Result<(), FileError> {
    let why = if !path.starts_with(b"/") {
        "is not absolute"
    } else if path.len() > MAX_PATH {
        "is longer than 4095 bytes"
    } else if path.contains(&0) {
        "has a NUL in it"
    } else {
        return Ok(());
    };
    Err(FileError::BadPath { path: error::shown(path), why })
}

/// Directories of the root that the workload sees other file systems on: what
/// lies in them here is out of its sight, and the agent must not pretend
/// otherwise.
const COVERED: [&[u8]; 3] = [b"proc", b"sys", b"dev"];

/// Refuses what is named as lying below `/proc`, `/sys` or `/dev`.
fn check_not_covered(path: &[u8]) -> Result<(), FileError> {
    let first = path.split(|b| *b == b'/').find(|c| !c.is_empty() && *c != b".");
    match first {
        Some(first) if COVERED.contains(&first) => {
            Err(FileError::Covered { path: error::shown(path) })
        }
        _ => Ok(()),
    }
}

/// Opens what an `O_PATH` descriptor stands for, if it is a regular file of an
/// ordinary file system, with the rights that the thread has at the moment.
fn open_contents(found: &OwnedFd, flags: OFlag, path: &[u8]) -> Result<File, FileError> {
    check_regular(found, path)?;
    reopen(found, flags).map(File::from).map_err(|errno| FileError::sys("opening", path, errno))
}

fn check_regular(found: &OwnedFd, path: &[u8]) -> Result<FileStat, FileError> {
    let stat = fstat(found).map_err(|errno| FileError::sys("looking at", path, errno))?;
    let kind = FileKind::of(&stat);
    if kind != FileKind::Regular {
        return Err(FileError::Irregular { path: error::shown(path), kind });
    }
    let fs = fstatfs(found).map_err(|errno| FileError::sys("looking at", path, errno))?;
    if fs.filesystem_type() == PROC_SUPER_MAGIC {
        return Err(FileError::Procfs { path: error::shown(path) });
    }
    Ok(stat)
}

/// Opens the very inode that an `O_PATH` descriptor holds; no path is walked
/// again, so nothing can be swapped in between.
fn reopen(found: &OwnedFd, flags: OFlag) -> Result<OwnedFd, Errno> {
    nix::fcntl::open(
        fd_path(found).as_str(),
        flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY,
        Mode::empty(),
    )
}

/// A path by which the agent, and only it, reaches what a descriptor holds.
pub(crate) fn fd_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

pub(crate) fn is_kind(stat: &FileStat, kind: SFlag) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

/// What tells one file from another for as long as either is held open.
pub(crate) fn identity(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
