//! Making directories along a path without ever leaving the root.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstat, mkdirat};

use super::{MAX_PATH, Root, is_kind};

/// As many symlinks as Linux follows in one walk.
pub(super) const MAX_LINKS: usize = 40;

/// What is made on the way to a file is for everyone to read.
const NEW_DIR_MODE: Mode = Mode::from_bits_truncate(0o755);

/// Opens `path`, making each part that is missing.
///
/// The kernel cannot make directories while it resolves, so the walk is done
/// here, part by part: `done` never holds a symlink or `..`, and each part is
/// looked at without following it. A symlink to a directory that is not there
/// yet (`/var/run -> /run` before `/run`) makes the directory it names.
pub(super) fn make(root: &Root, path: &[u8]) -> Result<OwnedFd, Errno> {
    if let Ok(there) = root.resolve_dir(path) {
        return Ok(there);
    }
    let mut todo: VecDeque<Vec<u8>> = parts(path);
    let mut done: Vec<Vec<u8>> = Vec::new();
    let mut here = root.resolve_dir(b".")?;
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        if part == b".." {
            done.pop();
            here = root.resolve_dir(&done.join(&b'/'))?;
            continue;
        }
        let found = open_or_make(&here, &part)?;
        let stat = fstat(&found)?;
        if is_kind(&stat, SFlag::S_IFDIR) {
            done.push(part);
            here = found;
        } else if is_kind(&stat, SFlag::S_IFLNK) {
            links += 1;
            let target = readlinkat(&found, "")?.into_encoded_bytes();
            if links > MAX_LINKS || target.len() > MAX_PATH {
                return Err(Errno::ELOOP);
            }
            if target.starts_with(b"/") {
                done.clear();
                here = root.resolve_dir(b".")?;
            }
            for part in parts(&target).into_iter().rev() {
                todo.push_front(part);
            }
        } else {
            return Err(Errno::ENOTDIR);
        }
    }
    Ok(here)
}

fn parts(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".").map(<[u8]>::to_vec).collect()
}

fn open_or_make(dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(dir, name, flags, Mode::empty()) {
        Err(Errno::ENOENT) => {}
        answer => return answer,
    }
    match mkdirat(dir, name, NEW_DIR_MODE) {
        // Somebody else made it in the meantime: as good.
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno),
    }
    let made = openat(dir, name, flags, Mode::empty())?;
    let stat = fstat(&made)?;
    if is_kind(&stat, SFlag::S_IFDIR) && stat.st_mode & 0o777 != NEW_DIR_MODE.bits() {
        // A umask took from it. The name may have been swapped for a symlink by
        // now, hence by descriptor.
        let link = super::fd_path(&made);
        fchmodat(dir, link.as_str(), NEW_DIR_MODE, FchmodatFlags::FollowSymlink)?;
    }
    Ok(made)
}
