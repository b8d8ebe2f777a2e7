//! Commands: how one is asked for and signalled, and its output.

use bytes::Bytes;

use crate::command::CommandInfo;
use crate::error::{DecodeError, wire_enum};
use crate::process::{Capabilities, CgroupLimits, Rlimit};
use crate::wire;

/// Which of a command's streams bytes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputStream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
    /// The terminal, which has only one.
    Pty,
}

wire_enum!(OutputStream, OutputStream, "stream", [Stdout, Stderr, Pty]);

impl OutputStream {
    pub(crate) fn tag(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::Pty => 3,
        }
    }

    pub(crate) fn from_tag(tag: u8) -> Result<Option<Self>, DecodeError> {
        Self::from_wire_opt(tag.into())
    }
}

/// What becomes of a command when its caller goes away. The agent only keeps
/// it; the broker acts on it, also one that was started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDisconnect {
    /// It goes on.
    #[default]
    Keep,
    /// It is killed after a grace.
    Kill,
}

wire_enum!(OnDisconnect, OnDisconnect, "on_disconnect", [Keep, Kill]);

/// One environment variable; any bytes but NUL, and no `=` in the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvVar {
    /// Before the `=`.
    pub name: Bytes,
    /// After it.
    pub value: Bytes,
}

impl EnvVar {
    /// From text.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: Bytes::from(name.into()), value: Bytes::from(value.into()) }
    }

    pub(crate) fn to_wire(&self) -> wire::EnvVar {
        wire::EnvVar { name: self.name.clone(), value: self.value.clone() }
    }

    pub(crate) fn from_wire(w: wire::EnvVar) -> Self {
        Self { name: w.name, value: w.value }
    }
}

/// The size of a terminal, in character cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TtySize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// A command to start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exec {
    /// Made by the broker before it sends, so that a lost reply can be asked after.
    pub command_id: String,
    /// Program and arguments; no shell is involved. At least one.
    pub argv: Vec<Bytes>,
    /// Empty: the image's WorkingDir, else `/`.
    pub cwd: String,
    /// Merged over the image's and the session's.
    pub env: Vec<EnvVar>,
    /// Name or `uid[:gid]`; empty: the image's User, else root.
    pub user: String,
    /// After this, TERM to the tree, then KILL.
    pub timeout_ms: Option<u64>,
    /// Between TERM and KILL; the agent's default where absent.
    pub kill_grace_ms: Option<u64>,
    /// Bytes for stdin at the start; end of file follows unless `stdin_open`.
    pub stdin: Bytes,
    /// Keep stdin open for `WriteStdin`.
    pub stdin_open: bool,
    /// Run it on a terminal.
    pub tty: Option<TtySize>,
    /// A second `Exec` with the same key starts nothing and answers the first.
    pub idempotency_key: String,
    /// See [`OnDisconnect`].
    pub on_disconnect: OnDisconnect,
    /// Hold output from the first byte for a reader to come.
    pub lossless: bool,
    /// How much output is kept for readers; the agent's default where absent.
    pub window_bytes: Option<u64>,
    /// How much a lossless hold keeps behind its reader; likewise.
    pub stretch_bytes: Option<u64>,
    /// Answer at the exit, or once there are more than `inline_limit` bytes.
    pub wait: bool,
    /// The most output that the reply may carry.
    pub inline_limit: u32,
    /// umask(2); 022 where absent.
    pub umask: Option<u32>,
    /// setrlimit(2), in this order.
    pub rlimits: Vec<Rlimit>,
    /// None: all that the session's workload may have.
    pub capabilities: Option<Capabilities>,
    /// prctl(2), `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    /// setpriority(2), -20 to 19; as the agent's workload has it where absent.
    pub nice: Option<i32>,
    /// proc(5), -1000 to 1000; 0 where absent.
    pub oom_score_adj: Option<i32>,
    /// Of the command's cgroup.
    pub limits: CgroupLimits,
    /// The user's own shell as a login shell; argv are its arguments, if any.
    pub login_shell: bool,
    /// At [`Request::Shutdown`](crate::Request::Shutdown) this goes to its first
    /// process in the place of TERM to its tree: 1 to 64.
    pub stop_signal: Option<u32>,
}

