//! The store: images by name, blobs by digest, below one directory.
//!
//! ```text
//! DIR/blobs/sha256/HEX    whole, and of that digest: renamed here after fsync
//! DIR/partial/HEX         what a pull has so far; the next one goes on there
//! DIR/partial/import-N    an archive's layer that has no digest yet
//! ```
//!
//! Names and what they stand for are rows of the broker's database, written
//! after the last blob: a broker that is killed leaves blobs without a name, which
//! the next pull finds, and which go first when room is needed.
//!
//! Three rules keep concurrent pulls, sessions and pruning apart: whoever uses
//! blobs has a [`Hold`] on them from before it looks whether they are there; what
//! is held is never deleted, and counts as if it were whole; one task at a time
//! writes a blob, and the others wait for it ([`fetch`]).

mod blobs;
mod fetch;
mod hold;
mod images;
mod progress;
mod pull;
mod room;
#[cfg(test)]
mod tests;

pub(in crate::image) use blobs::{Added, Blobs};
pub(crate) use hold::Hold;
pub(crate) use images::{Images, Stored};

/// Whether what is in the store will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// Ask the registry each time: a tag may have moved. Blobs that are there
    /// are not fetched again.
    Always,
    /// Only if the store has no image of that name.
    #[default]
    Missing,
    /// What the store does not have is an error.
    Never,
}

/// What a pruning took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Names of images.
    pub images: Vec<String>,
    /// Bytes of blobs, whole and partial.
    pub bytes: u64,
}
