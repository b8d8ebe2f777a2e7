//! What the broker answers. Fields that are not used here are left out; those
//! that an older broker may not send have a default.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An error of the API.
#[derive(Debug, Clone, Default, Deserialize, thiserror::Error)]
#[error("{message}{}", Details(self))]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) request_id: Option<String>,
    #[serde(default)]
    pub(crate) stage: Option<String>,
    #[serde(default)]
    pub(crate) errno: Option<i32>,
}

/// What a failed start adds to its message.
struct Details<'a>(&'a Failure);

impl std::fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.0.stage, self.0.errno) {
            (Some(stage), Some(errno)) => write!(f, " ({stage}, errno {errno})"),
            (Some(stage), None) => write!(f, " ({stage})"),
            _ => Ok(()),
        }
    }
}

/// A session. The rest of its fields go through as they are, for `--json`.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) created_at: String,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) image: String,
    #[serde(default)]
    pub(crate) driver: String,
    #[serde(default)]
    pub(crate) memory_mb: u32,
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, Value>,
}

/// A page of sessions.
#[derive(Debug, Deserialize)]
pub(crate) struct Sessions {
    pub(crate) sessions: Vec<Session>,
}

/// How far the making of a session is.
#[derive(Debug, Deserialize)]
pub(crate) struct Progress {
    pub(crate) stage: String,
    #[serde(default)]
    pub(crate) sent: Option<u64>,
    #[serde(default)]
    pub(crate) total: Option<u64>,
    #[serde(default)]
    pub(crate) layers: Vec<Layer>,
}

/// How far one layer is.
#[derive(Debug, Deserialize)]
pub(crate) struct Layer {
    pub(crate) digest: String,
    pub(crate) have: u64,
    pub(crate) size: u64,
}

/// An image. The rest of its fields go through, for `--json`.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Image {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) digest: Option<String>,
    #[serde(default)]
    pub(crate) size: Option<u64>,
    #[serde(default)]
    pub(crate) pulled_at: Option<String>,
    #[serde(default)]
    pub(crate) used_at: Option<String>,
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, Value>,
}

/// The images at hand.
#[derive(Debug, Deserialize)]
pub(crate) struct Images {
    pub(crate) images: Vec<Image>,
}

/// What became free.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Freed {
    #[serde(default)]
    pub(crate) removed: Vec<String>,
    pub(crate) freed_bytes: u64,
}

/// A command. The rest of its fields go through, for `--json`.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Command {
    pub(crate) command_id: String,
    pub(crate) session_id: String,
    pub(crate) status: String,
    pub(crate) pid: Option<u32>,
    pub(crate) command: String,
    #[serde(default)]
    pub(crate) exit_code: Option<i32>,
    #[serde(default)]
    pub(crate) duration_ms: Option<u64>,
    #[serde(default)]
    pub(crate) stdin_open: bool,
    /// The size of its terminal.
    #[serde(default)]
    pub(crate) tty: Option<Value>,
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, Value>,
}

impl Command {
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "exited" | "failed")
    }
}

/// The commands of a session.
#[derive(Debug, Deserialize)]
pub(crate) struct Commands {
    pub(crate) commands: Vec<Command>,
}

/// The answer to a background exec.
#[derive(Debug, Deserialize)]
pub(crate) struct Started {
    pub(crate) command_id: String,
}

/// The answer to a signal.
#[derive(Debug, Deserialize)]
pub(crate) struct Delivered {
    pub(crate) delivered: bool,
}

/// The answer to a file's upload.
#[derive(Debug, Deserialize)]
pub(crate) struct Written {
    pub(crate) size: u64,
}

/// Who answers.
#[derive(Debug, Deserialize)]
pub(crate) struct Version {
    pub(crate) name: String,
}
