//! What goes into the command's stdin, until the command is known to have it.
//!
//! ```text
//!   taken           on its way             not sent yet
//! ──────────┬───────────────────────┬───────────────────────┬─ ─ ─
//!          base                    sent                    end
//! ```
//!
//! After a broken link everything from `base` on is sent again, with its offset:
//! the broker skips what had arrived. So each byte is taken once.

use bytes::{Bytes, BytesMut};

/// As much as is held before it is known to be taken; then our own stdin waits.
/// Above what a broker takes between two words about it.
const MAX_HELD: usize = 4 << 20;

/// One message.
const MAX_PIECE: usize = 64 << 10;

/// One flow of stdin.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    held: BytesMut,
    base: u64,
    /// Of `held`, so many bytes are sent on this link.
    sent: usize,
    /// The end of all bytes that were ever sent.
    reached: u64,
    end: End,
    /// Somebody else types, too: offsets do not tell whose bytes were taken.
    shared: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Due,
    Sent,
}

/// The next thing to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Bytes(Bytes),
    End,
}

impl Typed {
    /// Nothing typed yet; the first byte will have this offset.
    pub(super) fn at(offset: u64) -> Self {
        let (held, end) = (BytesMut::new(), End::Open);
        Self { held, base: offset, sent: 0, reached: offset, end, shared: false }
    }

