//! Trees where the kernel has no cgroups: found by looking at every process.
//!
//! A process belongs to a command if its environment has the command's mark, if
//! its session is the command's own, or if a process that belongs is its parent.
//! So neither setsid(2) nor a double fork takes it out of its tree; a process
//! that does both and clears its environment, too, is one that no walk can find.
//!
//! The tree is stopped before it is signalled, again and again until nobody new
//! is found, so that it cannot outrun the walk by forking; what was stopped is
//! continued afterwards. Parents may see their children stop.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use tokio::time::Instant;

use super::record::Command;
use crate::sys::pidfd;

/// The mark: its value is the command's id.
const MARK: &str = "POSTERN_COMMAND_ID";

/// A tree that cannot be stopped in this time (a process in disk sleep) is
/// signalled as far as it was found.
const STOP_DEADLINE: Duration = Duration::from_millis(500);

/// For the stop signals to arrive.
const STEP: Duration = Duration::from_millis(1);

/// A tree that is killed is looked for so often; each time all that was found is
/// dead, and only what was born past the stop is left.
const KILL_ROUNDS: usize = 8;

/// The longest environment that is looked at, bytes: what a command may be given,
/// and as much again for what was added.
const MAX_ENVIRONMENT: u64 = 2 << 20;

/// The environment with the command's mark, which no caller may choose.
pub(super) fn marked(mut env: Vec<CString>, id: &str) -> Vec<CString> {
    let name = format!("{MARK}=");
    env.retain(|var| !var.as_bytes().starts_with(name.as_bytes()));
    env.extend(CString::new(name + id));
    env
}

/// A command's tree, as far as it can be told.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    mark: Vec<u8>,
    /// The first process, while its number cannot be another's.
    first: Option<i32>,
}

/// A process as /proc/PID/stat has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    session: i32,
    /// With the pid it names one process for ever.
    born: u64,
    state: u8,
}

/// One that was found, by a descriptor that cannot be a successor's.
struct Held {
    fd: OwnedFd,
    /// By us, and not by somebody before.
    stopped: bool,
}

impl Walk {
    pub(super) fn of(command: &Command) -> Self {
        let first = Some(command.agent_pid.get()).filter(|pid| *pid > 0 && !command.dead.get());
        Self { mark: format!("{MARK}={}", command.id).into_bytes(), first }
    }

    /// Sends `signal` to each process of the tree. ESRCH when there is none.
    pub(super) async fn signal(&self, signal: i32) -> Result<(), Errno> {
        if signal == 0 {
            let found = self.look().await;
            return if found.is_empty() { Err(Errno::ESRCH) } else { Ok(()) };
        }
        let mut result = Err(Errno::ESRCH);
        let rounds = if signal == libc::SIGKILL { KILL_ROUNDS } else { 1 };
        let mut known = HashSet::new();
        for _ in 0..rounds {
            let held = self.stop(&known).await;
            if held.is_empty() {
                break;
            }
            for held in held.values() {
                match pidfd::send_signal(&held.fd, signal) {
                    Ok(()) => result = Ok(()),
                    Err(Errno::ESRCH) => {}
                    Err(errno) => result = result.or(Err(errno)),
                }
            }
            // The dead need none; the others are to see what was sent to them.
            for held in held.values().filter(|held| held.stopped) {
                let _ = pidfd::send_signal(&held.fd, libc::SIGCONT);
            }
            known.extend(held.into_keys());
        }
        result
    }

