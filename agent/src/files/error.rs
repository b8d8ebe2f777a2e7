//! What can go wrong with a file, and how it is told to the broker.

use std::error::Error as StdError;
use std::fmt::{self, Write as _};
use std::io;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag};
use postern_proto as proto;
use proto::Code;

/// As much of a path as a message repeats: enough to recognise it, and a frame
/// stays small whatever was asked.
const MAX_SHOWN: usize = 512;

/// Why a file was not read, written or published.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A system call failed.
    #[error("{doing} {path}")]
    Sys {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: String,
        /// The kernel's answer.
        #[source]
        errno: Errno,
    },
    /// The path of the request cannot be one.
    #[error("the path {path} {why}")]
    BadPath {
        /// As it was given.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The permission bits of the request are none.
    #[error("the mode {0:#o} has more than permission bits")]
    BadMode(u32),
    /// What is there is not a regular file.
    #[error("{path} is {kind}, not a regular file")]
    Irregular {
        /// Which.
        path: String,
        /// What it is.
        kind: FileKind,
    },
    /// The path leads into procfs.
    #[error("{path} is a file of procfs, which is not read or written by this call")]
    Procfs {
        /// Which.
        path: String,
    },
    /// The path lies below a mount of the workload's own.
    #[error(
        "{path} is in /proc, /sys or /dev, which only processes of the workload see; use a command"
    )]
    Covered {
        /// Which.
        path: String,
    },
    /// A read begins beyond the end.
    #[error("{path} has {size} bytes; nothing begins at offset {offset}")]
    OutOfRange {
        /// Which.
        path: String,
        /// Where the read was to begin.
        offset: u64,
        /// What there is.
        size: u64,
    },
    /// Another amount came than was announced; nothing is published.
    #[error("{path}: {got} bytes came where {expected} were announced")]
    SizeMismatch {
        /// Which.
        path: String,
        /// Announced.
        expected: u64,
        /// What came, or the amount at which it was given up.
        got: u64,
    },
    /// A file of the agent's interest is longer than any sane one.
    #[error("{path} is longer than {cap} bytes")]
    TooLong {
        /// Which.
        path: String,
        /// The cap.
        cap: u64,
    },
    /// An earlier write failed, so there is nothing whole to publish.
    #[error("{path}: an earlier write failed")]
    Broken {
        /// Which.
        path: String,
    },
}

impl FileError {
    pub(super) fn sys(doing: &'static str, path: &[u8], errno: Errno) -> Self {
        Self::Sys { doing, path: shown(path), errno }
    }

    pub(super) fn io(doing: &'static str, path: &[u8], cause: &io::Error) -> Self {
        Self::sys(doing, path, Errno::from_raw(cause.raw_os_error().unwrap_or(libc::EIO)))
    }
}

impl From<FileError> for proto::Error {
    fn from(error: FileError) -> Self {
        let message = chain(&error);
        match error {
            FileError::Sys { errno, .. } => of_errno(errno, message),
            FileError::BadPath { .. } | FileError::Covered { .. } => Self::invalid("path", message),
            FileError::BadMode(_) => Self::invalid("mode", message),
            FileError::Irregular { kind: FileKind::Directory, .. } => {
                Self::invalid("path", message).with_errno(libc::EISDIR)
            }
            FileError::Irregular { .. } => Self::invalid("path", message),
            FileError::Procfs { .. } => Self::new(Code::PermissionDenied, message),
            FileError::OutOfRange { .. } => Self::new(Code::OutOfRange, message),
            FileError::SizeMismatch { .. } => Self::invalid("size", message),
            FileError::TooLong { .. } => Self::new(Code::ResourceExhausted, message),
            FileError::Broken { .. } => Self::new(Code::FailedPrecondition, message),
        }
    }
}

/// The code for a failed system call on a path of the request.
pub(crate) fn of_errno(errno: Errno, message: String) -> proto::Error {
    let code = match errno {
        Errno::ENOENT => Code::NotFound,
        Errno::EEXIST => Code::AlreadyExists,
        Errno::EACCES | Errno::EPERM => Code::PermissionDenied,
        Errno::ENOSPC
        | Errno::EDQUOT
        | Errno::EFBIG
        | Errno::ENOMEM
        | Errno::EMFILE
        | Errno::ENFILE => Code::ResourceExhausted,
        Errno::ENOTDIR | Errno::EISDIR | Errno::ELOOP | Errno::ENAMETOOLONG | Errno::EINVAL => {
            return proto::Error::invalid("path", message).with_errno(errno as i32);
        }
        Errno::EROFS | Errno::EBUSY | Errno::ETXTBSY => Code::FailedPrecondition,
        _ => Code::Internal,
    };
    proto::Error::new(code, message).with_errno(errno as i32)
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        // Writing to a String cannot fail.
        let _ = write!(line, ": {cause}");
        next = cause.source();
    }
    line
}

/// A path for people: never a control character, which a terminal would act on.
pub(crate) fn shown(path: &[u8]) -> String {
    let cut = path.get(..MAX_SHOWN).unwrap_or(path);
    let mut text = String::with_capacity(cut.len());
    for c in String::from_utf8_lossy(cut).chars() {
        if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
    }
    if cut.len() < path.len() {
        text.push('…');
    }
    text
}

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Bytes on a file system.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A character or block device.
    Device,
    /// A Unix socket.
    Socket,
    /// None of these.
    Unknown,
}

impl FileKind {
    pub(super) fn of(stat: &FileStat) -> Self {
        match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => Self::Regular,
            SFlag::S_IFDIR => Self::Directory,
            SFlag::S_IFLNK => Self::Symlink,
            SFlag::S_IFIFO => Self::Fifo,
            SFlag::S_IFCHR | SFlag::S_IFBLK => Self::Device,
            SFlag::S_IFSOCK => Self::Socket,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Regular => "a regular file",
            Self::Directory => "a directory",
            Self::Symlink => "a symbolic link",
            Self::Fifo => "a FIFO",
            Self::Device => "a device",
            Self::Socket => "a socket",
            Self::Unknown => "of an unknown type",
        })
    }
}
