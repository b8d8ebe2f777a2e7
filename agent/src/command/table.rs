//! Every command that the agent remembers.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use postern_proto::limits::{KEPT_SECONDS, MAX_ENDED, MAX_LISTED, MAX_RUNNING};
use postern_proto::{Code, CommandInfo, Error, Exec};

use super::record::Command;
use crate::output::Meter;

/// How long a command is kept after its end, for readers that come late.
const KEEP: Duration = Duration::from_secs(KEPT_SECONDS);

/// A sweep looks at every command, so it waits until it is worth it.
const SWEEP_SLACK: usize = 256;

/// What the logs of commands that are over may take of the budget: one part in
/// so many. The oldest keep their status and lose their output.
const ENDED_PART: usize = 4;

/// When the budget is over, so much of it is taken afterwards, in parts of
/// [`ENDED_PART`]: not each byte that follows is to start it again.
const RELIEVED_PARTS: usize = 3;

/// No running command's window gets smaller than this, bytes: with as many as
/// there may be, that is 64 MiB.
const MIN_SHARE: usize = 16 << 10;

/// Why a command is not in the table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Never started here, or forgotten.
    #[error("there is no command {0}")]
    NotFound(String),
    /// The cap on running commands.
    #[error("{MAX_RUNNING} commands are running already")]
    Full,
}

impl From<TableError> for Error {
    fn from(e: TableError) -> Self {
        let code = match e {
            TableError::NotFound(_) => Code::NotFound,
            TableError::Full => Code::ResourceExhausted,
        };
        Self::new(code, e.to_string())
    }
}

/// The table. Commands are listed in the order of their start.
#[derive(Debug)]
pub struct Table {
    meter: Rc<Meter>,
    by_id: RefCell<HashMap<String, Rc<Command>>>,
    by_key: RefCell<HashMap<String, Rc<Command>>>,
    order: RefCell<Vec<Rc<Command>>>,
    running: Cell<usize>,
    ended_bytes: Cell<usize>,
}

impl Table {
    /// An empty one, whose logs count on `meter`.
    pub(super) fn new(meter: Rc<Meter>) -> Self {
        Self {
            meter,
            by_id: RefCell::default(),
            by_key: RefCell::default(),
            order: RefCell::default(),
            running: Cell::default(),
            ended_bytes: Cell::default(),
        }
    }

    /// The command of an earlier request with the same id or key.
    pub fn existing(&self, exec: &Exec) -> Option<Rc<Command>> {
        if let Some(command) = self.by_id.borrow().get(&exec.command_id) {
            return Some(Rc::clone(command));
        }
        if exec.idempotency_key.is_empty() {
            return None;
        }
        self.by_key.borrow().get(&exec.idempotency_key).cloned()
    }

    /// A new record, before there is a process: a second request with the same
    /// key meets it from here on.
    pub fn insert(&self, exec: &Exec) -> Result<Rc<Command>, TableError> {
        if self.running.get() >= MAX_RUNNING {
            return Err(TableError::Full);
        }
        let command = Rc::new(Command::new(exec, &self.meter));
        self.by_id.borrow_mut().insert(command.id.clone(), Rc::clone(&command));
        if !command.idempotency_key.is_empty() {
            let key = command.idempotency_key.clone();
            self.by_key.borrow_mut().insert(key, Rc::clone(&command));
        }
        self.order.borrow_mut().push(Rc::clone(&command));
        self.running.set(self.running.get() + 1);
        Ok(command)
    }

    /// A command came to its final state.
    pub(super) fn ended(&self, command: &Command) {
        self.running.set(self.running.get().saturating_sub(1));
        self.ended_bytes.set(self.ended_bytes.get() + command.log.borrow().allocated());
    }

    /// It is time to sweep.
    pub(super) fn is_over_its_caps(&self) -> bool {
        let ended = self.order.borrow().len() - self.running.get();
        self.ended_bytes.get() > self.max_ended_bytes() || ended > MAX_ENDED + SWEEP_SLACK
    }

    fn max_ended_bytes(&self) -> usize {
        self.meter.budget() / ENDED_PART
    }

    /// By id.
    pub fn get(&self, id: &str) -> Result<Rc<Command>, TableError> {
        let found = self.by_id.borrow().get(id).cloned();
        found.ok_or_else(|| TableError::NotFound(id.to_owned()))
    }

    /// How many have a process, and how many are known in all.
    pub fn counts(&self) -> (usize, usize) {
        (self.running.get(), self.order.borrow().len())
    }

    /// A page, and whether there is more after it.
    pub fn page(&self, after: &str, limit: u32) -> (Vec<CommandInfo>, bool) {
        let limit = if limit == 0 { MAX_LISTED } else { limit.min(MAX_LISTED) } as usize;
        let order = self.order.borrow();
        let start = match after {
            "" => 0,
            id => order.iter().position(|c| c.id == id).map_or(order.len(), |i| i + 1),
        };
        let page = order[start..].iter().take(limit).map(|c| c.info()).collect();
        (page, order.len() - start > limit)
    }

    /// Those that are not over.
    pub fn live(&self) -> Vec<Rc<Command>> {
        self.order.borrow().iter().filter(|c| !c.is_final()).cloned().collect()
    }

    /// Forgets what is old or too much, and hands every command that is over to
    /// `over`, which may take back what it still holds.
    pub fn sweep(&self, now: Instant, over: impl Fn(&Command)) {
        let mut order = self.order.borrow_mut();
        let (mut ended, mut bytes) = (0, 0);
        // Newest first: what is beyond a cap then is the oldest.
        let mut forget = HashSet::new();
        for command in order.iter().rev().filter(|c| c.is_final()) {
            command.log.borrow_mut().expire(now);
            over(command);
            ended += 1;
            bytes += command.log.borrow().allocated();
            let age = command.finished_at().map_or(Duration::ZERO, |t| now.duration_since(t));
            let before = command.log.borrow().allocated();
            if !command.is_closed() || command.is_read() {
                continue;
            }
            if ended > MAX_ENDED || age > KEEP {
                forget.insert(command.id.clone());
                bytes -= before;
            } else if bytes > self.max_ended_bytes() {
                command.log.borrow_mut().squeeze(0);
                bytes -= before - command.log.borrow().allocated();
            }
        }
        self.ended_bytes.set(bytes);
        if forget.is_empty() {
            return;
        }
        self.by_id.borrow_mut().retain(|id, _| !forget.contains(id));
        self.by_key.borrow_mut().retain(|_, c| !forget.contains(&c.id));
        order.retain(|c| !forget.contains(&c.id));
    }

    /// The logs take more than they may. The oldest of the commands that are over
    /// give their output first; then whoever has more than an equal share makes
    /// do with that. What a lossless reader has not had yet is nobody's to give.
    pub(super) fn relieve(&self) {
        let target = self.meter.budget() / ENDED_PART * RELIEVED_PARTS;
        let order = self.order.borrow();
        let (over, open): (Vec<_>, Vec<_>) =
            order.iter().partition(|c| c.is_closed() && !c.is_read());
        for command in over {
            if self.meter.used() <= target {
                break;
            }
            command.log.borrow_mut().squeeze(0);
        }
        if self.meter.used() > target {
            let share = (target / open.len().max(1)).max(MIN_SHARE);
            let greedy = |c: &&&Rc<Command>| c.log.borrow().allocated() > share;
            for command in open.iter().filter(greedy) {
                command.log.borrow_mut().squeeze(share as u64);
            }
        }
        self.meter.relieved();
    }
}
