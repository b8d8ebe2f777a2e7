//! What is known of one command while the agent keeps it.

use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use postern_proto::limits::MAX_INFO_ARGV;
use postern_proto::{CommandInfo, CommandState, Exec, Exit, OnDisconnect, OutputStream, Usage};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::cgroup::{Cgroup, CgroupPool};
use super::stdin::Stdin;
use super::terminal::Terminal;
use crate::output::{Limits, Log, Meter};

/// A lossless reader whose link broke, or that has not come yet, has this long.
pub const READER_GRACE: Duration = Duration::from_secs(30);

/// The largest window and stretch that a caller may ask for.
const MAX_WINDOW: u64 = 64 << 20;

/// One command. Shared by its tasks; every borrow ends before an await.
#[derive(Debug)]
pub struct Command {
    pub(crate) id: String,
    pub(crate) idempotency_key: String,
    on_disconnect: OnDisconnect,
    /// See [`Command::stop_signal`].
    stop_signal: Option<i32>,
    argv: RefCell<Vec<Bytes>>,
    pub(super) cwd: RefCell<String>,
    pub(super) user: RefCell<String>,
    pub(crate) log: RefCell<Log>,
    pub(crate) stdin: RefCell<Stdin>,
    pub(crate) terminal: Terminal,
    pub(super) state: RefCell<CommandState>,
    /// Output, state or the log's end changed: for readers and waiters.
    pub(crate) changed: Notify,
    /// A reader made room, or the process died: for pumps.
    pub(crate) room: Notify,
    /// Bytes or the end were given, taken, or are not wanted any more.
    pub(crate) stdin_changed: Notify,
    /// In the workload's pid namespace.
    pub(super) pid: Cell<u32>,
    /// In the agent's.
    pub(super) agent_pid: Cell<i32>,
    pub(super) pidfd: RefCell<Option<Rc<AsyncFd<OwnedFd>>>>,
    pub(super) cgroup: RefCell<Option<Rc<Cgroup>>>,
    pub(crate) awaited: Cell<u32>,
    pub(super) dead: Cell<bool>,
    pub(super) open_pumps: Cell<usize>,
    pub(super) timed_out: Cell<bool>,
    /// What it had used when that was last looked at.
    pub(super) used: Cell<Usage>,
    /// The log's end when the exit was reported.
    exit_end: Cell<Option<u64>>,
    started: Instant,
    started_unix_ms: u64,
    finished_unix_ms: Cell<u64>,
    pub(super) finished: Cell<Option<Instant>>,
}

/// See [`Command::awaited`].
#[derive(Debug)]
pub struct Awaited<'a>(&'a Command);

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.0.awaited.set(self.0.awaited.get() - 1);
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

impl Command {
    pub(super) fn new(exec: &Exec, meter: &Rc<Meter>) -> Self {
        let defaults = Limits::default();
        let limits = Limits {
            window: exec.window_bytes.unwrap_or(defaults.window).clamp(1, MAX_WINDOW),
            stretch: exec.stretch_bytes.unwrap_or(defaults.stretch).min(MAX_WINDOW),
            ..defaults
        };
        let mut log = Log::metered(limits, Rc::clone(meter));
        if exec.lossless {
            log.expect_reader(0, Instant::now() + READER_GRACE);
        }
        Self {
            id: exec.command_id.clone(),
            idempotency_key: exec.idempotency_key.clone(),
            on_disconnect: exec.on_disconnect,
            stop_signal: exec.stop_signal.and_then(|signal| i32::try_from(signal).ok()),
            argv: RefCell::new(cut_argv(&exec.argv)),
            cwd: RefCell::new(exec.cwd.clone()),
            user: RefCell::new(exec.user.clone()),
            log: RefCell::new(log),
            stdin: RefCell::new(Stdin::new(&exec.stdin, exec.stdin_open)),
            terminal: Terminal::new(exec.tty),
            state: RefCell::new(CommandState::Starting),
            changed: Notify::new(),
            room: Notify::new(),
            stdin_changed: Notify::new(),
            pid: Cell::new(0),
            agent_pid: Cell::new(0),
            pidfd: RefCell::new(None),
            cgroup: RefCell::new(None),
            awaited: Cell::new(0),
            dead: Cell::new(false),
            open_pumps: Cell::new(0),
            timed_out: Cell::new(false),
            used: Cell::default(),
            exit_end: Cell::new(None),
            started: Instant::now(),
            started_unix_ms: unix_ms(),
            finished_unix_ms: Cell::new(0),
            finished: Cell::new(None),
        }
    }

    /// What its first process is to get when everything ends, where that is not
    /// TERM to the tree.
    pub fn stop_signal(&self) -> Option<i32> {
        self.stop_signal
    }

    /// Nothing more will happen to the process.
    pub fn is_final(&self) -> bool {
        self.state.borrow().is_final()
    }

    /// Nothing more will happen at all.
    pub fn is_closed(&self) -> bool {
        self.log.borrow().is_closed()
    }

    /// A lossless reader is there or may come again: the log must stay.
    pub fn is_read(&self) -> bool {
        self.log.borrow().is_held()
    }

    /// The log's end when the exit was reported; all before it was read from
    /// the pipes by then.
    pub fn exit_end(&self) -> Option<u64> {
        self.exit_end.get()
    }

