//! Times of directories, which change with every entry that is made in them and
//! so are set when the layer is done.
//!
//! An entry for a directory says which time it gets. A directory of a layer below
//! that has no entry keeps the time that it had: what is made or hidden in it
//! is no change of it as far as the image is concerned.

use std::collections::HashSet;

use nix::fcntl::OFlag;
use nix::sys::stat::{fstat, futimens};
use nix::sys::time::TimeSpec;

use super::error::Cause;
use super::tree::{Dir, Tree};
use crate::files::error::shown;
use crate::files::identity;

/// Paths of directories whose times wait for the end of the layer. Real images
/// have some MiB of them; a hostile one is stopped before it fills the memory.
const MAX_BYTES: usize = 64 << 20;

/// What a directory costs beside its path: its time and two copies of its identity.
const COST: usize = size_of::<Waiting>() + 2 * size_of::<Id>();

type Id = (u64, u64);

#[derive(Debug)]
struct Waiting {
    path: Box<[u8]>,
    id: Id,
    time: TimeSpec,
}

/// Times that wait. Of several for one directory the last counts.
#[derive(Debug, Default)]
pub(super) struct Times {
    dirs: Vec<Waiting>,
    /// Directories that this layer has touched.
    seen: HashSet<Id>,
    bytes: usize,
}

impl Times {
    /// Something is about to change in a directory: it keeps its time, unless
    /// this layer has made it or has an entry for it.
    pub(super) fn keep(&mut self, path: &[u8], dir: &Dir) -> Result<(), Cause> {
        match dir.mtime {
            Some(time) if !self.seen.contains(&dir.id) => self.set(path, dir.id, time),
            None if self.seen.insert(dir.id) => self.count(0),
            _ => Ok(()),
        }
    }

    /// An entry says which time a directory gets.
    pub(super) fn set(&mut self, path: &[u8], id: Id, time: TimeSpec) -> Result<(), Cause> {
        self.count(path.len())?;
        self.seen.insert(id);
        self.dirs.push(Waiting { path: path.into(), id, time });
        Ok(())
    }

    fn count(&mut self, path: usize) -> Result<(), Cause> {
        self.bytes += path + COST;
        if self.bytes > MAX_BYTES {
            let what = "bytes in names of directories";
            return Err(Cause::Limit { what, max: MAX_BYTES as u64 });
        }
        Ok(())
    }

    /// Nothing is made in them any more.
    pub(super) fn apply(self, tree: &Tree) -> Result<(), Cause> {
        for Waiting { path, id, time } in self.dirs {
            // What has the path by now may be another thing, made by a later entry.
            let Ok(dir) = tree.open(&path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) else {
                continue;
            };
            let doing = "setting the time of";
            let fault = |errno| Cause::Sys { doing, path: shown(&path), errno };
            if identity(&fstat(&dir).map_err(fault)?) == id {
                futimens(&dir, &time, &time).map_err(fault)?;
            }
        }
        Ok(())
    }
}
