//! The requests of a control connection, typed, their replies checked.

use std::time::Duration;

use postern_proto::limits::{MAX_INLINE_OUTPUT, MAX_LISTED};
use postern_proto::{
    CommandInfo, Configure, Exec, ExecResult, ImageConfig, Info, Output, OutputChunk, OutputStream,
    Reply, Request, SignalScope, StdinState, TtySize, WriteStdin,
};

use super::client::{Guest, Policy, Retry};
use super::error::{Fault, GuestError};

/// For what the agent answers from memory. A guest under TCG with a full run
/// queue has been seen to take a second; this leaves it room, and a caller sanity.
const QUICK: Duration = Duration::from_secs(20);

/// For what makes the agent work: a spawn in a guest that swaps, a root that is
/// put together.
const SLOW: Duration = Duration::from_secs(120);

/// One wait at the agent. A caller's longer wait is made of several, so that a
/// caller who went away leaves nothing behind for longer than this.
const WAIT_SLICE: Duration = Duration::from_secs(60);

/// Beyond the time that the agent was given, for the way back.
const WAIT_SLACK: Duration = Duration::from_secs(10);

/// The most commands that a listing gathers: more than an agent may keep, and
/// an end for one that lists for ever.
const MAX_COMMANDS: usize = 20_000;

fn quick(doing: &'static str, retry: Retry) -> Policy {
    Policy { doing, retry, within: Some(QUICK) }
}

fn slow(doing: &'static str, retry: Retry) -> Policy {
    Policy { doing, retry, within: Some(SLOW) }
}

impl Guest {
    /// Sets hostname and environment.
    pub async fn configure(&self, configure: Configure) -> Result<(), GuestError> {
        let policy = quick("configuring the session", Retry::SameInstance);
        self.done(&Request::Configure(configure), policy).await
    }

    /// Announces layers.
    pub async fn prepare_image(&self, layers: u32) -> Result<(), GuestError> {
        let policy = slow("preparing the image", Retry::Never);
        self.done(&Request::PrepareImage { layers }, policy).await
    }

    /// Makes the root of the layers.
    pub async fn commit_image(&self, config: ImageConfig) -> Result<(), GuestError> {
        let policy = slow("committing the image", Retry::Never);
        self.done(&Request::CommitImage(config), policy).await
    }

    /// Asks the agent to end everything and power off.
    pub async fn shutdown(&self, grace: Duration) -> Result<(), GuestError> {
        let request = Request::Shutdown { grace_ms: millis(grace) };
        self.done(&request, quick("asking for a shutdown", Retry::Never)).await
    }

    /// The agent and its guest.
    pub async fn info(&self) -> Result<Info, GuestError> {
        let policy = quick("asking for the agent's state", Retry::SameInstance);
        match self.call(&Request::GetInfo, policy).await? {
            Reply::Info(info) => Ok(*info),
            _ => Err(self.wrong(policy.doing, Fault::WrongReply("info"))),
        }
    }

    /// Starts a command; with `wait` the reply comes at its exit, however long
    /// that takes. After a broken link it is sent again: the id is known then.
    pub async fn exec(&self, exec: Exec) -> Result<ExecResult, GuestError> {
        self.exec_by(exec, None).await
    }

    /// Likewise, by this serving process and no other: what is asked for may have
    /// run there already, and another would not know.
    pub async fn exec_by(
        &self,
        exec: Exec,
        instance: Option<String>,
    ) -> Result<ExecResult, GuestError> {
        let policy = Policy {
            doing: "starting a command",
            retry: Retry::SameInstance,
            // A waiting exec is bounded by the link's liveness and the command's timeout.
            within: if exec.wait { None } else { Some(SLOW) },
        };
        let (keyed, cap) = (!exec.idempotency_key.is_empty(), exec.inline_limit);
        let request = Request::Exec(Box::new(exec));
        let result = match self.call_by(&request, policy, instance).await? {
            Reply::Exec(result) => *result,
            _ => return Err(self.wrong(policy.doing, Fault::WrongReply("exec"))),
        };
        let Request::Exec(exec) = &request else { unreachable!("it was made above") };
        let other = result.command.command_id != exec.command_id;
        if other && !(keyed && result.existing) {
            return Err(self.wrong(policy.doing, Fault::WrongCommand));
        }
        check_chunks(&result.output, None, cap.into()).map_err(|f| self.wrong(policy.doing, f))?;
        Ok(result)
    }

