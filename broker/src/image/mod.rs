//! Images: from what a caller names to a root inside the guest.
//!
//! The host reads the small documents of an OCI layout and checks their
//! digests; layers go to the guest as they are, and are checked and unpacked
//! there. An image is as hostile as a guest: sizes are capped, links are not
//! followed, nothing is unpacked on the host.

mod layout;
mod progress;
mod reference;
mod send;

use std::io;
use std::path::PathBuf;

pub(crate) use layout::Layout;
pub use progress::{Progress, ProgressSender};
pub(crate) use reference::Reference;
pub(crate) use send::send;

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("the image reference {reference:?} {problem}")]
    BadReference { reference: String, problem: String },
    #[error("there is no image {name:?} in {}", dir.display())]
    NotFound { name: String, dir: PathBuf },
    #[error("the image at {} {problem}", at.display())]
    Malformed { at: PathBuf, problem: String },
    #[error("{doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("sending the image to the guest")]
    Guest(#[from] crate::guest::GuestError),
}

impl ImageError {
    pub(crate) fn malformed(at: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Malformed { at: at.into(), problem: problem.into() }
    }
}