    /// Whether more may be typed.
    pub(super) fn has_room(&self) -> bool {
        self.held.len() < MAX_HELD && self.end == End::Open
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// No more will be typed.
    pub(super) fn finish(&mut self) {
        self.end = End::Due;
    }

    /// Whether [`next`](Self::next) would give something.
    pub(super) fn is_due(&self) -> bool {
        self.sent < self.held.len() || self.end == End::Due
    }

    pub(super) fn next(&mut self) -> Option<Piece> {
        let rest = &self.held[self.sent..];
        if rest.is_empty() {
            let due = self.end == End::Due;
            return due.then(|| {
                self.end = End::Sent;
                Piece::End
            });
        }
        let piece = Bytes::copy_from_slice(&rest[..rest.len().min(MAX_PIECE)]);
        self.sent += piece.len();
        self.reached = self.reached.max(self.base + self.sent as u64);
        Some(Piece::Bytes(piece))
    }

    /// The command's stdin was taken up to here.
    pub(super) fn taken(&mut self, offset: u64) {
        self.shared |= offset > self.reached;
        let known = usize::try_from(offset.saturating_sub(self.base)).unwrap_or(usize::MAX);
        // What is not sent on this link must be, even if an earlier one brought it:
        // the broker counts from where we said that we begin.
        self.drop_front(known.min(self.sent));
    }

    /// A link is ready, and the first byte that it carries has this offset: what
    /// is before it was taken, whether we were told or not.
    pub(super) fn begin(&mut self, offset: u64) {
        let ours = if offset > self.reached { self.reached } else { offset };
        self.shared |= offset > self.reached;
        let known = usize::try_from(ours.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let _ = self.held.split_to(known.min(self.held.len()));
        self.base = self.base.max(offset);
        self.reached = self.reached.max(self.base);
    }

    /// The link broke: everything that is held goes again. Gives the offset from
    /// which it goes, if offsets mean anything.
    pub(super) fn relink(&mut self) -> Option<u64> {
        if self.shared {
            // Twice is worse than not at all, where somebody else typed between.
            self.drop_front(self.sent);
        }
        self.sent = 0;
        if self.shared {
            // Where the next link begins, it says itself.
            self.reached = self.base;
        }
        if self.end == End::Sent {
            self.end = End::Due;
        }
        (!self.shared).then_some(self.base)
    }

    fn drop_front(&mut self, count: usize) {
        let _ = self.held.split_to(count);
        self.base += count as u64;
        self.sent -= count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(piece: Option<Piece>) -> Vec<u8> {
        match piece {
            Some(Piece::Bytes(bytes)) => bytes.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// A broker as the contract has it: skips what it has from earlier links.
    #[derive(Default, Clone)]
    struct Broker {
        stdin: Vec<u8>,
        /// The offset of this link's next byte.
        at: usize,
    }

    impl Broker {
        fn link(&mut self, from: u64) {
            self.at = usize::try_from(from).unwrap();
        }

        fn receive(&mut self, piece: &[u8]) {
            assert!(self.at <= self.stdin.len(), "a hole in stdin");
            let known = (self.stdin.len() - self.at).min(piece.len());
            self.stdin.extend_from_slice(&piece[known..]);
            self.at += piece.len();
        }
    }

    #[test]
    fn each_byte_is_taken_once_wherever_the_link_breaks() {
        let text = b"0123456789";
        // Cut after so many pieces have arrived, with so much of them told of.
        for arrived in 0..=text.len() {
            for told in 0..=arrived {
                let (mut typed, mut broker) = (Typed::at(0), Broker::default());
                for byte in text {
                    typed.push(&[*byte]);
                    let piece = bytes(typed.next());
                    if broker.stdin.len() < arrived {
                        broker.receive(&piece);
                    }
                }
                typed.finish();
                typed.taken(told as u64);
                let from = typed.relink().unwrap();
                assert_eq!(from, told as u64);
                // Of what arrived the broker knows at least as much as it told.
                for begin in told..=arrived {
                    let mut typed = typed.clone();
                    typed.begin(begin as u64);
                    let mut broker = broker.clone();
                    broker.link(begin as u64);
                    // A word about what the earlier link brought must not hide
                    // bytes that this link has not sent.
                    typed.taken(broker.stdin.len() as u64);
                    drain(&mut typed, &mut broker);
                    assert_eq!(broker.stdin, text, "{arrived} arrived, {told} told, {begin}");
                }
            }
        }
    }

    fn drain(typed: &mut Typed, broker: &mut Broker) {
        let mut ended = false;
        while let Some(piece) = typed.next() {
            match piece {
                Piece::Bytes(bytes) => broker.receive(&bytes),
                Piece::End => ended = true,
            }
        }
        assert!(ended);
    }

    /// A broker that had taken all was never heard: links that die after so many
    /// bytes would bring the same ones for ever.
    #[test]
    fn what_was_taken_unheard_is_not_sent_again() {
        let mut typed = Typed::at(0);
        typed.push(&[b'x'; 100]);
        assert_eq!(bytes(typed.next()).len(), 100);
        assert_eq!(typed.relink(), Some(0));
        typed.begin(100);
        assert!(!typed.is_due() && typed.held.is_empty());
    }

    #[test]
    fn the_end_is_told_again_after_a_break() {
        let mut typed = Typed::at(7);
        assert!(!typed.is_due());
        typed.finish();
        assert_eq!(typed.next(), Some(Piece::End));
        assert!(!typed.is_due() && !typed.has_room());
        assert_eq!(typed.relink(), Some(7));
        assert_eq!((typed.next(), typed.next()), (Some(Piece::End), None));
    }

    #[test]
    fn what_is_held_is_bounded_until_it_is_taken() {
        let mut typed = Typed::at(0);
        while typed.has_room() {
            typed.push(&[0; MAX_PIECE]);
        }
        let mut sent = 0;
        while let Some(Piece::Bytes(piece)) = typed.next() {
            assert!(piece.len() <= MAX_PIECE);
            sent += piece.len();
        }
        assert!(!typed.has_room());
        typed.taken(sent as u64);
        assert!(typed.has_room() && typed.held.is_empty());
    }

    #[test]
    fn where_two_type_nothing_is_sent_twice() {
        let mut typed = Typed::at(10);
        typed.push(b"abc");
        assert_eq!(bytes(typed.next()), b"abc");
        // Three bytes were ours: the others are somebody else's.
        typed.taken(15);
        typed.push(b"de");
        assert_eq!(bytes(typed.next()), b"de");
        typed.push(b"f");
        assert_eq!(typed.relink(), None);
        typed.begin(40);
        assert_eq!(bytes(typed.next()), b"f");
        assert_eq!(typed.relink(), None);
    }

    #[test]
    fn somebody_else_who_typed_while_the_link_was_down_is_noticed() {
        let mut typed = Typed::at(10);
        typed.push(b"abc");
        assert_eq!(bytes(typed.next()), b"abc");
        typed.push(b"de");
        assert_eq!(typed.relink(), Some(10));
        typed.begin(15);
        assert_eq!(bytes(typed.next()), b"de");
        assert_eq!(typed.relink(), None);
    }
}
