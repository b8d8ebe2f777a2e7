//! Reads the entries of a tar: ustar, GNU and PAX headers.
//!
//! Our own because the readings that two tar programs disagree on are where
//! files get smuggled in (CVE-2025-62518, CVE-2026-33055): what Go's
//! `archive/tar` and GNU tar would not read alike is refused here. An extension
//! header is bounded, and sizes are claims until the bytes have come.

mod header;
mod pax;
mod sparse;

use super::source::Source;
use header::{BLOCK, Header};
use pax::Pax;
use sparse::PaxSparse;
pub(super) use sparse::SparseMap;

/// The longest PAX or GNU long-name header. Linux holds 64 KiB in one extended
/// attribute and 4 KiB in a path; real headers stay far below this.
const MAX_EXTENSION: u64 = 1 << 20;

/// Why a stream of bytes is not a tar that can be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// It ends within a header or within contents.
    #[error("the tar ends in the midst of an entry")]
    Truncated,
    /// A header's checksum is wrong: not a tar, or a broken one.
    #[error("a tar header has the wrong checksum")]
    Checksum,
    /// A header's field is not a number, or out of range.
    #[error("a tar header has a bad {0}")]
    BadField(&'static str),
    /// One block of zeros, and then more.
    #[error("a lone zero block stands between tar entries")]
    LoneZeroBlock,
    /// Two extension headers say the same of one entry.
    #[error("two {0} headers stand before one tar entry")]
    Ambiguous(&'static str),
    /// An extension header is over the cap.
    #[error("a tar extension header of {0} bytes is over the cap of {MAX_EXTENSION}")]
    LongExtension(u64),
    /// An entry of a kind that cannot be unpacked.
    #[error("tar entries of type {0:?} are not supported")]
    Unsupported(char),
    /// A sparse file whose map makes no sense.
    #[error("a tar entry is a sparse file {0}")]
    Sparse(&'static str),
    /// More bytes than the limits allow.
    #[error("the layer holds more than the {0} bytes that are allowed")]
    TooManyBytes(u64),
}

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Dir,
    Fifo,
}

/// One entry, its extension headers applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds, and nanoseconds forward from them.
    pub(super) mtime: (i64, u32),
    /// Bytes of contents in the tar; 0 but for files.
    pub(super) size: u64,
    /// Where they belong, if not one behind the other from the start.
    pub(super) sparse: Option<SparseMap>,
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The entries of one tar, in order.
pub(super) struct Entries<'a> {
    source: Source<'a>,
    /// Contents of the current entry that were not read.
    left: u64,
    /// From the end of its contents to the next block.
    padding: u64,
}

