//! Commands: how one is asked for, and what is known of it.

use bytes::Bytes;

use crate::error::{DecodeError, Error, wire_enum};
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
            tty: self.tty.map(|t| wire::TtySize { rows: t.rows.into(), cols: t.cols.into() }),
            idempotency_key: self.idempotency_key.clone(),
            on_disconnect: self.on_disconnect.to_wire(),
            lossless: self.lossless,
            window_bytes: self.window_bytes,
            stretch_bytes: self.stretch_bytes,
            wait: self.wait,
            inline_limit: self.inline_limit,
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
            tty: w.tty.map(tty_from_wire).transpose()?,
            idempotency_key: w.idempotency_key,
            on_disconnect: OnDisconnect::from_wire_opt(w.on_disconnect)?.unwrap_or_default(),
            lossless: w.lossless,
            window_bytes: w.window_bytes,
            stretch_bytes: w.stretch_bytes,
            wait: w.wait,
            inline_limit: w.inline_limit,
        })
    }
}

fn tty_from_wire(w: wire::TtySize) -> Result<TtySize, DecodeError> {
    let cells = |field, value: u32| {
        u16::try_from(value).map_err(|_| DecodeError::BadValue { field, value: value.into() })
    };
    Ok(TtySize { rows: cells("tty.rows", w.rows)?, cols: cells("tty.cols", w.cols)? })
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

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It called exit(2) with this code, 0 to 255.
    Code(u8),
    /// This signal ended it.
    Signal(u8),
}

impl ExitStatus {
    /// The code as a shell tells it: 128+n for a signal.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code.into(),
            Self::Signal(signal) => 128 + i32::from(signal),
        }
    }
}

/// The end of a command's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Code or signal.
    pub status: ExitStatus,
    /// The kernel says that core was dumped.
    pub core_dumped: bool,
    /// The agent ended it because its time was over.
    pub timed_out: bool,
    /// The kernel ended it for want of memory.
    pub oom_killed: bool,
}

/// Where a command stands.
///
/// ```text
/// Starting ──► Running ──► Exited
///     └──────► Failed
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandState {
    /// Asked for; there is no process yet.
    Starting,
    /// The process runs.
    Running,
    /// The process is dead, and what its pipes held was read.
    Exited(Exit),
    /// There never was a process of the asked program.
    Failed(Error),
}

impl CommandState {
    /// Nothing more will happen to the process.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Exited(_) | Self::Failed(_))
    }
}

/// What the agent knows of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandInfo {
    /// The id that the broker gave it.
    pub command_id: String,
    /// In the workload's pid namespace; 0 without a process.
    pub pid: u32,
    /// Where it stands.
    pub state: CommandState,
    /// argv, cut after [`crate::limits::MAX_INFO_ARGV`] bytes.
    pub argv: Vec<Bytes>,
    /// As it was resolved.
    pub cwd: String,
    /// As it was resolved.
    pub user: String,
    /// The guest's wall clock at the start, milliseconds.
    pub started_unix_ms: u64,
    /// Likewise at the exit; 0 before.
    pub finished_unix_ms: u64,
    /// From start to exit, monotonic microseconds; 0 before the exit.
    pub duration_us: u64,
    /// The first offset that is left of the log.
    pub output_first: u64,
    /// How many bytes the command has written in all.
    pub output_end: u64,
    /// Of these, to stdout (or the terminal).
    pub stdout_end: u64,
    /// Of these, to stderr.
    pub stderr_end: u64,
    /// The first byte of stdout (or the terminal) that is left.
    pub output_first_stdout: u64,
    /// The first byte of stderr that is left.
    pub output_first_stderr: u64,
    /// The process is dead and another still holds one of its pipes.
    pub held_open: bool,
    /// The log is final.
    pub closed: bool,
    /// stdin takes more.
    pub stdin_open: bool,
    /// The next offset that stdin expects.
    pub stdin_offset: u64,
    /// As it was asked for.
    pub idempotency_key: String,
    /// As it was asked for.
    pub on_disconnect: OnDisconnect,
}

