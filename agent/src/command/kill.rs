//! Signals to a command: its process, its group, or its whole tree.

use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{Pid, getpgid};
use postern_proto::{Code, Error, SignalScope};

use super::cgroup::Cgroup;
use super::commands::Commands;
use super::record::Command;
use super::walk::Walk;

/// Freezing waits for processes to leave the kernel; one that cannot (disk
/// sleep) must not hold up the signal for the others.
const FREEZE_DEADLINE: Duration = Duration::from_millis(100);

/// How often the frozen state is looked at.
const FREEZE_STEP: Duration = Duration::from_millis(1);

/// A frozen tree, which must not stay so: whoever asked for the signal may go
/// away while it is being frozen.
struct Frozen<'a>(&'a Cgroup);

impl<'a> Frozen<'a> {
    fn freeze(cgroup: &'a Cgroup) -> Result<Self, Errno> {
        cgroup.freeze(true).map(|()| Self(cgroup))
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        // It fails only for a cgroup that is gone.
        let _ = self.0.freeze(false);
    }
}

/// Sends `signal` and tells whether a process was there to take it.
pub async fn signal(
    commands: &Rc<Commands>,
    command: &Rc<Command>,
    signal: i32,
    scope: SignalScope,
) -> Result<bool, Error> {
    // 0 is the test for existence of kill(2).
    let number = match signal {
        0 => None,
        n => Some(check(n)?),
    };
    let result = match scope {
        SignalScope::Process => to_process(command, signal),
        SignalScope::Group => to_group(command, number),
        SignalScope::Tree => return to_tree(commands, command, signal, number).await,
    };
    delivered(result)
}

/// Real-time signals are passed on by number; nix knows only the named ones.
fn check(number: i32) -> Result<i32, Error> {
    let last = libc::SIGRTMAX();
    if (1..=last).contains(&number) {
        return Ok(number);
    }
    Err(Error::invalid("signal", format!("{number} is no signal (1 to {last})")))
}

fn delivered(result: Result<(), Errno>) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::ESRCH) => Ok(false),
        Err(errno) => {
            Err(Error::new(Code::PermissionDenied, format!("sending the signal: {}", errno.desc()))
                .with_errno(errno as i32))
        }
    }
}

fn to_process(command: &Command, signal: i32) -> Result<(), Errno> {
    if command.dead.get() {
        return Err(Errno::ESRCH);
    }
    match command.pidfd.borrow().as_ref() {
        Some(pidfd) => crate::sys::pidfd::send_signal(pidfd.get_ref(), signal),
        None => Err(Errno::ESRCH),
    }
}

/// The group has the number of its first process, which is taken while that
/// process is not reaped. Afterwards it may be another's: then only processes
/// of the command's own cgroup are looked at.
fn to_group(command: &Command, number: Option<i32>) -> Result<(), Errno> {
    let group = command.agent_pid.get();
    if group == 0 {
        return Err(Errno::ESRCH);
    }
    if !command.dead.get() {
        return raw_kill(-group, number);
    }
    let cgroup = command.cgroup.borrow();
    let Some(cgroup) = cgroup.as_ref() else {
        return Err(Errno::ESRCH);
    };
    let in_group =
        |pid: &i32| getpgid(Some(Pid::from_raw(*pid))).is_ok_and(|g| g.as_raw() == group);
    let members: Vec<i32> = cgroup.pids()?.into_iter().filter(in_group).collect();
    each(&members, number)
}

async fn to_tree(
    commands: &Rc<Commands>,
    command: &Rc<Command>,
    signal: i32,
    number: Option<i32>,
) -> Result<bool, Error> {
    let cgroup = command.cgroup.borrow().clone();
    let Some(cgroup) = cgroup else {
        if commands.cgroups.is_available() {
            // It never ran, or its tree is over and the cgroup given back.
            return Ok(false);
        }
        return delivered(Walk::of(command).signal(signal).await);
    };
    delivered(in_cgroup(&cgroup, signal, number).await)
}

async fn in_cgroup(cgroup: &Cgroup, signal: i32, number: Option<i32>) -> Result<(), Errno> {
    if !cgroup.is_populated() {
        return Err(Errno::ESRCH);
    }
    if signal == libc::SIGKILL {
        return cgroup.kill();
    }
    // Frozen, nobody forks past the signal.
    let _frozen = Frozen::freeze(cgroup)?;
    let deadline = tokio::time::Instant::now() + FREEZE_DEADLINE;
    while !cgroup.is_frozen() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(FREEZE_STEP).await;
    }
    cgroup.pids().and_then(|pids| each(&pids, number))
}

fn each(pids: &[i32], number: Option<i32>) -> Result<(), Errno> {
    let mut result = Err(Errno::ESRCH);
    for pid in pids {
        match raw_kill(*pid, number) {
            Ok(()) => result = Ok(()),
            Err(Errno::ESRCH) => {}
            Err(errno) => result = result.or(Err(errno)),
        }
    }
    result
}

fn raw_kill(pid: i32, number: Option<i32>) -> Result<(), Errno> {
    crate::sys::process::kill(pid, number.unwrap_or(0))
}
