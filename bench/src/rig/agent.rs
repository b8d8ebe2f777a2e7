//! An agent in a process sandbox, without a broker.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_proto::{CommandState, Exec, ExecResult, ExitStatus, Reply, Request};
use postern_tests::raw::{Address, Raw, load_image, ok};
use tempfile::TempDir;

use super::{Rig, wait};

/// A machine that is busy with other builds starts slowly.
const PATIENCE: Duration = Duration::from_secs(30);

/// Every command needs an id that the agent has not seen.
static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

#[derive(Debug)]
pub(crate) struct Sandbox {
    child: Child,
    pub(crate) address: Address,
    _dir: TempDir,
}

impl Sandbox {
    pub(crate) fn start(rig: &Rig) -> io::Result<Self> {
        let dir = rig.dir()?;
        let child = Command::new(rig.agent()?)
            .args(["--sandbox", "--dir"])
            .arg(dir.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let socket = dir.path().join("agent.sock");
        let mut sandbox = Self { child, address: Address::Unix(socket), _dir: dir };
        wait::until("the agent's socket", PATIENCE, || {
            if let Some(status) = sandbox.child.try_wait()? {
                return Err(io::Error::other(format!("the agent ended: {status}")));
            }
            Ok(sandbox.address.dial().ok())
        })?;
        Ok(sandbox)
    }

    /// With the benchmark's image, and a control connection.
    pub(crate) fn with_image(rig: &Rig, image: &Path) -> io::Result<(Self, Raw)> {
        let sandbox = Self::start(rig)?;
        let mut control = Raw::control(&sandbox.address)?;
        load_image(&sandbox.address, &mut control, image)?;
        Ok((sandbox, control))
    }

    /// The process on the host; the sandbox is below it.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Asks a child to end, and makes it end if it does not.
pub(crate) fn stop(child: &mut Child) {
    let pid = Pid::from_raw(child.id().cast_signed());
    let _ = kill(pid, Signal::SIGTERM);
    let ended = wait::until("the end of a child", PATIENCE, || child.try_wait());
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// An exec of `argv` that answers at the exit with the output.
pub(crate) fn exec(argv: &[&str]) -> Exec {
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Exec {
        command_id: format!("bench-{number}"),
        argv: argv.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect(),
        wait: true,
        inline_limit: 64 << 10,
        ..Exec::default()
    }
}

/// Runs it to its end, which must be a good one.
pub(crate) fn run(control: &mut Raw, argv: &[&str]) -> io::Result<ExecResult> {
    match ok(control.ask(&Request::Exec(Box::new(exec(argv))))?)? {
        Reply::Exec(result) => succeeded(*result),
        other => Err(io::Error::other(format!("an exec was answered with {other:?}"))),
    }
}

pub(crate) fn succeeded(result: ExecResult) -> io::Result<ExecResult> {
    match &result.command.state {
        CommandState::Exited(exit) if exit.status == ExitStatus::Code(0) => Ok(result),
        other => Err(io::Error::other(format!("a command ended as {other:?}"))),
    }
}
