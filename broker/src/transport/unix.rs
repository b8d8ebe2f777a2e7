//! The agent's own Unix socket.

use std::path::PathBuf;

use futures_util::future::BoxFuture;

use super::{Dial, DialError, Stream, within};

/// A Unix socket on which the agent itself listens.
#[derive(Debug, Clone)]
pub struct Unix {
    /// The socket.
    pub path: PathBuf,
}

impl Dial for Unix {
    fn dial(&self) -> BoxFuture<'_, Result<Stream, DialError>> {
        Box::pin(within(self.path.display(), "connecting", Stream::connect(&self.path)))
    }
}
