//! One 512-byte header block.

use std::ops::Range;

use super::TarError;

pub(super) const BLOCK: usize = 512;

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const MAJOR: Range<usize> = 329..337;
const MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
/// Jörg Schilling's star keeps times in the last 24 bytes of the prefix.
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_MAGIC: Range<usize> = 508..512;

/// GNU's old sparse files: extents of two numbers of 12 bytes, whether a block of
/// more follows, and the size of the whole.
const EXTENTS: Range<usize> = 386..482;
const IS_EXTENDED: usize = 482;
const REAL_SIZE: Range<usize> = 483..495;
const MORE_EXTENTS: Range<usize> = 0..504;
const IS_EXTENDED_MORE: usize = 504;
const NUMBER: usize = 12;

/// `(uid_t) -1` tells chown(2) to leave the owner, so it is no id.
const MAX_ID: i64 = u32::MAX as i64 - 1;

/// A header whose checksum is right.
pub(super) struct Header {
    block: [u8; BLOCK],
}

impl Header {
    pub(super) fn check(block: [u8; BLOCK]) -> Result<Self, TarError> {
        let header = Self { block };
        let claimed = number(header.field(CHECKSUM)).ok_or(TarError::Checksum)?;
        let bytes = |i: usize, b: u8| if CHECKSUM.contains(&i) { b' ' } else { b };
        let unsigned: i64 = block.iter().enumerate().map(|(i, b)| i64::from(bytes(i, *b))).sum();
        // Some old writers summed signed characters.
        let signed: i64 =
            block.iter().enumerate().map(|(i, b)| i64::from(bytes(i, *b).cast_signed())).sum();
        if claimed == unsigned || claimed == signed { Ok(header) } else { Err(TarError::Checksum) }
    }

    pub(super) fn kind(&self) -> u8 {
        self.block[TYPE]
    }

    pub(super) fn path(&self) -> Vec<u8> {
        let name = text(self.field(NAME));
        let prefix = match self.field(MAGIC) {
            // GNU keeps other things where ustar has its prefix.
            magic if !magic.starts_with(b"ustar\0") => &[],
            _ if self.field(STAR_MAGIC) == b"tar\0" => text(self.field(STAR_PREFIX)),
            _ => text(self.field(PREFIX)),
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(self.field(LINK)).to_vec()
    }

    pub(super) fn mode(&self) -> Result<u32, TarError> {
        // Some writers put the file type above the permission bits.
        let mode = number(self.field(MODE)).ok_or(TarError::BadField("mode"))?;
        u32::try_from(mode & 0o7777).map_err(|_| TarError::BadField("mode"))
    }

    pub(super) fn uid(&self) -> Result<u32, TarError> {
        id(number(self.field(UID)), "uid")
    }

    pub(super) fn gid(&self) -> Result<u32, TarError> {
        id(number(self.field(GID)), "gid")
    }

    pub(super) fn size(&self) -> Result<u64, TarError> {
        let size = number(self.field(SIZE)).and_then(|n| u64::try_from(n).ok());
        size.ok_or(TarError::BadField("size"))
    }

    pub(super) fn mtime(&self) -> Result<(i64, u32), TarError> {
        Ok((number(self.field(MTIME)).ok_or(TarError::BadField("mtime"))?, 0))
    }

    pub(super) fn device(&self) -> Result<(u32, u32), TarError> {
        let part = |field, what| {
            number(field).and_then(|n| u32::try_from(n).ok()).ok_or(TarError::BadField(what))
        };
        Ok((part(self.field(MAJOR), "device number")?, part(self.field(MINOR), "device number")?))
    }

    /// Of an old sparse file: its size, and whether a block of extents follows.
    pub(super) fn sparse_size(&self) -> Result<(u64, bool), TarError> {
        // Others keep their prefix where GNU has this.
        if !self.field(MAGIC).starts_with(b"ustar  \0") {
            return Err(TarError::Sparse("whose header is not GNU's"));
        }
        let size = number(self.field(REAL_SIZE)).and_then(|n| u64::try_from(n).ok());
        Ok((size.ok_or(TarError::BadField("sparse size"))?, self.block[IS_EXTENDED] != 0))
    }

    /// Offsets and lengths by turns.
    pub(super) fn sparse_extents(&self, to: &mut Vec<u64>) -> Result<(), TarError> {
        extents(self.field(EXTENTS), to)
    }

    /// The same of a block that follows; answers whether another one does.
    pub(super) fn more_extents(block: &[u8; BLOCK], to: &mut Vec<u64>) -> Result<bool, TarError> {
        extents(&block[MORE_EXTENTS], to)?;
        Ok(block[IS_EXTENDED_MORE] != 0)
    }

    fn field(&self, range: Range<usize>) -> &[u8] {
        // The ranges are the constants above, all within the block.
        &self.block[range]
    }
}

/// Numbers up to the first extent that begins with a NUL.
fn extents(field: &[u8], to: &mut Vec<u64>) -> Result<(), TarError> {
    for extent in field.chunks_exact(2 * NUMBER).take_while(|extent| extent[0] != 0) {
        for text in extent.chunks_exact(NUMBER) {
            let value = number(text).and_then(|n| u64::try_from(n).ok());
            to.push(value.ok_or(TarError::BadField("sparse extent"))?);
        }
    }
    Ok(())
}

/// An id that the kernel can set, from a header or a PAX record.
pub(super) fn id(number: Option<i64>, what: &'static str) -> Result<u32, TarError> {
    let id = number.filter(|n| (0..=MAX_ID).contains(n)).and_then(|n| u32::try_from(n).ok());
    id.ok_or(TarError::BadField(what))
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// Octal digits among spaces and NULs, or GNU's big-endian binary.
fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => binary(field),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Option<i64> {
    let start = field.iter().position(|b| *b != b' ' && *b != 0).unwrap_or(field.len());
    let digits = text(field.get(start..)?).trim_ascii_end();
    digits.iter().try_fold(0i64, |n, b| match b {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add(i64::from(b - b'0')),
        _ => None,
    })
}

/// Two's complement whose topmost bit only marks the encoding.
fn binary(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    let negative = first & 0x40 != 0;
    // Sign-extend the seven bits that are left of the first byte.
    let top = if negative {
        i128::from(first | 0x80).wrapping_sub(256)
    } else {
        i128::from(first & 0x7f)
    };
    let value =
        rest.iter().try_fold(top, |n, b| n.checked_mul(256)?.checked_add(i128::from(*b)))?;
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (field, want) in [
            (&b"0000755\0"[..], Some(0o755)),
            (b"   755 \0", Some(0o755)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"755\0junk", Some(0o755)),
            (b"0000758\0", None),
            (b"-000755\0", None),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\x00", Some(-256)),
            (b"\x80\x7f\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
        ] {
            assert_eq!(number(field), want, "{field:?}");
        }
    }

    #[test]
    fn ids_that_chown_would_not_set_are_refused() {
        for bad in [None, Some(-1), Some(i64::from(u32::MAX)), Some(1 << 32)] {
            assert!(id(bad, "uid").is_err());
        }
        assert_eq!(id(Some(MAX_ID), "uid").unwrap(), u32::MAX - 1);
    }
}
