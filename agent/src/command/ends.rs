//! The agent's ends of what a command reads from and writes to.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use postern_proto::{Error, OutputStream, TtySize};
use tokio::io::Interest;

use super::commands::Commands;
use super::failure::limit_error;
use super::prepare::Prepared;
use super::pump::ReadFromChild;
use super::record::Command;
use super::sink::Sink;
use super::terminal::setup_error;
use crate::sys::watch::watch;

/// What the child has as 0, 1 and 2.
pub(super) type Stdio = [Arc<OwnedFd>; 3];

/// The other ends, non-blocking, not watched yet.
#[derive(Debug)]
pub(super) enum Ends {
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
    Terminal { master: OwnedFd },
}

impl Ends {
    /// As the command is to have them.
    pub(super) fn make(commands: &Commands, prepared: &Prepared) -> Result<(Self, Stdio), Error> {
        match prepared.tty {
            Some(size) => terminal(commands, size, prepared.user.uid),
            None => {
                let wants_stdin = !prepared.stdin.is_empty() || prepared.stdin_open;
                pipes(commands, wants_stdin).map_err(|e| limit_error("making the pipes", e))
            }
        }
    }

    /// Connects them with the command's stdin, and gives the pumps for its output.
    pub(super) fn connect(self, command: &Command) -> io::Result<Vec<Rc<ReadFromChild>>> {
        let watched = |fd, interest| watch(fd, interest).map(Rc::new);
        let (sink, pumps) = match self {
            Self::Pipes { stdin, stdout, stderr } => {
                let stdin = stdin.map(|fd| watched(fd, Interest::WRITABLE)).transpose()?;
                let stdout = watched(stdout, Interest::READABLE)?;
                let stderr = watched(stderr, Interest::READABLE)?;
                let pumps = vec![
                    ReadFromChild::new(stdout, OutputStream::Stdout),
                    ReadFromChild::new(stderr, OutputStream::Stderr),
                ];
                (stdin.map(Sink::pipe), pumps)
            }
            Self::Terminal { master } => {
                let master = watched(master, Interest::READABLE | Interest::WRITABLE)?;
                command.terminal.open(&master);
                let pumps = vec![ReadFromChild::new(Rc::clone(&master), OutputStream::Pty)];
                (Some(Sink::terminal(master)), pumps)
            }
        };
        let mut stdin = command.stdin.borrow_mut();
        match sink {
            Some(sink) => stdin.connect(sink),
            None => stdin.close(),
        }
        Ok(pumps)
    }
}

fn terminal(commands: &Commands, size: TtySize, owner: u32) -> Result<(Ends, Stdio), Error> {
    let devpts = commands.spawner()?.devpts().ok_or_else(|| setup_error(Errno::ENODEV))?;
    let pair = devpts.terminal(size, owner).map_err(setup_error)?;
    let slave = Arc::new(pair.slave);
    Ok((Ends::Terminal { master: pair.master }, [Arc::clone(&slave), Arc::clone(&slave), slave]))
}

fn pipes(commands: &Commands, wants_stdin: bool) -> Result<(Ends, Stdio), Errno> {
    let (stdin, child_stdin) = if wants_stdin {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        (Some(nonblocking(write)?), Arc::new(read))
    } else {
        (None, Arc::clone(&commands.dev_null))
    };
    let (stdout, child_stdout) = pipe2(OFlag::O_CLOEXEC)?;
    let (stderr, child_stderr) = pipe2(OFlag::O_CLOEXEC)?;
    let (stdout, stderr) = (nonblocking(stdout)?, nonblocking(stderr)?);
    let ends = Ends::Pipes { stdin, stdout, stderr };
    Ok((ends, [child_stdin, Arc::new(child_stdout), Arc::new(child_stderr)]))
}

/// Only the agent's end: O_NONBLOCK on the child's would surprise the program.
fn nonblocking(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(fd)
}
