//! Tars written byte by byte, the wrong ones too, and how they are packed.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

const BLOCK: usize = 512;

/// A ustar header's fields, as they are to be written.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The type flag.
    pub kind: u8,
    /// At most 100 bytes.
    pub path: &'a [u8],
    /// At most 100 bytes.
    pub link: &'a [u8],
    /// Seven octal digits.
    pub mode: u32,
    /// Owner; in GNU's binary form where seven octal digits do not hold it.
    pub uid: u64,
    /// Group, likewise.
    pub gid: u64,
    /// Seconds; below 0 or large in GNU's binary form.
    pub mtime: i64,
    /// What the header claims; below 0 in GNU's binary form.
    pub size: i64,
    /// Major and minor.
    pub device: (u32, u32),
}

impl Default for Head<'_> {
    fn default() -> Self {
        Self {
            kind: b'0',
            path: b"",
            link: b"",
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 1_000_000,
            size: 0,
            device: (0, 0),
        }
    }
}

impl Head<'_> {
    fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, self.path);
        put(100, &number(self.mode.into(), 8));
        put(108, &number(self.uid.cast_signed(), 8));
        put(116, &number(self.gid.cast_signed(), 8));
        put(124, &number(self.size, 12));
        put(136, &number(self.mtime, 12));
        put(156, &[self.kind]);
        put(157, self.link);
        put(257, b"ustar\x0000");
        put(329, &number(self.device.0.into(), 8));
        put(337, &number(self.device.1.into(), 8));
        block
    }
}

/// Octal where that holds it, else GNU's two's complement.
fn number(value: i64, width: usize) -> Vec<u8> {
    let octal = format!("{value:0width$o}\0", width = width - 1);
    if value >= 0 && octal.len() == width {
        return octal.into_bytes();
    }
    let mut wide = vec![if value < 0 { 0xff } else { 0 }; width];
    let bytes = value.to_be_bytes();
    let len = bytes.len().min(width);
    wide[width - len..].copy_from_slice(&bytes[8 - len..]);
    wide[0] |= 0x80;
    wide
}

/// A tar as it grows.
#[derive(Debug, Clone, Default)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    /// A header with a right checksum, and nothing after it.
    #[must_use]
    pub fn head(self, head: &Head<'_>) -> Self {
        self.block(head.block())
    }

    /// Any block, its checksum made right.
    #[must_use]
    pub fn block(mut self, mut block: [u8; BLOCK]) -> Self {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self
    }

    /// Contents, filled up to a block.
    #[must_use]
    pub fn data(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    /// A file of root's with mode 0644.
    #[must_use]
    pub fn file(self, path: &str, contents: &[u8]) -> Self {
        let size = i64::try_from(contents.len()).unwrap();
        self.head(&Head { path: path.as_bytes(), size, ..Head::default() }).data(contents)
    }

    /// A directory of root's with mode 0755.
    #[must_use]
    pub fn dir(self, path: &str) -> Self {
        let path = path.as_bytes();
        self.head(&Head { kind: b'5', path, mode: 0o755, ..Head::default() })
    }

    /// A symlink.
    #[must_use]
    pub fn symlink(self, path: &str, to: &str) -> Self {
        self.link(b'2', path, to)
    }

    /// A hard link.
    #[must_use]
    pub fn hard_link(self, path: &str, to: &str) -> Self {
        self.link(b'1', path, to)
    }

    fn link(self, kind: u8, path: &str, to: &str) -> Self {
        let (path, link) = (path.as_bytes(), to.as_bytes());
        self.head(&Head { kind, path, link, ..Head::default() })
    }

    /// An extension header and its contents: `x`, `g`, `L`, `K`.
    #[must_use]
    pub fn extension(self, kind: u8, bytes: &[u8]) -> Self {
        let size = i64::try_from(bytes.len()).unwrap();
        self.head(&Head { kind, path: b"ext", size, ..Head::default() }).data(bytes)
    }

    /// A PAX header.
    #[must_use]
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let len = (rest + 1..).find(|len| len.to_string().len() + rest == *len).unwrap();
            bytes.extend_from_slice(format!("{len} {key}=").as_bytes());
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        self.extension(b'x', &bytes)
    }

    /// Two blocks of zeros, and the bytes of it all.
    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 2 * BLOCK]);
        self.0
    }
}

/// One member.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One frame, with a checksum.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut context = zstd_safe::CCtx::create();
    context.set_parameter(zstd_safe::CParameter::ChecksumFlag(true)).unwrap();
    let mut blob = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    context.compress2(&mut blob, bytes).unwrap();
    blob
}

/// A frame that decoders pass over.
pub fn zstd_skippable(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).unwrap();
    [&0x184d_2a50_u32.to_le_bytes()[..], &len.to_le_bytes(), bytes].concat()
}
