//! A layer's blob: received, hashed and decompressed, a chunk at a time.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender};

use sha2::{Digest as _, Sha256};

use super::error::Cause;
use super::packing::{Gzip, Packing, PackingError, Zstd};
use super::source::{Chunk, Chunks};

/// Large enough that system calls and thread switches cost nothing, small enough
/// that the chunks in flight stay in the processor's cache.
const CHUNK: usize = 256 << 10;

/// Chunks in flight between decompression and the file system: either side may
/// stumble for a moment without the other waiting. With [`CHUNK`] it bounds the
/// memory of a transfer to about 2 MiB.
const CHUNKS_IN_FLIGHT: usize = 6;

/// The two ends of a pipe of recycled chunks.
pub(super) fn pipe() -> (Inlet, Outlet) {
    let (full, drain) = std::sync::mpsc::channel();
    let (spent, empty) = std::sync::mpsc::channel();
    for _ in 0..CHUNKS_IN_FLIGHT {
        // The receiver is in hand, so this cannot fail.
        let _ = spent.send(Chunk { bytes: vec![0; CHUNK].into_boxed_slice(), len: 0 });
    }
    (Inlet { full, empty }, Outlet { drain, spent })
}

/// Where the tar's bytes go in. There are only so many chunks, so it waits for
/// the other end without a count of its own.
pub(super) struct Inlet {
    full: Sender<Chunk>,
    empty: Receiver<Chunk>,
}

/// Where they come out.
pub(super) struct Outlet {
    drain: Receiver<Chunk>,
    spent: Sender<Chunk>,
}

impl Chunks for Outlet {
    fn next(&mut self) -> Option<Chunk> {
        self.drain.recv().ok()
    }

    fn recycle(&mut self, chunk: Chunk) {
        // Nobody wants it once the blob is at its end.
        let _ = self.spent.send(chunk);
    }
}

/// What came of the pumping.
pub(super) enum Pumped {
    /// The whole blob went through.
    All {
        /// Of the blob.
        sha256: [u8; 32],
        /// Of the blob.
        size: u64,
    },
    /// The other end stopped, and knows why.
    Stopped,
}

/// Moves the tar inside the blob into the pipe, to the blob's very end.
pub(super) fn pump(
    blob: &mut dyn Read,
    packing: Packing,
    size: u64,
    to: &Inlet,
) -> Result<Pumped, Cause> {
    let mut reader = BlobReader::new(blob, size);
    let all = match packing {
        Packing::Plain => fill_chunks(&mut reader, to),
        Packing::Gzip => fill_chunks(&mut Gzip::new(&mut reader), to),
        Packing::Zstd => Zstd::new(&mut reader).and_then(|mut tar| fill_chunks(&mut tar, to)),
    };
    match all {
        // A fault of the reader's own went through the decompressor as an error.
        _ if reader.fault.is_some() => Err(reader.fault.take().unwrap_or(Cause::Poisoned)),
        Err(error) => Err(Cause::Packing { packing, problem: PackingError::out_of(error) }),
        Ok(false) => Ok(Pumped::Stopped),
        Ok(true) => Ok(Pumped::All { sha256: reader.hasher.finalize().into(), size: reader.total }),
    }
}

/// Answers whether it came to the end; the other end may stop before.
fn fill_chunks(from: &mut dyn Read, to: &Inlet) -> io::Result<bool> {
    while let Ok(mut chunk) = to.empty.recv() {
        chunk.len = 0;
        while let Some(room) = chunk.bytes.get_mut(chunk.len..).filter(|room| !room.is_empty()) {
            match from.read(room) {
                Ok(0) => break,
                Ok(read) => chunk.len += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if chunk.len == 0 {
            return Ok(true);
        }
        if to.full.send(chunk).is_err() {
            return Ok(false);
        }
    }
    Ok(false)
}

/// The blob as it comes: counted, hashed, and cut off beyond its named size.
struct BlobReader<'a> {
    blob: &'a mut dyn Read,
    buffer: Box<[u8]>,
    pos: usize,
    len: usize,
    hasher: Sha256,
    total: u64,
    expected: u64,
    fault: Option<Cause>,
}

impl<'a> BlobReader<'a> {
    fn new(blob: &'a mut dyn Read, expected: u64) -> Self {
        Self {
            blob,
            buffer: vec![0; CHUNK].into_boxed_slice(),
            pos: 0,
            len: 0,
            hasher: Sha256::new(),
            total: 0,
            expected,
            fault: None,
        }
    }

    fn fail(&mut self, cause: Cause) -> io::Error {
        self.fault = Some(cause);
        io::ErrorKind::Other.into()
    }
}

impl BufRead for BlobReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.pos >= self.len {
            let read = match self.blob.read(&mut self.buffer) {
                Ok(0) => return Ok(&[]),
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.fail(Cause::Blob(e))),
            };
            (self.pos, self.len) = (0, read);
            self.total = self.total.saturating_add(read as u64);
            if self.total > self.expected {
                let (expected, got) = (self.expected, self.total);
                return Err(self.fail(Cause::SizeMismatch { expected, got }));
            }
            self.hasher.update(self.buffer.get(..read).unwrap_or_default());
        }
        Ok(self.buffer.get(self.pos..self.len).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.pos = self.pos.saturating_add(amount).min(self.len);
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let len = ready.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..len), ready.get(..len)) {
            to.copy_from_slice(from);
        }
        self.consume(len);
        Ok(len)
    }
}
