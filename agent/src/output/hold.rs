//! Who makes a log wait.

use std::collections::VecDeque;
use std::time::Instant;

/// So many readers that left are remembered: an opening that was on its way when its
/// reader left is late by one look of the scheduler, not by many readers.
const REMEMBERED: usize = 64;

/// Names one lossless reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldId(u64);

/// The lossless readers of one log.
#[derive(Debug, Default)]
pub(super) struct Holds {
    next: u64,
    list: Vec<Hold>,
    /// Until then a reader may come whose hold was taken for another's.
    doubtful_until: Option<Instant>,
    /// The numbers of readers that left, the newest first: none of them comes again.
    gone: VecDeque<u64>,
}

#[derive(Debug)]
struct Hold {
    id: HoldId,
    /// The number of its reader, 0 for none.
    reader: u64,
    /// The canonical offset up to which its reader has been served.
    position: u64,
    /// Set while there is no reader: it broke off, or has not come yet.
    until: Option<Instant>,
    /// Where a reader came in that took nobody's hold over, unless that was at
    /// the beginning: it may be the one of an older hold, come again before its
    /// broken link was noticed.
    resumed_at: Option<u64>,
}

impl Holds {
    /// A reader that is expected at `position` before `until`.
    pub(super) fn expect(&mut self, position: u64, until: Instant) {
        let id = self.new_id();
        self.list.push(Hold { id, position, until: Some(until), reader: 0, resumed_at: None });
    }

    /// A reader is there. It takes over its own hold if it has a number; else that
    /// of one that broke off: the nearest that had got as far as it asks for, else
    /// the furthest.
    pub(super) fn attach(&mut self, reader: u64, position: u64) -> HoldId {
        let id = self.new_id();
        if self.gone.contains(&reader) {
            // Its opening was overtaken by the word that it left: nobody waits for it.
            return id;
        }
        if let Some(own) = self.list.iter_mut().find(|h| reader > 0 && h.reader == reader) {
            // By another name: what becomes of its connection of before is no news.
            (own.id, own.position, own.until) = (id, position, None);
            return id;
        }
        let waiting = |h: &&mut Hold| h.until.is_some();
        let nearest = self
            .list
            .iter_mut()
            .filter(waiting)
            .min_by_key(|h| (h.position < position, h.position.abs_diff(position)));
        if let Some(hold) = nearest {
            (hold.reader, hold.position, hold.until) = (reader, position, None);
            return hold.id;
        }
        let resumed_at = Some(position).filter(|p| *p > 0);
        self.list.push(Hold { id, reader, position, until: None, resumed_at });
        id
    }

    pub(super) fn advance(&mut self, id: HoldId, position: u64) {
        if let Some(hold) = self.list.iter_mut().find(|h| h.id == id) {
            hold.position = position;
        }
    }

    /// The reader broke off; it may come again until then. If it has already, at
    /// an offset that it had been served, its old hold makes nobody wait. It may
    /// have been another that came: so what there is room for is kept as long.
    pub(super) fn broke_off(&mut self, id: HoldId, until: Instant) {
        let Some(broken) = self.list.iter_mut().find(|h| h.id == id) else { return };
        broken.until = Some(until);
        let (served, inherited) = (broken.position, broken.resumed_at);
        let came_again =
            |h: &&mut Hold| h.id.0 > id.0 && h.resumed_at.is_some_and(|from| from <= served);
        if let Some(again) = self.list.iter_mut().find(came_again) {
            // Nobody comes again for two, unless the one that broke off had come
            // again itself for one that is not yet missed.
            again.resumed_at = inherited;
            self.release(id);
            self.doubtful_until = self.doubtful_until.max(Some(until));
        }
    }