    /// One command.
    pub async fn command(&self, command_id: &str) -> Result<CommandInfo, GuestError> {
        let request = Request::GetCommand { command_id: command_id.to_owned() };
        self.about(&request, command_id, quick("asking for a command", Retry::SameInstance)).await
    }

    /// Every command, oldest first.
    pub async fn commands(&self) -> Result<Vec<CommandInfo>, GuestError> {
        let policy = quick("listing commands", Retry::SameInstance);
        let mut all: Vec<CommandInfo> = Vec::new();
        loop {
            let after = all.last().map(|c| c.command_id.clone()).unwrap_or_default();
            let request = Request::ListCommands { after, limit: MAX_LISTED };
            let (page, more) = match self.call(&request, policy).await? {
                Reply::Commands { commands, more } => (commands, more),
                _ => return Err(self.wrong(policy.doing, Fault::WrongReply("commands"))),
            };
            if all.len() + page.len() > MAX_COMMANDS || (more && page.is_empty()) {
                return Err(self.wrong(policy.doing, Fault::EndlessList));
            }
            all.extend(page);
            if !more {
                return Ok(all);
            }
        }
    }

    /// The command at its exit (or with a final log), or as it stands when the
    /// time is over.
    pub async fn wait(
        &self,
        command_id: &str,
        until_closed: bool,
        timeout: Option<Duration>,
    ) -> Result<CommandInfo, GuestError> {
        let begun = tokio::time::Instant::now();
        loop {
            let left = timeout.map(|t| t.saturating_sub(begun.elapsed()));
            let slice = left.unwrap_or(WAIT_SLICE).min(WAIT_SLICE);
            let request = Request::WaitCommand {
                command_id: command_id.to_owned(),
                timeout_ms: Some(millis(slice)),
                until_closed,
            };
            let within = Some(slice + WAIT_SLACK);
            let doing = "waiting for a command";
            let policy = Policy { doing, retry: Retry::SameInstance, within };
            let info = self.about(&request, command_id, policy).await?;
            let reached = if until_closed { info.closed } else { info.state.is_final() };
            if reached || timeout.is_some_and(|t| begun.elapsed() >= t) {
                return Ok(info);
            }
        }
    }

    /// Bytes for stdin. Only a write with an offset is sent again.
    pub async fn write_stdin(&self, write: WriteStdin) -> Result<StdinState, GuestError> {
        let retry = if write.offset.is_some() { Retry::SameInstance } else { Retry::Never };
        let (policy, sent) = (quick("writing to stdin", retry), write.data.len() as u64);
        match self.call(&Request::WriteStdin(write), policy).await? {
            Reply::Stdin(state) if state.accepted > sent => {
                let fault = Fault::TooMuch { got: state.accepted, max: sent };
                Err(self.wrong(policy.doing, fault))
            }
            Reply::Stdin(state) => Ok(state),
            _ => Err(self.wrong(policy.doing, Fault::WrongReply("stdin"))),
        }
    }

    /// Sends a signal. Not sent again: a second one may mean something else.
    pub async fn signal(
        &self,
        command_id: &str,
        signal: u32,
        scope: SignalScope,
    ) -> Result<bool, GuestError> {
        let command_id = command_id.to_owned();
        let policy = quick("sending a signal", Retry::Never);
        match self.call(&Request::Signal { command_id, signal, scope }, policy).await? {
            Reply::Delivered(delivered) => Ok(delivered),
            _ => Err(self.wrong(policy.doing, Fault::WrongReply("signal"))),
        }
    }

