//! File access with somebody else's rights, for one thread and for a while.
//!
//! The C library's setgroups(3) changes every thread of the process (and takes
//! the locks to do so); the bare system calls change only the calling one,
//! which is what a file transfer on a thread of its own wants. Linux drops the
//! file capabilities (`CAP_DAC_OVERRIDE`, `CAP_CHOWN`, `CAP_FOWNER`, …) when the
//! file-system uid leaves 0 and gives them back when it returns.
//!
//! A change of the file-system ids also clears the thread's parent-death signal
//! and the process's dumpable flag (prctl(2)); the agent needs neither.

use std::io;
use std::marker::PhantomData;

/// More supplementary groups than any agent has; the kernel's `NGROUPS_MAX`.
const MAX_GROUPS: usize = 65_536;

/// While it lives, this thread opens, makes and removes files as another user.
/// A thread that is started meanwhile inherits that: start none.
#[derive(Debug)]
#[must_use = "the rights end when the guard is dropped"]
pub struct FsCreds {
    /// What the thread had, to be restored; `None`: nothing was changed.
    previous: Option<Previous>,
    /// Credentials belong to a thread, and so does the guard.
    _this_thread: PhantomData<*mut ()>,
}

#[derive(Debug)]
struct Previous {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl FsCreds {
    /// Takes on the file-system identity of a user. For root it does nothing.
    pub fn assume(uid: u32, gid: u32, groups: &[u32]) -> io::Result<Self> {
        if uid == 0 {
            return Ok(Self { previous: None, _this_thread: PhantomData });
        }
        let previous = Previous { uid: fsuid(None), gid: fsgid(None), groups: current_groups()? };
        set_groups(groups)?;
        // From here on a failure drops the guard, which restores all three.
        let guard = Self { previous: Some(previous), _this_thread: PhantomData };
        fsgid(Some(gid));
        fsuid(Some(uid));
        // Neither call tells of a failure except by not having happened.
        if fsgid(None) != gid || fsuid(None) != uid {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        Ok(guard)
    }
}

impl Drop for FsCreds {
    fn drop(&mut self) {
        if let Some(previous) = &self.previous {
            fsuid(Some(previous.uid));
            fsgid(Some(previous.gid));
            // A failure would leave the thread with fewer groups than the agent
            // has, and the agent reads by capability, not by group.
            let _ = set_groups(&previous.groups);
        }
    }
}

/// Sets the file-system uid and answers the one before; `None` only asks.
fn fsuid(uid: Option<u32>) -> u32 {
    // SAFETY: setfsuid(2) takes an integer and touches no memory; -1 is refused
    // and so only asks. No safe call asks without changing something.
    let before = unsafe { libc::syscall(libc::SYS_setfsuid, uid.unwrap_or(u32::MAX)) };
    before as u32
}

/// Sets the file-system gid and answers the one before; `None` only asks.
fn fsgid(gid: Option<u32>) -> u32 {
    // SAFETY: as for `fsuid`.
    let before = unsafe { libc::syscall(libc::SYS_setfsgid, gid.unwrap_or(u32::MAX)) };
    before as u32
}

fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and the length describe one live slice of gid_t, which
    // the kernel only reads. nix's setgroups would change every thread.
    let rc = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn current_groups() -> io::Result<Vec<u32>> {
    let none: *mut u32 = std::ptr::null_mut();
    // SAFETY: with a size of 0 the kernel writes nothing and answers the count.
    let count = unsafe { libc::syscall(libc::SYS_getgroups, 0, none) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    let mut groups = vec![0u32; count.min(MAX_GROUPS)];
    // SAFETY: the kernel writes at most `len` gid_t into the live, writable
    // buffer. The C library's wrapper would do, but nix offers it for no thread.
    let got = unsafe { libc::syscall(libc::SYS_getgroups, groups.len(), groups.as_mut_ptr()) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    groups.truncate(got);
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn the_guard_changes_who_makes_files_and_ends_with_its_scope() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let secret = dir.path().join("secret");
        fs::write(&secret, "x").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let (ask, asked) = std::sync::mpsc::channel();
        let (tell, answer) = std::sync::mpsc::channel();
        let path = secret.clone();
        std::thread::spawn(move || {
            asked.recv().unwrap();
            tell.send(fs::read(path)).unwrap();
        });
        {
            let _as_user = FsCreds::assume(4711, 4712, &[4713]).unwrap();
            fs::write(dir.path().join("theirs"), "x").unwrap();
            let refused = fs::read(&secret).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
            assert_eq!(current_groups().unwrap(), [4713]);
            // A thread that was there before keeps its own rights.
            ask.send(()).unwrap();
            assert_eq!(answer.recv().unwrap().unwrap(), b"x");
        }
        fs::read(&secret).unwrap();
        let theirs = fs::metadata(dir.path().join("theirs")).unwrap();
        assert_eq!((theirs.uid(), theirs.gid()), (4711, 4712));
    }
}
