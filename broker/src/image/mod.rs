//! Images: from what a caller names to a root inside the guest.
//!
//! ```text
//! registry ─┐ (registry)                             ┌──► guest (send)
//! archive ──┴──► store (blobs by digest) ──► layout ─┤
//!                 layout on this host ───────────────┘
//! ```
//!
//! The host reads the small documents of an image and checks their digests;
//! layers go to the guest as they are, and are checked and unpacked there. An
//! image is as hostile as a guest, and a registry no better: sizes are capped,
//! links are not followed, nothing is unpacked on the host.

mod archive;
mod config;
mod digest;
mod disk;
mod error;
mod layout;
#[cfg(test)]
mod liar;
mod progress;
mod reference;
mod registry;
mod send;
mod store;

pub use config::{ImageConfig, LeftOut};
pub(crate) use digest::Digest;
pub(crate) use disk::ImageDisk;
pub(crate) use error::{ImageError, said};
pub(crate) use layout::Layout;
pub use progress::{LayerProgress, Progress, ProgressSender};
pub(crate) use reference::Reference;
pub(crate) use registry::Registries;
pub use registry::RegistryOptions;
pub(crate) use send::{adopt_root, send, send_layers};
pub(crate) use store::{Hold, Images, Stored};
pub use store::{Pruned, PullPolicy};
