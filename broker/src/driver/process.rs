//! Namespaces of this host with the same agent as PID 1: for development and
//! tests, and no security boundary (the kernel is the host's).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::console::tail_of;
use super::program::Program;
use super::{
    Driver, DriverError, Files, Record, Records, Sandbox, SandboxRoot, SandboxSpec, unchanging,
};
use crate::transport::{Dial, Unix};

const NAME: &str = "the agent";

/// Two mounts and a file.
const CHECK_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct ProcessDriver {
    files: Files,
    data_dir: PathBuf,
    shares_roots: OnceCell<bool>,
}

impl ProcessDriver {
    pub(crate) fn new(files: Files, data_dir: PathBuf) -> Self {
        Self { files, data_dir, shares_roots: OnceCell::new() }
    }

    fn start(&self, spec: &SandboxSpec) -> Result<ProcessSandbox, DriverError> {
        let agent = self.files.agent()?;
        let log = spec.dir.join("console.log");
        let console = std::fs::File::create(&log).map_err(DriverError::io("creating", &log))?;
        let errors = console.try_clone().map_err(DriverError::io("opening", &log))?;
        let mut command = Command::new(agent);
        command
            .arg("--sandbox")
            .arg("--dir")
            .arg(&spec.dir)
            .args(["--memory-mb", &spec.memory_mb.to_string()])
            .args(["--root-mb", &spec.root_mb.to_string()])
            .args(["--hostname", &spec.hostname])
            .args(root_args(&spec.root))
            // Nothing of the broker's own environment is the sandbox's business.
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(console)
            .stderr(errors);
        let agent = Program::start(NAME, &mut command)?;
        let shared = match &spec.root {
            SandboxRoot::Over { key, .. } => Some(key.clone()),
            SandboxRoot::Memory | SandboxRoot::Directory(_) => None,
        };
        Ok(ProcessSandbox::of(agent, shared, &spec.dir))
    }

    /// Asks the agent, who will have to do it.
    async fn can_overlay(&self) -> bool {
        let Ok(agent) = self.files.agent() else { return false };
        // What is left of it is swept with the sessions' directories.
        let dir = self.data_dir.join("sessions/overlay-check");
        let mut command = Command::new(agent);
        command.arg("--check-overlay").arg(&dir).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let answer = tokio::time::timeout(CHECK_DEADLINE, command.output()).await;
        drop(tokio::fs::remove_dir_all(&dir).await);
        let answer = match answer {
            Ok(Ok(done)) if done.status.success() => return true,
            Ok(Ok(done)) => String::from_utf8_lossy(&done.stderr).trim().to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer after {CHECK_DEADLINE:?}"),
        };
        tracing::info!(answer, "process sandboxes share no images");
        false
    }
}

fn root_args(root: &SandboxRoot) -> Vec<OsString> {
    match root {
        SandboxRoot::Memory => Vec::new(),
        SandboxRoot::Directory(dir) => vec!["--root-dir".into(), dir.into()],
        SandboxRoot::Over { lower, .. } => vec!["--lower".into(), lower.into()],
    }
}

impl Driver for ProcessDriver {
    fn create<'a>(
        &'a self,
        spec: &'a SandboxSpec,
    ) -> BoxFuture<'a, Result<Box<dyn Sandbox>, DriverError>> {
        Box::pin(async { self.start(spec).map(|sandbox| Box::new(sandbox) as _) })
    }

    fn shares_roots(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { *self.shares_roots.get_or_init(|| self.can_overlay()).await })
    }

    fn adopt(&self, dir: &Path, record: Record) -> Result<Box<dyn Sandbox>, DriverError> {
        let Record::Process { agent, shared } = record else {
            return Err(DriverError::foreign("process"));
        };
        let agent = Program::adopt(NAME, agent, dir).ok_or(DriverError::Gone("the sandbox"))?;
        Ok(Box::new(ProcessSandbox::of(agent, shared, dir)))
    }
}

#[derive(Debug)]
struct ProcessSandbox {
    agent: Program,
    shared: Option<String>,
    log: PathBuf,
    socket: PathBuf,
}

impl ProcessSandbox {
    fn of(agent: Program, shared: Option<String>, dir: &Path) -> Self {
        Self { agent, shared, log: dir.join("console.log"), socket: dir.join("agent.sock") }
    }
}

impl Sandbox for ProcessSandbox {
    fn records(&self) -> Records {
        let (agent, shared) = (self.agent.identity().clone(), self.shared.clone());
        unchanging(Record::Process { agent, shared })
    }

    fn dial(&self) -> Arc<dyn Dial> {
        Arc::new(Unix { path: self.socket.clone() })
    }

    fn ended(&self) -> BoxFuture<'static, String> {
        self.agent.ended()
    }

    fn kill(&self, deadline: Duration) -> BoxFuture<'_, ()> {
        Box::pin(self.agent.stop(deadline))
    }

    fn leave(&self) {
        self.agent.leave();
    }

    fn console(&self) -> String {
        tail_of(&self.log)
    }
}
