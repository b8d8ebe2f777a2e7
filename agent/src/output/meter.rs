//! What all logs of a session take together.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// Logs that could not be made smaller (a lossless reader holds them) are looked
/// at again when this part of the budget was taken beyond it.
const NEXT_LOOK: usize = 16;

/// Bytes of memory in logs, and how many there should be.
#[derive(Debug)]
pub struct Meter {
    used: Cell<usize>,
    budget: usize,
    /// Above this somebody is called to make room.
    call_at: Cell<usize>,
    over: Notify,
}

impl Meter {
    /// With a budget in bytes.
    pub fn new(budget: usize) -> Rc<Self> {
        let (used, call_at) = (Cell::new(0), Cell::new(budget));
        Rc::new(Self { used, budget, call_at, over: Notify::new() })
    }

    /// What is taken now, bytes.
    pub fn used(&self) -> usize {
        self.used.get()
    }

    /// What may be taken, bytes.
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// Waits until more is taken than may be.
    pub async fn over(&self) {
        self.over.notified().await;
    }

    /// All that could be given back was.
    pub fn relieved(&self) {
        let used = self.used.get();
        let over = used > self.budget;
        self.call_at.set(if over { used + self.budget / NEXT_LOOK } else { self.budget });
    }

    pub(super) fn add(&self, bytes: usize) {
        self.used.set(self.used.get() + bytes);
        if self.used.get() > self.call_at.get() {
            self.over.notify_one();
        }
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.used.set(self.used.get().saturating_sub(bytes));
    }
}
