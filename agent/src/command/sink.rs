//! Where a command's stdin goes: its pipe, or its terminal.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use tokio::io::unix::AsyncFd;

use crate::sys::pty;
use crate::sys::watch::{until_closed, until_writable};

/// The kernel's own pipe size, pipe(7). A write that fills it says that there is
/// a flow.
const DEFAULT_PIPE: usize = 64 << 10;

/// What a pipe with a flow gets; the limit for unprivileged users too.
const LARGE_PIPE: i32 = 1 << 20;

/// The agent's end of a command's stdin.
#[derive(Debug)]
pub(super) struct Sink {
    fd: Rc<AsyncFd<OwnedFd>>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Pipe {
        large: Cell<bool>,
    },
    Terminal {
        /// The last byte began a line that is not at its end yet.
        within_line: Cell<bool>,
    },
}

/// Why nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Not now.
    Full,
    /// Nobody will read any more.
    Gone,
}

impl Sink {
    pub(super) fn pipe(fd: Rc<AsyncFd<OwnedFd>>) -> Self {
        Self { fd, kind: Kind::Pipe { large: Cell::new(false) } }
    }

    pub(super) fn terminal(fd: Rc<AsyncFd<OwnedFd>>) -> Self {
        Self { fd, kind: Kind::Terminal { within_line: Cell::new(false) } }
    }

    /// Writes what goes at once; at least a byte, of not none.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<usize, Refused> {
        loop {
            match nix::unistd::write(self.fd.get_ref(), bytes) {
                Ok(n) => {
                    self.written(bytes, n);
                    return Ok(n);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(Refused::Full),
                // EPIPE, or EIO of a terminal that nobody has open.
                Err(_) => return Err(Refused::Gone),
            }
        }
    }

    fn written(&self, bytes: &[u8], n: usize) {
        match &self.kind {
            Kind::Pipe { large } => {
                if n >= DEFAULT_PIPE && !large.replace(true) {
                    // Without it, it is only slower.
                    let _ = fcntl(self.fd.get_ref(), FcntlArg::F_SETPIPE_SZ(LARGE_PIPE));
                }
            }
            Kind::Terminal { within_line } => {
                let last = n.checked_sub(1).and_then(|i| bytes.get(i));
                within_line.set(last.is_some_and(|b| !matches!(b, b'\n' | b'\r')));
            }
        }
    }

    /// What stands for the end of the input. Closing says it for a pipe; on a
    /// terminal it is a character, as it is set at this moment: once gives what
    /// is in the line, and once more, with nothing in it, is the end. A program
    /// that reads raw gets the character.
    pub(super) fn end(&self) -> Vec<u8> {
        let Kind::Terminal { within_line } = &self.kind else { return Vec::new() };
        match pty::end_of_input(self.fd.get_ref()) {
            Some((veof, true)) if within_line.get() => vec![veof, veof],
            Some((veof, _)) => vec![veof],
            None => Vec::new(),
        }
    }

    /// After [`Refused::Full`]: until a write may go on; an error when none will.
    pub(super) async fn room(&self) -> io::Result<()> {
        until_writable(&self.fd).await
    }

    /// Until nobody has the other end open any more.
    pub(super) async fn gone(&self) {
        until_closed(&self.fd).await;
    }
}
