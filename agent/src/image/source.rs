//! The bytes of a layer's tar as they come, counted and hashed on the way.

use sha2::{Digest as _, Sha256};

use super::tar::TarError;

/// A piece of the tar; the buffer goes back to where it came from.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Box<[u8]>,
    pub(super) len: usize,
}

/// Where chunks come from, until there are no more.
pub(super) trait Chunks {
    fn next(&mut self) -> Option<Chunk>;
    fn recycle(&mut self, chunk: Chunk);
}

/// Reads a tar out of chunks without copying file contents.
pub(super) struct Source<'a> {
    chunks: &'a mut dyn Chunks,
    chunk: Option<Chunk>,
    pos: usize,
    hasher: Sha256,
    total: u64,
    max: u64,
}

impl<'a> Source<'a> {
    /// `max`: so many bytes are taken, contents that are passed over included.
    pub(super) fn new(chunks: &'a mut dyn Chunks, max: u64) -> Self {
        Self { chunks, chunk: None, pos: 0, hasher: Sha256::new(), total: 0, max }
    }

    /// The next bytes, at least one and at most `max`; empty at the end.
    pub(super) fn take(&mut self, max: u64) -> Result<&[u8], TarError> {
        self.refill()?;
        let Some(chunk) = &self.chunk else {
            return Ok(&[]);
        };
        let left = chunk.bytes.get(self.pos..chunk.len).unwrap_or_default();
        let len = usize::try_from(max).unwrap_or(usize::MAX).min(left.len());
        self.pos += len;
        Ok(left.get(..len).unwrap_or_default())
    }

    /// Fills a block; `false` at a clean end.
    pub(super) fn block<const N: usize>(&mut self, block: &mut [u8; N]) -> Result<bool, TarError> {
        let mut filled = 0;
        while filled < N {
            let piece = self.take((N - filled) as u64)?;
            if piece.is_empty() {
                return if filled == 0 { Ok(false) } else { Err(TarError::Truncated) };
            }
            let len = piece.len();
            if let Some(room) = block.get_mut(filled..filled + len) {
                room.copy_from_slice(piece);
            }
            filled += len;
        }
        Ok(true)
    }

    /// Passes over bytes that must be there.
    pub(super) fn skip(&mut self, mut len: u64) -> Result<(), TarError> {
        while len > 0 {
            match self.take(len)?.len() as u64 {
                0 => return Err(TarError::Truncated),
                taken => len -= taken,
            }
        }
        Ok(())
    }

    /// Goes to the end and answers the digest and length of it all.
    pub(super) fn finish(mut self) -> Result<([u8; 32], u64), TarError> {
        while !self.take(u64::MAX)?.is_empty() {}
        Ok((self.hasher.finalize().into(), self.total))
    }

    fn refill(&mut self) -> Result<(), TarError> {
        while self.chunk.as_ref().is_none_or(|c| self.pos >= c.len) {
            if let Some(spent) = self.chunk.take() {
                self.chunks.recycle(spent);
            }
            let Some(next) = self.chunks.next() else {
                return Ok(());
            };
            self.hasher.update(next.bytes.get(..next.len).unwrap_or_default());
            self.total = self.total.saturating_add(next.len as u64);
            self.pos = 0;
            self.chunk = Some(next);
            if self.total > self.max {
                return Err(TarError::TooManyBytes(self.max));
            }
        }
        Ok(())
    }
}
