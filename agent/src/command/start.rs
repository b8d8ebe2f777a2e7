//! From a prepared command to a running one.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use postern_proto::{Code, CommandState, Error, OutputStream, SpawnStage};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::spawn_local;

use super::commands::Commands;
use super::failure::{limit_error, spawn_error};
use super::life;
use super::prepare::Prepared;
use super::pump::ReadFromChild;
use super::record::Command;
use super::stdin::WriteToChild;
use super::walk;
use crate::sys::spawn::Plan;
use crate::sys::watch::watch_or_return;

/// The agent's ends of a command's pipes.
struct Ends {
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Starts the command: when this returns it runs or has failed, and its record
/// says which.
pub async fn start(commands: &Rc<Commands>, command: &Rc<Command>, prepared: Prepared) {
    let timeout = prepared.timeout;
    let result = match try_start(commands, command, prepared).await {
        Ok(started) => started,
        Err(error) => return fail(commands, command, error),
    };
    let (pidfd, ends) = result;
    let failed = match watch_or_return(pidfd, Interest::READABLE) {
        Err((pidfd, e)) => Some(abandon(&pidfd, &e)),
        Ok(pidfd) => {
            let pidfd = Rc::new(pidfd);
            let gone = go(commands, command, &pidfd, ends, timeout);
            gone.err().map(|e| abandon(pidfd.get_ref(), &e))
        }
    };
    if let Some(error) = failed {
        fail(commands, command, error);
    }
}

/// There will be no process.
pub fn fail(commands: &Rc<Commands>, command: &Rc<Command>, error: Error) {
    command.finish(CommandState::Failed(error));
    commands.ended(command);
}

/// There is no memory or epoll left to watch it with: it must not run on unseen.
fn abandon(pidfd: &OwnedFd, e: &std::io::Error) -> Error {
    let _ = crate::sys::pidfd::send_signal(pidfd, libc::SIGKILL);
    let _ = crate::sys::pidfd::wait(pidfd);
    Error::new(Code::ResourceExhausted, format!("watching the process: {e}"))
        .with_stage(SpawnStage::ResourceLimit)
}

async fn try_start(
    commands: &Rc<Commands>,
    command: &Rc<Command>,
    mut prepared: Prepared,
) -> Result<(OwnedFd, Ends), Error> {
    let wants_stdin = !prepared.stdin.is_empty() || prepared.stdin_open;
    let (ends, stdio) =
        pipes(commands, wants_stdin).map_err(|e| limit_error("making the pipes", e))?;
    let cgroup = commands.cgroups.take(&prepared.limits)?;
    if cgroup.is_none() {
        prepared.env = walk::marked(prepared.env, &command.id);
    }
    let plan = Plan {
        programs: prepared.programs,
        argv: prepared.argv,
        env: prepared.env,
        cwd: prepared.cwd,
        stdio,
        uid: prepared.user.uid,
        gid: prepared.user.gid,
        groups: prepared.user.groups,
        setup: prepared.setup,
        cgroup: cgroup.as_ref().map(super::cgroup::Cgroup::fd),
    };
    let program = command.info().argv.first().cloned().unwrap_or_default();
    let result = commands.spawner()?.spawn(plan, || commands.cgroups.thaw()).await;
    let spawned = match result {
        Ok(spawned) => spawned,
        Err(e) => {
            cgroup.into_iter().for_each(|c| commands.cgroups.put(c));
            return Err(spawn_error(e, &program, &command.cwd.borrow()));
        }
    };
    command.pid.set(spawned.pid);
    command.agent_pid.set(spawned.agent_pid);
    command.cgroup.replace(cgroup.map(Rc::new));
    Ok((spawned.pidfd, ends))
}

/// Sets the command's tasks going.
fn go(
    commands: &Rc<Commands>,
    command: &Rc<Command>,
    pidfd: &Rc<AsyncFd<OwnedFd>>,
    ends: Ends,
    timeout: life::Timeout,
) -> std::io::Result<()> {
    let stdout = ReadFromChild::new(ends.stdout, OutputStream::Stdout)?;
    let stderr = ReadFromChild::new(ends.stderr, OutputStream::Stderr)?;
    let stdin = ends.stdin.map(WriteToChild::new).transpose()?;
    command.pidfd.replace(Some(Rc::clone(pidfd)));
    command.open_pumps.set(2);
    command.state.replace(CommandState::Running);
    spawn_local(Rc::clone(&stdout).run(Rc::clone(command)));
    spawn_local(Rc::clone(&stderr).run(Rc::clone(command)));
    match stdin {
        Some(writer) => drop(spawn_local(writer.run(Rc::clone(command)))),
        None => command.stdin.borrow_mut().close(),
    }
    let watch = life::Life { pidfd: Rc::clone(pidfd), pumps: [stdout, stderr], timeout };
    spawn_local(watch.run(Rc::clone(commands), Rc::clone(command)));
    Ok(())
}

fn pipes(commands: &Commands, wants_stdin: bool) -> Result<(Ends, [Arc<OwnedFd>; 3]), Errno> {
    let (stdin, child_stdin) = if wants_stdin {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        (Some(nonblocking(write)?), Arc::new(read))
    } else {
        (None, Arc::clone(&commands.dev_null))
    };
    let (stdout, child_stdout) = pipe2(OFlag::O_CLOEXEC)?;
    let (stderr, child_stderr) = pipe2(OFlag::O_CLOEXEC)?;
    let ends = Ends { stdin, stdout: nonblocking(stdout)?, stderr: nonblocking(stderr)? };
    Ok((ends, [child_stdin, Arc::new(child_stdout), Arc::new(child_stderr)]))
}

/// Only the agent's end: O_NONBLOCK on the child's would surprise the program.
fn nonblocking(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(fd)
}
