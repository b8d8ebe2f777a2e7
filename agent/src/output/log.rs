//! One command's log: runs of bytes, each of one stream, in the order read.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use postern_proto::OutputStream;

use super::blocks::{Blocks, MAX_BLOCK};
use super::hold::{HoldId, Holds};
use super::meter::Meter;

mod read;

pub use read::{Cursor, Next};

/// How much a log keeps, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Without holds: this much, the newest. With one: this much ahead of it.
    pub window: u64,
    /// Behind the slowest lossless reader.
    pub stretch: u64,
    /// Runs, since a process that alternates between its streams byte by byte
    /// costs more in bookkeeping than in bytes.
    pub max_runs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { window: 1 << 20, stretch: 32 << 20, max_runs: 32 << 10 }
    }
}

/// A squeezed log still tells its streams apart.
const MIN_RUNS: usize = 64;

/// Neighbouring bytes of one stream.
#[derive(Debug, Clone, Copy)]
struct Run {
    offset: u64,
    stream_offset: u64,
    len: u64,
    stream: OutputStream,
}

impl Run {
    fn end(&self) -> u64 {
        self.offset + self.len
    }

    fn stream_end(&self) -> u64 {
        self.stream_offset + self.len
    }
}

/// The log.
#[derive(Debug)]
pub struct Log {
    limits: Limits,
    blocks: Blocks,
    runs: VecDeque<Run>,
    /// Bytes of `runs` that the meter knows of.
    counted_runs: usize,
    meter: Rc<Meter>,
    first: u64,
    end: u64,
    stream_end: [u64; 3],
    acked: Option<u64>,
    holds: Holds,
    closed: bool,
}

fn index(stream: OutputStream) -> usize {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
        OutputStream::Pty => 2,
    }
}

impl Log {
    /// An empty log that counts for nobody.
    pub fn new(limits: Limits) -> Self {
        Self::metered(limits, Meter::new(usize::MAX))
    }

    /// An empty log among others.
    pub fn metered(limits: Limits, meter: Rc<Meter>) -> Self {
        Self {
            limits,
            blocks: Blocks::new(Rc::clone(&meter)),
            runs: VecDeque::new(),
            counted_runs: 0,
            meter,
            first: 0,
            end: 0,
            stream_end: [0; 3],
            acked: None,
            holds: Holds::default(),
            closed: false,
        }
    }

    /// The first offset that is left.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// One after the last byte written.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// How many bytes `stream` has had.
    pub fn stream_end(&self, stream: OutputStream) -> u64 {
        self.stream_end[index(stream)]
    }

    /// The first byte of `stream` that is left, in its own count.
    pub fn stream_first(&self, stream: OutputStream) -> u64 {
        self.runs
            .iter()
            .find(|r| r.stream == stream)
            .map_or(self.stream_end(stream), |r| r.stream_offset)
    }

    /// No more will come.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// A lossless reader is there, or has a grace to come.
    pub fn is_held(&self) -> bool {
        self.holds.slowest().is_some() || self.holds.may_be_missed()
    }

    /// Bytes of memory that the log holds.
    pub fn allocated(&self) -> usize {
        self.blocks.allocated() + self.runs.capacity() * size_of::<Run>()
    }

    /// The list of runs may have grown or shrunk.
    fn count_runs(&mut self) {
        let now = self.runs.capacity() * size_of::<Run>();
        if now != self.counted_runs {
            self.meter.give_back(self.counted_runs);
            self.meter.add(now);
            self.counted_runs = now;
        }
    }

    /// How many bytes may be appended now. Zero only while a reader holds.
    pub fn room(&self) -> u64 {
        let Some(slowest) = self.holds.slowest() else {
            return u64::MAX;
        };
        if self.runs.len() >= self.limits.max_runs {
            return 0;
        }
        let ahead = slowest.saturating_add(self.limits.window);
        let kept = self.limits.window.saturating_add(self.limits.stretch);
        let unacked = self.acked.map_or(u64::MAX, |a| a.saturating_add(kept));
        ahead.min(unacked).saturating_sub(self.end)
    }

    /// A place for the next bytes, to be followed by [`Self::commit`].
    pub fn spare_mut(&mut self) -> &mut [u8] {
        self.blocks.spare_mut(self.end)
    }

    /// The first `n` bytes of [`Self::spare_mut`] are output of `stream`.
    pub fn commit(&mut self, stream: OutputStream, n: usize) {
        if n == 0 {
            return;
        }
        self.blocks.commit(n);
        let len = n as u64;
        match self.runs.back_mut() {
            Some(run) if run.stream == stream => run.len += len,
            _ => self.runs.push_back(Run {
                offset: self.end,
                stream_offset: self.stream_end[index(stream)],
                len,
                stream,
            }),
        }
        self.end += len;
        self.stream_end[index(stream)] += len;
        self.count_runs();
        self.trim();
    }

