//! A program that runs beside a sandbox: started here, or by a broker before.
//!
//! It has a process group of its own and nothing of the broker's that it needs,
//! so it outlives a broker that is killed. Signals go through a pidfd, which can
//! never mean another process.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;

use super::DriverError;
use super::identity::{self, Identity};

/// A running program; dropped, it is killed unless it is to be left.
#[derive(Debug)]
pub(crate) struct Program {
    name: &'static str,
    identity: Identity,
    pidfd: Arc<OwnedFd>,
    ended: watch::Receiver<Option<String>>,
    left: AtomicBool,
}

impl Program {
    /// Starts it in a process group of its own, so that a Ctrl-C or a hang-up of
    /// the broker's terminal ends the broker and not, behind its back, the sandbox.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Result<Self, DriverError> {
        Self::start_with_errors(name, command).map(|(program, _)| program)
    }

    /// Likewise, with its stderr if that was piped.
    pub(crate) fn start_with_errors(
        name: &'static str,
        command: &mut Command,
    ) -> Result<(Self, Option<ChildStderr>), DriverError> {
        let failed = |program: String| move |source| DriverError::Spawn { program, source };
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let mut child = command.process_group(0).spawn().map_err(failed(program.clone()))?;
        let stderr = child.stderr.take();
        let known = child.id().ok_or_else(|| io::ErrorKind::NotFound.into()).and_then(|pid| {
            // Not waited for yet, so the pid is still its own.
            Ok((Identity::of(pid)?, identity::open(pid)?))
        });
        let (identity, pidfd) = match known {
            Ok(known) => known,
            Err(source) => {
                // Without a descriptor nobody could end it later.
                let _ = child.start_kill();
                return Err(failed(program)(source));
            }
        };
        let (told, ended) = watch::channel(None);
        tokio::spawn(wait_for_child(name, child, told));
        let (pidfd, left) = (Arc::new(pidfd), AtomicBool::new(false));
        Ok((Self { name, identity, pidfd, ended, left }, stderr))
    }

    /// One that another broker started; None if it is gone. `path` is in its
    /// command line.
    pub(crate) fn adopt(name: &'static str, identity: Identity, path: &Path) -> Option<Self> {
        let pidfd = Arc::new(identity.find(path)?);
        let watched = watch_end(Arc::clone(&pidfd)).ok()?;
        let (told, ended) = watch::channel(None);
        tokio::spawn(async move {
            // A pidfd is readable from the end of its process on.
            let what = match watched.readable().await {
                Ok(_) => format!("{name} ended (an earlier broker had started it)"),
                Err(error) => format!("{name} cannot be watched: {error}"),
            };
            told.send_replace(Some(what));
        });
        Some(Self { name, identity, pidfd, ended, left: AtomicBool::new(false) })
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// It outlives this handle.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
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
        for signal in [Signal::TERM, Signal::KILL] {
            self.send(signal);
            if tokio::time::timeout(within / 2, self.ended()).await.is_ok() {
                return;
            }
        }
        tracing::warn!(program = self.name, "still there after SIGKILL");
    }

    /// KILL, at once.
    pub(crate) async fn kill(&self, within: Duration) {
        self.send(Signal::KILL);
        if tokio::time::timeout(within, self.ended()).await.is_err() {
            tracing::warn!(program = self.name, "still there after SIGKILL");
        }
    }

    fn send(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(&self.pidfd, signal) {
            tracing::debug!(program = self.name, ?signal, %error, "a signal was not delivered");
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.left.load(Ordering::Relaxed) && self.has_ended().is_none() {
            self.send(Signal::KILL);
        }
    }
}

#[allow(deprecated, reason = "the Arc keeps the descriptor open for longer than it is registered")]
fn watch_end(pidfd: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    AsyncFd::new(pidfd)
}

/// The only one who waits for the child.
async fn wait_for_child(name: &'static str, mut child: Child, told: watch::Sender<Option<String>>) {
    let what = describe(name, child.wait().await);
    told.send_replace(Some(what));
}

fn describe(name: &str, status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("{name} ended ({status})"),
        Err(error) => format!("{name} cannot be waited for: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    fn waiter() -> (Command, &'static Path) {
        let mut command = Command::new("sh");
        // Ignores TERM, also beyond the exec, and waits for ever. The whole path is in
        // its command line only once it does: before, TERM would end it.
        command.args(["-c", "trap '' TERM; exec tail -f /dev/null $0/dir", "/adopted"]);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        (command, Path::new("/adopted/dir"))
    }

    /// As soon as its command line is its own.
    async fn adopt(identity: &Identity, dir: &Path) -> Program {
        loop {
            if let Some(program) = Program::adopt("it", identity.clone(), dir) {
                return program;
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_that_is_left_is_adopted_and_its_end_is_seen() {
        let (mut command, dir) = waiter();
        let first = Program::start("it", &mut command).unwrap();
        let ended = first.ended();
        let identity = first.identity().clone();
        let second = adopt(&identity, dir).await;
        first.leave();
        drop(first);
        assert_eq!(second.has_ended(), None, "it was killed with the first handle");
        second.stop(Duration::from_secs(2)).await;
        assert!(second.ended().await.contains("earlier broker"));
        assert!(ended.await.contains("signal: 9"), "its first starter reaped it");
        assert!(Program::adopt("it", identity, dir).is_none(), "it is gone");
    }

    #[tokio::test]
    async fn one_that_is_not_left_is_killed_with_its_handle() {
        let (mut command, _) = waiter();
        let program = Program::start("it", &mut command).unwrap();
        let ended = program.ended();
        drop(program);
        assert!(ended.await.contains("signal: 9"));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let error = Program::start("it", &mut Command::new("/no/such/program")).unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
