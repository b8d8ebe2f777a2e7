//! The root as it grows: every entry is made in a directory that is held open.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, fstatat, futimens,
    makedev, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, linkat, symlinkat};

use super::error::Cause;
use super::layer::Fault;
use super::tar::{Entries, Entry, Kind};
use super::times::Times;
use super::{whiteout, xattrs};
use crate::files::error::shown;
use crate::files::{Root, fd_path, identity, is_kind};

/// The root, and the directory that was last worked in: entries of a tar come
/// directory by directory.
#[derive(Debug)]
pub(super) struct Tree {
    root: Root,
    last: Option<(Vec<u8>, Arc<Dir>)>,
}

/// A directory that is held open.
#[derive(Debug)]
pub(super) struct Dir {
    pub(super) fd: OwnedFd,
    /// Device and inode: what tells directories apart, whatever path led there.
    pub(super) id: (u64, u64),
    /// When it last changed before it was opened; `None` if it was made just now.
    pub(super) mtime: Option<TimeSpec>,
}

impl Dir {
    pub(super) fn hold(fd: OwnedFd) -> Result<Self, Errno> {
        let stat = fstat(&fd)?;
        if !is_kind(&stat, SFlag::S_IFDIR) {
            return Err(Errno::ENOTDIR);
        }
        let mtime = Some(TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec));
        Ok(Self { id: identity(&stat), fd, mtime })
    }

    fn made(fd: OwnedFd) -> Result<Self, Errno> {
        Ok(Self { mtime: None, ..Self::hold(fd)? })
    }
}

/// Where an entry belongs: a directory and a name in it.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) dir: Arc<Dir>,
    pub(super) name: &'a [u8],
    pub(super) path: &'a [u8],
}

impl Place<'_> {
    /// The path of the directory.
    pub(super) fn parent(&self) -> &[u8] {
        split(self.path).0
    }

    fn sys(&self, doing: &'static str) -> impl Fn(Errno) -> Cause {
        let path = self.path;
        move |errno| Cause::Sys { doing, path: shown(path), errno }
    }
}

impl Tree {
    pub(super) fn new(root: Root) -> Self {
        Self { root, last: None }
    }

