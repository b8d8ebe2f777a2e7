//! What is known of a command, and how it ended.

use bytes::Bytes;

use crate::error::{DecodeError, Error};
use crate::exec::{OnDisconnect, TtySize};
use crate::process::Usage;
use crate::wire;

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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CommandState {
    /// Asked for; there is no process yet.
    #[default]
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
    /// What the tree has used so far.
    pub usage: Usage,
    /// The size of its terminal; None without one.
    pub tty: Option<TtySize>,
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
            usage: self.usage.to_wire(),
            tty: self.tty.map(TtySize::to_wire),
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
            usage: w.usage.map(Usage::from_wire).unwrap_or_default(),
            tty: w.tty.map(TtySize::from_wire).transpose()?,
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
