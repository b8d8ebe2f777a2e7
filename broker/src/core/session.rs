//! One session.

use std::time::Duration;

use postern_proto::{CommandInfo, Info, Output, ReadFile, SignalScope, StdinState, WriteFile};

use super::{
    ExecRequest, FileReader, FileWriter, Finished, FollowOptions, Follower, OutputRange, Result,
    SessionInfo, Started, StdinWrite,
};

/// A handle of a session; cheap to clone. The session lives on without handles.
#[derive(Debug, Clone)]
pub struct Session {}

impl Session {
    /// `sess_…`.
    pub fn id(&self) -> &str {
        todo!()
    }

    /// What is known of it.
    pub fn info(&self) -> SessionInfo {
        todo!()
    }

    /// Starts a command; one round trip. A start that fails is an error with
    /// its stage and errno.
    pub async fn exec(&self, _request: ExecRequest) -> Result<Started> {
        todo!()
    }

    /// Runs a command to its exit and gives its output, at most `output_cap`
    /// bytes. A dropped call is a caller who went away: `on_disconnect` applies
    /// (kill after 10 s, unless a call with the same idempotency key takes over).
    pub async fn run(&self, _request: ExecRequest, _output_cap: usize) -> Result<Finished> {
        todo!()
    }

    /// One command.
    pub async fn command(&self, _command_id: &str) -> Result<CommandInfo> {
        todo!()
    }

    /// Every command that is known, in the order of their start.
    pub async fn commands(&self) -> Result<Vec<CommandInfo>> {
        todo!()
    }

    /// The command at its exit, or as it stands when the time is over.
    pub async fn wait(&self, _command_id: &str, _timeout: Option<Duration>) -> Result<CommandInfo> {
        todo!()
    }

    /// Like [`Session::wait`], until the log is final.
    pub async fn wait_closed(
        &self,
        _command_id: &str,
        _timeout: Option<Duration>,
    ) -> Result<CommandInfo> {
        todo!()
    }

    /// Bytes for stdin; the answer says how many were taken: what a full buffer
    /// did not take is sent again at the offset in the answer.
    pub async fn write_stdin(&self, _command_id: &str, _write: StdinWrite) -> Result<StdinState> {
        todo!()
    }

    /// Sends a signal; whether a process was there to take it.
    pub async fn signal(&self, _command_id: &str, _signal: u32, _scope: SignalScope) -> Result<bool> {
        todo!()
    }

    /// Everything before `offset` has arrived; nothing from it on may be dropped.
    pub async fn ack(&self, _command_id: &str, _offset: u64) -> Result<()> {
        todo!()
    }

    /// A range of the output, without a stream.
    pub async fn read_output(&self, _command_id: &str, _range: OutputRange) -> Result<Output> {
        todo!()
    }

    /// A cursor in a command's output.
    pub async fn follow(&self, _command_id: &str, _options: FollowOptions) -> Result<Follower> {
        todo!()
    }

    /// A file out of the sandbox.
    pub async fn read_file(&self, _request: ReadFile) -> Result<FileReader> {
        todo!()
    }

    /// A file into the sandbox.
    pub async fn write_file(&self, _request: WriteFile) -> Result<FileWriter> {
        todo!()
    }

    /// The agent and its guest.
    pub async fn agent_info(&self) -> Result<Info> {
        todo!()
    }

    /// The last lines of the sandbox's console.
    pub fn console_tail(&self) -> String {
        todo!()
    }
}
