//! What a lossless reader makes the log do.

use std::time::Instant;

use crate::command::{Command, READER_GRACE};
use crate::output::HoldId;

/// A lossless reader's hold on the log; dropped without a word, the link broke.
pub(in crate::handlers) struct Hold<'a> {
    command: &'a Command,
    id: Option<HoldId>,
}

impl<'a> Hold<'a> {
    /// `reader` is the same whenever it comes again; 0 for one that cannot be told.
    pub(in crate::handlers) fn new(
        command: &'a Command,
        position: Option<u64>,
        reader: u64,
    ) -> Self {
        let id = position.map(|p| command.log.borrow_mut().attach_as(reader, p));
        // A hold that is taken over further on makes room at once, and its reader
        // may be served to the end of the log without making any.
        command.room.notify_waiters();
        Self { command, id }
    }

    /// The log keeps what this reader has not had.
    pub(super) fn is_held(&self) -> bool {
        self.id.is_some()
    }

    pub(super) fn served(&self, position: u64) {
        let Some(id) = self.id else { return };
        if self.command.log.borrow_mut().served(id, position) {
            self.command.room.notify_waiters();
        }
    }

    pub(in crate::handlers) fn release(&mut self) {
        if let Some(id) = self.id.take() {
            self.command.log.borrow_mut().release(id);
            self.command.room.notify_waiters();
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.command.log.borrow_mut().broke_off(id, Instant::now() + READER_GRACE);
            // The pumps must learn of the new deadline.
            self.command.room.notify_waiters();
        }
    }
}
