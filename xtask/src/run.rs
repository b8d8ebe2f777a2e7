//! Running other programs: each in a process group of its own, under a time
//! limit, and never left behind.
//!
//! A group per child lets a limit end the whole tree (cargo, its test binary,
//! the VMs of that). The price is that Ctrl-C no longer reaches the children by
//! itself, so a handler ends the groups.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::error::Error;

/// Long enough for any one build here on two cores; only a hang reaches it.
const DEFAULT_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Process groups that run now.
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Takes SIGINT and SIGTERM and hands them to the children. The waiting call
/// then sees its child die and the task ends with that error. A handler, not a
/// blocked mask and a waiting thread: children would inherit the mask.
pub(crate) fn kill_children_on_signal() -> Result<(), Error> {
    ctrlc::set_handler(|| {
        // A second Ctrl-C means that asking was not enough.
        let again = INTERRUPTED.swap(true, Ordering::SeqCst);
        end_groups(if again { Signal::SIGKILL } else { Signal::SIGTERM });
    })
    .map_err(|error| Error::Usage(format!("taking over SIGINT and SIGTERM: {error}")))
}

pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Runs a program to its end, its output going where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    run_within(command, DEFAULT_LIMIT)
}

/// The same for what may take longer than anything else here.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<(), Error> {
    command.stdin(Stdio::null());
    let status = Running::start(command)?.wait(limit)?;
    succeeded(command, status, String::new())
}

/// Runs a program and gives its standard output as text; what it said on
/// standard error goes into the error if it fails.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&bytes(command)?).into_owned())
}

/// The same for output that is not text.
pub(crate) fn bytes(command: &mut Command) -> Result<Vec<u8>, Error> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(command)?;
    let errors = running.child.stderr.take().map(read_aside);
    let content = running.child.stdout.take().map(read_aside);
    let status = running.wait(DEFAULT_LIMIT)?;
    let join = |reader: Option<JoinHandle<Vec<u8>>>| {
        reader.and_then(|thread| thread.join().ok()).unwrap_or_default()
    };
    let content = join(content);
    let errors = String::from_utf8_lossy(&join(errors)).into_owned();
    succeeded(command, status, errors)?;
    Ok(content)
}

/// Runs a program under a limit, hands every line of its standard output to
/// `each_line` as it comes, and gives the status; only a start that fails and
/// the limit are errors.
pub(crate) fn lines(
    command: &mut Command,
    limit: Duration,
    mut each_line: impl FnMut(&str),
) -> Result<ExitStatus, Error> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = Running::start(command)?;
    let deadline = Instant::now() + limit;
    if let Some(stdout) = running.child.stdout.take() {
        // A thread reads, because a grandchild may hold the pipe past the limit.
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                if sender.send(text).is_err() {
                    return;
                }
                line.clear();
            }
        });
        while let Ok(line) =
            receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            each_line(&line);
        }
    }
    running.wait(deadline.saturating_duration_since(Instant::now())).map_err(|error| match error {
        Error::TimedOut { command, .. } => Error::TimedOut { command, limit },
        other => other,
    })
}

/// A started program that is killed with its group when dropped unfinished.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) child: Child,
    shown: String,
    group: i32,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Result<Self, Error> {
        let shown = show(command);
        let child = command.process_group(0).spawn().map_err(|source| {
            if source.kind() == std::io::ErrorKind::NotFound {
                return Error::Missing {
                    what: format!("the program `{}`", command.get_program().to_string_lossy()),
                    get: "make setup".to_owned(),
                };
            }
            Error::Spawn { command: shown.clone(), source }
        })?;
        let group = i32::try_from(child.id()).expect("the kernel's pids fit in an i32");
        groups().insert(group);
        Ok(Self { child, shown, group })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // It may have just ended: then there is nobody left to tell.
        let _ = killpg(Pid::from_raw(self.group), signal);
    }

    /// Waits for the end; past the limit the whole group is killed.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus, Error> {
        let (done, timer) = mpsc::channel::<()>();
        let group = self.group;
        let watchdog = std::thread::spawn(move || {
            let late = timer.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
            if late {
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            late
        });
        let status = self.child.wait();
        drop(done);
        let late = watchdog.join().unwrap_or(false);
        groups().remove(&self.group);
        match status {
            Ok(_) if late => Err(Error::TimedOut { command: self.shown.clone(), limit }),
            Ok(status) => Ok(status),
            Err(source) => Err(Error::Spawn { command: self.shown.clone(), source }),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if groups().remove(&self.group) {
            self.signal(Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// Whether a program is found in PATH or, for root's tools, in sbin.
pub(crate) fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(name).is_file())
}

/// Cargo as this process was started by, in the checkout.
pub(crate) fn cargo(root: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root);
    command
}

fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    command.get_args().fold(name, |mut text, argument| {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
        text
    })
}

fn succeeded(command: &Command, status: ExitStatus, stderr: String) -> Result<(), Error> {
    if status.success() {
        return Ok(());
    }
    if interrupted() {
        return Err(Error::Usage("interrupted".to_owned()));
    }
    Err(Error::Failed { command: show(command), status, stderr })
}

fn read_aside(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before a failed read is still worth showing.
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

fn groups() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end_groups(signal: Signal) {
    for group in groups().iter() {
        let _ = killpg(Pid::from_raw(*group), signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_ends_the_whole_group() {
        let start = Instant::now();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 30 & sleep 30"]);
        let result = lines(&mut command, Duration::from_millis(200), |_| ());
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn lines_come_one_by_one_and_the_status_is_kept() {
        let mut seen = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; printf two; exit 3"]);
        let status = lines(&mut command, Duration::from_secs(20), |line| {
            seen.push(line.to_owned());
        })
        .unwrap();
        assert_eq!((seen, status.code()), (vec!["one".to_owned(), "two".to_owned()], Some(3)));
    }

    #[test]
    fn a_program_that_is_not_there_says_how_to_get_it() {
        let error = run(&mut Command::new("postern-no-such-tool")).unwrap_err();
        assert!(error.to_string().contains("make setup"), "{error}");
    }
}
