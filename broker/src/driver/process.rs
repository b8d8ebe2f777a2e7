//! Namespaces of this host with the same agent as PID 1: for development and
//! tests, and no security boundary (the kernel is the host's).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::process::Command;

use super::console::tail_of;
use super::program::Program;
use super::{Driver, DriverError, Files, Record, Records, Sandbox, SandboxSpec, unchanging};
use crate::transport::{Dial, Unix};

const NAME: &str = "the agent";

#[derive(Debug)]
pub(crate) struct ProcessDriver {
    files: Files,
}

impl ProcessDriver {
    pub(crate) fn new(files: Files) -> Self {
        Self { files }
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
            // Nothing of the broker's own environment is the sandbox's business.
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(console)
            .stderr(errors);
        let agent = Program::start(NAME, &mut command)?;
        Ok(ProcessSandbox::of(agent, &spec.dir))
    }
}

impl Driver for ProcessDriver {
    fn create<'a>(
        &'a self,
        spec: &'a SandboxSpec,
    ) -> BoxFuture<'a, Result<Box<dyn Sandbox>, DriverError>> {
        Box::pin(async { self.start(spec).map(|sandbox| Box::new(sandbox) as _) })
    }

    fn adopt(&self, dir: &Path, record: Record) -> Result<Box<dyn Sandbox>, DriverError> {
        let Record::Process { agent } = record else {
            return Err(DriverError::foreign("process"));
        };
        let agent = Program::adopt(NAME, agent, dir).ok_or(DriverError::Gone("the sandbox"))?;
        Ok(Box::new(ProcessSandbox::of(agent, dir)))
    }
}

#[derive(Debug)]
struct ProcessSandbox {
    agent: Program,
    log: PathBuf,
    socket: PathBuf,
}

impl ProcessSandbox {
    fn of(agent: Program, dir: &Path) -> Self {
        Self { agent, log: dir.join("console.log"), socket: dir.join("agent.sock") }
    }
}

impl Sandbox for ProcessSandbox {
    fn records(&self) -> Records {
        unchanging(Record::Process { agent: self.agent.identity().clone() })
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