    /// Appends by copying; for what was read elsewhere.
    pub fn append(&mut self, stream: OutputStream, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let spare = self.spare_mut();
            let n = spare.len().min(bytes.len());
            spare[..n].copy_from_slice(&bytes[..n]);
            self.commit(stream, n);
            bytes = &bytes[n..];
        }
    }

    /// The log is final. Holds stay: what their readers have not had yet must
    /// not be dropped.
    pub fn close(&mut self) {
        self.closed = true;
        self.blocks.seal();
        self.runs.shrink_to_fit();
        self.count_runs();
    }

    /// Makes do with `keep` bytes from here on, ahead of a lossless reader and
    /// behind it. What such a reader has not had yet stays, and until it has,
    /// there is no room for more.
    pub fn squeeze(&mut self, keep: u64) {
        // A log that is not final has room for something, or nothing would go on.
        let least = u64::from(!self.closed);
        self.limits.window = self.limits.window.min(keep.max(least));
        self.limits.stretch = self.limits.stretch.min(keep);
        let runs = usize::try_from(keep).unwrap_or(usize::MAX) / size_of::<Run>();
        self.limits.max_runs = self.limits.max_runs.min(runs.max(MIN_RUNS));
        self.trim();
        self.blocks.fit(self.first, usize::try_from(keep).unwrap_or(usize::MAX));
        self.runs.shrink_to_fit();
        self.count_runs();
    }

    /// Holds the log for a reader that is expected at `position`.
    pub fn expect_reader(&mut self, position: u64, until: Instant) {
        if !self.closed {
            self.holds.expect(position, until);
        }
    }

    /// A lossless reader is there, at canonical `position`.
    pub fn attach(&mut self, position: u64) -> HoldId {
        self.attach_as(0, position)
    }

    /// Likewise one that can be told from others, which goes on with its own hold
    /// whether or not it was missed; 0 for none.
    pub fn attach_as(&mut self, reader: u64, position: u64) -> HoldId {
        self.holds.attach(reader, position)
    }

    /// It was served up to canonical `position`; true when this made room in a
    /// log that had none.
    pub fn served(&mut self, id: HoldId, position: u64) -> bool {
        let was_full = self.room() == 0;
        self.holds.advance(id, position);
        self.trim();
        was_full && self.room() > 0
    }

    /// Its link broke; it has until then to come again.
    pub fn broke_off(&mut self, id: HoldId, until: Instant) {
        self.holds.broke_off(id, until);
        self.trim();
    }

    /// The reader of that number is gone, for good or until then, whether or not its
    /// link has been missed.
    pub fn left(&mut self, reader: u64, until: Option<Instant>) {
        self.holds.left(reader, until);
        self.trim();
    }

    /// It has what it wanted.
    pub fn release(&mut self, id: HoldId) {
        self.holds.release(id);
        self.trim();
    }

    /// Lifts holds whose grace is over; true if there was one.
    pub fn expire(&mut self, now: Instant) -> bool {
        let lifted = self.holds.expire(now);
        if lifted {
            self.trim();
        }
        lifted
    }

    /// When [`Self::expire`] has something to do.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.holds.next_expiry()
    }

    /// Everything before `offset` has arrived; nothing after it may be dropped
    /// while a reader holds. Acknowledgements never go back.
    pub fn ack(&mut self, offset: u64) {
        let offset = offset.min(self.end);
        self.acked = Some(self.acked.map_or(offset, |a| a.max(offset)));
        self.trim();
    }

    /// Drops what is neither in the window nor held.
    fn trim(&mut self) {
        let by_window = self.end.saturating_sub(self.limits.window);
        let mut first = match self.holds.slowest() {
            None => by_window,
            Some(slowest) => {
                let by_stretch = slowest.saturating_sub(self.limits.stretch);
                by_stretch.min(by_window).min(self.acked.unwrap_or(u64::MAX))
            }
        };
        if self.holds.may_be_missed() {
            let kept = self.limits.window.saturating_add(self.limits.stretch);
            first = first.min(self.end.saturating_sub(kept));
        }
        // Too many runs is too much memory. Of a log that is held only those go
        // that its readers have had; half of them, so that there is room again,
        // or a process that alternates between its streams would wait for ever.
        let (had, keep) = match self.holds.slowest() {
            None => (self.end, self.limits.max_runs),
            Some(slowest) => {
                (slowest.min(self.acked.unwrap_or(u64::MAX)), self.limits.max_runs / 2)
            }
        };
        if self.runs.len() >= self.limits.max_runs
            && let Some(run) = self.runs.get(self.runs.len() - keep)
        {
            first = first.max(run.offset.min(had));
        }
        // Draining a dead process's pipes comes before what a hold says.
        if let Some(excess) = self.runs.len().checked_sub(2 * self.limits.max_runs)
            && let Some(run) = self.runs.get(excess)
        {
            first = first.max(run.offset);
        }
        self.drop_before(first);
    }

    fn drop_before(&mut self, first: u64) {
        if first <= self.first {
            return;
        }
        self.first = first;
        while self.runs.front().is_some_and(|r| r.end() <= first) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut()
            && run.offset < first
        {
            let cut = first - run.offset;
            run.offset += cut;
            run.stream_offset += cut;
            run.len -= cut;
        }
        self.blocks.drop_before(first);
    }

    /// The largest piece that [`Self::next`] gives.
    pub const MAX_PIECE: usize = MAX_BLOCK;
}

impl Drop for Log {
    fn drop(&mut self) {
        self.meter.give_back(self.counted_runs);
    }
}