impl Exec {
    pub(crate) fn to_wire(&self) -> wire::Exec {
        wire::Exec {
            command_id: self.command_id.clone(),
            argv: self.argv.clone(),
            cwd: self.cwd.clone(),
            env: self.env.iter().map(EnvVar::to_wire).collect(),
            user: self.user.clone(),
            timeout_ms: self.timeout_ms,
            kill_grace_ms: self.kill_grace_ms,
            stdin: self.stdin.clone(),
            stdin_open: self.stdin_open,
            tty: self.tty.map(TtySize::to_wire),
            idempotency_key: self.idempotency_key.clone(),
            on_disconnect: self.on_disconnect.to_wire(),
            lossless: self.lossless,
            window_bytes: self.window_bytes,
            stretch_bytes: self.stretch_bytes,
            wait: self.wait,
            inline_limit: self.inline_limit,
            umask: self.umask,
            rlimits: self.rlimits.iter().map(Rlimit::to_wire).collect(),
            capabilities: self.capabilities.as_ref().map(Capabilities::to_wire),
            no_new_privs: self.no_new_privs,
            nice: self.nice,
            oom_score_adj: self.oom_score_adj,
            limits: self.limits.to_wire(),
            login_shell: self.login_shell,
            stop_signal: self.stop_signal,
        }
    }

    pub(crate) fn from_wire(w: wire::Exec) -> Result<Self, DecodeError> {
        Ok(Self {
            command_id: w.command_id,
            argv: w.argv,
            cwd: w.cwd,
            env: w.env.into_iter().map(EnvVar::from_wire).collect(),
            user: w.user,
            timeout_ms: w.timeout_ms,
            kill_grace_ms: w.kill_grace_ms,
            stdin: w.stdin,
            stdin_open: w.stdin_open,
            tty: w.tty.map(TtySize::from_wire).transpose()?,
            idempotency_key: w.idempotency_key,
            on_disconnect: OnDisconnect::from_wire_opt(w.on_disconnect)?.unwrap_or_default(),
            lossless: w.lossless,
            window_bytes: w.window_bytes,
            stretch_bytes: w.stretch_bytes,
            wait: w.wait,
            inline_limit: w.inline_limit,
            umask: w.umask,
            rlimits: w.rlimits.into_iter().map(Rlimit::from_wire).collect(),
            capabilities: w.capabilities.map(Capabilities::from_wire).transpose()?,
            no_new_privs: w.no_new_privs,
            nice: w.nice,
            oom_score_adj: w.oom_score_adj,
            limits: w.limits.map(CgroupLimits::from_wire).unwrap_or_default(),
            login_shell: w.login_shell,
            stop_signal: w.stop_signal,
        })
    }
}

impl TtySize {
    pub(crate) fn to_wire(self) -> wire::TtySize {
        wire::TtySize { rows: self.rows.into(), cols: self.cols.into() }
    }

    pub(crate) fn from_wire(w: wire::TtySize) -> Result<Self, DecodeError> {
        let cells = |field, value: u32| {
            u16::try_from(value).map_err(|_| DecodeError::BadValue { field, value: value.into() })
        };
        Ok(Self { rows: cells("tty.rows", w.rows)?, cols: cells("tty.cols", w.cols)? })
    }
}

/// A piece of output, in the order in which the agent read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputChunk {
    /// Where it came from.
    pub stream: OutputStream,
    /// Its place in the command's log.
    pub offset: u64,
    /// Its place within its own stream.
    pub stream_offset: u64,
    /// The bytes.
    pub data: Bytes,
}

impl OutputChunk {
    pub(crate) fn to_wire(&self) -> wire::OutputChunk {
        wire::OutputChunk {
            stream: self.stream.to_wire(),
            offset: self.offset,
            stream_offset: self.stream_offset,
            data: self.data.clone(),
        }
    }

    pub(crate) fn from_wire(w: wire::OutputChunk) -> Result<Self, DecodeError> {
        Ok(Self {
            stream: OutputStream::from_wire(w.stream)?,
            offset: w.offset,
            stream_offset: w.stream_offset,
            data: w.data,
        })
    }
}

/// The answer to `Exec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecResult {
    /// The command as it stands now.
    pub command: CommandInfo,
    /// With `wait`: its output from offset 0, at most `inline_limit` bytes.
    pub output: Vec<OutputChunk>,
    /// The idempotency key or the id was known, and nothing was started.
    pub existing: bool,
}

/// Whom a signal goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalScope {
    /// The command's first process.
    Process,
    /// Its process group.
    Group,
    /// Every descendant, also those that left the group.
    Tree,
}

wire_enum!(SignalScope, SignalScope, "scope", [Process, Group, Tree]);
