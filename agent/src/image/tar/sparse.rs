//! Sparse files: the four ways in which GNU tar says where the holes are.
//!
//! ```text
//! old GNU    header: 4 extents, then blocks of 21 more; size of the whole
//! PAX 0.0    GNU.sparse.offset and GNU.sparse.numbytes, in pairs
//! PAX 0.1    GNU.sparse.map=offset,length,…
//! PAX 1.0    the contents begin with count, offset, length, … in lines
//! ```
//!
//! All end in a [`SparseMap`], checked as Go's `archive/tar` checks it: extents
//! in order, none over another or over the end, and of exactly the bytes that
//! the archive holds. A hole costs nothing, so how large the whole may be is the
//! file system's matter.

use super::TarError;
use super::header::Header;
use super::pax::decimal;

/// The most extents. 16 bytes each are kept; a file with more holes than these
/// does not come from a builder of images.
const MAX_EXTENTS: usize = 65_536;

/// Digits and newline of one number in a map of PAX 1.0; 2^63 has 19.
const MAX_LINE: usize = 20;

/// Where the bytes that the archive holds belong in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image) struct SparseMap {
    /// Bytes of the file, holes included.
    pub(in crate::image) size: u64,
    /// Offset and length of what is no hole, in order.
    pub(in crate::image) extents: Vec<(u64, u64)>,
}

impl SparseMap {
    /// `stored`: bytes of contents in the archive.
    fn checked(size: u64, extents: Vec<(u64, u64)>, stored: u64) -> Result<Self, TarError> {
        let bad = TarError::Sparse;
        let (mut end, mut sum) = (0u64, 0u64);
        for (offset, len) in &extents {
            if *offset < end {
                return Err(bad("whose extents lie over one another"));
            }
            end = offset.checked_add(*len).filter(|end| *end <= size).ok_or(bad(BEYOND))?;
            sum += len;
        }
        if i64::try_from(size).is_err() {
            return Err(bad("longer than any file"));
        }
        if sum != stored {
            return Err(bad("whose extents are not as long as its contents"));
        }
        Ok(Self { size, extents })
    }
}

const BEYOND: &str = "whose extents go beyond its end";
const MANY: &str = "of more extents than are allowed";

/// What the records of a PAX header say of holes.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    major: Vec<u8>,
    minor: Vec<u8>,
    name: Option<Vec<u8>>,
    size: Option<u64>,
    blocks: Option<u64>,
    /// Offsets and lengths by turns.
    numbers: Vec<u64>,
}

/// Where the map is.
pub(super) enum Place {
    Here(PaxSparse),
    /// At the beginning of the contents.
    InContents(PaxSparse),
}

impl PaxSparse {
    /// Takes the record `GNU.sparse.KEY`.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        let bad = TarError::BadField("PAX sparse record");
        let number = |value| decimal(value).and_then(|n| u64::try_from(n).ok());
        match key {
            b"major" => self.major = value.to_vec(),
            b"minor" => self.minor = value.to_vec(),
            b"name" if value.contains(&0) => return Err(bad),
            b"name" => self.name = Some(value.to_vec()).filter(|name| !name.is_empty()),
            b"size" | b"realsize" => {
                let size = number(value).ok_or(bad)?;
                if self.size.replace(size).is_some_and(|before| before != size) {
                    return Err(TarError::Ambiguous("sparse size"));
                }
            }
            b"numblocks" => self.blocks = Some(number(value).ok_or(bad)?),
            b"offset" | b"numbytes" => {
                // The first of a pair, or the second.
                if self.numbers.len().is_multiple_of(2) != (key == b"offset") {
                    return Err(bad);
                }
                self.push(number(value).ok_or(bad)?)?;
            }
            b"map" => {
                if !self.numbers.is_empty() {
                    return Err(TarError::Ambiguous("sparse map"));
                }
                for text in value.split(|b| *b == b',').filter(|_| !value.is_empty()) {
                    self.push(number(text).ok_or(TarError::BadField("PAX sparse map"))?)?;
                }
            }
            // Go and GNU tar know no others.
            _ => return Err(bad),
        }
        Ok(())
    }

    fn push(&mut self, number: u64) -> Result<(), TarError> {
        if self.numbers.len() >= 2 * MAX_EXTENTS {
            return Err(TarError::Sparse(MANY));
        }
        self.numbers.push(number);
        Ok(())
    }

    /// The file's own name, where the header's is one for programs that know no
    /// sparse files.
    pub(super) fn name(&mut self) -> Option<Vec<u8>> {
        self.name.take()
    }

    pub(super) fn place(self) -> Result<Place, TarError> {
        match (&self.major[..], &self.minor[..]) {
            (b"1", b"0") if self.numbers.is_empty() => Ok(Place::InContents(self)),
            (b"" | b"0", b"" | b"0" | b"1") => Ok(Place::Here(self)),
            _ => Err(TarError::Sparse("of a version that is not known")),
        }
    }

    /// `stored`: bytes of contents in the archive, without a map.
    pub(super) fn map(self, stored: u64) -> Result<SparseMap, TarError> {
        let (Some(size), true) = (self.size, self.numbers.len().is_multiple_of(2)) else {
            return Err(TarError::Sparse("without a size or half a map"));
        };
        let extents = pairs(&self.numbers);
        if self.blocks.is_some_and(|blocks| blocks != extents.len() as u64) {
            return Err(TarError::Sparse("with another number of extents than it says"));
        }
        SparseMap::checked(size, extents, stored)
    }

    /// Reads the map in front of the contents, byte by byte; answers how many
    /// bytes it took.
    pub(super) fn read(
        &mut self,
        mut byte: impl FnMut() -> Result<u8, TarError>,
    ) -> Result<u64, TarError> {
        let mut taken = 0;
        let mut line = || -> Result<u64, TarError> {
            let mut digits = Vec::with_capacity(MAX_LINE);
            loop {
                taken += 1;
                match byte()? {
                    b'\n' => break,
                    digit if digits.len() < MAX_LINE => digits.push(digit),
                    _ => return Err(TarError::BadField("sparse map")),
                }
            }
            let number = decimal(&digits).and_then(|n| u64::try_from(n).ok());
            number.ok_or(TarError::BadField("sparse map"))
        };
        let count = line()?;
        if count > MAX_EXTENTS as u64 {
            return Err(TarError::Sparse(MANY));
        }
        for _ in 0..2 * count {
            self.numbers.push(line()?);
        }
        Ok(taken)
    }
}

/// The map of an old GNU header and of the blocks that follow it.
pub(super) fn old_gnu(
    header: &Header,
    stored: u64,
    mut block: impl FnMut() -> Result<[u8; super::header::BLOCK], TarError>,
) -> Result<SparseMap, TarError> {
    let (size, mut more) = header.sparse_size()?;
    let mut numbers = Vec::new();
    header.sparse_extents(&mut numbers)?;
    while more {
        if numbers.len() >= 2 * MAX_EXTENTS {
            return Err(TarError::Sparse(MANY));
        }
        more = Header::more_extents(&block()?, &mut numbers)?;
    }
    SparseMap::checked(size, pairs(&numbers), stored)
}

fn pairs(numbers: &[u64]) -> Vec<(u64, u64)> {
    let (pairs, _) = numbers.as_chunks::<2>();
    pairs.iter().map(|[offset, len]| (*offset, *len)).collect()
}
