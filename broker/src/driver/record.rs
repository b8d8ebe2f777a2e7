//! How the next broker finds a sandbox.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::identity::Identity;
use crate::transport::AttachTarget;

/// Written to the store when a sandbox has been started, and again when a part
/// of it was replaced. Paths are not in it: they are below the session's
/// directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Record {
    /// Namespaces of this host.
    Process {
        agent: Identity,
        /// The key of the image that its root lies over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shared: Option<String>,
    },
    /// A QEMU microVM.
    Qemu { qemu: Identity, accel: String, vsock: VsockRecord },
    /// A sandbox that somebody else runs.
    Attach(TargetRecord),
}

/// How a machine's vsock is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum VsockRecord {
    Kernel {
        cid: u32,
    },
    /// None between the end of one backend and the start of the next.
    User {
        backend: Option<Identity>,
    },
}

/// An [`AttachTarget`], as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TargetRecord {
    Vsock { cid: u32, port: u32 },
    Hybrid { path: PathBuf, port: u32 },
    Unix { path: PathBuf },
}

impl From<AttachTarget> for TargetRecord {
    fn from(target: AttachTarget) -> Self {
        match target {
            AttachTarget::Vsock { cid, port } => Self::Vsock { cid, port },
            AttachTarget::Hybrid { path, port } => Self::Hybrid { path, port },
            AttachTarget::Unix { path } => Self::Unix { path },
        }
    }
}

impl From<TargetRecord> for AttachTarget {
    fn from(record: TargetRecord) -> Self {
        match record {
            TargetRecord::Vsock { cid, port } => Self::Vsock { cid, port },
            TargetRecord::Hybrid { path, port } => Self::Hybrid { path, port },
            TargetRecord::Unix { path } => Self::Unix { path },
        }
    }
}

impl Record {
    /// The key of the unpacked image that the sandbox's root lies over.
    pub(crate) fn shared(&self) -> Option<&str> {
        match self {
            Self::Process { shared, .. } => shared.as_deref(),
            Self::Qemu { .. } | Self::Attach(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back() {
        let identity = Identity::of(std::process::id()).unwrap();
        let path = PathBuf::from("/a");
        for record in [
            Record::Process { agent: identity.clone(), shared: None },
            Record::Process { agent: identity.clone(), shared: Some("1-a".to_owned()) },
            Record::Qemu {
                qemu: identity.clone(),
                accel: "tcg".to_owned(),
                vsock: VsockRecord::User { backend: Some(identity) },
            },
            Record::Attach(AttachTarget::Hybrid { path, port: 7 }.into()),
        ] {
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record, "{text}");
        }
    }
}
