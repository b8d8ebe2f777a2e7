//! Every command that the agent remembers.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use postern_proto::limits::MAX_LISTED;
use postern_proto::{Code, CommandInfo, Error, Exec};

use super::record::Command;

/// How long a command is kept after its end, for readers that come late.
const KEEP: Duration = Duration::from_secs(30 * 60);

/// How many ended commands are kept; the oldest go first.
const MAX_ENDED: usize = 1_000;

/// How many commands may run at once. Each costs three descriptors.
const MAX_RUNNING: usize = 4_096;

/// A sweep looks at every command, so it waits until it is worth it.
const SWEEP_SLACK: usize = 256;

/// What the logs of ended commands may take together, bytes.
const MAX_ENDED_BYTES: usize = 64 << 20;

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
#[derive(Debug, Default)]
pub struct Table {
    by_id: RefCell<HashMap<String, Rc<Command>>>,
    by_key: RefCell<HashMap<String, Rc<Command>>>,
    order: RefCell<Vec<Rc<Command>>>,
    running: Cell<usize>,
    ended_bytes: Cell<usize>,
}

impl Table {
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
        let command = Rc::new(Command::new(exec));
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
        self.ended_bytes.get() > MAX_ENDED_BYTES || ended > MAX_ENDED + SWEEP_SLACK
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
            let too_much = ended > MAX_ENDED || bytes > MAX_ENDED_BYTES || age > KEEP;
            if too_much && command.is_closed() && !command.is_read() {
                bytes -= command.log.borrow().allocated();
                forget.insert(command.id.clone());
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
}