    /// Finds the directory of a path, and makes what is missing of it. Symlinks
    /// on the way are followed inside the root.
    pub(super) fn place<'a>(&mut self, path: &'a [u8]) -> Result<Place<'a>, Cause> {
        let (parent, name) = split(path);
        if let Some((known, dir)) = &self.last
            && known == parent
        {
            return Ok(Place { dir: Arc::clone(dir), name, path });
        }
        let doing = "making the directories above";
        let fault = |errno| Cause::Sys { doing, path: shown(path), errno };
        let dir = match self.root.resolve_dir(parent) {
            Ok(there) => Dir::hold(there),
            Err(_) => self.root.make_dirs(parent).and_then(Dir::made),
        };
        let dir = Arc::new(dir.map_err(fault)?);
        self.last = Some((parent.to_vec(), Arc::clone(&dir)));
        Ok(Place { dir, name, path })
    }

    /// The directory of a path, if it is there.
    pub(super) fn find<'a>(&self, path: &'a [u8]) -> Result<Option<Place<'a>>, Errno> {
        let (parent, name) = split(path);
        match self.root.resolve_dir(parent) {
            Ok(fd) => Ok(Some(Place { dir: Arc::new(Dir::hold(fd)?), name, path })),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// A directory itself, if it is there; symlinks are followed inside the root.
    pub(super) fn open_dir(&self, path: &[u8]) -> Result<Option<Dir>, Errno> {
        match self.root.resolve_dir(path) {
            Ok(fd) => Dir::hold(fd).map(Some),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Opens what a path leads to; symlinks are followed inside the root.
    pub(super) fn open(&self, path: &[u8], flags: OFlag) -> Result<OwnedFd, Errno> {
        self.root.resolve(path, flags)
    }

    /// The path of the last directory may lead elsewhere now.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// Takes away what has the name, whatever it is.
    fn clear(&mut self, place: &Place<'_>) -> Result<(), Cause> {
        self.forget();
        whiteout::remove(&place.dir, place.name, None)
            .map_err(|errno| place.sys("replacing")(errno))
    }

    /// Makes something that must not be there yet; what is there gives way.
    fn replacing<T>(
        &mut self,
        place: &Place<'_>,
        doing: &'static str,
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, Cause> {
        let made = match make() {
            Err(Errno::EEXIST) => {
                self.clear(place)?;
                make()
            }
            made => made,
        };
        made.map_err(place.sys(doing))
    }

    pub(super) fn file(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        contents: &mut Entries<'_>,
    ) -> Result<u64, Fault> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = self.replacing(place, "making the file", || {
            openat(&place.dir.fd, place.name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
        })?;
        let file = File::from(fd);
        fill(&file, place, entry, contents)?;
        let skipped = dress(&file, place, entry)?;
        let time = time(entry);
        futimens(&file, &time, &time).map_err(place.sys("setting the time of"))?;
        Ok(skipped)
    }

    pub(super) fn dir(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        times: &mut Times,
    ) -> Result<u64, Cause> {
        let make = || mkdirat(&place.dir.fd, place.name, Mode::S_IRWXU);
        let open = || {
            let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            openat(&place.dir.fd, place.name, flags, Mode::empty())
        };
        let mut was_there = false;
        let there = match make() {
            Err(Errno::EEXIST) => {
                was_there = true;
                open()
            }
            made => made.and_then(|()| open()),
        };
        let dir = match there {
            // A symlink is replaced, never followed: it would have the entry
            // change the directory that it points to.
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                self.clear(place)?;
                make().and_then(|()| open())
            }
            there => there,
        };
        let dir = dir.map_err(place.sys("making the directory"))?;
        if was_there {
            xattrs::clear(dir.as_fd(), place.path)?;
        }
        let skipped = dress(&dir, place, entry)?;
        let id = identity(&fstat(&dir).map_err(place.sys("looking at"))?);
        times.set(place.path, id, time(entry))?;
        Ok(skipped)
    }

    /// An entry for the root itself.
    pub(super) fn root_dir(&mut self, entry: &Entry, times: &mut Times) -> Result<u64, Cause> {
        let fault = |errno| Cause::Sys { doing: "opening", path: "/".to_owned(), errno };
        let fd = self.root.resolve(b".", OFlag::O_DIRECTORY).map_err(fault)?;
        let place = Place { dir: Arc::new(Dir::hold(fd).map_err(fault)?), name: b".", path: b"." };
        xattrs::clear(place.dir.fd.as_fd(), b"/")?;
        let skipped = dress(&place.dir.fd, &place, entry)?;
        times.set(b".", place.dir.id, time(entry))?;
        Ok(skipped)
    }

    pub(super) fn symlink(&mut self, place: &Place<'_>, entry: &Entry) -> Result<u64, Cause> {
        if entry.link.contains(&0) || entry.link.is_empty() {
            return Err(Cause::Entry { path: shown(place.path), why: "is a symlink to nothing" });
        }
        self.replacing(place, "making the symlink", || {
            symlinkat(&entry.link[..], &place.dir.fd, place.name)
        })?;
        self.finish_node(place, entry)
    }

    pub(super) fn hard_link(&mut self, place: &Place<'_>, target: &[u8]) -> Result<u64, Cause> {
        let doing = "making the hard link";
        let missing = || Cause::Entry {
            path: shown(place.path),
            why: "is a hard link to what is not in the image",
        };
        let from = self.find(target).map_err(place.sys(doing))?.ok_or_else(missing)?;
        let stat =
            |place: &Place<'_>| fstatat(&place.dir.fd, place.name, AtFlags::AT_SYMLINK_NOFOLLOW);
        let source = match stat(&from) {
            Err(Errno::ENOENT) => return Err(missing()),
            stat => stat.map_err(place.sys(doing))?,
        };
        // The same file by another name already, or by this very one, which
        // making room for the link would take away.
        if stat(place).is_ok_and(|there| identity(&there) == identity(&source)) {
            return Ok(0);
        }
        self.replacing(place, doing, || {
            linkat(&from.dir.fd, from.name, &place.dir.fd, place.name, AtFlags::empty())
        })?;
        Ok(0)
    }

    pub(super) fn node(&mut self, place: &Place<'_>, entry: &Entry) -> Result<u64, Cause> {
        let kind = match entry.kind {
            Kind::CharDevice => SFlag::S_IFCHR,
            Kind::BlockDevice => SFlag::S_IFBLK,
            _ => SFlag::S_IFIFO,
        };
        let device = makedev(entry.major.into(), entry.minor.into());
        self.replacing(place, "making the node", || {
            mknodat(&place.dir.fd, place.name, kind, Mode::S_IRUSR, device)
        })?;
        self.finish_node(place, entry)
    }

    /// Owner, mode, attributes and time of what cannot be opened.
    fn finish_node(&mut self, place: &Place<'_>, entry: &Entry) -> Result<u64, Cause> {
        let fault = place.sys("setting owner and mode of");
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let node = openat(&place.dir.fd, place.name, flags, Mode::empty()).map_err(&fault)?;
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        fchownat(&node, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH).map_err(&fault)?;
        if entry.kind != Kind::Symlink {
            let mode = Mode::from_bits_truncate(entry.mode);
            fchmodat(&place.dir.fd, fd_path(&node).as_str(), mode, FchmodatFlags::FollowSymlink)
                .map_err(&fault)?;
        }
        let path = [fd_path(&place.dir.fd).as_bytes(), b"/", place.name].concat();
        let skipped = xattrs::set_at(&path, place.path, &entry.xattrs)?;
        let time = time(entry);
        utimensat(&place.dir.fd, place.name, &time, &time, UtimensatFlags::NoFollowSymlink)
            .map_err(place.sys("setting the time of"))?;
        Ok(skipped)
    }
}

/// Writes a file's contents where they belong.
fn fill(
    file: &File,
    place: &Place<'_>,
    entry: &Entry,
    contents: &mut Entries<'_>,
) -> Result<(), Fault> {
    let fault =
        |e: io::Error| place.sys("writing")(Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)));
    let whole = [(0, entry.size)];
    let extents = entry.sparse.as_ref().map_or(&whole[..], |map| &map.extents);
    for (offset, len) in extents {
        let (mut at, end) = (*offset, offset + len);
        while at < end {
            let piece = contents.contents(end - at)?;
            file.write_all_at(piece, at).map_err(fault)?;
            at += piece.len() as u64;
        }
    }
    if let Some(map) = &entry.sparse {
        // A hole at the end.
        file.set_len(map.size).map_err(fault)?;
    }
    Ok(())
}

/// Owner, mode and attributes, in this order: chown(2) takes setuid bits and
/// capabilities away.
fn dress(fd: &impl AsFd, place: &Place<'_>, entry: &Entry) -> Result<u64, Cause> {
    fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
        .map_err(place.sys("setting the owner of"))?;
    fchmod(fd, Mode::from_bits_truncate(entry.mode)).map_err(place.sys("setting the mode of"))?;
    xattrs::set(fd.as_fd(), place.path, &entry.xattrs)
}

fn time(entry: &Entry) -> TimeSpec {
    TimeSpec::new(entry.mtime.0, entry.mtime.1.into())
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b".", path),
    }
}
