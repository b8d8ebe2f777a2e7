//! Starting a command, and running one to its end.

use std::time::Duration;

use bytes::Bytes;
use postern_proto::{CommandInfo, OnDisconnect, OutputChunk, TtySize};

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// By `sh -c` of the image.
    Shell(String),
    /// Program and arguments, no shell.
    Argv(Vec<Bytes>),
}

/// A command to start.
#[derive(Debug, Clone)]
pub struct ExecRequest {
    /// What to run.
    pub program: Program,
    /// None: the image's WorkingDir, else `/`.
    pub cwd: Option<String>,
    /// Over the image's and the session's.
    pub env: Vec<(String, String)>,
    /// Name or `uid[:gid]`; None: the image's User, else root.
    pub user: Option<String>,
    /// After this, TERM to the tree, then KILL.
    pub timeout: Option<Duration>,
    /// Between TERM and KILL; None: the agent's default.
    pub kill_grace: Option<Duration>,
    /// Bytes for stdin at the start; end of file follows unless `stdin_open`.
    pub stdin: Bytes,
    /// Keep stdin open for `Session::write_stdin`.
    pub stdin_open: bool,
    /// Run it on a terminal.
    pub tty: Option<TtySize>,
    /// A second request with the same key starts nothing and answers the first.
    pub idempotency_key: Option<String>,
    /// None: `Kill` for [`Session::run`](super::Session::run), `Keep` for `exec`.
    pub on_disconnect: Option<OnDisconnect>,
    /// Hold output from the first byte for a reader to come.
    pub lossless: bool,
    /// How much output is kept for readers; None: the agent's default.
    pub window_bytes: Option<u64>,
    /// How much a lossless hold keeps behind its reader; likewise.
    pub stretch_bytes: Option<u64>,
}

impl ExecRequest {
    /// A request with nothing but the program.
    pub fn new(program: Program) -> Self {
        Self {
            program,
            cwd: None,
            env: Vec::new(),
            user: None,
            timeout: None,
            kill_grace: None,
            stdin: Bytes::new(),
            stdin_open: false,
            tty: None,
            idempotency_key: None,
            on_disconnect: None,
            lossless: false,
            window_bytes: None,
            stretch_bytes: None,
        }
    }
}

/// A command that was started.
#[derive(Debug, Clone)]
pub struct Started {
    /// As it stands.
    pub info: CommandInfo,
    /// The idempotency key was known, and nothing was started.
    pub existing: bool,
}

/// A command that was run to its exit.
#[derive(Debug, Clone)]
pub struct Finished {
    /// As it stood at the exit.
    pub info: CommandInfo,
    /// Its output in order, up to the cap.
    pub chunks: Vec<OutputChunk>,
    /// There is more than the cap; the rest can be read by offset while the log keeps it.
    pub truncated: bool,
    /// Ranges `[from, to)` that are gone.
    pub gaps: Vec<(u64, u64)>,
    /// The idempotency key was known: another call had started it.
    pub existing: bool,
}
