//! From a prepared command to a running one.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use postern_proto::{Code, CommandState, Error, SpawnStage};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::spawn_local;

use super::commands::Commands;
use super::ends::Ends;
use super::failure::spawn_error;
use super::life;
use super::prepare::Prepared;
use super::record::Command;
use super::stdin::WriteToChild;
use super::walk;
use crate::sys::spawn::Plan;
use crate::sys::watch::watch_or_return;

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
    let (ends, stdio) = Ends::make(commands, &prepared)?;
    let cgroup = commands.cgroups.take(&prepared.limits)?;
    if cgroup.is_none() {
        prepared.env = walk::marked(prepared.env, &command.id);
    }
    if prepared.login {
        command.set_argv(&prepared.argv);
    }
    let plan = Plan {
        programs: prepared.programs,
        argv: prepared.argv,
        env: prepared.env,
        cwd: prepared.cwd,
        stdio,
        terminal: prepared.tty.is_some(),
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
    let pumps = ends.connect(command)?;
    command.pidfd.replace(Some(Rc::clone(pidfd)));
    command.open_pumps.set(pumps.len());
    command.state.replace(CommandState::Running);
    for pump in &pumps {
        spawn_local(Rc::clone(pump).run(Rc::clone(command)));
    }
    if command.stdin.borrow().is_connected() {
        spawn_local(WriteToChild::run(Rc::clone(command)));
    }
    let watch = life::Life { pidfd: Rc::clone(pidfd), pumps, timeout };
    spawn_local(watch.run(Rc::clone(commands), Rc::clone(command)));
    Ok(())
}
