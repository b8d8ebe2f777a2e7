//! From a process's pipe or terminal into its command's log.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use postern_proto::OutputStream;
use tokio::io::unix::AsyncFd;

use super::record::Command;
use crate::sys::net::readable_bytes;

/// The kernel's own pipe size (pipe(7)). A read that fills it says that there
/// is a flow, and that a larger pipe saves switches between the two processes.
const DEFAULT_PIPE: usize = 64 << 10;

/// What a pipe with a flow gets; the limit for unprivileged users too.
const LARGE_PIPE: i32 = 1 << 20;

/// No terminal holds more than this between its two ends: the kernel's buffers
/// for each are some KiB. What is read beyond was written after the exit.
const TERMINAL_HOLDS: usize = 64 << 10;

/// Everybody had closed it, and somebody has opened it again before that was
/// seen. No more is told of it from then on, so it is looked at this often.
const REOPENED: Duration = Duration::from_millis(20);

/// One of a command's output pipes, or its terminal.
#[derive(Debug)]
pub(super) struct ReadFromChild {
    pipe: Rc<AsyncFd<OwnedFd>>,
    stream: OutputStream,
    large: Cell<bool>,
    ended: Cell<bool>,
    drained: Cell<bool>,
}

enum Read {
    /// `short`: fewer than asked for, so nothing is left in a pipe.
    Bytes {
        n: usize,
        short: bool,
    },
    Nothing,
    End,
}

impl ReadFromChild {
    pub(super) fn new(pipe: Rc<AsyncFd<OwnedFd>>, stream: OutputStream) -> Rc<Self> {
        Rc::new(Self {
            pipe,
            stream,
            large: Cell::new(false),
            ended: Cell::new(false),
            drained: Cell::new(false),
        })
    }

    /// Reads until the end of file, which may be long after the exit.
    pub(super) async fn run(self: Rc<Self>, command: Rc<Command>) {
        while !self.ended.get() {
            let room = command.log.borrow().room();
            if room == 0 {
                self.wait_for_room(&command).await;
                continue;
            }
            let ready = tokio::select! {
                biased;
                () = command.room.notified(), if !self.drained.get() => continue,
                ready = self.pipe.readable() => ready,
            };
            let Ok(mut ready) = ready else { break };
            if self.ended.get() {
                break;
            }
            match self.read(&command, room) {
                Read::Bytes { n, short } => {
                    if short {
                        // Nothing is left; the kernel tells when there is more.
                        ready.clear_ready();
                    }
                    self.enlarge(n);
                    // Let the readers have it while it is in the cache.
                    if n >= DEFAULT_PIPE / 2 {
                        tokio::task::yield_now().await;
                    }
                }
                Read::Nothing => {
                    let was_closed = ready.ready().is_read_closed();
                    ready.clear_ready();
                    drop(ready);
                    if was_closed {
                        tokio::time::sleep(REOPENED).await;
                    }
                }
                Read::End => break,
            }
        }
        self.end(&command);
    }

    /// While a lossless reader holds: until it moves on or its grace is over.
    async fn wait_for_room(&self, command: &Command) {
        let expiry = command.log.borrow().next_expiry();
        let far = std::time::Duration::from_secs(3600);
        let expiry = expiry.unwrap_or_else(|| std::time::Instant::now() + far);
        tokio::select! {
            () = command.room.notified() => {}
            () = tokio::time::sleep_until(expiry.into()) => {
                command.log.borrow_mut().expire(std::time::Instant::now());
            }
        }
    }

    /// Nobody can write to it any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// The process is dead: takes what the pipe holds now, holds or not. The
    /// pipe's size bounds it.
    pub(super) fn drain(&self, command: &Command) {
        self.drained.set(true);
        if self.ended.get() {
            return;
        }
        let mut left = match self.is_terminal() {
            // It cannot tell: some of it is on its way between the two ends.
            true => TERMINAL_HOLDS,
            false => readable_bytes(self.pipe.get_ref()),
        };
        loop {
            // One read beyond what was there tells whether the pipe has ended.
            match self.read(command, left.max(1) as u64) {
                Read::Bytes { n, .. } if n <= left => left -= n,
                Read::Bytes { .. } | Read::Nothing => return,
                Read::End => return self.end(command),
            }
        }
    }

    fn read(&self, command: &Command, room: u64) -> Read {
        let mut log = command.log.borrow_mut();
        let spare = log.spare_mut();
        let len = spare.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let result = loop {
            match nix::unistd::read(self.pipe.get_ref(), &mut spare[..len]) {
                Err(Errno::EINTR) => {}
                other => break other,
            }
        };
        match result {
            Ok(0) => Read::End,
            Ok(n) => {
                log.commit(self.stream, n);
                drop(log);
                command.changed.notify_waiters();
                // A terminal gives a part of what it has.
                Read::Bytes { n, short: n < len && !self.is_terminal() }
            }
            Err(Errno::EAGAIN) => Read::Nothing,
            // EIO of a terminal whose last process is gone, and whatever else
            // makes a pipe unreadable for good.
            Err(_) => Read::End,
        }
    }

    fn is_terminal(&self) -> bool {
        self.stream == OutputStream::Pty
    }

    fn enlarge(&self, n: usize) {
        if !self.is_terminal() && n >= DEFAULT_PIPE && !self.large.replace(true) {
            // Without it, it is only slower.
            let _ = fcntl(self.pipe.get_ref(), FcntlArg::F_SETPIPE_SZ(LARGE_PIPE));
        }
    }

    fn end(&self, command: &Command) {
        if !self.ended.replace(true) {
            if self.is_terminal() {
                command.terminal.close();
            }
            command.pump_ended();
            command.room.notify_waiters();
        }
    }
}
