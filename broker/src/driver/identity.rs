//! Which process exactly: a pid alone may be another's by now.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A process of one boot of this host. A pid comes round again after some
/// thousands of processes; pid and start time together do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pid: u32,
    /// Clock ticks since the host's boot, as proc(5) has them.
    started: u64,
    host_boot: String,
}

impl Identity {
    /// Of a process that has not been waited for.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let started = Stat::read(pid)?.started;
        Ok(Self { pid, started, host_boot: host_boot()? })
    }

    /// A descriptor of the process if it is still the same one, lives, and has
    /// `path` in its command line.
    pub(crate) fn find(&self, path: &Path) -> Option<OwnedFd> {
        // Opened before it is looked at: what is looked at afterwards is either
        // this process or, with another start time, its successor.
        let pidfd = open(self.pid).ok()?;
        let stat = Stat::read(self.pid).ok()?;
        let same = stat.started == self.started && host_boot().ok()? == self.host_boot;
        (same && !stat.is_dead() && is_about(self.pid, path)).then_some(pidfd)
    }
}

pub(crate) fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Living processes with one of these names (as in proc(5), at most 15 bytes)
/// and the path in their command lines: what a broker that was killed had started
/// and had no time to note.
pub(crate) fn strays(names: &[&str], path: &Path) -> Vec<OwnedFd> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let pidfd = open(pid).ok()?;
        let stat = Stat::read(pid).ok()?;
        let named = names.iter().any(|name| stat.name == *name);
        (named && !stat.is_dead() && is_about(pid, path)).then_some(pidfd)
    })
    .collect()
}

/// The directory of a session has an id in it that nobody else could guess.
fn is_about(pid: u32, path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let wanted = path.as_os_str().as_bytes();
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    !wanted.is_empty() && line.windows(wanted.len()).any(|part| part == wanted)
}

struct Stat {
    name: String,
    state: char,
    started: u64,
}

impl Stat {
    fn read(pid: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The name is in parentheses and may have some of its own in it.
    fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.rsplit_once(") ")?;
        let (_, name) = before.split_once(" (")?;
        let mut fields = after.split(' ');
        let state = fields.next()?.chars().next()?;
        // The state is field 3 of proc(5), the start time field 22.
        let started = fields.nth(18)?.trim().parse().ok()?;
        Some(Self { name: name.to_owned(), state, started })
    }

    fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

fn host_boot() -> io::Result<String> {
    fs::read_to_string(BOOT_ID).map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Waits on its stdin, with this text among its arguments.
    fn waiter(text: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", "read line", text]).stdin(Stdio::piped());
        command.spawn().unwrap()
    }

    #[test]
    fn a_stale_pid_is_never_taken_for_the_process() {
        let mut child = waiter("/some/dir/x");
        let dir = Path::new("/some/dir");
        let identity = Identity::of(child.id()).unwrap();
        // Right after the fork the command line is still ours.
        let begun = std::time::Instant::now();
        while identity.find(dir).is_none() {
            assert!(begun.elapsed().as_secs() < 30, "never found");
            std::thread::yield_now();
        }
        let other = |change: fn(&mut Identity)| {
            let mut other = identity.clone();
            change(&mut other);
            other.find(dir).is_some()
        };
        assert!(!other(|i| i.started += 1), "a successor with the same pid");
        assert!(!other(|i| i.host_boot = "another".to_owned()), "of another boot");
        assert!(!other(|i| i.pid = 0) && !other(|i| i.pid = u32::MAX));
        assert!(identity.find(Path::new("/another/dir")).is_none(), "of another session");
        child.kill().unwrap();
        // Dead and not yet waited for, then gone.
        let begun = std::time::Instant::now();
        while identity.find(dir).is_some() {
            assert!(begun.elapsed().as_secs() < 30, "a zombie is taken for alive");
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(identity.find(dir).is_none());
    }

    #[test]
    fn strays_are_ours_by_name_and_by_directory() {
        let mut child = waiter("/stray/dir/qmp.sock");
        let found = |names: &[&str], dir: &str| strays(names, Path::new(dir)).len();
        let begun = std::time::Instant::now();
        while found(&["qemu", "sh"], "/stray/dir") != 1 {
            assert!(begun.elapsed().as_secs() < 30, "never found");
            std::thread::yield_now();
        }
        assert_eq!(found(&["qemu"], "/stray/dir"), 0, "somebody who reads a log there");
        assert_eq!(found(&["sh"], "/stray/other"), 0);
        assert_eq!(found(&["sh"], ""), 0);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_name_with_parentheses_is_no_trouble() {
        let line = "7 (a) R (b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 2 3\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.name.as_str(), stat.state, stat.started), ("a) R (b", 'S', 12345));
        assert!(Stat::parse("7 (a").is_none());
    }
}
