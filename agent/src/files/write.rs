//! A file's bytes, into the workload's root: whole, or not at all.
//!
//! The bytes go to a temporary file beside the target, which takes the target's
//! name at the end. Until then, and if anything goes wrong, the target is as it
//! was; whoever reads it sees the old file or the new one.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};
use postern_proto as proto;

use super::dirs::MAX_LINKS;
use super::error::shown;
use super::read::file_info;
use super::{
    COVERED, FileError, Root, User, check_not_covered, check_path, check_regular, identity,
    is_kind, reopen,
};
use crate::sys::fscreds::FsCreds;

/// Permission bits of a file that is new and for which none were asked.
const NEW_FILE_MODE: u32 = 0o644;

/// All that chmod(2) takes.
const PERMISSION_BITS: u32 = 0o7777;

/// A name is taken only if somebody guesses it; a few attempts tell a collision
/// from an attack.
const MAX_TEMP_NAMES: u32 = 16;

/// Deeper than any directory that a path of 4095 bytes can name, twice over.
const MAX_CLIMB: usize = 4096;

/// A write that is under way.
#[derive(Debug)]
pub struct AtomicWrite {
    path: Vec<u8>,
    dir: OwnedFd,
    name: Vec<u8>,
    /// The temporary file's name; `None` once it has become the target.
    temp: Option<String>,
    file: File,
    user: User,
    /// The file that is replaced; its owner and mode are kept.
    replaces: Option<FileStat>,
    mode: Option<u32>,
    expected: Option<u64>,
    written: u64,
    broken: bool,
}

impl AtomicWrite {
    /// Finds the target with the user's rights and makes the temporary file.
    ///
    /// A symlink is written through, as open(2) would, inside the root. To
    /// replace a file the user must be allowed to write it, as open(2) would
    /// ask; to make one, to write its directory.
    pub fn begin(root: &Root, req: &proto::WriteFile, user: &User) -> Result<Self, FileError> {
        let path = &req.path[..];
        check_path(path)?;
        check_not_covered(path)?;
        if let Some(mode) = req.mode.filter(|mode| mode & !PERMISSION_BITS != 0) {
            return Err(FileError::BadMode(mode));
        }
        let as_user = assume(user, path)?;
        let target = locate(root, path, req.make_parents)?;
        if let Some(found) = &target.found {
            let stat = check_regular(found, path)?;
            check_writable(found, path)?;
            if req.mode.is_some() && user.uid != 0 && user.uid != stat.st_uid {
                return Err(FileError::sys("changing the mode of", path, Errno::EPERM));
            }
        }
        // A replacement is made with the agent's rights: that the user may write
        // the file is proven, and the directory need not be theirs.
        let as_user = if target.found.is_some() {
            drop(as_user);
            None
        } else {
            Some(as_user)
        };
        let (temp, file) = make_temp(&target.dir, path)?;
        drop(as_user);
        let write = Self {
            path: path.to_vec(),
            replaces: target
                .found
                .map(fstat)
                .transpose()
                .map_err(|e| FileError::sys("looking at", path, e))?,
            dir: target.dir,
            name: target.name,
            temp: Some(temp),
            file,
            user: user.clone(),
            mode: req.mode,
            expected: req.size,
            written: 0,
            broken: false,
        };
        // By inode too, since a symlink may have led there; on failure the drop
        // takes the temporary file away.
        if is_covered(root, &write.dir)
            .map_err(|e| FileError::sys("finding the place of", path, e))?
        {
            return Err(FileError::Covered { path: shown(path) });
        }
        Ok(write)
    }

    /// Adds bytes at the end. After an error nothing can be published.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let got = self.written.saturating_add(bytes.len() as u64);
        if let Some(expected) = self.expected.filter(|expected| got > *expected) {
            self.broken = true;
            return Err(FileError::SizeMismatch { path: shown(&self.path), expected, got });
        }
        if let Err(cause) = self.file.write_all(bytes) {
            self.broken = true;
            return Err(FileError::io("writing", &self.path, &cause));
        }
        self.written = got;
        Ok(())
    }

    /// Gives the file its owner, mode and name.
    pub fn finish(mut self) -> Result<proto::FileInfo, FileError> {
        if self.broken {
            return Err(FileError::Broken { path: shown(&self.path) });
        }
        if let Some(expected) = self.expected.filter(|expected| *expected != self.written) {
            return Err(FileError::SizeMismatch {
                path: shown(&self.path),
                expected,
                got: self.written,
            });
        }
        self.set_owner_and_mode()
            .map_err(|e| FileError::sys("setting owner and mode of", &self.path, e))?;
        if let Some(temp) = &self.temp {
            let as_user =
                if self.replaces.is_none() { Some(assume(&self.user, &self.path)?) } else { None };
            renameat(&self.dir, temp.as_str(), &self.dir, &self.name[..])
                .map_err(|e| FileError::sys("publishing", &self.path, e))?;
            drop(as_user);
            self.temp = None;
        }
        let stat = fstat(&self.file).map_err(|e| FileError::sys("looking at", &self.path, e))?;
        Ok(file_info(&stat))
    }

    fn set_owner_and_mode(&self) -> Result<(), Errno> {
        let (gid, mut mode) = match &self.replaces {
            Some(old) => {
                fchown(
                    &self.file,
                    Some(Uid::from_raw(old.st_uid)),
                    Some(Gid::from_raw(old.st_gid)),
                )?;
                (old.st_gid, self.mode.unwrap_or(old.st_mode & PERMISSION_BITS))
            }
            // Made as the user, so it is theirs; its group may be the directory's.
            None => (fstat(&self.file)?.st_gid, self.mode.unwrap_or(NEW_FILE_MODE)),
        };
        if self.user.uid != 0 {
            // What write(2) and chmod(2) by an ordinary user take away: else who
            // may write a setuid file of root could put a program of theirs in it.
            if self.mode.is_none() {
                mode &= !(libc::S_ISUID | libc::S_ISGID);
            } else if gid != self.user.gid && !self.user.groups.contains(&gid) {
                mode &= !libc::S_ISGID;
            }
        }
        fchmod(&self.file, Mode::from_bits_truncate(mode))
    }
}

