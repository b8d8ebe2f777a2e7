//! How far a session or a pull has come, as its making tells it.

use std::sync::Arc;

/// Where the making of a session, or a pull, stands. The latest state wins: a
/// slow watcher misses steps, never the last one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Progress {
    /// The image is on its way into the store.
    Pulling(Arc<[LayerProgress]>),
    /// The sandbox is being started.
    #[default]
    Booting,
    /// The agent answers; the image is on its way.
    Image {
        /// Bytes of layers sent.
        sent: u64,
        /// Bytes of all layers.
        total: u64,
    },
    /// Every layer is in; the root is being put together.
    Committing,
    /// Commands can be started.
    Ready,
}

/// One layer on its way into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerProgress {
    /// `sha256:…` of the blob.
    pub digest: String,
    /// Bytes that are in the store.
    pub have: u64,
    /// Bytes in all.
    pub size: u64,
}

/// Takes progress; `tokio::sync::watch::channel(Progress::default())` makes one.
pub type ProgressSender = tokio::sync::watch::Sender<Progress>;