impl CommandInfo {
    pub(crate) fn to_wire(&self) -> wire::CommandInfo {
        let (state, exit, failure) = match &self.state {
            CommandState::Starting => (wire::CommandState::Starting, None, None),
            CommandState::Running => (wire::CommandState::Running, None, None),
            CommandState::Exited(exit) => (wire::CommandState::Exited, Some(exit.to_wire()), None),
            CommandState::Failed(e) => (wire::CommandState::Failed, None, Some(e.to_wire())),
        };
        wire::CommandInfo {
            command_id: self.command_id.clone(),
            pid: self.pid,
            state: state as i32,
            exit,
            failure,
            argv: self.argv.clone(),
            cwd: self.cwd.clone(),
            user: self.user.clone(),
            started_unix_ms: self.started_unix_ms,
            finished_unix_ms: self.finished_unix_ms,
            duration_us: self.duration_us,
            output_first: self.output_first,
            output_end: self.output_end,
            stdout_end: self.stdout_end,
            stderr_end: self.stderr_end,
            output_first_stdout: self.output_first_stdout,
            output_first_stderr: self.output_first_stderr,
            held_open: self.held_open,
            closed: self.closed,
            stdin_open: self.stdin_open,
            stdin_offset: self.stdin_offset,
            idempotency_key: self.idempotency_key.clone(),
            on_disconnect: self.on_disconnect.to_wire(),
        }
    }

    pub(crate) fn from_wire(w: wire::CommandInfo) -> Result<Self, DecodeError> {
        let state = match wire::CommandState::try_from(w.state) {
            Ok(wire::CommandState::Starting) => CommandState::Starting,
            Ok(wire::CommandState::Running) => CommandState::Running,
            Ok(wire::CommandState::Exited) => CommandState::Exited(Exit::from_wire(
                w.exit.ok_or(DecodeError::Missing("command.exit"))?,
            )?),
            Ok(wire::CommandState::Failed) => CommandState::Failed(Error::from_wire(
                w.failure.ok_or(DecodeError::Missing("command.failure"))?,
            )),
            Ok(wire::CommandState::Unspecified) => {
                return Err(DecodeError::Missing("command.state"));
            }
            Err(_) => {
                return Err(DecodeError::BadValue {
                    field: "command.state",
                    value: w.state.into(),
                });
            }
        };
        Ok(Self {
            command_id: w.command_id,
            pid: w.pid,
            state,
            argv: w.argv,
            cwd: w.cwd,
            user: w.user,
            started_unix_ms: w.started_unix_ms,
            finished_unix_ms: w.finished_unix_ms,
            duration_us: w.duration_us,
            output_first: w.output_first,
            output_end: w.output_end,
            stdout_end: w.stdout_end,
            stderr_end: w.stderr_end,
            output_first_stdout: w.output_first_stdout,
            output_first_stderr: w.output_first_stderr,
            held_open: w.held_open,
            closed: w.closed,
            stdin_open: w.stdin_open,
            stdin_offset: w.stdin_offset,
            idempotency_key: w.idempotency_key,
            on_disconnect: OnDisconnect::from_wire_opt(w.on_disconnect)?.unwrap_or_default(),
        })
    }
}

impl Exit {
    fn to_wire(self) -> wire::Exit {
        let (code, signal) = match self.status {
            ExitStatus::Code(code) => (Some(code.into()), None),
            ExitStatus::Signal(signal) => (None, Some(signal.into())),
        };
        wire::Exit {
            code,
            signal,
            core_dumped: self.core_dumped,
            timed_out: self.timed_out,
            oom_killed: self.oom_killed,
        }
    }

    fn from_wire(w: wire::Exit) -> Result<Self, DecodeError> {
        let byte = |field, value: u32| {
            u8::try_from(value).map_err(|_| DecodeError::BadValue { field, value: value.into() })
        };
        let status = match (w.code, w.signal) {
            (Some(code), None) => ExitStatus::Code(byte("exit.code", code)?),
            (None, Some(signal)) => ExitStatus::Signal(byte("exit.signal", signal)?),
            _ => {
                return Err(DecodeError::Missing("exactly one of exit.code and exit.signal"));
            }
        };
        Ok(Self {
            status,
            core_dumped: w.core_dumped,
            timed_out: w.timed_out,
            oom_killed: w.oom_killed,
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