    /// The reader of that number is gone. What its stream does from here on is no
    /// news; one that was missed already keeps the grace that it has.
    pub(super) fn left(&mut self, reader: u64, until: Option<Instant>) {
        if reader == 0 {
            return;
        }
        // The word is repeated until it is answered.
        if !self.gone.contains(&reader) {
            self.gone.truncate(REMEMBERED - 1);
            self.gone.push_front(reader);
        }
        let id = self.new_id();
        let own = self.list.iter_mut().find(|h| h.reader == reader);
        let Some(own) = own.filter(|h| h.until.is_none() || until.is_none()) else { return };
        own.id = id;
        match until {
            Some(until) => self.broke_off(id, until),
            None => self.release(id),
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
        let doubtful = self.doubtful_until.take_if(|t| *t <= now).is_some();
        self.list.len() != before || doubtful
    }

    /// A reader may come that nobody waits for.
    pub(super) fn may_be_missed(&self) -> bool {
        self.doubtful_until.is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + std::time::Duration::from_secs(30)
    }

    #[test]
    fn a_reader_that_comes_again_takes_its_hold_over_before_and_after_it_is_missed() {
        let mut holds = Holds::default();
        let first = holds.attach(0, 0);
        holds.advance(first, 100);
        holds.broke_off(first, soon());
        assert_eq!(holds.attach(0, 80), first, "missed first");
        holds.advance(first, 200);
        let second = holds.attach(0, 150);
        assert_ne!(second, first);
        holds.advance(second, 900);
        assert_eq!(holds.slowest(), Some(200));
        holds.broke_off(first, soon());
        assert_eq!(holds.slowest(), Some(900), "come first, missed later");
    }

    #[test]
    fn a_reader_that_comes_again_and_again_is_missed_in_any_order() {
        let mut holds = Holds::default();
        let first = holds.attach(0, 0);
        holds.advance(first, 100);
        let second = holds.attach(0, 90);
        holds.advance(second, 200);
        let third = holds.attach(0, 190);
        holds.broke_off(second, soon());
        assert_eq!(holds.slowest(), Some(100));
        holds.broke_off(first, soon());
        assert_eq!(holds.slowest(), Some(190));
        holds.release(third);
        assert_eq!(holds.slowest(), None);
    }

    #[test]
    fn another_reader_is_not_taken_for_one_that_broke_off() {
        let mut holds = Holds::default();
        let (first, second) = (holds.attach(0, 0), holds.attach(0, 0));
        holds.advance(first, 100);
        holds.advance(second, 500);
        holds.broke_off(first, soon());
        assert_eq!(holds.slowest(), Some(100), "from the beginning on: a reader of its own");
        let third = holds.attach(0, 90);
        assert_eq!(third, first);
        // It came again for the first already, and is not the second's too.
        holds.broke_off(second, soon());
        holds.advance(third, 800);
        assert_eq!(holds.slowest(), Some(500));
        let ahead = holds.attach(0, 10_000);
        assert_eq!(ahead, second);
    }

    #[test]
    fn a_reader_that_left_is_waited_for_no_longer_than_it_said() {
        let mut holds = Holds::default();
        let stuck = holds.attach(1, 0);
        let other = holds.attach(2, 0);
        holds.advance(other, 500);
        let grace = soon();
        holds.left(1, Some(grace));
        assert_eq!((holds.slowest(), holds.next_expiry()), (Some(0), Some(grace)));
        // Its stream still says something, and breaks at last: no news.
        holds.advance(stuck, 100);
        holds.broke_off(stuck, soon() + std::time::Duration::from_secs(60));
        holds.left(1, Some(soon() + std::time::Duration::from_secs(60)));
        assert_eq!((holds.slowest(), holds.next_expiry()), (Some(0), Some(grace)));
        assert!(holds.expire(grace));
        assert_eq!(holds.slowest(), Some(500));
        holds.left(2, None);
        assert_eq!(holds.slowest(), None);
        holds.left(3, None);
        holds.left(0, None);
    }

    #[test]
    fn an_opening_that_comes_after_the_word_that_its_reader_left_holds_nothing() {
        let mut holds = Holds::default();
        holds.left(7, None);
        let late = holds.attach(7, 0);
        assert_eq!(holds.slowest(), None);
        // On its stream it may still go on, and break at last.
        holds.advance(late, 100);
        holds.broke_off(late, soon());
        assert_eq!((holds.slowest(), holds.next_expiry()), (None, None));
        // One that had a hold, and was on its way back to it.
        let grace = soon();
        holds.attach(8, 50);
        holds.left(8, Some(grace));
        holds.attach(8, 60);
        assert_eq!((holds.slowest(), holds.next_expiry()), (Some(50), Some(grace)));
        // Whoever comes in its place takes the hold over.
        holds.attach(9, 50);
        assert_eq!((holds.slowest(), holds.next_expiry()), (Some(50), None));
        (100..10_000).for_each(|reader| holds.left(reader, None));
        assert_eq!(holds.gone.len(), REMEMBERED);
    }

    #[test]
    fn a_reader_with_a_number_goes_on_with_its_own_hold_and_no_other() {
        let mut holds = Holds::default();
        let (slow, fast) = (holds.attach(1, 0), holds.attach(2, 0));
        holds.advance(slow, 100);
        holds.advance(fast, 900);
        // Both come again; whose connection is missed first decides nothing.
        let fast_again = holds.attach(2, 800);
        holds.broke_off(slow, soon());
        let slow_again = holds.attach(1, 90);
        holds.broke_off(fast, soon());
        assert_eq!(holds.slowest(), Some(90));
        assert_eq!(holds.next_expiry(), None, "nobody is waited for twice");
        holds.release(fast_again);
        assert_eq!(holds.slowest(), Some(90), "and each is waited for once");
        holds.release(slow_again);
        assert_eq!(holds.slowest(), None);
        assert!(!holds.may_be_missed());
    }

    #[test]
    fn a_hold_that_was_taken_for_anothers_is_remembered() {
        let mut holds = Holds::default();
        let (slow, fast) = (holds.attach(0, 0), holds.attach(0, 0));
        holds.advance(slow, 100);
        holds.advance(fast, 900);
        let slow_again = holds.attach(0, 90);
        let now = Instant::now();
        let until = soon();
        holds.broke_off(fast, until);
        assert_eq!(holds.slowest(), Some(90));
        holds.release(slow);
        holds.release(slow_again);
        assert_eq!(holds.slowest(), None);
        assert!(holds.may_be_missed(), "the fast one has not come again");
        assert!(!holds.expire(now));
        assert!(holds.expire(until) && !holds.may_be_missed());
    }
}
