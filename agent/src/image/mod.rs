//! OCI image layers into the workload's root.
//!
//! ```text
//! blob ─► [hash, decompress] ─► chunks ─► [hash, tar entries] ─► the file system
//!          the caller's thread             a thread of its own
//! ```
//!
//! Layers may come several at once. Each has its two threads; whoever writes has
//! the tree, and the others wait for their turn (`turns`).
//!
//! The root is built where nobody sees it; who calls publishes it after
//! [`Unpacker::finish`]. An error poisons the unpacker: there is no half image.

mod blob;
pub mod config;
mod device;
pub mod error;
mod layer;
pub mod packing;
mod source;
pub mod tar;
#[cfg(test)]
mod tests;
mod times;
mod tree;
mod turns;
mod whiteout;
mod working_dir;
mod xattrs;

use std::fmt::Write as _;
use std::io::Read;

use postern_proto as proto;

use crate::files::Root;
use crate::files::error::shown;
use blob::{Outlet, Pumped};
pub use device::DeviceBlob;
use error::{BLOB, DIFF_ID};
pub use error::{Cause, UnpackError};
use layer::Written;
use packing::Packing;
use tree::Tree;
use turns::Turns;
pub(crate) use working_dir::make as make_working_dir;

/// Twenty times the largest images known (package trees of 100,000 files); at
/// 1 KiB of kernel memory an inode, a hostile image takes 2 GiB of the guest's
/// own memory at most.
pub const MAX_ENTRIES: u64 = 2_000_000;

/// Linux's `PATH_MAX`: a longer name could never be opened.
pub const MAX_PATH: usize = 4096;

/// Deeper than any real tree, shallow enough that walking one holds few descriptors.
pub const MAX_DEPTH: usize = 256;

/// Decompressed bytes of all layers, contents that are passed over included: far
/// beyond real images, while a compression bomb of 1:1000 needs 32 MiB a time.
pub const MAX_BYTES: u64 = 64 << 30;

/// What an image may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries of all layers.
    pub entries: u64,
    /// Bytes of a path.
    pub path: usize,
    /// Directories above a file.
    pub depth: usize,
    /// Decompressed bytes of all layers.
    pub bytes: u64,
    /// Make device nodes. Without it one below `/dev`, which the workload never
    /// sees, is passed over, and one elsewhere is an error.
    pub allow_devices: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: MAX_ENTRIES,
            path: MAX_PATH,
            depth: MAX_DEPTH,
            bytes: MAX_BYTES,
            allow_devices: false,
        }
    }
}

/// Applies layers to a root, in order. Several may come at once: what is ahead of
/// its turn is received and decompressed as far as its pipe holds it.
#[derive(Debug)]
pub struct Unpacker {
    turns: Turns,
    limits: Limits,
}

/// What came of all layers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    /// How many there were.
    pub layers: u32,
    /// Entries of their tars.
    pub entries: u64,
}

impl Unpacker {
    /// Directories that the root has already stay and take an entry's owner,
    /// mode and time if there is one.
    pub fn new(root: Root, limits: Limits) -> Self {
        Self { turns: Turns::new(Tree::new(root)), limits }
    }

    /// Unpacks one layer; reads the blob to its end.
    ///
    /// Blocks, and runs a second thread meanwhile. On an error the blob may not
    /// be read to its end.
    pub fn apply(
        &self,
        layer: &proto::Layer,
        blob: &mut dyn Read,
    ) -> Result<proto::LayerDone, UnpackError> {
        let fail = |cause| UnpackError { layer: layer.index, cause };
        self.turns.begin(layer.index).map_err(fail)?;
        let done = self.unpack(layer, blob);
        done.inspect_err(|_| self.turns.poison()).map_err(fail)
    }

    /// Something failed, and there will be no image. A layer that was not expected
    /// touches nothing: the right one may still come.
    pub fn is_poisoned(&self) -> bool {
        self.turns.is_poisoned()
    }

    /// How many layers are in.
    pub fn layers(&self) -> u32 {
        self.turns.layers()
    }

    /// All layers are in: nothing can be added, and what is there is an image. One
    /// that is still on its way makes it none.
    pub fn finish(&self) -> Result<Unpacked, UnpackError> {
        self.turns.finish()
    }

    fn unpack(&self, layer: &proto::Layer, blob: &mut dyn Read) -> Result<proto::LayerDone, Cause> {
        let packing = Packing::of(&layer.media_type)?;
        check_digest(BLOB, &layer.digest)?;
        check_digest(DIFF_ID, &layer.diff_id)?;
        let (inlet, outlet) = blob::pipe();
        let (pumped, written) = std::thread::scope(|scope| {
            let writer = std::thread::Builder::new()
                .name("unpack".into())
                .spawn_scoped(scope, move || self.write(layer.index, outlet))
                .map_err(|e| Cause::Sys {
                    doing: "starting a thread for",
                    path: format!("layer {}", layer.index),
                    errno: nix::errno::Errno::from_raw(e.raw_os_error().unwrap_or(libc::EAGAIN)),
                })?;
            let pumped = blob::pump(blob, packing, layer.size, &inlet);
            if pumped.is_err() {
                // The writer may be waiting for a turn that is of no use now.
                self.turns.poison();
            }
            // Without the inlet the writer comes to an end.
            drop(inlet);
            let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok::<_, Cause>((pumped, written))
        })?;
        let (sha256, size) = match pumped? {
            Pumped::All { sha256, size } => (sha256, size),
            Pumped::Stopped => ([0; 32], 0),
        };
        // If the writer stopped the pump, its error is the one to tell.
        let (tree, written) = written?;
        if size != layer.size {
            return Err(Cause::SizeMismatch { expected: layer.size, got: size });
        }
        compare_digest(BLOB, &layer.digest, &sha256)?;
        compare_digest(DIFF_ID, &layer.diff_id, &written.sha256)?;
        self.turns.done(tree, written.done.entries, written.tar_bytes);
        Ok(written.done)
    }

    fn write(&self, index: u32, outlet: Outlet) -> Result<(Tree, Written), Cause> {
        let (mut tree, left) = self.turns.wait(index, self.limits)?;
        let written = layer::write(&mut tree, left, index == 0, outlet)?;
        Ok((tree, written))
    }
}

fn check_digest(what: &'static str, text: &str) -> Result<(), Cause> {
    let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64);
    match digits {
        Some(digits) if digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => Ok(()),
        _ => Err(Cause::BadDigest { what, text: shown(text.as_bytes()) }),
    }
}

fn compare_digest(what: &'static str, expected: &str, got: &[u8; 32]) -> Result<(), Cause> {
    let got = hex(got);
    if expected.strip_prefix("sha256:") == Some(&got) {
        return Ok(());
    }
    Err(Cause::DigestMismatch { what, expected: expected.to_owned(), got })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
