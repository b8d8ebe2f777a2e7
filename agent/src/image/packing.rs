//! How a tar is packed into a blob, and its unpacking: gzip and zstd.
//!
//! zstd is the C library behind `zstd-safe`, not the pure Rust `ruzstd`: on the
//! agent's own target (static musl, one core) the tar of a Debian image came out
//! of it 3 to 4 times as fast (439 against 114 MB/s at level 3, 284 against 100
//! at level 19), faster than the file system takes it, and the binary grew by
//! 147 KB against 119. Our code stays free of `unsafe` with either.

use std::fmt;
use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::error::Cause;

/// The widest window of a zstd frame, as a power of two: 128 MiB, what the `zstd`
/// program unpacks unless it is told otherwise and more than any builder of
/// images asks for (32 MiB). A frame that wants more is refused before memory is
/// taken; of what is taken only the pages count that the frame then fills.
const MAX_WINDOW_LOG: u32 = 27;

/// How the tar is packed into the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip, of one or many members.
    Gzip,
    /// zstd, of one or many frames; zstd:chunked is that, with skippable frames.
    Zstd,
}

impl Packing {
    pub(super) fn of(media_type: &str) -> Result<Self, Cause> {
        const OCI: [&str; 2] = [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
        ];
        const DOCKER: [&str; 2] = [
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.foreign.diff.tar",
        ];
        let suffix = OCI.iter().chain(&DOCKER).find_map(|known| media_type.strip_prefix(known));
        match suffix {
            Some("") => Ok(Self::Plain),
            Some("+gzip" | ".gzip") => Ok(Self::Gzip),
            Some("+zstd" | ".zstd") => Ok(Self::Zstd),
            _ => Err(Cause::MediaType { media_type: media_type.to_owned() }),
        }
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "a plain tar",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// Why a blob could not be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum PackingError {
    /// It ends before its last member or frame does.
    #[error("it ends too early")]
    Truncated,
    /// It is not of this format, or damaged.
    #[error("it is none or damaged: {0}")]
    Corrupt(String),
    /// After its last member or frame comes something else. gzip(1) passes over
    /// that with a warning, Go's reader refuses it; a blob that tools read
    /// differently is refused here.
    #[error("what follows its end is of another kind")]
    Trailing,
    /// A zstd frame looks back further than is allowed.
    #[error("it wants a window of more than {} bytes", 1u64 << MAX_WINDOW_LOG)]
    Window,
    /// A zstd frame was made with a dictionary, which images have none of.
    #[error("it was made with a dictionary, which layers do not have")]
    Dictionary,
    /// The agent has no memory for the window.
    #[error("there is no memory for its window")]
    NoMemory,
}

impl From<PackingError> for io::Error {
    fn from(error: PackingError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

impl PackingError {
    /// What a reader of this module meant by its error.
    pub(super) fn out_of(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => error.downcast().unwrap_or_else(|other| Self::Corrupt(other.to_string())),
        }
    }

    fn of_zstd(code: zstd_safe::ErrorCode, frames: bool) -> Self {
        // zstd_errors.h: an error is its number, negated; the numbers are fixed.
        match code.wrapping_neg() {
            10 if frames => Self::Trailing,
            16 => Self::Window,
            32 => Self::Dictionary,
            64 => Self::NoMemory,
            _ => Self::Corrupt(zstd_safe::get_error_name(code).to_owned()),
        }
    }
}

/// What every gzip member begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Reads the contents of gzip members, one after the other.
///
/// Not flate2's reader for many members, which cannot tell garbage behind the
/// last one from a broken first one.
pub(super) struct Gzip<R> {
    /// `None` when there is no further one.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Gzip<R> {
    pub(super) fn new(blob: R) -> Self {
        Self { member: Some(GzDecoder::new(blob)) }
    }

    /// A member is at its end: goes on to the next; `false` if there is none.
    fn next_member(&mut self) -> io::Result<bool> {
        let Some(done) = self.member.take() else { return Ok(false) };
        let mut blob = done.into_inner();
        let ready = blob.fill_buf()?;
        if ready.is_empty() {
            return Ok(false);
        }
        // A read may end between the two; then the decoder looks at the second.
        if ready.iter().zip(GZIP_MAGIC).any(|(byte, magic)| *byte != magic) {
            return Err(PackingError::Trailing.into());
        }
        self.member = Some(GzDecoder::new(blob));
        Ok(true)
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            match member.read(into)? {
                0 if self.next_member()? => {}
                read => return Ok(read),
            }
        }
        Ok(0)
    }
}

/// Reads the contents of zstd frames, one after the other; skippable ones count
/// for nothing. Checksums, where frames have them, are checked by the library.
pub(super) struct Zstd<R> {
    blob: R,
    context: DCtx<'static>,
    /// A frame was read to its end.
    frames: bool,
    /// The last byte that was read was the last of a frame.
    between: bool,
}

impl<R: BufRead> Zstd<R> {
    pub(super) fn new(blob: R) -> io::Result<Self> {
        let mut context = DCtx::try_create().ok_or(PackingError::NoMemory)?;
        context
            .set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))
            .map_err(|code| PackingError::of_zstd(code, false))?;
        Ok(Self { blob, context, frames: false, between: false })
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let ready = self.blob.fill_buf()?;
            let at_end = ready.is_empty();
            if at_end && self.between {
                return Ok(0);
            }
            let mut input = InBuffer::around(ready);
            let mut output = OutBuffer::around(&mut *into);
            let wanted = self
                .context
                .decompress_stream(&mut output, &mut input)
                .map_err(|code| PackingError::of_zstd(code, self.frames && self.between))?;
            let (taken, made) = (input.pos(), output.pos());
            self.blob.consume(taken);
            self.between = wanted == 0;
            self.frames |= self.between;
            if made > 0 {
                return Ok(made);
            }
            if at_end && !self.between {
                return Err(PackingError::Truncated.into());
            }
        }
    }
}
