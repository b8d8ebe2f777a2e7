//! How far a session has come, as its making tells it.

/// Where the making of a session stands. The latest state wins: a slow watcher
/// misses steps, never the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Progress {
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

/// Takes progress; `tokio::sync::watch::channel(Progress::default())` makes one.
pub type ProgressSender = tokio::sync::watch::Sender<Progress>;