    /// Stops every process of the tree but those that are `known` already.
    async fn stop(&self, known: &HashSet<(i32, u64)>) -> HashMap<(i32, u64), Held> {
        let mut held = HashMap::new();
        let deadline = Instant::now() + STOP_DEADLINE;
        loop {
            let mut quiet = true;
            for process in self.look().await {
                let key = (process.pid, process.born);
                if known.contains(&key) {
                    continue;
                }
                let is_stopped = matches!(process.state, b'T' | b't');
                quiet &= is_stopped;
                if let std::collections::hash_map::Entry::Vacant(place) = held.entry(key)
                    && let Some(fd) = process.hold()
                {
                    let stopped = !is_stopped && pidfd::send_signal(&fd, libc::SIGSTOP).is_ok();
                    place.insert(Held { fd, stopped });
                }
            }
            // One that still runs may have forked since it was looked at.
            if quiet || Instant::now() >= deadline {
                return held;
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// The living processes of the tree. A thread of its own: with many processes
    /// it takes a while, and nobody else shall wait for it.
    async fn look(&self) -> Vec<Process> {
        let walk = self.clone();
        let found = tokio::task::spawn_blocking(move || walk.members(&all())).await;
        found.unwrap_or_default()
    }

    fn members(&self, all: &[Process]) -> Vec<Process> {
        let mut children: HashMap<i32, Vec<&Process>> = HashMap::new();
        for process in all {
            children.entry(process.parent).or_default().push(process);
        }
        let is_root = |p: &&Process| {
            self.first.is_some_and(|first| p.pid == first || p.session == first)
                || has_mark(p.pid, &self.mark)
        };
        let mut next: Vec<&Process> = all.iter().filter(is_root).collect();
        let mut found: HashMap<i32, Process> = HashMap::new();
        while let Some(process) = next.pop() {
            if found.insert(process.pid, *process).is_none() {
                next.extend(children.get(&process.pid).into_iter().flatten());
            }
        }
        found.into_values().filter(|p| !matches!(p.state, b'Z' | b'X')).collect()
    }
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(pid, &stat)
    }

    /// The name in parentheses may hold anything; fields are counted after it.
    fn parse(pid: i32, stat: &[u8]) -> Option<Self> {
        let after = stat.iter().rposition(|b| *b == b')')?;
        let fields = std::str::from_utf8(stat.get(after + 1..)?).ok()?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let number = |i: usize| fields.get(i)?.parse().ok();
        Some(Self {
            pid,
            parent: number(1)?,
            session: number(3)?,
            born: fields.get(19)?.parse().ok()?,
            state: *fields.first()?.as_bytes().first()?,
        })
    }

    /// Only if it is still the one that was looked at.
    fn hold(&self) -> Option<OwnedFd> {
        let fd = pidfd::open(self.pid).ok()?;
        (Self::read(self.pid)?.born == self.born).then_some(fd)
    }
}

/// Every process that the agent sees.
fn all() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(Process::read).collect()
}

fn has_mark(pid: i32, mark: &[u8]) -> bool {
    let Ok(file) = File::open(format!("/proc/{pid}/environ")) else {
        return false;
    };
    let mut environment = Vec::new();
    // What could be read until an error counts.
    let _ = file.take(MAX_ENVIRONMENT).read_to_end(&mut environment);
    environment.split(|b| *b == 0).any(|var| var == mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, session: i32, state: u8) -> Process {
        Process { pid, parent, session, born: 1, state }
    }

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let line = b"7 (a) R 1 2) S 3 4 5 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        let read = Process::parse(7, line).unwrap();
        assert_eq!(read, Process { pid: 7, parent: 3, session: 5, born: 4711, state: b'S' });
        for end in 0..line.len() {
            let _ = Process::parse(7, &line[..end]);
        }
        assert_eq!(Process::parse(7, b""), None);
    }

    #[test]
    fn a_tree_is_sessions_and_descendants() {
        // Numbers that no process has: no environment is read.
        let (far, first) = (1 << 29, (1 << 29) + 1);
        let all = [
            process(far, 1, far, b'S'),
            process(first, far, first, b'S'),
            process(first + 1, first, first + 1, b'S'),
            process(first + 2, first + 1, first + 2, b'S'),
            process(first + 3, 1, first, b'S'),
            process(first + 4, first, first, b'Z'),
            process(first + 5, 1, first + 5, b'S'),
        ];
        let found = |first| {
            let mut pids: Vec<_> =
                Walk { mark: b"M=1".to_vec(), first }.members(&all).iter().map(|p| p.pid).collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(found(Some(first)), [first, first + 1, first + 2, first + 3]);
        assert_eq!(found(None), [0; 0]);
    }

    #[test]
    fn the_mark_is_the_agents_own() {
        let given = ["A=1", "POSTERN_COMMAND_ID=mine", "B=2"].map(|v| CString::new(v).unwrap());
        let env = marked(given.to_vec(), "c1");
        let env: Vec<_> = env.iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(env, ["A=1", "B=2", "POSTERN_COMMAND_ID=c1"]);
    }
}
