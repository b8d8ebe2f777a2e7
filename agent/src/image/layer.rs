//! One layer's entries, applied to the tree in the order of the tar.

use super::Limits;
use super::blob::Outlet;
use super::error::Cause;
use super::source::Source;
use super::tar::{Entries, Entry, Kind, TarError};
use super::times::Times;
use super::tree::Tree;
use super::whiteout::{self, Made, Mark};
use crate::files::error::shown;
use postern_proto::LayerDone;

/// A layer that is written, its tar read to the end.
pub(super) struct Written {
    pub(super) done: LayerDone,
    /// Of the tar: the diff_id.
    pub(super) sha256: [u8; 32],
    pub(super) tar_bytes: u64,
}

/// Writes what comes out of the pipe. The first layer has nothing below it, so
/// its whiteouts hide nothing and nobody asks what it made.
pub(super) fn write(
    tree: &mut Tree,
    limits: Limits,
    first: bool,
    mut chunks: Outlet,
) -> Result<Written, Cause> {
    // The last layer's end has changed the times of what is held.
    tree.forget();
    let mut entries = Entries::new(Source::new(&mut chunks, limits.bytes));
    let mut layer = Layer {
        tree,
        limits,
        made: if first { None } else { Some(Made::default()) },
        times: Times::default(),
        done: LayerDone::default(),
    };
    let mut last = None;
    let tar = |cause, last: &Option<Vec<u8>>| Cause::Tar {
        after: last.as_ref().map(|path| shown(path)),
        cause,
    };
    while let Some(entry) = entries.next().map_err(|cause| tar(cause, &last))? {
        layer.count(&entry)?;
        layer.apply(&entry, &mut entries).map_err(|fault| match fault {
            Fault::Tar(cause) => tar(cause, &Some(entry.path.clone())),
            Fault::Cause(cause) => cause,
        })?;
        last = Some(entry.path);
    }
    let (sha256, tar_bytes) = entries.finish().map_err(|cause| tar(cause, &last))?;
    layer.times.apply(layer.tree)?;
    Ok(Written { done: layer.done, sha256, tar_bytes })
}

/// A fault is the tar's, and then wants its place named, or another.
pub(super) enum Fault {
    Tar(TarError),
    Cause(Cause),
}

impl From<TarError> for Fault {
    fn from(cause: TarError) -> Self {
        Self::Tar(cause)
    }
}

impl From<Cause> for Fault {
    fn from(cause: Cause) -> Self {
        Self::Cause(cause)
    }
}

struct Layer<'a> {
    tree: &'a mut Tree,
    limits: Limits,
    made: Option<Made>,
    times: Times,
    done: LayerDone,
}

impl Layer<'_> {
    fn count(&mut self, entry: &Entry) -> Result<(), Cause> {
        if self.done.entries == self.limits.entries {
            return Err(Cause::Limit { what: "entries", max: self.limits.entries });
        }
        self.done.entries += 1;
        self.done.bytes += entry.size;
        // A claim, but one that the bytes would have to live up to: no use waiting.
        if entry.size > self.limits.bytes {
            let cause = TarError::TooManyBytes(self.limits.bytes);
            return Err(Cause::Tar { after: Some(shown(&entry.path)), cause });
        }
        Ok(())
    }

    fn apply(&mut self, entry: &Entry, contents: &mut Entries<'_>) -> Result<(), Fault> {
        let path = clean(&entry.path, &self.limits)?;
        if path.is_empty() {
            return if entry.kind == Kind::Dir {
                self.done.xattrs_skipped += self.tree.root_dir(entry, &mut self.times)?;
                Ok(())
            } else {
                Err(refuse(entry, "would replace the root directory").into())
            };
        }
        match Mark::of(&path).map_err(|why| refuse(entry, why))? {
            Mark::None => {}
            Mark::Ignore => return Ok(()),
            mark => {
                let Some(made) = &self.made else {
                    return Ok(());
                };
                return Ok(whiteout::apply(self.tree, &mark, made, &mut self.times)?);
            }
        }
        if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) && !self.limits.allow_devices
        {
            return if path.starts_with(b"dev/") {
                Ok(())
            } else {
                Err(refuse(entry, "is a device, which images may not have").into())
            };
        }
        let place = self.tree.place(&path)?;
        self.times.keep(place.parent(), &place.dir)?;
        let skipped = match entry.kind {
            Kind::File => self.tree.file(&place, entry, contents)?,
            Kind::Dir => self.tree.dir(&place, entry, &mut self.times)?,
            Kind::Symlink => self.tree.symlink(&place, entry)?,
            Kind::HardLink => {
                let target = clean(&entry.link, &self.limits)?;
                self.tree.hard_link(&place, &target)?
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => self.tree.node(&place, entry)?,
        };
        self.done.xattrs_skipped += skipped;
        if let Some(made) = &mut self.made {
            made.note(&place);
        }
        Ok(())
    }
}

fn refuse(entry: &Entry, why: &'static str) -> Cause {
    Cause::Entry { path: shown(&entry.path), why }
}

/// A name of the tar as a path below the root: no empty part, no `.`; empty for
/// the root itself.
fn clean(path: &[u8], limits: &Limits) -> Result<Vec<u8>, Cause> {
    let refuse = |why| Cause::Entry { path: shown(path), why };
    if path.is_empty() {
        return Err(refuse("has no name"));
    }
    if path.len() > limits.path {
        return Err(Cause::Limit { what: "bytes in a path", max: limits.path as u64 });
    }
    if path.contains(&0) {
        return Err(refuse("has a NUL in its name"));
    }
    let mut clean = Vec::with_capacity(path.len());
    let mut depth = 0;
    for part in path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".") {
        if part == b".." {
            return Err(refuse("goes up with .."));
        }
        if depth > 0 {
            clean.push(b'/');
        }
        clean.extend_from_slice(part);
        depth += 1;
    }
    if depth > limits.depth {
        return Err(Cause::Limit { what: "directories in a path", max: limits.depth as u64 });
    }
    Ok(clean)
}
