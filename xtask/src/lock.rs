//! One task at a time below `target/`: two that fetch the kernel or pack the
//! same file at once would put each other's half-done work in place.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::run;
use crate::workspace::{Workspace, make_folder};

/// Everything that is shipped takes some minutes from nothing on two cores, a
/// kernel as long again; only a task that hangs, or a machine that builds much else,
/// makes another wait this long, and then the other fails.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// How soon a Ctrl-C is noticed while waiting: at once, to a person.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Does work that writes to `target/dist`, or to what it is made of, while
/// nobody else does. It must not be called from inside such work: the lock is
/// of the open file, so it would wait for itself.
pub(crate) fn alone<T>(
    workspace: &Workspace,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    make_folder(&workspace.target())?;
    let _lock = take(&workspace.target().join("dist.lock"), LIMIT)?;
    work()
}

/// Gives the file that holds the lock: it is free when that is closed, so also
/// when this process dies. Programs that we start do not inherit it.
fn take(path: &Path, limit: Duration) -> Result<File, Error> {
    let file = File::create(path).map_err(Error::io("opening", path))?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    eprintln!("==> waiting: another xtask is at work in the same target folder");
    // A thread waits, since nothing interrupts flock(2) in this one; it ends
    // with the process.
    let (sender, taken) = mpsc::channel();
    std::thread::spawn(move || sender.send(file.lock().map(|()| file)));
    let deadline = Instant::now() + limit;
    loop {
        match taken.recv_timeout(LOOK_AGAIN) {
            Ok(result) => return result.map_err(Error::io("locking", path)),
            Err(RecvTimeoutError::Timeout) if run::interrupted() => {
                return Err(Error::Usage("interrupted".to_owned()));
            }
            Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
            Err(_) => {
                return Err(Error::Busy { path: path.to_path_buf(), limit });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_waits_until_the_first_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = take(&path, Duration::ZERO).unwrap();
        let error = take(&path, Duration::ZERO).unwrap_err();
        assert!(matches!(error, Error::Busy { .. }), "{error}");
        let second = std::thread::spawn({
            let path = path.clone();
            move || take(&path, Duration::from_secs(20)).map(drop)
        });
        drop(first);
        second.join().unwrap().unwrap();
    }
}