impl Drop for AtomicWrite {
    fn drop(&mut self) {
        if let Some(temp) = self.temp.take() {
            // Nobody is left to tell; a file that is gone already is as good.
            let _ = unlinkat(&self.dir, temp.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Where a path ends: a directory, a name in it, and what has that name.
struct Target {
    dir: OwnedFd,
    name: Vec<u8>,
    found: Option<OwnedFd>,
}

/// Follows symlinks at the end of the path to the name that open(2) would make.
fn locate(root: &Root, path: &[u8], make_parents: bool) -> Result<Target, FileError> {
    let mut at = path.to_vec();
    for _ in 0..=MAX_LINKS {
        let (parent, name) = split(&at, path)?;
        let dir = match root.resolve_dir(parent) {
            Err(Errno::ENOENT) if make_parents => root
                .make_dirs(parent)
                .map_err(|errno| FileError::sys("making the directories above", path, errno))?,
            answer => {
                answer.map_err(|errno| FileError::sys("opening the directory of", path, errno))?
            }
        };
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let found = match openat(&dir, name, flags, Mode::empty()) {
            Ok(found) => found,
            Err(Errno::ENOENT) => {
                return Ok(Target { name: name.to_vec(), dir, found: None });
            }
            Err(errno) => return Err(FileError::sys("opening", path, errno)),
        };
        let stat = fstat(&found).map_err(|errno| FileError::sys("looking at", path, errno))?;
        if !is_kind(&stat, SFlag::S_IFLNK) {
            return Ok(Target { name: name.to_vec(), dir, found: Some(found) });
        }
        let link =
            readlinkat(&found, "").map_err(|errno| FileError::sys("following", path, errno))?;
        let link = link.into_encoded_bytes();
        // A relative link starts from the directory that holds it; the walk
        // through `parent` leads there again.
        at = if link.starts_with(b"/") { link } else { [parent, b"/", &link[..]].concat() };
    }
    Err(FileError::sys("following", path, Errno::ELOOP))
}

fn split<'a>(at: &'a [u8], asked: &[u8]) -> Result<(&'a [u8], &'a [u8]), FileError> {
    let slash = at.iter().rposition(|b| *b == b'/').unwrap_or(0);
    let (parent, name) = at.split_at(slash);
    let name = name.strip_prefix(b"/").unwrap_or(name);
    if name.is_empty() || name == b"." || name == b".." {
        return Err(FileError::BadPath { path: shown(asked), why: "names a directory" });
    }
    Ok((if parent.is_empty() { b"/" } else { parent }, name))
}

fn assume(user: &User, path: &[u8]) -> Result<FsCreds, FileError> {
    FsCreds::assume(user.uid, user.gid, &user.groups)
        .map_err(|e| FileError::io("taking on the user's rights for", path, &e))
}

fn check_writable(found: &OwnedFd, path: &[u8]) -> Result<(), FileError> {
    match reopen(found, OFlag::O_WRONLY) {
        // A program that is running keeps its inode; only the name changes hands.
        Ok(_) | Err(Errno::ETXTBSY) => Ok(()),
        Err(errno) => Err(FileError::sys("opening", path, errno)),
    }
}

fn make_temp(dir: &OwnedFd, path: &[u8]) -> Result<(String, File), FileError> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut refused = Errno::EEXIST;
    for _ in 0..MAX_TEMP_NAMES {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!(".postern-{}-{serial:x}", std::process::id());
        match openat(dir, name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(fd) => return Ok((name, File::from(fd))),
            Err(Errno::EEXIST) => refused = Errno::EEXIST,
            Err(errno) => {
                refused = errno;
                break;
            }
        }
    }
    Err(FileError::sys("making a temporary file beside", path, refused))
}

/// Whether a directory lies below one that the workload sees a mount on. One
/// that has been moved out of the root counts as such.
fn is_covered(root: &Root, dir: &OwnedFd) -> Result<bool, Errno> {
    let top = identity(&fstat(root)?);
    let covered: Vec<_> = COVERED
        .iter()
        .filter_map(|name| fstatat(root, *name, AtFlags::AT_SYMLINK_NOFOLLOW).ok())
        .map(|stat| identity(&stat))
        .collect();
    let mut here = dir.try_clone().map_err(|_| Errno::EMFILE)?;
    for _ in 0..MAX_CLIMB {
        let id = identity(&fstat(&here)?);
        if id == top {
            return Ok(false);
        }
        if covered.contains(&id) {
            return Ok(true);
        }
        let above = openat(
            &here,
            "..",
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        if identity(&fstat(&above)?) == id {
            return Ok(true);
        }
        here = above;
    }
    Ok(true)
}
