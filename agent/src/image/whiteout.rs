//! Whiteouts: what a layer hides of the layers below it.
//!
//! They hide only what lies below, wherever in the tar they stand; so it is kept
//! what this layer has made, and that survives.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::OwnedFd;

use nix::dir::Dir as Listing;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::MAX_DEPTH;
use super::error::Cause;
use super::times::Times;
use super::tree::{Dir, Place, Tree};
use crate::files::error::shown;
use crate::files::is_kind;

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names of AUFS's own bookkeeping, which the format inherited.
const RESERVED: &[u8] = b".wh..wh.";

/// A directory that is being emptied is read again as long as that helps: an
/// entry may be missed when the ones around it go.
const MAX_PASSES: usize = 8;

/// Whether a path is a mark, and of what.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// An ordinary entry.
    None,
    /// Bookkeeping that means nothing here.
    Ignore,
    /// Hides one path.
    Whiteout(Vec<u8>),
    /// Hides all that is in a directory.
    Opaque(Vec<u8>),
}

impl Mark {
    /// Looks at a clean path.
    pub(super) fn of(path: &[u8]) -> Result<Self, &'static str> {
        let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        let mut above = parent.split(|b| *b == b'/');
        if above.clone().any(|part| part.starts_with(RESERVED)) {
            return Ok(Self::Ignore);
        }
        if above.any(|part| part.starts_with(PREFIX)) {
            return Err("lies below a whiteout, which is no directory");
        }
        if name == OPAQUE {
            return Ok(Self::Opaque(parent.to_vec()));
        }
        if name.starts_with(RESERVED) {
            return Ok(Self::Ignore);
        }
        let Some(hidden) = name.strip_prefix(PREFIX) else {
            return Ok(Self::None);
        };
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err("is a whiteout of no name");
        }
        let parent = if parent.is_empty() { &b"."[..] } else { parent };
        Ok(Self::Whiteout([parent, b"/", hidden].concat()))
    }
}

/// What the present layer has made: a hash of directory and name for each entry,
/// by a key that no image can know. Bounded by the limit on entries, at 16 bytes
/// each.
#[derive(Debug, Default)]
pub(super) struct Made {
    key: RandomState,
    hashes: HashSet<u64>,
}

impl Made {
    pub(super) fn note(&mut self, place: &Place<'_>) {
        self.hashes.insert(self.key.hash_one((place.dir.id, place.name)));
    }

    fn has(&self, dir: (u64, u64), name: &[u8]) -> bool {
        self.hashes.contains(&self.key.hash_one((dir, name)))
    }
}

/// Takes away what a mark hides.
pub(super) fn apply(
    tree: &mut Tree,
    mark: &Mark,
    made: &Made,
    times: &mut Times,
) -> Result<(), Cause> {
    tree.forget();
    let path = match mark {
        Mark::Whiteout(path) | Mark::Opaque(path) => path,
        Mark::None | Mark::Ignore => return Ok(()),
    };
    let fault = |errno| Cause::Sys { doing: "hiding", path: shown(path), errno };
    if let Mark::Whiteout(_) = mark {
        let Some(place) = tree.find(path).map_err(fault)? else { return Ok(()) };
        times.keep(place.parent(), &place.dir)?;
        return remove(&place.dir, place.name, Some(made)).map_err(fault);
    }
    let Some(dir) = tree.open_dir(path).map_err(fault)? else { return Ok(()) };
    times.keep(path, &dir)?;
    empty(&dir, Some(made), 0).map(drop).map_err(fault)
}

/// Removes a name and all below it, but for what `keep` knows.
pub(super) fn remove(dir: &Dir, name: &[u8], keep: Option<&Made>) -> Result<(), Errno> {
    let stat = match fstatat(&dir.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => return Ok(()),
        stat => stat?,
    };
    remove_found(&dir.fd, dir.id, name, &stat, keep, 0).map(drop)
}

/// Answers whether the name is gone.
fn remove_found(
    dir: &OwnedFd,
    dir_id: (u64, u64),
    name: &[u8],
    stat: &FileStat,
    keep: Option<&Made>,
    depth: usize,
) -> Result<bool, Errno> {
    let kept = keep.is_some_and(|made| made.has(dir_id, name));
    if !is_kind(stat, SFlag::S_IFDIR) {
        if !kept {
            unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)?;
        }
        return Ok(!kept);
    }
    if depth > MAX_DEPTH {
        return Err(Errno::ENAMETOOLONG);
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let inner = openat(dir, name, flags, Mode::empty())?;
    let inner = Dir::hold(inner)?;
    // A directory that holds something of this layer stays, to hold it.
    if !empty(&inner, keep, depth + 1)? || kept {
        return Ok(false);
    }
    unlinkat(dir, name, UnlinkatFlags::RemoveDir)?;
    Ok(true)
}

/// Empties a directory, but for what `keep` knows; answers whether it is empty.
fn empty(dir: &Dir, keep: Option<&Made>, depth: usize) -> Result<bool, Errno> {
    for _ in 0..MAX_PASSES {
        let (mut removed, mut left) = (false, false);
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut listing = Listing::from_fd(openat(&dir.fd, ".", flags, Mode::empty())?)?;
        for entry in listing.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let stat = match fstatat(&dir.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Err(Errno::ENOENT) => continue,
                stat => stat?,
            };
            let gone = remove_found(&dir.fd, dir.id, name, &stat, keep, depth)?;
            removed |= gone;
            left |= !gone;
        }
        if !removed {
            return Ok(!left);
        }
    }
    Ok(false)
}
