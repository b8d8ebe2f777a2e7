//! The bytes of a log: a queue of blocks, appended at the end, dropped in front.

use std::collections::VecDeque;
use std::rc::Rc;

use super::meter::Meter;

/// The first block of a log. Most commands say little, and many may be kept.
const FIRST_BLOCK: usize = 4 << 10;

/// Blocks grow up to this: one read of an enlarged pipe, and one frame.
pub(super) const MAX_BLOCK: usize = 256 << 10;

/// A reader that catches up drops several blocks at once, and as many are
/// wanted again soon after.
const MAX_SPARE: usize = 8;

/// Bytes under absolute offsets `[first, end)`.
#[derive(Debug)]
pub(super) struct Blocks {
    queue: VecDeque<Block>,
    /// Blocks that were dropped, to be used again: in a steady flow nothing is
    /// allocated, and no page is faulted in a second time.
    spare: Vec<Box<[u8]>>,
    /// The largest block from here on.
    largest: usize,
    meter: Rc<Meter>,
}

impl Drop for Blocks {
    fn drop(&mut self) {
        self.meter.give_back(self.allocated());
    }
}

#[derive(Debug)]
struct Block {
    /// The absolute offset of `bytes[0]`.
    start: u64,
    bytes: Box<[u8]>,
    filled: usize,
}

impl Block {
    fn end(&self) -> u64 {
        self.start + self.filled as u64
    }

    /// Its bytes that are not before `first`.
    fn from(&self, first: u64) -> &[u8] {
        let skip = usize::try_from(first.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.bytes[..self.filled].get(skip..).unwrap_or_default()
    }
}

impl Blocks {
    pub(super) fn new(meter: Rc<Meter>) -> Self {
        Self { queue: VecDeque::new(), spare: Vec::new(), largest: MAX_BLOCK, meter }
    }

    /// Room for at least one byte at `end`, to be followed by [`Self::commit`].
    pub(super) fn spare_mut(&mut self, end: u64) -> &mut [u8] {
        if self.queue.back().is_none_or(|b| b.filled == b.bytes.len()) {
            let bytes = self.new_block();
            self.queue.push_back(Block { start: end, bytes, filled: 0 });
        }
        match self.queue.back_mut() {
            Some(block) => &mut block.bytes[block.filled..],
            None => &mut [],
        }
    }

    fn new_block(&mut self) -> Box<[u8]> {
        let last = self.queue.back().map_or(0, |b| b.bytes.len());
        let size = (last * 4).clamp(FIRST_BLOCK, self.largest);
        while let Some(bytes) = self.spare.pop() {
            if bytes.len() >= size {
                return bytes;
            }
            self.meter.give_back(bytes.len());
        }
        self.meter.add(size);
        vec![0; size].into_boxed_slice()
    }

    /// The first `n` bytes of the last [`Self::spare_mut`] are data now.
    pub(super) fn commit(&mut self, n: usize) {
        if let Some(block) = self.queue.back_mut() {
            block.filled = (block.filled + n).min(block.bytes.len());
        }
    }

    /// The contiguous bytes from `offset` on, within one block.
    pub(super) fn at(&self, offset: u64) -> &[u8] {
        let index = self.queue.partition_point(|b| b.end() <= offset);
        let Some(block) = self.queue.get(index) else {
            return &[];
        };
        block.from(offset)
    }

    /// Everything before `first` may go; whole blocks do.
    pub(super) fn drop_before(&mut self, first: u64) {
        while let Some(front) = self.queue.front() {
            if front.end() > first || front.filled < front.bytes.len() {
                break;
            }
            let Some(dropped) = self.queue.pop_front().map(|b| b.bytes) else { break };
            if self.spare.len() < MAX_SPARE && dropped.len() <= self.largest {
                self.spare.push(dropped);
            } else {
                self.meter.give_back(dropped.len());
            }
        }
    }

    /// Gives back what nobody will write to any more.
    pub(super) fn seal(&mut self) {
        self.counted(|blocks| {
            blocks.spare = Vec::new();
            if let Some(last) = blocks.queue.back_mut()
                && last.filled < last.bytes.len()
            {
                last.bytes = last.bytes[..last.filled].into();
            }
            blocks.queue.shrink_to_fit();
        });
    }

    /// From here on `keep` bytes are enough, and the bytes from `first` are all
    /// that is wanted: gives back what blocks of that size do not need.
    pub(super) fn fit(&mut self, first: u64, keep: usize) {
        self.largest = self.largest.min((keep / 4).clamp(FIRST_BLOCK, MAX_BLOCK));
        self.counted(|blocks| {
            blocks.spare = Vec::new();
            let wanted: usize = blocks.queue.iter().map(|b| b.from(first).len()).sum();
            // Copied only when it is little: the rest leaves block by block.
            if wanted <= keep && blocks.allocated() > 2 * wanted {
                let bytes: Vec<u8> =
                    blocks.queue.iter().flat_map(|b| b.from(first)).copied().collect();
                blocks.queue = VecDeque::new();
                if !bytes.is_empty() {
                    let block = Block { start: first, filled: bytes.len(), bytes: bytes.into() };
                    blocks.queue.push_back(block);
                }
            }
        });
    }

    /// Keeps the meter right over whatever is done.
    fn counted(&mut self, change: impl FnOnce(&mut Self)) {
        let before = self.allocated();
        change(self);
        let after = self.allocated();
        self.meter.give_back(before.saturating_sub(after));
        self.meter.add(after.saturating_sub(before));
    }

    /// Bytes of memory held.
    pub(super) fn allocated(&self) -> usize {
        self.queue.iter().map(|b| b.bytes.len()).sum::<usize>()
            + self.spare.iter().map(|b| b.len()).sum::<usize>()
    }
}
