//! A program that runs beside a sandbox, owned by one task.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use futures_util::future::BoxFuture;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::{mpsc, watch};

use super::DriverError;

/// The ends of a program's pipes.
#[derive(Debug)]
pub(crate) struct Outputs {
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) stderr: Option<ChildStderr>,
}

/// A running program; dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Program {
    name: &'static str,
    ended: watch::Receiver<Option<String>>,
    signals: mpsc::UnboundedSender<Signal>,
}

impl Program {
    /// Starts it in a process group of its own, so that a Ctrl-C in the
    /// broker's terminal ends the broker and not, behind its back, the sandbox.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Result<Self, DriverError> {
        Self::start_with_outputs(name, command).map(|(program, _)| program)
    }

    /// Likewise, with what was piped.
    pub(crate) fn start_with_outputs(
        name: &'static str,
        command: &mut Command,
    ) -> Result<(Self, Outputs), DriverError> {
        let spawned = command.process_group(0).kill_on_drop(true).spawn();
        let mut child = spawned.map_err(|source| DriverError::Spawn {
            program: command.as_std().get_program().to_string_lossy().into_owned(),
            source,
        })?;
        let outputs = Outputs { stdout: child.stdout.take(), stderr: child.stderr.take() };
        let (told, ended) = watch::channel(None);
        let (signals, inbox) = mpsc::unbounded_channel();
        tokio::spawn(own(name, child, inbox, told));
        Ok((Self { name, ended, signals }, outputs))
    }

    /// What happened, once it has ended.
    pub(crate) fn ended(&self) -> BoxFuture<'static, String> {
        let (mut ended, name) = (self.ended.clone(), self.name);
        Box::pin(async move {
            match ended.wait_for(Option::is_some).await {
                Ok(what) => what.clone().unwrap_or_default(),
                Err(_) => format!("{name} is no longer watched"),
            }
        })
    }

    /// What happened, if it has ended.
    pub(crate) fn has_ended(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// TERM, and KILL when half of the time is over.
    pub(crate) async fn stop(&self, within: Duration) {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            // A task that is gone has seen the end.
            let _ = self.signals.send(signal);
            if tokio::time::timeout(within / 2, self.ended()).await.is_ok() {
                return;
            }
        }
        tracing::warn!(program = self.name, "still there after SIGKILL");
    }

    /// KILL, at once.
    pub(crate) async fn kill(&self, within: Duration) {
        let _ = self.signals.send(Signal::SIGKILL);
        if tokio::time::timeout(within, self.ended()).await.is_err() {
            tracing::warn!(program = self.name, "still there after SIGKILL");
        }
    }
}

/// The only one who waits for the child, so a signal can never meet a pid that
/// was reaped and given to another.
async fn own(
    name: &'static str,
    mut child: Child,
    mut signals: mpsc::UnboundedReceiver<Signal>,
    told: watch::Sender<Option<String>>,
) {
    loop {
        tokio::select! {
            status = child.wait() => {
                told.send_replace(Some(describe(name, status)));
                return;
            }
            signal = signals.recv() => match (signal, child.id()) {
                (Some(signal), Some(pid)) => deliver(pid, signal),
                // The handle is gone: nobody can want it any more.
                (None, Some(pid)) => {
                    deliver(pid, Signal::SIGKILL);
                    let status = child.wait().await;
                    told.send_replace(Some(describe(name, status)));
                    return;
                }
                (_, None) => {}
            },
        }
    }
}

fn deliver(pid: u32, signal: Signal) {
    let Ok(pid) = i32::try_from(pid) else { return };
    if let Err(error) = kill(Pid::from_raw(pid), signal) {
        tracing::debug!(pid, %signal, %error, "a signal was not delivered");
    }
}

fn describe(name: &str, status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("{name} ended ({status})"),
        Err(error) => format!("{name} cannot be waited for: {error}"),
    }
}