    /// When the command came to its end.
    pub fn finished_at(&self) -> Option<Instant> {
        self.finished.get()
    }

    /// Enters a final state; there is no way back from one.
    pub(super) fn finish(&self, state: CommandState) {
        if self.is_final() {
            return;
        }
        self.finished.set(Some(Instant::now()));
        self.finished_unix_ms.set(unix_ms());
        self.exit_end.set(Some(self.log.borrow().end()));
        self.state.replace(state);
        self.stdin.borrow_mut().close();
        self.stdin_changed.notify_waiters();
        self.close_if_over();
        self.changed.notify_waiters();
    }

    pub(super) fn exited(&self, exit: Exit) {
        self.finish(CommandState::Exited(exit));
    }

    pub(super) fn pump_ended(&self) {
        self.open_pumps.set(self.open_pumps.get().saturating_sub(1));
        self.close_if_over();
        self.changed.notify_waiters();
    }

    fn close_if_over(&self) {
        if self.open_pumps.get() == 0 && self.is_final() && !self.is_closed() {
            self.log.borrow_mut().close();
        }
    }

    /// Asked for, and neither running nor failed yet.
    pub fn is_starting(&self) -> bool {
        matches!(*self.state.borrow(), CommandState::Starting)
    }

    /// Directory and user as they will be.
    pub fn resolved(&self, cwd: String, user: &str) {
        self.cwd.replace(cwd);
        self.user.replace(user.to_owned());
    }

    /// What was made of the arguments that were asked for.
    pub(super) fn set_argv(&self, argv: &[CString]) {
        let argv: Vec<_> = argv.iter().map(|a| Bytes::copy_from_slice(a.to_bytes())).collect();
        self.argv.replace(cut_argv(&argv));
    }

    /// Waits until `over` holds; looked at after each change.
    pub async fn until(&self, over: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if over(self) {
                return;
            }
            changed.await;
        }
    }

    /// Counts the caller among those that wait for the exit.
    pub fn awaited(&self) -> Awaited<'_> {
        self.awaited.set(self.awaited.get() + 1);
        Awaited(self)
    }

    /// A caller waits for the exit, and needs no event to tell of it.
    pub fn is_awaited(&self) -> bool {
        self.awaited.get() > 0
    }

    /// Once the tree is over, its cgroup can be used again.
    pub fn give_back(&self, pool: &CgroupPool) {
        let mut held = self.cgroup.borrow_mut();
        if !self.dead.get() || held.as_ref().is_none_or(|c| c.is_populated()) {
            return;
        }
        // One that is being signalled right now is for the next sweep.
        match held.take().map(Rc::try_unwrap) {
            // The kernel's last word, with what outlived the first process.
            Some(Ok(cgroup)) => self.used.set(pool.take_back(cgroup)),
            Some(Err(shared)) => *held = Some(shared),
            None => {}
        }
    }

    /// Of the whole tree. While something of it may run the kernel is asked.
    fn usage(&self) -> Usage {
        let cgroup = self.cgroup.borrow();
        match cgroup.as_ref() {
            Some(cgroup) if !self.is_final() || !self.is_closed() => cgroup.usage(),
            _ => self.used.get(),
        }
    }

    /// How long it has been there.
    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Everything that can be told.
    pub fn info(&self) -> CommandInfo {
        let log = self.log.borrow();
        let stdin = self.stdin.borrow();
        let state = self.state.borrow().clone();
        let duration = self.finished.get().map_or(0, |t| {
            u64::try_from(t.duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
        });
        let (mut out, mut out_first) =
            (log.stream_end(OutputStream::Stdout), log.stream_first(OutputStream::Stdout));
        if log.stream_end(OutputStream::Pty) > 0 {
            (out, out_first) =
                (log.stream_end(OutputStream::Pty), log.stream_first(OutputStream::Pty));
        }
        CommandInfo {
            command_id: self.id.clone(),
            pid: self.pid.get(),
            held_open: state.is_final() && !log.is_closed(),
            closed: log.is_closed(),
            state,
            argv: self.argv.borrow().clone(),
            cwd: self.cwd.borrow().clone(),
            user: self.user.borrow().clone(),
            started_unix_ms: self.started_unix_ms,
            finished_unix_ms: self.finished_unix_ms.get(),
            duration_us: duration,
            output_first: log.first(),
            output_end: log.end(),
            stdout_end: out,
            stderr_end: log.stream_end(OutputStream::Stderr),
            output_first_stdout: out_first,
            output_first_stderr: log.stream_first(OutputStream::Stderr),
            stdin_open: stdin.is_open(),
            stdin_offset: stdin.offset(),
            idempotency_key: self.idempotency_key.clone(),
            on_disconnect: self.on_disconnect,
            usage: self.usage(),
            tty: self.terminal.size(),
        }
    }
}

/// What a listing repeats of argv: whole arguments while they fit, then a cut one.
fn cut_argv(argv: &[Bytes]) -> Vec<Bytes> {
    let mut left = MAX_INFO_ARGV;
    let mut cut = Vec::new();
    for arg in argv {
        let take = arg.len().min(left);
        cut.push(Bytes::copy_from_slice(&arg[..take]));
        left -= take;
        if left == 0 {
            break;
        }
    }
    cut
}
