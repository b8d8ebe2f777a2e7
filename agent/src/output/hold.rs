//! Who makes a log wait.

use std::time::Instant;

/// Names one lossless reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldId(u64);

/// The lossless readers of one log.
#[derive(Debug, Default)]
pub(super) struct Holds {
    next: u64,
    list: Vec<Hold>,
}

#[derive(Debug)]
struct Hold {
    id: HoldId,
    /// The canonical offset up to which its reader has been served.
    position: u64,
    /// Set while there is no reader: it broke off, or has not come yet.
    until: Option<Instant>,
}

impl Holds {
    /// A reader that is expected at `position` before `until`.
    pub(super) fn expect(&mut self, position: u64, until: Instant) {
        let id = self.new_id();
        self.list.push(Hold { id, position, until: Some(until) });
    }

    /// A reader is there. It takes over the hold of one that broke off: the
    /// nearest that had got as far as it asks for, else the furthest.
    pub(super) fn attach(&mut self, position: u64) -> HoldId {
        let waiting = |h: &&mut Hold| h.until.is_some();
        let nearest = self
            .list
            .iter_mut()
            .filter(waiting)
            .min_by_key(|h| (h.position < position, h.position.abs_diff(position)));
        if let Some(hold) = nearest {
            hold.position = position;
            hold.until = None;
            return hold.id;
        }
        let id = self.new_id();
        self.list.push(Hold { id, position, until: None });
        id
    }

    pub(super) fn advance(&mut self, id: HoldId, position: u64) {
        if let Some(hold) = self.list.iter_mut().find(|h| h.id == id) {
            hold.position = position;
        }
    }

    /// The reader broke off; it may come again until then.
    pub(super) fn broke_off(&mut self, id: HoldId, until: Instant) {
        if let Some(hold) = self.list.iter_mut().find(|h| h.id == id) {
            hold.until = Some(until);
        }
    }

    /// The reader has what it wanted.
    pub(super) fn release(&mut self, id: HoldId) {
        self.list.retain(|h| h.id != id);
    }

    /// Lifts the holds whose time is over; true if there was one.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.list.len();
        self.list.retain(|h| h.until.is_none_or(|t| t > now));
        self.list.len() != before
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.list.iter().filter_map(|h| h.until).min()
    }

    /// Where the slowest stands.
    pub(super) fn slowest(&self) -> Option<u64> {
        self.list.iter().map(|h| h.position).min()
    }

    fn new_id(&mut self) -> HoldId {
        self.next += 1;
        HoldId(self.next)
    }
}
