//! One session: its state, and what can be asked of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use postern_proto::limits::MAX_INLINE_OUTPUT;
use postern_proto::{
    Code, CommandInfo, Exec, Info, Output, ReadFile, SignalScope, TtySize, WriteFile,
};
use tokio::sync::watch;

use super::abandon::Callers;
use super::issued::Issued;
use super::keys::Keys;
use super::shared::SharedRoot;
use super::stdin::Gates;
use super::{
    BootFigures, DriverKind, Error, ExecRequest, FileReader, FileWriter, Finished, FollowOptions,
    Follower, ImageConfig, OutputRange, Result, SessionInfo, SessionStatus, Started, run,
};
use crate::driver::Sandbox;
use crate::guest::{FollowStream, Guest, GuestError, ReadStream, WriteStream};
use crate::store::Key;

/// A handle of a session; cheap to clone. The session lives on without handles.
#[derive(Debug, Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

/// What does not change while a session lives.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) id: String,
    pub(super) created_at: SystemTime,
    pub(super) image: String,
    pub(super) driver: DriverKind,
    pub(super) memory_mb: u32,
    pub(super) cpus: u32,
    pub(super) ttl: Option<Duration>,
    pub(super) disk_mb: Option<u32>,
    pub(super) hostname: String,
    pub(super) network: bool,
    pub(super) no_new_privs: bool,
    /// The image's entrypoint is its first command.
    pub(super) entrypoint: bool,
    pub(super) image_config: Option<Arc<ImageConfig>>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    state: Mutex<State>,
    status: watch::Sender<SessionStatus>,
    callers: Arc<Callers>,
    issued: Issued,
    keys: Keys,
    gates: Gates,
}

#[derive(Debug, Default)]
struct State {
    reason: Option<String>,
    guest: Option<Guest>,
    sandbox: Option<Arc<dyn Sandbox>>,
    /// Stays while the sandbox may read it.
    shared: Option<SharedRoot>,
    boot: Option<BootFigures>,
    entrypoint: Option<String>,
    /// What the console said last, once the sandbox is gone.
    console: String,
}

impl Session {
    /// `sess_…`.
    pub fn id(&self) -> &str {
        &self.inner.settings.id
    }

    /// What is known of it.
    pub fn info(&self) -> SessionInfo {
        let settings = &self.inner.settings;
        let state = self.state();
        SessionInfo {
            id: settings.id.clone(),
            created_at: settings.created_at,
            status: self.status(),
            reason: state.reason.clone(),
            image: settings.image.clone(),
            driver: settings.driver,
            memory_mb: settings.memory_mb,
            cpus: settings.cpus,
            ttl: settings.ttl,
            expires_at: settings.ttl.and_then(|ttl| settings.created_at.checked_add(ttl)),
            hostname: settings.hostname.clone(),
            disk_mb: settings.disk_mb,
            network: settings.network,
            no_new_privs: settings.no_new_privs,
            image_config: settings.image_config.clone(),
            entrypoint_command_id: state.entrypoint.clone(),
            boot: state.boot,
        }
    }

    /// Starts a command; one round trip. A start that fails is an error with
    /// its stage and errno.
    pub async fn exec(&self, request: ExecRequest) -> Result<Started> {
        run::start(self, request).await
    }

    /// Runs a command to its exit and gives its output, at most `output_cap`
    /// bytes. A dropped call is a caller who went away: `on_disconnect` applies
    /// (kill after 10 s, unless a call with the same idempotency key takes over).
    pub async fn run(&self, request: ExecRequest, output_cap: usize) -> Result<Finished> {
        run::run(self, request, output_cap).await
    }

    /// One command.
    pub async fn command(&self, command_id: &str) -> Result<CommandInfo> {
        let guest = self.guest()?;
        self.explain(command_id, &guest, guest.command(command_id).await)
    }

    /// Every command that is known, in the order of their start.
    pub async fn commands(&self) -> Result<Vec<CommandInfo>> {
        let commands = self.guest()?.commands().await?;
        // What an earlier broker had started is learned here.
        commands.iter().for_each(|command| self.key_is_for(command));
        Ok(commands)
    }

    /// The command at its exit, or as it stands when the time is over.
    pub async fn wait(&self, command_id: &str, timeout: Option<Duration>) -> Result<CommandInfo> {
        let guest = self.guest()?;
        self.explain(command_id, &guest, guest.wait(command_id, false, timeout).await)
    }