    /// Sets the size of a command's terminal.
    pub async fn resize_tty(&self, command_id: &str, size: TtySize) -> Result<(), GuestError> {
        let request = Request::ResizeTty { command_id: command_id.to_owned(), size };
        self.done(&request, quick("resizing a terminal", Retry::SameInstance)).await
    }

    /// Nothing from `offset` on may be dropped.
    pub async fn ack(&self, command_id: &str, offset: u64) -> Result<(), GuestError> {
        let request = Request::AckOutput { command_id: command_id.to_owned(), offset };
        self.done(&request, quick("acknowledging output", Retry::SameInstance)).await
    }

    /// A lossless reader is gone; `for_good`, or for the agent's grace.
    pub(super) async fn leave_output(
        &self,
        command_id: &str,
        reader: u64,
        for_good: bool,
    ) -> Result<(), GuestError> {
        let request = Request::LeaveOutput { command_id: command_id.to_owned(), reader, for_good };
        self.done(&request, quick("leaving output", Retry::SameInstance)).await
    }

    /// A range of a log.
    pub async fn read_output(
        &self,
        command_id: &str,
        from: u64,
        only: Option<OutputStream>,
        max_bytes: u32,
    ) -> Result<Output, GuestError> {
        let cap = u32::try_from(MAX_INLINE_OUTPUT).unwrap_or(u32::MAX);
        let max_bytes = max_bytes.min(cap);
        let command_id = command_id.to_owned();
        let policy = quick("reading output", Retry::SameInstance);
        let request = Request::ReadOutput { command_id, from, only, max_bytes };
        let output = match self.call(&request, policy).await? {
            Reply::Output(output) => output,
            _ => return Err(self.wrong(policy.doing, Fault::WrongReply("output"))),
        };
        let checked = check_chunks(&output.chunks, only, max_bytes.into());
        let end = checked.map_err(|f| self.wrong(policy.doing, f))?.unwrap_or(from);
        if end > output.next {
            let fault = Fault::OffsetJump { expected: end, got: output.next };
            return Err(self.wrong(policy.doing, fault));
        }
        Ok(output)
    }

    async fn done(&self, request: &Request, policy: Policy) -> Result<(), GuestError> {
        match self.call(request, policy).await? {
            Reply::Done => Ok(()),
            _ => Err(self.wrong(policy.doing, Fault::WrongReply("done"))),
        }
    }

    async fn about(
        &self,
        request: &Request,
        command_id: &str,
        policy: Policy,
    ) -> Result<CommandInfo, GuestError> {
        match self.call(request, policy).await? {
            Reply::Command(info) if info.command_id == command_id => Ok(*info),
            Reply::Command(_) => Err(self.wrong(policy.doing, Fault::WrongCommand)),
            _ => Err(self.wrong(policy.doing, Fault::WrongReply("command"))),
        }
    }
}

/// Chunks go upwards without overlap, are of the asked stream and within the
/// cap; gives where the last one ends.
fn check_chunks(
    chunks: &[OutputChunk],
    only: Option<OutputStream>,
    max: u64,
) -> Result<Option<u64>, Fault> {
    let (mut end, mut total) = (None, 0u64);
    for chunk in chunks {
        let expected = end.unwrap_or(0);
        let after = chunk.offset.checked_add(chunk.data.len() as u64);
        let Some(after) = after.filter(|_| chunk.offset >= expected) else {
            return Err(Fault::OffsetJump { expected, got: chunk.offset });
        };
        if only.is_some_and(|only| only != chunk.stream) {
            return Err(Fault::WrongTag);
        }
        total += chunk.data.len() as u64;
        if total > max {
            return Err(Fault::TooMuch { got: total, max });
        }
        end = Some(after);
    }
    Ok(end)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
