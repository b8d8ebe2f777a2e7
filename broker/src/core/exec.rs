//! Starting a command, and running one to its end.

use std::time::Duration;

use bytes::Bytes;
use postern_proto::limits::MAX_EXEC_STRINGS;
use postern_proto::{
    Capabilities, CgroupLimits, CommandInfo, EnvVar, Exec, OnDisconnect, OutputChunk, Rlimit,
    TtySize,
};

use super::{Error, Result};

/// The most of stdin that goes with the request: with [`MAX_EXEC_STRINGS`] it
/// fits a frame of the control connection.
const MAX_FIRST_STDIN: usize = 192 << 10;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// By `sh -c` of the image.
    Shell(String),
    /// Program and arguments, no shell.
    Argv(Vec<Bytes>),
    /// The user's own shell, from the image's passwd, as a login shell with
    /// these arguments; without any it is interactive.
    LoginShell(Vec<Bytes>),
}

/// How a command's process is set up. `Default` is what a plain command gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessSetup {
    /// umask(2), 0 to 0o777; None: 022.
    pub umask: Option<u32>,
    /// setrlimit(2), in this order.
    pub rlimits: Vec<Rlimit>,
    /// None: all that the session's workload may have.
    pub capabilities: Option<Capabilities>,
    /// prctl(2), `PR_SET_NO_NEW_PRIVS`: no program gives it more rights.
    pub no_new_privs: bool,
    /// setpriority(2), -20 to 19.
    pub nice: Option<i32>,
    /// proc(5), -1000 to 1000; None: 0.
    pub oom_score_adj: Option<i32>,
    /// Of the command's cgroup; refused where the kernel cannot set them.
    pub limits: CgroupLimits,
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
    /// Run it on a terminal of this size.
    pub tty: Option<TtySize>,
    /// Rights, limits and priorities of the process.
    pub setup: ProcessSetup,
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
            setup: ProcessSetup::default(),
            idempotency_key: None,
            on_disconnect: None,
            lossless: false,
            window_bytes: None,
            stretch_bytes: None,
        }
    }
}

impl Program {
    fn argv(&self) -> Result<Vec<Bytes>> {
        match self {
            Self::Shell(script) if script.is_empty() => {
                Err(Error::invalid("command", "command is empty"))
            }
            Self::Shell(script) => Ok(vec![
                Bytes::from_static(b"sh"),
                Bytes::from_static(b"-c"),
                Bytes::from(script.clone()),
            ]),
            Self::Argv(argv) if argv.first().is_none_or(Bytes::is_empty) => {
                Err(Error::invalid("argv", "argv names no program"))
            }
            Self::Argv(argv) | Self::LoginShell(argv) => Ok(argv.clone()),
        }
    }
}

impl ExecRequest {
    pub(super) fn to_exec(&self, command_id: String, default: OnDisconnect) -> Result<Exec> {
        let argv = self.program.argv()?;
        let env: Vec<EnvVar> =
            self.env.iter().map(|(name, value)| EnvVar::new(name.clone(), value.clone())).collect();
        let strings = argv.iter().map(Bytes::len).sum::<usize>()
            + env.iter().map(|v| v.name.len() + v.value.len()).sum::<usize>();
        if strings > MAX_EXEC_STRINGS {
            let message = format!(
                "command and environment have {strings} bytes; {MAX_EXEC_STRINGS} can be passed on"
            );
            return Err(Error::invalid("command", message));
        }
        if self.stdin.len() > MAX_FIRST_STDIN {
            let message = format!(
                "stdin has {} bytes; the first {MAX_FIRST_STDIN} go with the request, write the rest to the command",
                self.stdin.len()
            );
            return Err(Error::invalid("stdin", message));
        }
        Ok(Exec {
            command_id,
            argv,
            cwd: self.cwd.clone().unwrap_or_default(),
            env,
            user: self.user.clone().unwrap_or_default(),
            timeout_ms: self.timeout.map(millis),
            kill_grace_ms: self.kill_grace.map(millis),
            stdin: self.stdin.clone(),
            stdin_open: self.stdin_open,
            tty: self.tty,
            idempotency_key: self.idempotency_key.clone().unwrap_or_default(),
            on_disconnect: self.on_disconnect.unwrap_or(default),
            lossless: self.lossless,
            window_bytes: self.window_bytes,
            stretch_bytes: self.stretch_bytes,
            wait: false,
            inline_limit: 0,
            umask: self.setup.umask,
            rlimits: self.setup.rlimits.clone(),
            capabilities: self.setup.capabilities.clone(),
            no_new_privs: self.setup.no_new_privs,
            nice: self.setup.nice,
            oom_score_adj: self.setup.oom_score_adj,
            limits: self.setup.limits,
            login_shell: matches!(self.program, Program::LoginShell(_)),
            stop_signal: None,
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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