/// What stands before an entry and speaks of it.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        Self { source, left: 0, padding: 0 }
    }

    /// The next entry; what was not read of the last one's contents is passed over.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            self.source.skip(std::mem::take(&mut self.left))?;
            self.source.skip(std::mem::take(&mut self.padding))?;
            let Some(header) = self.header()? else {
                return if extensions.is_empty() { Ok(None) } else { Err(TarError::Truncated) };
            };
            if self.extension(&header, &mut extensions)? {
                continue;
            }
            let holes = extensions.pax.as_mut().and_then(|pax| pax.sparse.take());
            let mut entry = extensions.apply(&header, holes.is_some())?;
            self.left = entry.size;
            self.padding = padding(entry.size);
            self.sparse(&header, holes, &mut entry)?;
            return Ok(Some(entry));
        }
    }

    /// The next piece of the current entry's contents, at least one byte and at
    /// most `max`; one who asks for more than there is gets an error.
    pub(super) fn contents(&mut self, max: u64) -> Result<&[u8], TarError> {
        let piece = self.source.take(self.left.min(max))?;
        if piece.is_empty() {
            return Err(TarError::Truncated);
        }
        self.left -= piece.len() as u64;
        Ok(piece)
    }

    /// Reads what the entry has of a map of holes.
    fn sparse(
        &mut self,
        header: &Header,
        holes: Option<PaxSparse>,
        entry: &mut Entry,
    ) -> Result<(), TarError> {
        let Some(mut holes) = holes else {
            if header.kind() == b'S' {
                let source = &mut self.source;
                entry.sparse = Some(sparse::old_gnu(header, entry.size, || {
                    let mut block = [0; BLOCK];
                    let whole = source.block(&mut block)?;
                    if whole { Ok(block) } else { Err(TarError::Truncated) }
                })?);
            }
            return Ok(());
        };
        if let Some(name) = holes.name() {
            entry.path = name;
        }
        entry.sparse = Some(match holes.place()? {
            sparse::Place::Here(holes) => holes.map(entry.size)?,
            sparse::Place::InContents(mut holes) => {
                let taken = holes.read(|| self.byte())?;
                // The contents proper begin at a block of their own.
                let rest = padding(taken).min(self.left);
                self.source.skip(rest)?;
                self.left -= rest;
                entry.size = self.left;
                holes.map(entry.size)?
            }
        });
        Ok(())
    }

    /// One byte of the contents, which must be there.
    fn byte(&mut self) -> Result<u8, TarError> {
        if self.left == 0 {
            return Err(TarError::Sparse("whose map goes beyond its contents"));
        }
        self.left -= 1;
        self.source.take(1)?.first().copied().ok_or(TarError::Truncated)
    }

    /// What follows the last entry counts for the digest.
    pub(super) fn finish(self) -> Result<([u8; 32], u64), TarError> {
        self.source.finish()
    }

    /// The next header; `None` at two blocks of zeros or at the end of the bytes.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut block = [0; BLOCK];
        if !self.source.block(&mut block)? {
            return Ok(None);
        }
        if block.iter().any(|b| *b != 0) {
            return Header::check(block).map(Some);
        }
        if !self.source.block(&mut block)? || block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        Err(TarError::LoneZeroBlock)
    }

    /// Reads an extension header's contents; `false` if it is a real entry.
    fn extension(&mut self, header: &Header, to: &mut Extensions) -> Result<bool, TarError> {
        match header.kind() {
            b'x' => {
                let pax = Pax::parse(&self.extension_bytes(header)?)?;
                if to.pax.replace(pax).is_some() {
                    return Err(TarError::Ambiguous("PAX"));
                }
            }
            // A comment of git-archive's, mostly. Like Go's, this reader lets no
            // global header change the entries that follow.
            b'g' => drop(self.extension_bytes(header)?),
            b'L' => {
                let name = until_nul(self.extension_bytes(header)?);
                if to.long_name.replace(name).is_some() {
                    return Err(TarError::Ambiguous("long-name"));
                }
            }
            b'K' => {
                let link = until_nul(self.extension_bytes(header)?);
                if to.long_link.replace(link).is_some() {
                    return Err(TarError::Ambiguous("long-link"));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extension_bytes(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        let size = header.size()?;
        if size > MAX_EXTENSION {
            return Err(TarError::LongExtension(size));
        }
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size {
            let piece = self.source.take(size - bytes.len() as u64)?;
            if piece.is_empty() {
                return Err(TarError::Truncated);
            }
            bytes.extend_from_slice(piece);
        }
        self.padding = padding(size);
        Ok(bytes)
    }
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }

    /// `holes`: the PAX header told of some.
    fn apply(self, header: &Header, holes: bool) -> Result<Entry, TarError> {
        let pax = self.pax.unwrap_or_default();
        let path = one_of(pax.path, self.long_name, "path")?.unwrap_or_else(|| header.path());
        let link = one_of(pax.link, self.long_link, "link")?.unwrap_or_else(|| header.link());
        let kind = match header.kind() {
            // Before ustar a directory was a file whose name ends in a slash.
            0 if path.ends_with(b"/") => Kind::Dir,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Dir,
            b'6' => Kind::Fifo,
            other => return Err(TarError::Unsupported(char::from(other))),
        };
        if holes && (kind != Kind::File || header.kind() == b'S') {
            return Err(TarError::Sparse("that is no file, or in two ways"));
        }
        let size = match pax.size {
            Some(size) => size,
            None => header.size()?,
        };
        let (major, minor) = match kind {
            Kind::CharDevice | Kind::BlockDevice => header.device()?,
            _ => (0, 0),
        };
        Ok(Entry {
            kind,
            path,
            link,
            mode: header.mode()?,
            uid: pax.uid.map_or_else(|| header.uid(), Ok)?,
            gid: pax.gid.map_or_else(|| header.gid(), Ok)?,
            mtime: pax.mtime.map_or_else(|| header.mtime(), Ok)?,
            // As for Go, only files have contents. A writer that put some behind
            // a link makes the next header fail its checksum.
            size: if kind == Kind::File { size } else { 0 },
            sparse: None,
            major,
            minor,
            xattrs: pax.xattrs,
        })
    }
}

/// Programs differ in which of the two wins, so an entry may have only one.
fn one_of(
    pax: Option<Vec<u8>>,
    gnu: Option<Vec<u8>>,
    what: &'static str,
) -> Result<Option<Vec<u8>>, TarError> {
    match (pax, gnu) {
        (Some(_), Some(_)) => Err(TarError::Ambiguous(what)),
        (pax, gnu) => Ok(pax.or(gnu)),
    }
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    bytes
}