    /// Like [`Session::wait`], until the log is final.
    pub async fn wait_closed(
        &self,
        command_id: &str,
        timeout: Option<Duration>,
    ) -> Result<CommandInfo> {
        let guest = self.guest()?;
        self.explain(command_id, &guest, guest.wait(command_id, true, timeout).await)
    }

    /// Sends a signal; whether a process was there to take it.
    pub async fn signal(&self, command_id: &str, signal: u32, scope: SignalScope) -> Result<bool> {
        let guest = self.guest()?;
        self.explain(command_id, &guest, guest.signal(command_id, signal, scope).await)
    }

    /// Sets the size of a command's terminal; its processes hear of it by SIGWINCH.
    pub async fn resize(&self, command_id: &str, size: TtySize) -> Result<()> {
        let guest = self.guest()?;
        self.explain(command_id, &guest, guest.resize_tty(command_id, size).await)
    }

    /// Of the commands that run on a terminal, the one that was started last.
    pub async fn newest_terminal(&self) -> Result<CommandInfo> {
        let commands = self.commands().await?;
        let running = |info: &CommandInfo| info.tty.is_some() && !info.state.is_final();
        commands.into_iter().rfind(running).ok_or_else(|| {
            Error::new(Code::FailedPrecondition, "no command of this session runs on a terminal")
        })
    }

    /// Everything before `offset` has arrived; nothing from it on may be dropped.
    pub async fn ack(&self, command_id: &str, offset: u64) -> Result<()> {
        let guest = self.guest()?;
        self.explain(command_id, &guest, guest.ack(command_id, offset).await)
    }

    /// A range of the output, without a stream.
    pub async fn read_output(&self, command_id: &str, range: OutputRange) -> Result<Output> {
        let guest = self.guest()?;
        let most = u32::try_from(MAX_INLINE_OUTPUT).unwrap_or(u32::MAX);
        let max = range.max_bytes.unwrap_or(most);
        let output = guest.read_output(command_id, range.from, range.only, max).await;
        self.explain(command_id, &guest, output)
    }

    /// A cursor in a command's output.
    pub async fn follow(&self, command_id: &str, options: FollowOptions) -> Result<Follower> {
        let guest = self.guest()?;
        let stream = FollowStream::open(guest.clone(), options.to_request(command_id)).await;
        Ok(Follower::new(self.explain(command_id, &guest, stream)?))
    }

    /// A file out of the sandbox.
    pub async fn read_file(&self, request: ReadFile) -> Result<FileReader> {
        check_path(&request.path)?;
        Ok(FileReader::new(ReadStream::open(self.guest()?, request).await?))
    }

    /// A file into the sandbox.
    pub async fn write_file(&self, request: WriteFile) -> Result<FileWriter> {
        check_path(&request.path)?;
        Ok(FileWriter::new(WriteStream::open_file(self.guest()?, request).await?))
    }

    /// The agent and its guest.
    pub async fn agent_info(&self) -> Result<Info> {
        Ok(self.guest()?.info().await?)
    }

    /// How often the agent broke the protocol.
    pub fn faults(&self) -> u64 {
        self.state().guest.as_ref().map_or(0, Guest::faults)
    }

    /// The last lines of the sandbox's console, fit for a terminal.
    pub fn console_tail(&self) -> String {
        let state = self.state();
        match &state.sandbox {
            Some(sandbox) => sandbox.console(),
            None => state.console.clone(),
        }
    }
}

