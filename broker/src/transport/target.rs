//! Which of the transports leads to an agent that is there already.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Dial, Hybrid, Unix, Vsock};

/// Where the agent of a sandbox listens that somebody else runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachTarget {
    /// AF_VSOCK of this host's kernel.
    Vsock {
        /// The guest's context id.
        cid: u32,
        /// The agent's port.
        port: u32,
    },
    /// A Unix socket that takes `CONNECT <port>\n`.
    Hybrid {
        /// The socket.
        path: PathBuf,
        /// The agent's port.
        port: u32,
    },
    /// The agent's own Unix socket.
    Unix {
        /// The socket.
        path: PathBuf,
    },
}

impl AttachTarget {
    /// The transport that leads there.
    pub(crate) fn into_dial(self) -> Arc<dyn Dial> {
        match self {
            Self::Vsock { cid, port } => Arc::new(Vsock { cid, port }),
            Self::Hybrid { path, port } => Arc::new(Hybrid { path, port }),
            Self::Unix { path } => Arc::new(Unix { path }),
        }
    }
}
