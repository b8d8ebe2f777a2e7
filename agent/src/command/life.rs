//! The end of a command: death, timeout, what the pipes still hold.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use postern_proto::{Exit, ExitStatus, SignalScope, Usage};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::commands::Commands;
use super::kill;
use super::pump::ReadFromChild;
use super::record::Command;
use crate::sys::pidfd::Status;

/// Between TERM and KILL when a command's time is over.
pub(super) const KILL_GRACE: Duration = Duration::from_secs(5);

/// A command that is over sooner is told with what the kernel counted for its
/// first process and those that this waited for: that comes with its status,
/// while asking its cgroup costs as much as a part of its start. Once the cgroup
/// is given back the figures are those of the whole tree.
const SHORT: Duration = Duration::from_millis(10);

/// How often a tree whose time is over is looked at, for the end of its grace.
const LOOK: Duration = Duration::from_millis(20);

/// When a command has to be over, and how long it has to tidy up then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeout {
    pub(super) after: Option<Duration>,
    pub(super) grace: Duration,
}

/// The task that owns a command's end.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) pidfd: Rc<AsyncFd<OwnedFd>>,
    pub(super) pumps: Vec<Rc<ReadFromChild>>,
    pub(super) timeout: Timeout,
}

impl Life {
    pub(super) async fn run(self, commands: Rc<Commands>, command: Rc<Command>) {
        self.until_dead(&commands, &command).await;
        let status = crate::sys::pidfd::wait(self.pidfd.get_ref());
        command.dead.set(true);
        command.used.set(usage(&command, status.as_ref().ok()));
        // Kept commands must not keep descriptors: each would be copied and
        // closed again by every later start.
        command.pidfd.replace(None);
        // All that the process wrote is in the pipes; it comes before the exit.
        self.drain(&command);
        if !self.pumps.iter().all(|p| p.has_ended())
            && let Ok(spawner) = commands.spawner()
            && spawner.is_busy()
        {
            spawner.settle().await;
            self.drain(&command);
        }
        command.room.notify_waiters();
        match status {
            Ok(status) => command.exited(Exit {
                status: status.status,
                core_dumped: status.core_dumped,
                timed_out: command.timed_out.get(),
                oom_killed: status.status == ExitStatus::Signal(9) && had_oom_kill(&command),
            }),
            Err(errno) => command.finish(postern_proto::CommandState::Failed(
                postern_proto::Error::new(
                    postern_proto::Code::Internal,
                    format!("the exit status was lost: {}", errno.desc()),
                )
                .with_errno(errno as i32),
            )),
        }
        let told_closed = command.is_closed();
        commands.ended(&command);
        if command.timed_out.get() {
            // What outlived the first process had the same time.
            self.end_tree(&commands, &command).await;
        }
        if !told_closed {
            command.until(Command::is_closed).await;
            commands.closed(&command);
        }
    }

    fn drain(&self, command: &Command) {
        for pump in &self.pumps {
            pump.drain(command);
        }
    }

    async fn until_dead(&self, commands: &Rc<Commands>, command: &Rc<Command>) {
        let Some(after) = self.timeout.after else {
            let _ = self.pidfd.readable().await;
            return;
        };
        if tokio::time::timeout(after, self.pidfd.readable()).await.is_ok() {
            return;
        }
        command.timed_out.set(true);
        let _ = kill::signal(commands, command, libc::SIGTERM, SignalScope::Tree).await;
        if tokio::time::timeout(self.timeout.grace, self.pidfd.readable()).await.is_ok() {
            return;
        }
        let _ = kill::signal(commands, command, libc::SIGKILL, SignalScope::Tree).await;
        // Whatever became of the tree, this one ends.
        let _ = crate::sys::pidfd::send_signal(self.pidfd.get_ref(), libc::SIGKILL);
        let _ = self.pidfd.readable().await;
    }

    /// Gives the rest of the tree the grace from now, then ends it.
    async fn end_tree(&self, commands: &Rc<Commands>, command: &Rc<Command>) {
        let deadline = Instant::now() + self.timeout.grace;
        while is_alive(command) && Instant::now() < deadline {
            tokio::time::sleep_until(deadline.min(Instant::now() + LOOK)).await;
        }
        let _ = kill::signal(commands, command, libc::SIGKILL, SignalScope::Tree).await;
    }
}

/// Something of the tree is left, with a pipe or without.
fn is_alive(command: &Command) -> bool {
    let cgroup = command.cgroup.borrow();
    cgroup.as_ref().map_or(!command.is_closed(), |cgroup| cgroup.is_populated())
}

fn usage(command: &Command, status: Option<&Status>) -> Usage {
    let cgroup = command.cgroup.borrow();
    match (cgroup.as_ref(), status) {
        (Some(cgroup), _) if command.age() >= SHORT => cgroup.usage(),
        (_, Some(status)) => Usage {
            cpu_user_us: Some(status.cpu_us.0),
            cpu_system_us: Some(status.cpu_us.1),
            memory_peak_bytes: None,
        },
        (_, None) => Usage::default(),
    }
}

fn had_oom_kill(command: &Command) -> bool {
    command.cgroup.borrow().as_ref().is_some_and(|cgroup| cgroup.had_oom_kill())
}