/// What the rest of the core does with a session.
impl Session {
    /// `key` is the store's: see [`Issued`].
    pub(super) fn new(settings: Settings, key: Key) -> Self {
        Self {
            inner: Arc::new(Inner {
                issued: Issued::new(key, &settings.id),
                keys: Keys::default(),
                settings,
                state: Mutex::default(),
                status: watch::Sender::new(SessionStatus::Starting),
                callers: Arc::default(),
                gates: Gates::default(),
            }),
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> SessionStatus {
        *self.inner.status.borrow()
    }

    pub(super) fn statuses(&self) -> watch::Receiver<SessionStatus> {
        self.inner.status.subscribe()
    }

    pub(super) fn set_status(&self, status: SessionStatus, reason: Option<String>) {
        if reason.is_some() {
            self.state().reason = reason;
        }
        self.inner.status.send_replace(status);
    }

    /// Starting or Running to `next`; false if somebody else has gone on from there.
    pub(super) fn advance(&self, from: &[SessionStatus], next: SessionStatus) -> bool {
        self.inner.status.send_if_modified(|status| {
            let mine = from.contains(status);
            if mine {
                *status = next;
            }
            mine
        })
    }

    pub(super) fn callers(&self) -> &Arc<Callers> {
        &self.inner.callers
    }

    pub(super) fn gates(&self) -> &Gates {
        &self.inner.gates
    }

    pub(super) fn set_sandbox(&self, sandbox: Arc<dyn Sandbox>) {
        self.state().sandbox = Some(sandbox);
    }

    pub(super) fn set_shared(&self, shared: Option<SharedRoot>) {
        self.state().shared = shared;
    }

    pub(super) fn set_guest(&self, guest: Guest) {
        self.state().guest = Some(guest);
    }

    /// The command that it was made with.
    pub(super) fn set_entrypoint(&self, command_id: Option<String>) {
        self.state().entrypoint = command_id;
    }

    pub(super) fn set_boot(&self, boot: BootFigures) {
        self.state().boot = Some(boot);
    }

    /// Guest and sandbox leave the session; what the console said stays.
    pub(super) fn take(&self) -> (Option<Guest>, Option<Arc<dyn Sandbox>>, Option<SharedRoot>) {
        let mut state = self.state();
        if let Some(sandbox) = &state.sandbox {
            let console = sandbox.console();
            state.console = console;
        }
        (state.guest.take(), state.sandbox.take(), state.shared.take())
    }

    pub(super) fn guest_if_any(&self) -> Option<Guest> {
        self.state().guest.clone()
    }

    pub(super) fn sandbox_if_any(&self) -> Option<Arc<dyn Sandbox>> {
        self.state().sandbox.clone()
    }

    /// The client of a session that takes commands.
    pub(super) fn guest(&self) -> Result<Guest> {
        let status = self.status();
        let state = self.state();
        match (status, &state.guest) {
            (SessionStatus::Running, Some(guest)) => Ok(guest.clone()),
            (SessionStatus::Starting, _) => {
                Err(Error::new(Code::Unavailable, "the session is starting"))
            }
            _ => {
                let why = state.reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
                let message = format!("the session is {}{why}", status.as_str());
                Err(Error::new(Code::FailedPrecondition, message))
            }
        }
    }

    /// An id for a command of the agent that serves now.
    pub(super) fn command_id(&self, guest: &Guest) -> String {
        self.inner.issued.command(&guest.instances().borrow())
    }

    /// Notes what an exec's key is for; an error if it was for a command that was
    /// lost, and that a retry must not start again. Gives the serving process that
    /// alone may be asked: the one that knows the key, if it is not the first time.
    pub(super) fn claim_key(&self, guest: &Guest, exec: &Exec) -> Result<Option<String>> {
        let Some(earlier) = self.inner.keys.get(&exec.idempotency_key) else {
            self.inner.keys.put(&exec.idempotency_key, &exec.command_id);
            return Ok(None);
        };
        // Looked at once: another process may be met at any moment.
        let instances = guest.instances().borrow().clone();
        if self.inner.issued.was_lost(&earlier, &instances) {
            return Err(GuestError::Restarted.into());
        }
        Ok(instances.last().cloned())
    }

    /// The agent's word on which command a key is for.
    pub(super) fn key_is_for(&self, info: &CommandInfo) {
        self.inner.keys.put(&info.idempotency_key, &info.command_id);
    }

    /// A command that the agent does not know, and that we started, was lost.
    pub(super) fn explain<T>(
        &self,
        command_id: &str,
        guest: &Guest,
        result: Result<T, GuestError>,
    ) -> Result<T> {
        result.map_err(|error| match error {
            GuestError::Agent(ref answer)
                if answer.code == Code::NotFound
                    && self.inner.issued.was_lost(command_id, &guest.instances().borrow()) =>
            {
                GuestError::Restarted.into()
            }
            other => other.into(),
        })
    }
}

fn check_path(path: &Bytes) -> Result<()> {
    match path.first() {
        Some(b'/') if !path.contains(&0) => Ok(()),
        _ => Err(Error::invalid("path", "path must be absolute, without a NUL")),
    }
}
